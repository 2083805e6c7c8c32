"""Loads an export and runs it: needs jax, numpy and safetensors only, no configuration and no training code.

    python -m hpa_jax.serving FOLDER      checks the digests and reproduces the golden output

Nothing is read before its digest is checked, and nothing in the folder is a pickle.
"""

import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
from safetensors.numpy import load_file

from hpa_jax.errors import EXIT_BAD_INPUT, EXIT_OK, InputError

PARAMETERS, FORWARD, DESCRIPTION, GOLDEN = (
    "model.safetensors",
    "forward.jaxexport",
    "model.json",
    "golden.safetensors",
)
FILES = (PARAMETERS, FORWARD, DESCRIPTION, GOLDEN)
MANIFEST = "manifest.json"
TOLERANCE = 1e-5
"""Largest absolute difference of probabilities between the machine that exported and the one that checks."""


@dataclass(frozen=True)
class Served:
    """
    Attributes:
      folder: where the export lies.
      description: the contents of model.json.
      parameters: flat names to float32 arrays.
      forward: jitted `(parameters, uint8 [B, H, W, 4]) -> float32 [B, L]`.
    """

    folder: Path
    description: dict
    parameters: dict[str, np.ndarray]
    forward: jax.stages.Wrapped

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """uint8 `[B, H, W, 4]` (red, green, blue, yellow) to `float32 [B, L]`.

        Raises:
          InputError: another dtype or shape.
        """
        wanted = self.description["input"]
        if images.dtype != np.uint8 or list(images.shape[1:]) != wanted["shape"][1:]:
            raise InputError(
                f"images of {images.dtype} {images.shape}; the net takes uint8 {wanted['shape']}"
            )
        return np.asarray(self.forward(self.parameters, images))

    def check_golden(self) -> float:
        """The largest difference from the golden output.

        Raises:
          InputError: it is above TOLERANCE.
        """
        golden = load_file(self.folder / GOLDEN)
        difference = float(
            np.abs(self.probabilities(golden["images"]) - golden["probabilities"]).max()
        )
        if not difference <= TOLERANCE:
            raise InputError(
                f"{self.folder}: the golden output is missed by {difference:.1e}, above {TOLERANCE}; do not serve it"
            )
        return difference


def load(folder: Path | str) -> Served:
    """Checks every digest, then loads.

    Raises:
      InputError: a file is missing or a byte of it was changed.
    """
    folder = Path(folder)
    _check_manifest(folder)
    exported = jax.export.deserialize((folder / FORWARD).read_bytes())
    description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    return Served(folder, description, load_file(folder / PARAMETERS), jax.jit(exported.call))


def write_manifest(folder: Path) -> None:
    """Writes manifest.json over the files that the folder holds."""
    (folder / MANIFEST).write_text(_manifest_text(_digests(folder)), encoding="utf-8")


def _digests(folder: Path) -> dict[str, str]:
    return {n: hashlib.sha256((folder / n).read_bytes()).hexdigest() for n in FILES}


def _manifest_text(digests: dict[str, str]) -> str:
    return json.dumps({"sha256": digests}, indent=2) + "\n"


def _check_manifest(folder: Path) -> None:
    try:
        found = _digests(folder)
        manifest = (folder / MANIFEST).read_bytes()
    except OSError as error:
        raise InputError(
            f"{folder} is no whole export: {error.filename} cannot be read; export it again"
        ) from error
    # Comparing texts refuses a changed byte of the manifest as well.
    if manifest != _manifest_text(found).encode():
        recorded = _recorded(manifest)
        changed = [name for name in found if recorded.get(name) != found[name]] or [MANIFEST]
        raise InputError(
            f"{folder / changed[0]} is not what was exported (SHA-256 differs); export it again"
        )


def _recorded(manifest: bytes) -> dict:
    try:
        recorded = json.loads(manifest)["sha256"]
    except (ValueError, KeyError, TypeError):
        return {}
    return recorded if isinstance(recorded, dict) else {}


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print(__doc__, file=sys.stderr)
        return EXIT_OK if arguments in (["-h"], ["--help"]) else EXIT_BAD_INPUT
    try:
        difference = load(arguments[0]).check_golden()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    print(
        f"{arguments[0]}: digests agree, golden output reproduced (largest difference {difference:.1e})"
    )
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
