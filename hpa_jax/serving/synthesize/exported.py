"""An export that fills in channels: without training code, by JAX or onnxruntime."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hpa_jax.folders.export_manifest import check_digests
from hpa_jax.images.prepare import Preparation
from hpa_jax.labels import CHANNELS
from hpa_jax.serving import artifact
from hpa_jax.serving.kinds import FILLED_CHANNELS
from hpa_jax.serving.predict.net import settings_digest

_OUTPUT = "channels"


class ExportedFiller:
    """A `filling.Filler`. Safe to share between threads.

    Attributes:
      preparation: of its images.
      version: changes with anything of it.

    Args:
      folder: of the export.
      backend: "auto", "onnx" or "jax".

    Raises:
      InputError: it is no complete export, one of another kind, or cannot be run here.
    """

    def __init__(self, folder: Path, backend: str = "auto"):
        self._served = artifact.load(folder, backend, kinds=(FILLED_CHANNELS,))
        description = self._served.description
        self.name = str(folder)
        self.targets = tuple(description["targets"])
        self.sources = tuple(description["sources"])
        self.preparation = Preparation.from_description(description)
        self.size = self.preparation.size
        self.version = settings_digest(check_digests(folder))

    def fill(self, images: np.ndarray, shown: Sequence[str]) -> np.ndarray:
        """See `Filler`."""
        visible = np.zeros_like(images)
        for name in shown:
            place = CHANNELS.index(name)
            visible[..., place] = images[..., place]
        found = self._served.run(visible, (_OUTPUT,))[_OUTPUT]
        return np.rint(255 * found).astype(np.uint8)
