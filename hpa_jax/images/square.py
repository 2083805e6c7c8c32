"""The square that a net sees of an image, and the way back to the image's own pixels."""

from dataclasses import dataclass

import numpy as np

from hpa_jax.images.resize import fit_square, resize


@dataclass(frozen=True)
class Square:
    """How an image becomes a square of which nothing is lost, and back.

    Attributes:
      height, width: of the image, px.
      side: of the square, px.
      aspect: what is done with an image that is not square: "pad" or "stretch". ("crop" would lose
        both ends; whoever trained with it pads here.)
    """

    height: int
    width: int
    side: int
    aspect: str = "pad"

    def of(self, image: np.ndarray) -> np.ndarray:
        """The square of an image uint8 [H, W, C]: uint8 [side, side, C]."""
        return fit_square(image, self.side, lossless_aspect(self.aspect))

    def undo(self, square: np.ndarray) -> np.ndarray:
        """What a square uint8 [side, side, C] shows of the image: uint8 [H, W, C]."""
        if self.aspect == "stretch":
            return _resized(square, (self.height, self.width))
        longer = max(self.height, self.width)
        padded = _resized(square, (longer, longer))
        top = (longer - self.height) // 2
        left = (longer - self.width) // 2
        return padded[top : top + self.height, left : left + self.width]


def lossless_aspect(aspect: str) -> str:
    """One of `resize.ASPECTS` with which nothing of an image is left out."""
    return "pad" if aspect == "crop" else aspect


def _resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    # OpenCV leaves out an axis of one channel.
    return resize(image, size).reshape(*size, image.shape[-1])
