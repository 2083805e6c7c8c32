"""An export: its files, their digests, and how to load and run it.

Loading needs no configuration and no training code: by JAX the packages of
`jax_backend.PACKAGES`, by onnxruntime those of `onnx.session.PACKAGES`; checking the digests needs
Python alone. Nothing is read before its digest has been checked, and nothing in the folder is a
pickle.

`hpa_jax.folders.export_manifest` has its digests and its format.
"""

import hashlib
import importlib
import importlib.util
import json
from collections.abc import Collection
from functools import partial
from pathlib import Path

from hpa_jax.environment.paths import local_path
from hpa_jax.errors import InputError, one_line
from hpa_jax.folders.export_manifest import (
    DESCRIPTION,
    FORWARD,
    GOLDEN,
    ONNX,
    PARAMETERS,
    check_digests,
    read_file,
)
from hpa_jax.serving import jax_backend
from hpa_jax.serving.kinds import EMBEDDINGS, LABELS, check_kind
from hpa_jax.serving.onnx import session
from hpa_jax.serving.served import Served

PLATFORMS = ("cpu", "cuda", "tpu")
"""That the forward pass is for, by JAX's names."""

BACKENDS = ("auto", "onnx", "jax")
"""What `load` takes."""

_LONGEST_REASON = 160


def load(
    folder: Path | str,
    backend: str = "auto",
    *,
    threads: int = 0,
    expect_sha256: str = "",
    kinds: Collection[str] | None = (LABELS, EMBEDDINGS),
) -> Served:
    """Checks every digest, then loads an export.

    Args:
      folder: of the export.
      backend: "onnx" runs model.onnx with onnxruntime, "jax" runs forward.jaxexport with JAX;
        "auto": the first where the export has it and onnxruntime is installed, else the second.
      threads: of onnxruntime; 0: one a core. JAX has as many as it likes.
      expect_sha256: of manifest.json, as of `check_digests`.
      kinds: what its net may be for, of `hpa_jax/serving/kinds.py`; None: anything.

    Returns:
      The net, ready to run.

    Raises:
      InputError: its net is for something else, a file is missing, a byte of it was changed, or a
        package is missing here.
    """
    folder = local_path(folder)
    if backend not in BACKENDS:
        raise InputError(f"backend={backend!r} is unknown; choose one of {', '.join(BACKENDS)}")
    digests = check_digests(folder, expect_sha256=expect_sha256)
    if backend == "auto":
        backend = _choose(digests)
    if backend == "onnx" and ONNX not in digests:
        raise InputError(
            f"{folder} has no {ONNX}: it was exported without; export it again, or use the backend "
            "jax"
        )
    description = _parsed(_read_checked(folder, DESCRIPTION, digests), folder)
    if kinds is not None:
        check_kind(description, folder, *kinds)
    golden = partial(_golden, folder, digests)
    if backend == "onnx":
        model = _read_checked(folder, ONNX, digests)
        _import(session.PACKAGES, folder)
        call, outputs = session.open_session(model, str(folder / ONNX), threads)
    else:
        parameters = _read_checked(folder, PARAMETERS, digests)
        forward = _read_checked(folder, FORWARD, digests)
        # JAX is imported here alone, so that nothing else waits for it. It comes last: where NumPy
        # is missing, its own message does not say so.
        _import(jax_backend.PACKAGES, folder)
        call, outputs = jax_backend.open_forward(forward, parameters, folder)
    return Served(folder, description, backend, outputs, call, golden)


def _choose(digests: dict[str, str]) -> str:
    if ONNX in digests and is_installed("onnxruntime"):
        return "onnx"
    return "jax"


def is_installed(package: str) -> bool:
    """Whether a package can be found, without importing it."""
    try:
        return importlib.util.find_spec(package) is not None
    except ValueError:
        # Python raises this for a module whose entry in `sys.modules` has no specification.
        return False


def _import(packages: tuple[str, ...], folder: Path) -> None:
    try:
        for package in packages:
            importlib.import_module(package)
    except ImportError as error:
        raise InputError(
            f"{folder}: its digests agree, but a package to run it is missing or does not fit "
            f"({one_line(error, limit=_LONGEST_REASON)}): pip install {' '.join(packages)}"
        ) from error


def _parsed(description: bytes, folder: Path) -> dict:
    try:
        parsed = json.loads(description)
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, dict):
        raise InputError(f"{folder / DESCRIPTION} is no JSON object; export it again")
    return parsed


def _golden(folder: Path, digests: dict[str, str]) -> dict:
    from safetensors.numpy import load

    return load(_read_checked(folder, GOLDEN, digests))


def _read_checked(folder: Path, name: str, digests: dict[str, str]) -> bytes:
    """The bytes of a file, which are those that were hashed and no later ones."""
    content = read_file(folder / name)
    if hashlib.sha256(content).hexdigest() != digests[name]:
        raise InputError(f"{folder / name} changes while it is read; copy the export elsewhere")
    return content
