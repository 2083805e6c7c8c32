"""Cells of a field without a trained net: nuclei first, then the cell around each.

    from hpa_jax.segmentation.classical import segment

    cells, nuclei = segment(field)

Large fields are worked on at a reduced scale, at which a nucleus has about thirty pixels; that is
enough for its outline, and a field of 3072 px takes about a second. Needs scikit-image:
`pip install 'hpa_jax[segment]'`.
"""

import cv2
import numpy as np

from hpa_jax.labels import CHANNELS
from hpa_jax.segmentation.cytoplasm import cytoplasm_signal, grow_cells
from hpa_jax.segmentation.enlarge import enlarge
from hpa_jax.segmentation.instances import Instances
from hpa_jax.segmentation.nuclei import find_nuclei, nucleus_diameter

# The longer side of a field in which the nuclei are measured, in pixels.
_LARGEST_SIDE = 1024
# The diameter of a nucleus where cells are sought, in pixels.
_WORKING_DIAMETER = 32.0

_BLUE = CHANNELS.index("blue")
_CYTOPLASM = (CHANNELS.index("red"), CHANNELS.index("yellow"))


def segment(field: np.ndarray) -> Instances:
    """Finds the cells of a field.

    Every cell has a nucleus: what has none in the field is left out. A channel that is black is not
    asked; without red and yellow, cells are nuclei with a margin.

    Args:
      field: uint8 [H, W, 4], red, green, blue, yellow.

    Returns:
      The masks, int32 [H, W]; nothing, where blue has nothing that stands out.
    """
    height, width = field.shape[:2]
    factor = min(1.0, _LARGEST_SIDE / max(height, width))
    blue = _scaled(field[..., _BLUE], factor)
    diameter = nucleus_diameter(blue)
    if diameter is None:
        nothing = np.zeros((height, width), np.int32)
        return Instances(nothing, nothing.copy())
    again = min(1.0, _WORKING_DIAMETER / diameter)
    blue = _scaled(blue, again)
    diameter *= again
    nuclei = find_nuclei(blue, diameter)
    planes = [_scaled(_scaled(field[..., number], factor), again) for number in _CYTOPLASM]
    signal = cytoplasm_signal(np.stack(planes, axis=-1), diameter)
    cells = enlarge(grow_cells(nuclei, signal, diameter), height, width)
    nuclei = enlarge(nuclei, height, width)
    # Interpolated apart, a nucleus may reach over its cell by a pixel.
    return Instances(cells, np.where(nuclei == cells, nuclei, 0))


def _scaled(plane: np.ndarray, factor: float) -> np.ndarray:
    """A plane in float32, scaled by a factor of 1 at most; each pixel is a mean over an area."""
    image = plane.astype(np.float32)
    if factor == 1:
        return image
    height, width = image.shape
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
