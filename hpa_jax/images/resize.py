"""Resizes images on the host: to a size, or to the square that a net takes.

Dataset builds, training, evaluating and predicting all go through here, so that an image reaches a
net in one way whatever the way it came.
"""

import cv2
import numpy as np

from hpa_jax.images.header import MAX_PIXELS
from hpa_jax.images.store import Refused

ASPECTS = ("pad", "crop", "stretch")
"""What can be done with an image that is not square where a square is wanted."""


def scaled_size(height: int, width: int, factor: float) -> tuple[int, int]:
    """Height and width after scaling both by a factor, 1 at least.

    Raises:
      Refused: an image of that size has too many pixels.
    """
    new_height = max(1, round(height * factor))
    new_width = max(1, round(width * factor))
    if new_height * new_width > MAX_PIXELS:
        raise Refused(
            f"would have {new_width} x {new_height} pixels after rescaling, more than "
            f"{MAX_PIXELS}; crop it, or put --pixel_size right"
        )
    return new_height, new_width


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes by area averages to fewer pixels and bilinearly to more; both round.

    Args:
      image: uint8 [H, W, C].
      size: height and width.

    Returns:
      uint8 [height, width, C].
    """
    if image.shape[:2] == size:
        return image
    height, width = size
    shrinks = height * width < image.shape[0] * image.shape[1]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(image, (width, height), interpolation=interpolation)


def fit_square(image: np.ndarray, size: int, aspect: str = "stretch") -> np.ndarray:
    """Makes a square of an image, and resizes it.

    Args:
      image: uint8 [H, W, C].
      size: side of the square in px.
      aspect: one of ASPECTS. "pad": the image lies in the middle, with black beside it; "crop": the
        longer side loses both ends; "stretch": the image is distorted to a square.

    Returns:
      uint8 [size, size, C].
    """
    return resize(_square(image, aspect), (size, size))


def fit_square_masks(masks: np.ndarray, size: int, aspect: str = "stretch") -> np.ndarray:
    """Does to instance masks what `fit_square` does to their image: each pixel is the nearest's.

    Args:
      masks: uint16 [H, W, C].
      size, aspect: as of `fit_square`.

    Returns:
      uint16 [size, size, C].
    """
    squared = _square(masks, aspect)
    return cv2.resize(squared, (size, size), interpolation=cv2.INTER_NEAREST_EXACT)


def _square(image: np.ndarray, aspect: str) -> np.ndarray:
    """Padded or cropped to a square; as it is where it is to be stretched."""
    height, width = image.shape[:2]
    if height != width and aspect == "pad":
        return _padded(image)
    if height != width and aspect == "crop":
        return _cropped(image)
    return image


def _padded(image: np.ndarray) -> np.ndarray:
    height, width, channels = image.shape
    side = max(height, width)
    top = (side - height) // 2
    left = (side - width) // 2
    square = np.zeros((side, side, channels), image.dtype)
    square[top : top + height, left : left + width] = image
    return square


def _cropped(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    side = min(height, width)
    top = (height - side) // 2
    left = (width - side) // 2
    # OpenCV copies what is not contiguous in its own time.
    return np.ascontiguousarray(image[top : top + side, left : left + side])
