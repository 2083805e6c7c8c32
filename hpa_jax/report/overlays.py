"""A field in five panels: false colours, then each channel in gray with a class-activation map laid over it.

What the net looked at is tinted orange and edged in light blue where the map reaches half its maximum; the channel's
own gray shines through. A map that is 0 everywhere tints nothing.
"""

import cv2
import numpy as np

from hpa_jax.labels import CHANNELS
from hpa_jax.report.pictures import SIDE, false_colour, fitted, stretched

PANELS = 1 + len(CHANNELS)
GAP = 2
WIDTH = PANELS * SIDE + (PANELS - 1) * GAP
"""px of the whole strip; it is SIDE high."""

_TINT, _EDGE = np.array([255, 140, 0], np.float32), (86, 180, 233)
_STRENGTH = 0.6  # of the tint where the map is largest


def overlay_strip(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """uint8 [SIDE, WIDTH, 3] RGB.

    Args:
      image: uint8 [H, W, 4].
      heat: float [h, w], 0 or more, over the whole of `image`.
    """
    small = stretched(fitted(image, SIDE))
    over = spread_heat(heat, image.shape[:2])
    mask = (over >= 0.5).astype(np.uint8)
    edges, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    panels = [false_colour(small)]
    for c in range(len(CHANNELS)):
        gray = np.repeat(small[..., c, None], 3, axis=2).astype(np.float32)
        share = _STRENGTH * over[..., None]
        panel = np.rint(gray * (1 - share) + _TINT * share).astype(np.uint8)
        panels.append(cv2.drawContours(np.ascontiguousarray(panel), edges, -1, _EDGE, 1))
    line = np.full((SIDE, GAP, 3), 128, np.uint8)
    strip = [panels[0]]
    for panel in panels[1:]:
        strip += [line, panel]
    return np.concatenate(strip, axis=1)


def spread_heat(heat: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A map float [h, w] over an image of `shape` (height, width) px as float32 [SIDE, SIDE], its largest value 1.

    It lies on the panel as the image does: proportions kept, 0 where the panel is left black.
    """
    height, width = shape
    scale = SIDE / max(height, width)
    inner = max(1, round(width * scale)), max(1, round(height * scale))
    smooth = np.maximum(
        cv2.resize(heat.astype(np.float32), inner, interpolation=cv2.INTER_CUBIC), 0
    )
    whole = np.zeros((SIDE, SIDE), np.float32)
    top, left = (SIDE - inner[1]) // 2, (SIDE - inner[0]) // 2
    whole[top : top + inner[1], left : left + inner[0]] = smooth
    return whole / whole.max() if whole.max() > 0 else whole
