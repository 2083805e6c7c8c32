"""Values of any depth as eight bits."""

from functools import lru_cache

import numpy as np

from hpa_jax.images.header import Description
from hpa_jax.images.rule import Rule
from hpa_jax.images.store import Refused

_BLOCK_ROWS = 256


def to_uint8(
    plane: np.ndarray,
    description: Description,
    rule: Rule,
) -> tuple[np.ndarray, int | float]:
    """Scales a plane so that white is 255.

    Args:
      plane: [H, W], unsigned integers or float32.
      description: of its file.
      rule: of the source.

    Returns:
      uint8 [H, W]: min(255, value * 255 / white) rounded half up, or the fraction of the
      `float_range` instead of value / white; and the largest value that the plane had before.

    Raises:
      Refused: it has values that are not finite, or more than the file itself calls white.
    """
    if description.number == "float":
        return _from_floats(plane, rule.float_range)
    largest = int(plane.max())
    white = rule.white or description.white or 2**description.bits - 1
    if rule.white is None and largest > white:
        raise Refused(
            f"says that {white} is white (tag MaxSampleValue, or OME's SignificantBits) and has "
            f"the value {largest}; state the white of these files"
        )
    if white == 255 and plane.dtype == np.uint8:
        return plane, largest
    return _scale_to_white(white)[plane], largest


@lru_cache(maxsize=4)
def _scale_to_white(white: int) -> np.ndarray:
    """uint8 [65536], for each value: min(255, value * 255 / white), rounded half up."""
    values = np.arange(2**16, dtype=np.int64)
    return np.minimum((values * 510 + white) // (2 * white), 255).astype(np.uint8)


def _from_floats(
    plane: np.ndarray,
    float_range: tuple[float, float],
) -> tuple[np.ndarray, float]:
    largest = float(plane.max())
    smallest = float(plane.min())
    if not np.isfinite(largest) or not np.isfinite(smallest):
        raise Refused("has values that are infinite or not a number; save it without them")
    black, white = float_range
    scaled = np.empty(plane.shape, np.uint8)
    # In blocks: float64, for exact rounding, takes eight times the memory of the result.
    for start in range(0, len(plane), _BLOCK_ROWS):
        rows = plane[start : start + _BLOCK_ROWS].astype(np.float64)
        fraction = (rows - black) / (white - black)
        shade = np.floor(np.clip(fraction, 0, 1) * 255 + 0.5)
        scaled[start : start + _BLOCK_ROWS] = shade
    return scaled, largest
