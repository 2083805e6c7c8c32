"""An export: its files, their digests, and how to load and run it.

Needs jax, flatbuffers, numpy and safetensors only: no configuration and no training code; checking
the digests needs Python alone. Nothing is read before its digest has been checked, and nothing in
the folder is a pickle.

`hpa_jax.folders.export_manifest` has its digests and its format.
"""

import hashlib
import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hpa_jax.environment.paths import local_path
from hpa_jax.errors import InputError, one_line
from hpa_jax.folders.export_manifest import (
    DESCRIPTION,
    FILES,
    FORWARD,
    GOLDEN,
    MANIFEST,
    PARAMETERS,
    check_digests,
    foreign_content,
    read_file,
    write_manifest,
)

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "DESCRIPTION",
    "FILES",
    "FORWARD",
    "GOLDEN",
    "MANIFEST",
    "PARAMETERS",
    "Served",
    "check_digests",
    "foreign_content",
    "load",
    "write_manifest",
]

PLATFORMS = ("cpu", "cuda", "tpu")
"""That the forward pass is for, by JAX's names."""

TOLERANCE = 1e-5
"""Largest absolute difference of probabilities between the exporting and the checking machine."""

PACKAGES = ("numpy", "safetensors", "flatbuffers", "jax")
"""What running an export needs besides this package."""

_LONGEST_REASON = 160


@dataclass(frozen=True)
class Served:
    """A loaded export.

    Attributes:
      folder: where the export lies.
      description: the contents of model.json.
      parameters: float32 arrays by flat name.
      forward: jitted `(parameters, uint8 [B, H, W, 4]) -> float32 [B, L]`.
    """

    folder: Path
    description: dict
    parameters: "dict[str, np.ndarray]"
    forward: Callable

    def probabilities(self, images: "np.ndarray") -> "np.ndarray":
        """The probability of each label.

        Args:
          images: uint8 `[B, H, W, 4]` of the exported size: red, green, blue, yellow. Any B.

        Returns:
          float32 `[B, L]`, labels in the order of `description["labels"]`.

        Raises:
          InputError: another dtype or shape.
        """
        import numpy as np

        expected = self.description["input"]["shape"]
        if images.dtype != np.uint8 or list(images.shape[1:]) != expected[1:]:
            raise InputError(
                f"images of {images.dtype} {images.shape}; the net takes uint8 {expected}"
            )
        return np.asarray(self.forward(self.parameters, images))

    def check_golden(self) -> float:
        """Runs the golden input; returns the largest difference from the golden output.

        Raises:
          InputError: the difference is above TOLERANCE, or not a number.
        """
        import numpy as np
        from safetensors.numpy import load

        golden = load(_read_checked(self.folder, GOLDEN, check_digests(self.folder)))
        probabilities = self.probabilities(golden["images"])
        difference = float(np.abs(probabilities - golden["probabilities"]).max())
        # Written so that a NaN is refused as well.
        if not difference <= TOLERANCE:
            raise InputError(
                f"{self.folder}: the output differs from the golden output by {difference:.1e}, "
                f"more than {TOLERANCE}; do not serve it"
            )
        return difference


def load(folder: Path | str) -> Served:
    """Checks every digest, then loads an export.

    Raises:
      InputError: a file is missing, a byte of it was changed, or a package is missing here.
    """
    folder = local_path(folder)
    digests = check_digests(folder)
    contents = {}
    for name in (DESCRIPTION, PARAMETERS, FORWARD):
        contents[name] = _read_checked(folder, name, digests)
    # Only who loads an export waits for JAX.
    try:
        # In this order: JAX has words of its own for want of NumPy, and finds out late what else.
        for package in PACKAGES:
            importlib.import_module(package)
        import jax
        from jax import export
        from safetensors.numpy import load as load_arrays
    except ImportError as error:
        raise InputError(
            f"{folder}: its digests agree, but a package to run it is missing or does not fit "
            f"({one_line(error, limit=_LONGEST_REASON)}): pip install {' '.join(PACKAGES)}"
        ) from error

    # Digests agree: what is wrong from here on was exported so, or this machine's packages differ.
    try:
        description = json.loads(contents[DESCRIPTION])
        parameters = load_arrays(contents[PARAMETERS])
        exported = export.deserialize(bytearray(contents[FORWARD]))
    except Exception as error:  # JAX, flatbuffers and safetensors have a type of error each
        raise InputError(
            f"{folder} cannot be loaded by jax {jax.__version__} "
            f"({one_line(error, limit=_LONGEST_REASON)}); install the version that model.json "
            "names, or export it again"
        ) from error
    return Served(folder, description, parameters, jax.jit(exported.call))


def _read_checked(folder: Path, name: str, digests: dict[str, str]) -> bytes:
    """The bytes of a file, which are those that were hashed and no later ones."""
    content = read_file(folder / name)
    if hashlib.sha256(content).hexdigest() != digests[name]:
        raise InputError(f"{folder / name} changes while it is read; copy the export elsewhere")
    return content
