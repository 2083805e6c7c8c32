"""What scores images: an export by one of its backends, or a run's checkpoint."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from hpa_jax.errors import InputError
from hpa_jax.folders.export_manifest import PARAMETERS, check_digests
from hpa_jax.serving import artifact

CARD = "README.md"
"""The model card in an export's folder."""


class Net(Protocol):
    """What `scoring` needs of a net.

    Attributes:
      name: for messages.
      backend: "onnx", "jax" or "run".
      description: as model.json has it.
      card: the model card, or empty.
      digest: of its parameters: embeddings of another net cannot be compared.
      version: changes with anything of it.
      outputs: that it has: `probabilities`, `embedding`, `maps`.
    """

    name: str
    backend: str
    description: Mapping[str, Any]
    card: str
    digest: str
    version: str
    outputs: tuple[str, ...]

    def run(self, images: np.ndarray, outputs: Sequence[str], batch: int) -> dict:
        """Runs the net.

        Args:
          images: uint8 [B, S, S, 4].
          outputs: some of `outputs`.
          batch: the largest B of all calls; a compiled net may fill up to it.

        Returns:
          float32 arrays [B, ...] by name.
        """


class ExportedNet:
    """An export, by one of its backends; see `Net`.

    Args:
      folder: of the export.
      backend: "auto", "onnx" or "jax".
      threads: that compute; None: as many as there are cores.

    Raises:
      InputError: it is no complete export, or cannot be run here.
    """

    def __init__(self, folder: Path, backend: str = "auto", threads: int | None = None):
        self.name = str(folder)
        self._served = artifact.load(folder, backend=backend)
        self.backend = self._served.backend
        self.description = self._served.description
        self.outputs = tuple(self._served.outputs)
        self.card = _card(folder)
        digests = check_digests(folder)
        self.digest = digests[PARAMETERS]
        self.version = settings_digest(digests)

    def run(self, images: np.ndarray, outputs: Sequence[str], batch: int) -> dict:
        """See `Net`."""
        count = len(images)
        if self.backend == "jax" and count < batch:
            # One shape of batch means one compilation.
            filled = np.zeros((batch, *images.shape[1:]), np.uint8)
            filled[:count] = images
            images = filled
        found = self._served.run(images, outputs)
        return {name: found[name][:count] for name in outputs}


def settings_digest(values: Any) -> str:
    """SHA-256 of plain values, 64 hex digits."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _card(folder: Path) -> str:
    try:
        return (folder / CARD).read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / CARD} cannot be read: {error}") from None
