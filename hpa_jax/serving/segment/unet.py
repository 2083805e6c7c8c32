"""The method `unet`: a net that was trained to find cells (`--mode=export` of such a run).

A field is stretched, scaled so that its nuclei are as large as those that the net was trained on,
and seen in tiles that overlap; masks are made of the maps at that scale, where the field is
stained, and enlarged to the field's own. Needs JAX besides what runs the export.
"""

import hashlib
from pathlib import Path

import numpy as np

from hpa_jax.errors import InputError
from hpa_jax.folders.export_manifest import MANIFEST, read_file
from hpa_jax.images.resize import resize, scaled_size
from hpa_jax.labels import CHANNELS
from hpa_jax.models.unet_tiles import tiled_outputs
from hpa_jax.segmentation.enlarge import enlarge
from hpa_jax.segmentation.from_maps import from_maps
from hpa_jax.segmentation.instances import Instances
from hpa_jax.segmentation.nuclei import nucleus_diameter
from hpa_jax.segmentation.stained import without_unstained
from hpa_jax.segmentation.stretch import stretch
from hpa_jax.serving import artifact
from hpa_jax.serving.kinds import CELL_MASKS
from hpa_jax.serving.segment.methods import Segmenter
from hpa_jax.serving.segment.request import SCALES
from hpa_jax.serving.served import Served

_OUTPUT = "maps"
_BLUE = CHANNELS.index("blue")

# Of a tile's side: what neighbours share. A multiple of 32 px of any tile that is one of 128.
_OVERLAP = 0.25

# The longer side of a field in which nuclei are measured, px: as of the classical method.
_MEASURED_SIDE = 1024

# Raised when the method finds other cells than before with the same net and field.
_VERSION = 2


def open_unet(weights: Path | None, scale: float | None = None) -> Segmenter:
    """A net that finds cells.

    Args:
      weights: folder of its export.
      scale: by which every field is scaled before it is seen; None: by the size of its nuclei.

    Raises:
      InputError: there is no export, it is of another kind, or cannot be run here.
    """
    if weights is None:
        raise InputError(
            "method=unet needs the export of a net that was trained to find cells: "
            "--weights=EXPORT (docs/cells_net.md)"
        )
    # Fields are worked on at a time, each by one thread.
    served = artifact.load(weights, threads=1, kinds=(CELL_MASKS,))
    finder = CellFinder(served, scale)
    digest = hashlib.sha256(read_file(weights / MANIFEST)).hexdigest()
    version = f"{_VERSION} {digest[:16]}"
    if scale is not None:
        version += f" {scale:g}"
    return Segmenter("unet", version, lambda image_id, field: finder(field))


class CellFinder:
    """Finds the cells of fields of any size. Several threads may use it at a time.

    Args:
      served: a net of the kind `cell_masks`.
      scale: as of `open_unet`.
    """

    def __init__(self, served: Served, scale: float | None = None):
        self._served = served
        self._scale = scale
        self._tile = served.description["input"]["shape"][1]
        self._diameters = served.description["nucleus_diameters"]

    def __call__(self, field: np.ndarray) -> Instances:
        """The cells of a field, uint8 [H, W, 4]."""
        height, width = field.shape[:2]
        stretched = stretch(field)
        factor = self.scale_of(stretched)
        scaled = resize(stretched, scaled_size(height, width, factor))
        found = from_maps(without_unstained(self.maps(scaled), scaled))
        cells = _sized(found.cells, height, width)
        nuclei = _sized(found.nuclei, height, width)
        # Scaled apart, a nucleus may reach over its cell by a pixel.
        return Instances(cells, np.where(nuclei == cells, nuclei, 0))

    def scale_of(self, stretched: np.ndarray) -> float:
        """The factor by which a field is scaled before the net sees it.

        Nuclei of a size that the net was trained on stay as they are.

        Args:
          stretched: uint8 [H, W, 4].
        """
        if self._scale is not None:
            return self._scale
        reduced = min(1.0, _MEASURED_SIDE / max(stretched.shape[:2]))
        blue = resize(stretched[..., _BLUE : _BLUE + 1], scaled_size(*stretched.shape[:2], reduced))
        diameter = nucleus_diameter(blue.reshape(blue.shape[:2]).astype(np.float32))
        if diameter is None:
            return 1.0
        diameter /= reduced
        low, middle, high = self._diameters
        if low <= diameter <= high:
            return 1.0
        return float(np.clip(middle / diameter, *SCALES))

    def maps(self, scaled: np.ndarray) -> np.ndarray:
        """The net's maps of a field.

        Args:
          scaled: uint8 [h, w, 4], stretched, at the scale at which the net sees it.

        Returns:
          float32 [h, w, 4], 0 to 1.
        """
        height, width = scaled.shape[:2]
        below = max(0, self._tile - height)
        right = max(0, self._tile - width)
        # As often mirrored as it takes: a field may be much smaller than a tile.
        filled = np.pad(scaled, ((0, below), (0, right), (0, 0)), mode="symmetric")
        overlap = int(self._tile * _OVERLAP) // 32 * 32
        outputs = tiled_outputs(self._run, filled, self._tile, overlap)
        return outputs[_OUTPUT][:height, :width]

    def _run(self, tiles: np.ndarray) -> dict[str, np.ndarray]:
        return self._served.run(tiles, (_OUTPUT,))


def _sized(labels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Masks of a field at its own scale, int32 [height, width]."""
    if labels.shape[0] <= height and labels.shape[1] <= width:
        return enlarge(labels, height, width)
    rows = (np.arange(height) + 0.5) * labels.shape[0] / height
    columns = (np.arange(width) + 0.5) * labels.shape[1] / width
    return labels[rows.astype(int)[:, None], columns.astype(int)].astype(np.int32)
