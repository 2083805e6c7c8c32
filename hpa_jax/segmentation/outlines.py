"""A field in false colours with the outlines of its cells, for people to look at."""

import cv2
import numpy as np
from scipy import ndimage

from hpa_jax.images.false_color import false_color, stretch_contrast
from hpa_jax.segmentation.instances import Instances

_CELL = (255, 255, 255)
_NUCLEUS = (0, 255, 255)
# A line is so much of the longer side of the picture, and a pixel at least.
_LINE = 1 / 800
_LARGEST_SIDE = 1024


def draw_outlines(field: np.ndarray, instances: Instances) -> np.ndarray:
    """Draws the outlines: cells white, nuclei cyan.

    Args:
      field: uint8 [H, W, 4].
      instances: of the field.

    Returns:
      uint8 [h, w, 3] RGB, no side longer than 1024 px.
    """
    height, width = field.shape[:2]
    factor = min(1.0, _LARGEST_SIDE / max(height, width))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    small = field
    if factor < 1:
        small = cv2.resize(field, size, interpolation=cv2.INTER_AREA)
    picture = np.ascontiguousarray(false_color(stretch_contrast(small)))
    line = max(1, round(max(size) * _LINE))
    for labels, colour in ((instances.nuclei, _NUCLEUS), (instances.cells, _CELL)):
        _draw(picture, labels, factor, line, colour)
    return picture


def encode_picture(picture: np.ndarray) -> bytes:
    """A picture, uint8 [H, W, 3] RGB, as PNG."""
    # OpenCV takes blue first.
    _, encoded = cv2.imencode(".png", np.ascontiguousarray(picture[..., ::-1]))
    return encoded.tobytes()


def _draw(
    picture: np.ndarray, labels: np.ndarray, factor: float, line: int, colour: tuple[int, int, int]
) -> None:
    for number, window in enumerate(ndimage.find_objects(labels), start=1):
        if window is None:
            continue
        mask = (labels[window] == number).astype(np.uint8)
        rings, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        offset = np.array([window[1].start, window[0].start])
        for ring in rings:
            # Centres of pixels lie at halves in both scales.
            points = (ring[:, 0] + offset + 0.5) * factor - 0.5
            whole = np.round(points).astype(np.int32)
            cv2.polylines(picture, [whole], True, colour, line)
