"""An export: its files, their digests, and how to load and run it.

Needs jax, numpy and safetensors only: no configuration and no training code. Nothing is read
before its digest has been checked, and nothing in the folder is a pickle.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from hpa_jax.environment.paths import local_path
from hpa_jax.errors import InputError

PARAMETERS = "model.safetensors"
FORWARD = "forward.jaxexport"
DESCRIPTION = "model.json"
GOLDEN = "golden.safetensors"
FILES = (PARAMETERS, FORWARD, DESCRIPTION, GOLDEN)
MANIFEST = "manifest.json"

TOLERANCE = 1e-5
"""Largest absolute difference of probabilities between the exporting and the checking machine."""


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
    parameters: dict[str, np.ndarray]
    forward: Callable

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """The probability of each label.

        Args:
          images: uint8 `[B, H, W, 4]` of the exported size: red, green, blue, yellow. Any B.

        Returns:
          float32 `[B, L]`, labels in the order of `description["labels"]`.

        Raises:
          InputError: another dtype or shape.
        """
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
        golden = load_file(self.folder / GOLDEN)
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
      InputError: a file is missing, or a byte of it was changed.
    """
    # Only who loads an export waits for JAX.
    import jax

    folder = local_path(folder)
    _check_manifest(folder)
    exported = jax.export.deserialize((folder / FORWARD).read_bytes())
    description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    parameters = load_file(folder / PARAMETERS)
    return Served(folder, description, parameters, jax.jit(exported.call))


def write_manifest(folder: Path) -> None:
    """Writes the digests of the folder's files into manifest.json."""
    (folder / MANIFEST).write_text(_manifest_text(_digests(folder)), encoding="utf-8")


def _digests(folder: Path) -> dict[str, str]:
    digests = {}
    for name in FILES:
        digests[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    return digests


def _manifest_text(digests: dict[str, str]) -> str:
    return json.dumps({"sha256": digests}, indent=2) + "\n"


def _check_manifest(folder: Path) -> None:
    try:
        digests = _digests(folder)
        manifest = (folder / MANIFEST).read_bytes()
    except OSError as error:
        raise InputError(
            f"{folder} is no complete export: {error.filename} cannot be read; export it again"
        ) from error
    # Comparing the text refuses a changed byte of the manifest itself as well.
    if manifest == _manifest_text(digests).encode():
        return
    recorded = _recorded_digests(manifest)
    changed = [name for name in FILES if recorded.get(name) != digests[name]]
    culprit = folder / (changed[0] if changed else MANIFEST)
    raise InputError(f"{culprit} is not what was exported (SHA-256 differs); export it again")


def _recorded_digests(manifest: bytes) -> dict:
    try:
        recorded = json.loads(manifest)["sha256"]
    except (ValueError, KeyError, TypeError):
        return {}
    return recorded if isinstance(recorded, dict) else {}
