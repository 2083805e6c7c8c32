"""One page of a TIFF file: what its tags say of its pixels, and where they are in the file."""

from typing import NamedTuple

import numpy as np

from hpa_jax.images.header import MAX_PIXELS, check_pixels
from hpa_jax.images.store import DOWNLOAD_AGAIN, MAX_BYTES, Refused
from hpa_jax.images.tiff.directories import Directory

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


class Segment(NamedTuple):
    """A strip or tile.

    Attributes:
      offset: in the file.
      length: in bytes, as stored.
      plane: the sample that it holds if samples are in separate planes, 0 otherwise.
      top: its first row in the page.
      left: its first column in the page.
      rows: that are stored; of a tile all, also those below the page.
      columns: that are stored.
    """

    offset: int
    length: int
    plane: int
    top: int
    left: int
    rows: int
    columns: int


class Page(NamedTuple):
    """What is needed to decode a page.

    Attributes:
      height: in pixels.
      width: in pixels.
      bits: of one sample.
      number: "unsigned" or "float".
      samples: a pixel.
      separate: whether each sample has segments of its own.
      colour: see `Description`.
      method: how it is packed, a value of METHODS.
      predictor: 1 none, 2 horizontal differences, 3 of floating-point numbers.
      reversed_bits: whether the lowest bit of a byte comes first.
      byte_order: "<" or ">".
      is_ycbcr: whether packed colours are luma and chroma.
      jpeg_tables: what the segments of a JPEG page share.
      segments: strips or tiles.
    """

    height: int
    width: int
    bits: int
    number: str
    samples: int
    separate: bool
    colour: str
    method: str
    predictor: int
    reversed_bits: bool
    byte_order: str
    is_ycbcr: bool
    jpeg_tables: bytes
    segments: tuple[Segment, ...]

    @property
    def kind(self) -> tuple:
        """Pages of one image agree in this."""
        return (self.height, self.width, self.bits, self.number, self.samples, self.colour)


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
        raise _damaged()
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
    return page._replace(segments=_segments(directory, page, size))


def packed_row(page: Page, columns: int) -> int:
    """Bytes of a row of a segment when it is unpacked."""
    together = 1 if page.separate else page.samples
    return -(-columns * together * page.bits // 8)


def _damaged() -> Refused:
    return Refused(f"has a damaged directory; {DOWNLOAD_AGAIN}")


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
            f"is packed by method {method}; save it with LZW, deflate or without compression"
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
    return f"of {samples} samples a pixel in colours of kind {photometric}"


def _is_ramp(palette: object) -> bool:
    """Whether a palette shows each value as that much of one colour, as ImageJ's tables do.

    Then the numbers in the file are the values themselves.
    """
    if not isinstance(palette, np.ndarray) or palette.ndim != 2 or len(palette) != 3:
        return False
    ramp = np.arange(palette.shape[1]) * 255 // max(1, palette.shape[1] - 1)
    is_lit = False
    for shades in palette >> 8:
        if not shades.any():
            continue
        if not np.array_equal(shades, ramp):
            return False
        is_lit = True
    return is_lit


def _segments(directory: Directory, page: Page, size: int) -> tuple[Segment, ...]:
    """The strips or tiles, all of them inside the file."""
    is_tiled = "TileOffsets" in directory.numbers
    if is_tiled:
        offsets = directory.numbers.get("TileOffsets", ())
        lengths = directory.numbers.get("TileByteCounts", ())
        columns = directory.first("TileWidth", 0)
        rows = directory.first("TileLength", 0)
    else:
        offsets = directory.numbers.get("StripOffsets", ())
        lengths = directory.numbers.get("StripByteCounts", ())
        columns = page.width
        rows = min(directory.first("RowsPerStrip", page.height), page.height)
        if len(offsets) == 1 and not page.separate:
            # A single strip has all rows, whatever number stands there.
            rows = page.height
    if not 0 < columns * rows <= MAX_PIXELS:
        raise _damaged()
    planes = page.samples if page.separate else 1
    down = -(-page.height // rows)
    across = -(-page.width // columns)
    if len(lengths) != len(offsets) and page.method == "none":
        # Unpacked, their lengths follow from the size of the image.
        lengths = (0,) * len(offsets)
    if not len(offsets) == len(lengths) == down * across * planes:
        raise _damaged()
    segments = []
    for index, (offset, length) in enumerate(zip(offsets, lengths, strict=True)):
        plane, place = divmod(index, down * across)
        top = place // across * rows
        # The last strip of a plane has the rows that are left; a tile is always complete.
        stored = rows if is_tiled else min(rows, page.height - top)
        if page.method == "none":
            needed = packed_row(page, columns) * stored
            is_alone = len(offsets) == 1
            # Old camera programs leave out the length of a single strip, or write it wrongly.
            if 0 < length < needed and not is_alone:
                raise _damaged()
            length = needed
        if offset + length > size:
            raise Refused(f"is cut short: it has {size} bytes; {DOWNLOAD_AGAIN}")
        left = place % across * columns
        segments.append(Segment(offset, length, plane, top, left, stored, columns))
    return tuple(segments)
