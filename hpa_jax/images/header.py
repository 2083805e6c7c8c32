"""What the header of an image file says, before anything is decoded."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from hpa_jax.images.store import DOWNLOAD_AGAIN, Refused

# The largest images of the Atlas are 3072 x 3072 px. A header that claims more is not believed.
MAX_PIXELS = 4096 * 4096
COMPOSITE = ("red", "green", "blue")


@dataclass(frozen=True)
class Description:
    """What a file says of itself.

    Attributes:
      format: PNG, TIFF or JPEG.
      height: in pixels.
      width: in pixels.
      bits: of one sample.
      number: "unsigned" or "float".
      planes: how many planes of one channel each it holds, as pages, planes or samples; an alpha
        sample counts.
      names: of the planes, by OME, ImageJ or as the colours of a composite; "" where unknown.
      depth_planes: how many planes in depth each channel has, 1 if it is no z-stack.
      pixel_size: micrometres a pixel; None if the file does not say.
      white: the largest value that the camera gives, such as 4095; None if the file does not say.
      colour: "gray", "RGB", "RGBA"; "channels" for planes that are no colours; or a description of
        what is refused, such as "palette".
    """

    format: str
    height: int
    width: int
    bits: int
    number: str = "unsigned"
    planes: int = 1
    names: tuple[str, ...] = ("",)
    depth_planes: int = 1
    pixel_size: float | None = None
    white: int | None = None
    colour: str = "gray"


class Header(NamedTuple):
    """A description with what the decoder of the format needs beside it.

    Attributes:
      description: of the file.
      layout: of the decoder; None where the file alone is enough.
    """

    description: Description
    layout: Any = None


def check_pixels(width: int, height: int) -> None:
    """Raises Refused if an image has no pixels, or more than an image of the dataset may have."""
    if not width or not height:
        raise Refused(f"claims {width} x {height} pixels; {DOWNLOAD_AGAIN}")
    if width * height > MAX_PIXELS:
        raise Refused(
            f"claims {width} x {height} pixels, more than {MAX_PIXELS}; "
            f"scale it down, or {DOWNLOAD_AGAIN}"
        )
