"""Checks an export, as a server would before it starts.

    python -m hpa_jax.serving check FOLDER    compares its digests, reproduces the golden output

      --backend=onnx|jax        by this one alone; else by each that the export has and that can
                                run here
      --expect-sha256=HEX       of FOLDER/manifest.json, as whoever made the export passed it on

`python -m hpa_jax.serving FOLDER` is the same. Exit status: 0 the export is sound; 2 it is not, it
cannot be run here, or the call was wrong.
"""

import contextlib
import importlib
import sys
from collections.abc import Sequence

from hpa_jax.environment.flags import Parser
from hpa_jax.environment.jax_variables import check_devices, check_xla_flags, import_jax
from hpa_jax.errors import EXIT_BAD_INPUT, EXIT_OK, InputError, one_line
from hpa_jax.folders.export_manifest import FORWARD, ONNX, check_digests
from hpa_jax.serving.artifact import BACKENDS, is_installed, load
from hpa_jax.serving.jax_backend import PACKAGES
from hpa_jax.serving.onnx.session import PACKAGES as ONNX_PACKAGES

_LONGEST_REASON = 300


def main(arguments: Sequence[str]) -> int:
    """Runs the command; returns the exit status."""
    arguments = list(arguments)
    if arguments in (["-h"], ["--help"]):
        print(__doc__.strip())
        return EXIT_OK
    if not arguments:
        print(__doc__.strip(), file=sys.stderr)
        return EXIT_BAD_INPUT
    parser = Parser(prog="python -m hpa_jax.serving check", add_help=False, allow_abbrev=False)
    parser.add_argument("folder")
    parser.add_argument("--backend", choices=BACKENDS, default="auto")
    parser.add_argument("--expect-sha256", "--expect_sha256", default="")
    try:
        given = parser.parse_args(arguments)
        for line in _check(given.folder, given.backend, given.expect_sha256):
            print(line, flush=True)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except (RuntimeError, OSError, MemoryError) as error:
        # A runtime has no device, or no memory, or compiles for none of those that are here.
        reason = one_line(error, limit=_LONGEST_REASON)
        print(
            f"error: {given.folder}: its digests agree, but it does not run here: {reason}",
            file=sys.stderr,
        )
        return EXIT_BAD_INPUT
    return EXIT_OK


def _check(folder: str, backend: str, expect_sha256: str):
    """A line for each backend that reproduces the golden output."""
    digests = check_digests(folder, expect_sha256=expect_sha256)
    backends = [backend]
    if backend == "auto":
        backends = ["jax"]
        if ONNX in digests:
            backends = _runnable()
    for name in backends:
        if name == "jax":
            _prepare_jax()
        served = load(folder, name, expect_sha256=expect_sha256, kinds=None)
        difference = served.check_golden()
        yield (
            f"{folder}: digests agree, golden output reproduced by {name} (largest difference "
            f"{difference:.1e})"
        )
    if backend == "auto" and ONNX in digests and len(backends) < 2:
        missing = FORWARD if backends == ["onnx"] else ONNX
        yield f"{folder}: {missing} was not run: what runs it is not installed here"


def _runnable() -> list[str]:
    """Of an export's two backends those whose packages are here; JAX where neither is."""
    runnable = []
    for name, packages in (("jax", PACKAGES), ("onnx", ONNX_PACKAGES)):
        if all(map(is_installed, packages)):
            runnable.append(name)
    return runnable or ["jax"]


def _prepare_jax() -> None:
    # Where a package is missing, `load` says which.
    with contextlib.suppress(ImportError):
        # JAX last: without NumPy it has words of its own.
        for package in PACKAGES:
            if package != "jax":
                importlib.import_module(package)
        import_jax()
        check_xla_flags()
        check_devices()
