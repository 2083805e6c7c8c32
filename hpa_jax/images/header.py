"""What the header of an image file says, before anything is decoded."""

from typing import NamedTuple

from hpa_jax.images.store import DOWNLOAD_AGAIN, Refused

# The largest images of the Atlas are 3072 x 3072 px. A header that claims more is not believed.
MAX_PIXELS = 4096 * 4096


class Segment(NamedTuple):
    """A strip or tile of a TIFF file.

    Attributes:
      offset: in the file.
      length: in bytes, as stored.
      decoded: length in bytes after unpacking.
    """

    offset: int
    length: int
    decoded: int


class Header(NamedTuple):
    """Header of a complete file with one image in it.

    Attributes:
      format: PNG, TIFF or JPEG.
      height: in pixels.
      width: in pixels.
      bits: of one sample.
      colour: "gray" or "RGB"; or a description of what is refused, such as "palette" or "RGBA".
      deflated: the segments of a deflated TIFF, which have checksums.
    """

    format: str
    height: int
    width: int
    bits: int
    colour: str
    deflated: tuple[Segment, ...] = ()


def check_pixels(width: int, height: int) -> None:
    """Raises Refused if an image has no pixels, or more than an image of the dataset may have."""
    if not width or not height:
        raise Refused(f"claims {width} x {height} pixels; {DOWNLOAD_AGAIN}")
    if width * height > MAX_PIXELS:
        raise Refused(
            f"claims {width} x {height} pixels, more than {MAX_PIXELS}; "
            f"scale it down, or {DOWNLOAD_AGAIN}"
        )
