"""From an image as a microscope wrote it to what a net takes, as its training images were made.

A training image went two ways before the net saw it: when the dataset was built, it was scaled to
an edge or to a pixel size; when it was read, to a square of the net's size. Both round to whole
values, so that both are done here, one after the other. `model.json` of an export has what they
were (`preparation`); of an export without, every image is taken to be as the training images were.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpa_jax.images.resize import fit_square, resize, scaled_size
from hpa_jax.images.store import Refused
from hpa_jax.labels import CHANNELS

# A pixel size that differs by less is the same: objectives are not made more exactly.
_SAME_PIXEL_SIZE = 0.1


@dataclass(frozen=True)
class Preparation:
    """How images become what a net takes.

    Attributes:
      size: side in px of the net's images.
      channels: that the net sees; all others are black.
      datasets: names of what the net was trained on.
      white: the value that became 255, by bits of the file.
      edge: px of the longer side to which images were scaled first; 0: they were not.
      pixel_size: micrometres a pixel of the training images' files; None: not known.
      rescaled_to: micrometres a pixel to which they were scaled first; None: they were not.
      aspect: what is done with images that are not square: "stretch", "pad" or "crop".
      intensities: of the training images, by channel: "mean", "std" and "quantiles" of the values
        as fractions of 255; empty: not known.
      is_known: whether the export says any of this.
    """

    size: int
    channels: tuple[str, ...] = CHANNELS
    datasets: tuple[str, ...] = ()
    white: Mapping[str, int] | None = None
    edge: int = 0
    pixel_size: float | None = None
    rescaled_to: float | None = None
    aspect: str = "stretch"
    intensities: Mapping[str, Any] | None = None
    is_known: bool = False

    @classmethod
    def from_description(cls, description: Mapping[str, Any]) -> "Preparation":
        """What an export says.

        Args:
          description: contents of model.json; of older exports, without `preparation`.
        """
        size = int(description["input"]["shape"][1])
        found = description.get("preparation")
        if not found:
            return cls(size)
        return cls(
            size=size,
            channels=tuple(found.get("channels") or CHANNELS),
            datasets=tuple(found.get("datasets") or ()),
            white=found.get("white") or {},
            edge=int(found.get("edge") or 0),
            pixel_size=found.get("pixel_size"),
            rescaled_to=found.get("rescaled_to"),
            aspect=found.get("aspect") or "stretch",
            intensities=found.get("intensities") or {},
            is_known=True,
        )

    def white_of(self, bits: int) -> int | None:
        """The value that became 255 in training files of so many bits, where it was stated.

        The largest value of the depth was not stated, but taken; it gives None as well.
        """
        white = (self.white or {}).get(str(bits))
        return None if white in (None, 2**bits - 1) else white

    def prepare(self, pixels: np.ndarray, pixel_size: float | None = None) -> np.ndarray:
        """Makes an image as the net takes it.

        Args:
          pixels: uint8 [H, W, 4], red, green, blue, yellow.
          pixel_size: micrometres a pixel; needed if the training images were rescaled.

        Returns:
          uint8 [S, S, 4].

        Raises:
          Refused: the pixel size is not known, or the image would be too large.
        """
        height, width = pixels.shape[:2]
        stored = resize(pixels, self._stored_size(height, width, pixel_size))
        return fit_square(stored, self.size, self.aspect)

    def _stored_size(self, height: int, width: int, pixel_size: float | None) -> tuple[int, int]:
        """Height and width that the image would have in a dataset."""
        if self.edge:
            factor = self.edge / max(height, width)
        elif self.rescaled_to:
            if pixel_size is None:
                raise Refused(
                    "does not say its pixel size, and the net was trained on images scaled to "
                    f"{self.rescaled_to:g} micrometres a pixel; give --pixel_size=UM"
                )
            factor = pixel_size / self.rescaled_to
        else:
            return height, width
        return scaled_size(height, width, factor)

    def pixel_size_warning(self, pixel_size: float | None) -> str:
        """One line where an image shows more or less of a cell than the net has seen, or nothing.

        Args:
          pixel_size: micrometres a pixel of the image's file; None: not known.
        """
        # Images that were brought to one edge, whatever their pixel size, have none.
        is_known = self.pixel_size and pixel_size and not self.edge
        if self.rescaled_to or not is_known:
            return ""
        factor = pixel_size / self.pixel_size
        if abs(factor - 1) <= _SAME_PIXEL_SIZE:
            return ""
        return (
            f"a pixel is {pixel_size:g} micrometres, and was {self.pixel_size:g} in the images "
            "that the net was trained on: cells look another size to it"
        )
