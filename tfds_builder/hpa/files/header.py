"""What the head of an image file says, before anything is decoded."""

from typing import NamedTuple

from hpa_jax.data.codec import MAX_PIXELS
from tfds_builder.hpa.files.store import Refused

AGAIN = "download it again"


class Header(NamedTuple):
    """Of a whole file with one image in it."""

    format: str  # PNG, TIFF or JPEG
    height: int
    width: int
    bits: int  # of one sample
    colour: str  # "gray" or "RGB"; or, in words, what is refused: "palette", "RGBA"
    packed: tuple[
        tuple[int, int, int], ...
    ] = ()  # TIFF's deflated strips: at, bytes, bytes unpacked


def check_pixels(width: int, height: int) -> None:
    """Refused: no pixels, or more than a field has."""
    if not width or not height:
        raise Refused(f"claims {width} x {height} pixels; {AGAIN}")
    if width * height > MAX_PIXELS:
        raise Refused(
            f"claims {width} x {height} pixels, more than {MAX_PIXELS}; scale it down, or {AGAIN}"
        )
