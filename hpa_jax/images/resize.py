"""Resizes images on the host."""

import cv2
import numpy as np


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes by area averages to shrink and bilinear to enlarge; both round.

    Args:
      image: uint8 [H, W, 4].
      size: height and width.

    Returns:
      uint8 [height, width, 4].
    """
    height, width = size
    if image.shape[:2] == size:
        return image
    shrinks = height <= image.shape[0] and width <= image.shape[1]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(image, (width, height), interpolation=interpolation)
