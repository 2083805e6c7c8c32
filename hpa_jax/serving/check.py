"""Checks an export, as a server would before it starts.

    python -m hpa_jax.serving check FOLDER    compares its digests, reproduces the golden output

`python -m hpa_jax.serving FOLDER` is the same. Exit status: 0 the export is sound; 2 it is not, it
cannot be run here, or the call was wrong.
"""

import contextlib
import importlib
import sys
from collections.abc import Sequence

from hpa_jax.environment.jax_variables import check_devices, check_xla_flags, import_jax
from hpa_jax.errors import EXIT_BAD_INPUT, EXIT_OK, InputError, one_line
from hpa_jax.serving.artifact import PACKAGES, load

_LONGEST_REASON = 300


def main(arguments: Sequence[str]) -> int:
    """Runs the command; returns the exit status."""
    arguments = list(arguments)
    if arguments in (["-h"], ["--help"]):
        print(__doc__.strip())
        return EXIT_OK
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print(__doc__.strip(), file=sys.stderr)
        return EXIT_BAD_INPUT
    folder = arguments[0]
    try:
        # Where a package is missing, `load` says which.
        with contextlib.suppress(ImportError):
            # JAX last: without NumPy it has words of its own.
            for package in PACKAGES:
                if package != "jax":
                    importlib.import_module(package)
            import_jax()
            check_xla_flags()
            check_devices()
        difference = load(folder).check_golden()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except (RuntimeError, OSError, MemoryError) as error:
        # JAX has no device, or no memory, or compiles for none of those that are here.
        reason = one_line(error, limit=_LONGEST_REASON)
        print(
            f"error: {folder}: its digests agree, but it does not run here: {reason}",
            file=sys.stderr,
        )
        return EXIT_BAD_INPUT
    print(
        f"{folder}: digests agree, golden output reproduced (largest difference {difference:.1e})"
    )
    return EXIT_OK
