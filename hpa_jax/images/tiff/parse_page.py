"""Makes a page of a TIFF file from its tags, and refuses what would be read wrongly."""

import numpy as np
import tifffile

from hpa_jax.images.colour import is_ramp
from hpa_jax.images.header import check_pixels
from hpa_jax.images.store import DOWNLOAD_AGAIN, MAX_BYTES, Refused
from hpa_jax.images.tiff.directories import Directory
from hpa_jax.images.tiff.page import Page
from hpa_jax.images.tiff.strips import find_segments

METHODS = {
    1: "none",
    5: "LZW",
    7: "JPEG",
    8: "deflate",
    32946: "deflate",
    32773: "PackBits",
    50000: "zstd",
    34926: "zstd",
}
# libtiff ignores the predictor of the others, and some programs write it all the same.
_PREDICTED = ("LZW", "deflate", "zstd")
_NO_PREDICTOR = 1
_HORIZONTAL = 2
_FLOATING = 3
_UNSIGNED = 1
_FLOATS = 3
_SAMPLE_FORMATS = {
    1: "",
    2: "of signed numbers",
    3: "",
    4: "of undefined numbers",
}
_WHITE_IS_0 = 0
_GRAY = 1
_RGB = 2
_PALETTE = 3
_YCBCR = 6
_ALPHA = (1, 2)
_NOT_UPRIGHT = range(2, 9)
_MAX_SAMPLES = 64


def parse(directory: Directory, size: int) -> Page:
    """Checks the tags of a page, and that its pixel data are inside the file.

    Args:
      directory: of the page.
      size: of the file in bytes.

    Raises:
      Refused: truncated, damaged, too large, or of a kind that is not read.
    """
    width = directory.first("ImageWidth", 0)
    height = directory.first("ImageLength", 0)
    check_pixels(width, height)
    bits = _one_value(directory, "BitsPerSample", 1, "has channels of different depths")
    number = _number(directory)
    method = _method(directory)
    predictor = _predictor(directory, method, number)
    samples = directory.first("SamplesPerPixel", 1)
    if not 0 < samples <= _MAX_SAMPLES or not 0 < bits <= 64:
        raise Refused(f"has a damaged directory; {DOWNLOAD_AGAIN}")
    if directory.first("ImageDepth", 1) != 1 or directory.first("TileDepth", 1) != 1:
        raise Refused("stores a volume in one page; save each plane as a page of its own")
    page = Page(
        height=height,
        width=width,
        bits=bits,
        number=number,
        samples=samples,
        separate=samples > 1 and directory.first("PlanarConfiguration", 1) == 2,
        colour=_colour(directory, samples, method),
        method=method,
        predictor=predictor,
        reversed_bits=directory.first("FillOrder", 1) == 2,
        byte_order=directory.byte_order,
        is_ycbcr=directory.first("PhotometricInterpretation", _GRAY) == _YCBCR,
        jpeg_tables=_bytes(directory.others.get("JPEGTables")),
        segments=(),
    )
    together = 1 if page.separate else samples
    decoded = width * height * together * -(-bits // 8)
    if decoded > MAX_BYTES:
        raise Refused(
            f"claims {decoded} bytes of pixels in one page, more than {MAX_BYTES}; "
            "save its channels as separate pages"
        )
    return page._replace(segments=find_segments(directory, page, size))


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else b""


def _one_value(directory: Directory, tag: str, default: int, otherwise: str) -> int:
    """The value of a tag that has one a sample."""
    values = directory.numbers.get(tag) or (default,)
    if len(set(values)) != 1:
        raise Refused(f"{otherwise}; save the channel's own plane as a plain gray TIFF")
    return values[0]


def _number(directory: Directory) -> str:
    sample_format = _one_value(
        directory,
        "SampleFormat",
        _UNSIGNED,
        "has channels of different kinds of numbers",
    )
    if description := _SAMPLE_FORMATS.get(sample_format, "of unknown numbers"):
        raise Refused(f"is {description}; save it with unsigned integers of 8 or 16 bits")
    return "float" if sample_format == _FLOATS else "unsigned"


def _method(directory: Directory) -> str:
    method = directory.first("Compression", 1)
    if method not in METHODS:
        raise Refused(
            f"is packed by method {method}{_name_in(tifffile.COMPRESSION, method)}; save it with "
            "LZW, deflate or without compression"
        )
    # Other values are none of the tag; readers take them for upright.
    if directory.first("Orientation", 1) in _NOT_UPRIGHT:
        raise Refused("must be rotated or mirrored to be viewed (tag Orientation); save it upright")
    if METHODS[method] == "JPEG" and directory.first("BitsPerSample", 1) != 8:
        raise Refused("is packed as JPEG of other than 8 bits; save it with LZW or deflate")
    return METHODS[method]


def _predictor(directory: Directory, method: str, number: str) -> int:
    predictor = directory.first("Predictor", _NO_PREDICTOR)
    if predictor == _NO_PREDICTOR or method == "JPEG":
        return _NO_PREDICTOR
    if method not in _PREDICTED:
        raise Refused(
            f"stores differences of its pixels (tag Predictor {predictor}) with the packing "
            f"{method}, which some programs ignore and some do not; save it with LZW or deflate"
        )
    expected = _FLOATING if number == "float" else _HORIZONTAL
    if predictor != expected or directory.first("BitsPerSample", 1) not in (8, 16, 32):
        raise Refused(
            f"stores its pixels by a rare kind of differences (tag Predictor {predictor}); "
            "save it without a predictor"
        )
    return predictor


def _colour(directory: Directory, samples: int, method: str) -> str:
    photometric = directory.first("PhotometricInterpretation", _GRAY)
    extra = directory.first("ExtraSamples", 0)
    if photometric == _WHITE_IS_0:
        raise Refused("stores white as 0; save it with black as 0")
    if photometric == _PALETTE and samples == 1:
        return "gray in a palette" if _is_ramp(directory.others.get("ColorMap")) else "palette"
    if photometric == _GRAY:
        if samples == 1:
            return "gray"
        if samples == 2 and extra in _ALPHA:
            return "gray with alpha"
        return "channels"
    is_packed_colour = photometric == _YCBCR and method == "JPEG"
    if photometric == _RGB or is_packed_colour:
        if samples == 3:
            return "RGB"
        if samples == 4:
            return "RGBA"
        if photometric == _RGB and samples > 4:
            return "channels"
    name = _name_in(tifffile.PHOTOMETRIC, photometric)
    return f"of {samples} samples a pixel in colours of kind {photometric}{name}"


def _name_in(names: type, number: int) -> str:
    """What tifffile calls a number of the standard, in brackets; empty if it does not know it."""
    try:
        return f" ({names(number).name})"
    except ValueError:
        return ""


def _is_ramp(palette: object) -> bool:
    """Whether the numbers of a page in a palette are its values; see `colour.is_ramp`."""
    if not isinstance(palette, np.ndarray) or palette.ndim != 2 or len(palette) != 3:
        return False
    # Its values have 16 bits.
    return is_ramp((palette >> 8).T)
