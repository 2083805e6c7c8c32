"""What intensity alone tells of an image: the baseline that stands beside every embedding."""

import numpy as np

BINS = 16
"""Of each channel."""


def intensity_histograms(images: np.ndarray) -> np.ndarray:
    """Fractions of pixels in 16 equal bins of each channel.

    Args:
      images: uint8 `[N, H, W, C]`.

    Returns:
      float32 `[N, 16 C]`.
    """
    rows = []
    for image in images:
        height, width, channels = image.shape
        bins = image // (256 // BINS)
        counts = []
        for channel in range(channels):
            counts.append(np.bincount(bins[..., channel].ravel(), minlength=BINS))
        rows.append(np.concatenate(counts) / (height * width))
    return np.asarray(rows, np.float32)
