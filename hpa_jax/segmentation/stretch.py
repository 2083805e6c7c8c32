"""Evens out how bright fields are before a net that finds cells sees them.

What a cell is does not depend on the gain of a camera. Each channel of a field is stretched to its
own range, in training and afterwards alike, on the whole field and not tile by tile.
"""

import numpy as np

LOWEST = 0.01
"""Quantile of a channel's values that becomes 0."""

HIGHEST = 0.998
"""Quantile of a channel's values that becomes WHITE."""

WHITE = 200
"""Of 255: what is brighter than most of a cell stays apart from it."""

SMALLEST_RANGE = 20
"""Of 255, that is stretched at most to WHITE: a channel of noise alone is not made a signal."""


def stretch(image: np.ndarray) -> np.ndarray:
    """Stretches each channel linearly, so that LOWEST becomes 0 and HIGHEST becomes WHITE.

    Args:
      image: uint8 [H, W, C].

    Returns:
      uint8 [H, W, C]; a channel that is black stays so.
    """
    stretched = np.empty_like(image)
    for channel in range(image.shape[2]):
        table = _table(image[..., channel])
        stretched[..., channel] = table[image[..., channel]]
    return stretched


def _table(plane: np.ndarray) -> np.ndarray:
    """What each value of a channel becomes, uint8 [256]."""
    counts = np.bincount(plane.ravel(), minlength=256)
    cumulative = np.cumsum(counts)
    low, high = np.searchsorted(cumulative, np.array([LOWEST, HIGHEST]) * plane.size)
    span = max(int(high) - int(low), SMALLEST_RANGE)
    values = (np.arange(256) - low) * (WHITE / span)
    return np.clip(np.round(values), 0, 255).astype(np.uint8)
