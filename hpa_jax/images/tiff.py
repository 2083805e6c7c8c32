"""Reads the TIFF file of a single channel.

Design:
- tifffile parses the tags, which are checked before anything is decoded. They reveal what Pillow
  silently decodes to something else (16-bit colours as 8 bits, white as 0), and what it would let
  pass: a second page, a strip beyond the end of the file.
- Pillow decodes, since tifffile without imagecodecs reads no LZW and OpenCV no zstd. Deflated
  strips have a checksum, which is checked first; TIFF has no other.
"""

import io
import logging
import warnings
import zlib
from collections.abc import Callable, Sequence
from typing import BinaryIO

import cv2
import numpy as np
import tifffile
from PIL import Image

from hpa_jax.images.header import MAX_PIXELS, Header, Segment, check_pixels
from hpa_jax.images.store import DAMAGE, DOWNLOAD_AGAIN, Refused

# Bytes of a file that may be read for its tags; 65,536 tiles take half a megabyte.
_MAX_TAG_BYTES = 2**22

_METHODS = {1: "none", 5: "LZW", 8: "deflate", 32946: "deflate", 32773: "PackBits", 50000: "zstd"}
_SAMPLE_FORMATS = {
    1: "",
    2: "of signed numbers",
    3: "of floating-point numbers",
    4: "of undefined numbers",
}
_COLOURS = {
    (1, 1): "gray",
    (2, 3): "RGB",
    (3, 1): "palette",
    (1, 2): "gray with alpha",
    (2, 4): "RGBA",
}
_SAVE_PLAIN = "save the channel's own plane as a plain gray TIFF"
_USED_TAGS = (
    "BitsPerSample",
    "Compression",
    "ImageLength",
    "ImageWidth",
    "Orientation",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "RowsPerStrip",
    "SampleFormat",
    "SamplesPerPixel",
    "StripByteCounts",
    "StripOffsets",
    "TileByteCounts",
    "TileLength",
    "TileOffsets",
    "TileWidth",
)

Tags = dict[str, Sequence[int]]

# tifffile reports every oddity of a file; what matters here is refused in one line.
logging.getLogger("tifffile").setLevel(logging.CRITICAL)


def scan(file: BinaryIO) -> Header:
    """Reads the tags of a file, and checks that its pixel data are inside.

    Raises:
      Refused: it is truncated, damaged, too large, or not one image of unsigned numbers.
    """
    tags = _read_tags(file)
    width = _first(tags, "ImageWidth", 0)
    height = _first(tags, "ImageLength", 0)
    check_pixels(width, height)
    bits = tags.get("BitsPerSample") or (1,)
    if len(set(bits)) != 1:
        raise Refused(f"has channels of different depths; {_SAVE_PLAIN}")
    _check_representation(tags)
    samples = _first(tags, "SamplesPerPixel", 1)
    photometric = _first(tags, "PhotometricInterpretation", 1)
    unknown = f"of {samples} samples a pixel in colours of kind {photometric}"
    colour = _COLOURS.get((photometric, samples), unknown)
    in_planes = _first(tags, "PlanarConfiguration", 1) != 1
    # No decoder at hand reads these.
    if colour == "RGB" and bits[0] > 8 and in_planes:
        colour = "RGB in separate planes"
    segments = _segments(tags, width, height, file.seek(0, io.SEEK_END))
    is_deflated = _METHODS[_first(tags, "Compression", 1)] == "deflate"
    return Header("TIFF", height, width, bits[0], colour, segments if is_deflated else ())


class _LimitedReader:
    """A file of which no more than `limit` bytes can be read, whatever its tags claim.

    tifffile catches some exceptions and goes on, so the first one is kept.

    Attributes:
      failure: why a read failed; Refused, or what a damaged disk or archive raises.
    """

    def __init__(self, file: BinaryIO, limit: int):
        self.failure: Exception | None = None
        self._file = file
        self._left = limit

    def read(self, size: int = -1) -> bytes:
        """Reads `size` bytes."""
        if not 0 <= size <= self._left:
            self.failure = Refused(f"has too many tags for a single image; {_SAVE_PLAIN}")
        if self.failure:
            raise self.failure
        self._left -= size
        return self._guard(self._file.read, size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves to a position; in a zip this unpacks again, and may fail."""
        return self._guard(self._file.seek, offset, whence)

    def tell(self) -> int:
        """The current position."""
        return self._file.tell()

    def _guard(self, function: Callable, *arguments: int):
        try:
            return function(*arguments)
        except DAMAGE as error:
            self.failure = error
            raise


def _read_tags(file: BinaryIO) -> Tags:
    """The numbers of each of `_USED_TAGS` that the only page has."""
    reader = _LimitedReader(file, _MAX_TAG_BYTES)
    try:
        tags = _parse(reader)
    except Refused:
        raise
    # What tifffile raises for damaged bytes has no common type.
    except Exception:
        raise reader.failure or _cut_short() from None
    if reader.failure:
        raise reader.failure
    return tags


def _cut_short() -> Refused:
    return Refused(f"is cut short, or its directory is damaged; {DOWNLOAD_AGAIN}")


def _parse(reader: _LimitedReader) -> Tags:
    # Files of these kinds would be read by rules of their own.
    with tifffile.TiffFile(reader, is_lsm=False, is_ndpi=False, is_scanimage=False) as parsed:
        page = parsed.pages.first
        if parsed.pages.is_multipage:
            raise Refused(f"has more than one page; {_SAVE_PLAIN}")
        reader.seek(parsed.pages.next_page_offset)
        # Anything else is the offset of a further page beyond the end of the file.
        if reader.read(4) != bytes(4):
            raise _cut_short()
        tags = {}
        for name in _USED_TAGS:
            if name in page.tags:
                tags[name] = _integers(name, page.tags.valueof(name))
    return tags


def _integers(name: str, value: object) -> Sequence[int]:
    """The values of a tag, which tifffile returns by themselves, in a sequence or in an array."""
    values = value.tolist() if isinstance(value, np.ndarray) else value
    if isinstance(values, int):
        values = (values,)
    is_sequence = isinstance(values, (bytes, list, tuple))
    if not is_sequence or not all(isinstance(one, int) and one >= 0 for one in values):
        raise Refused(f"has a damaged tag {name}; {DOWNLOAD_AGAIN}")
    return values


def _first(tags: Tags, name: str, default: int) -> int:
    """The first number of a tag."""
    numbers = tags.get(name)
    return numbers[0] if numbers else default


def _check_representation(tags: Tags) -> None:
    """Refuses what decoders would return as other values than those in the file."""
    sample_format = _first(tags, "SampleFormat", 1)
    if description := _SAMPLE_FORMATS.get(sample_format, "of unknown numbers"):
        raise Refused(f"is {description}; save it with unsigned integers of 8 or 16 bits")
    method = _first(tags, "Compression", 1)
    if method not in _METHODS:
        raise Refused(
            f"is packed by method {method}; save it with LZW, deflate or without compression"
        )
    if _first(tags, "PhotometricInterpretation", 1) == 0:
        raise Refused("stores white as 0; save it with black as 0")
    if _first(tags, "Orientation", 1) != 1:
        raise Refused("must be rotated or mirrored to be viewed (tag Orientation); save it upright")


def _segments(tags: Tags, width: int, height: int, size: int) -> tuple[Segment, ...]:
    """The strips or tiles, all of them inside the file."""
    damaged = Refused(f"has a damaged directory; {DOWNLOAD_AGAIN}")
    is_tiled = "TileOffsets" in tags
    if is_tiled:
        offsets = tags.get("TileOffsets", ())
        lengths = tags.get("TileByteCounts", ())
        segment_width = _first(tags, "TileWidth", 0)
        segment_height = _first(tags, "TileLength", 0)
    else:
        offsets = tags.get("StripOffsets", ())
        lengths = tags.get("StripByteCounts", ())
        segment_width = width
        segment_height = min(_first(tags, "RowsPerStrip", height), height)
    if not 0 < segment_width * segment_height <= MAX_PIXELS:
        raise damaged
    samples = _first(tags, "SamplesPerPixel", 1)
    in_planes = _first(tags, "PlanarConfiguration", 1) == 2
    planes = samples if in_planes else 1
    samples_together = 1 if in_planes else samples
    down = -(-height // segment_height)
    across = -(-width // segment_width)
    if not len(offsets) == len(lengths) == down * across * planes:
        raise damaged
    bits = _first(tags, "BitsPerSample", 1)
    row_bytes = -(-segment_width * samples_together * bits // 8)
    segments = []
    for index, (offset, length) in enumerate(zip(offsets, lengths, strict=True)):
        if offset + length > size:
            raise Refused(f"is cut short: it has {size} bytes; {DOWNLOAD_AGAIN}")
        rows = segment_height
        if not is_tiled:
            # The last strip of a plane has the rows that are left; a tile is always complete.
            rows = min(segment_height, height - index % down * segment_height)
        segments.append(Segment(offset, length, row_bytes * rows))
    return tuple(segments)


def decode(data: bytes, header: Header) -> np.ndarray | None:
    """Decodes a file that `scan` accepted, after checking its deflated strips.

    Args:
      data: the file.
      header: of `scan`.

    Returns:
      exactly the values in the file, [H, W] or [H, W, 3] (red, green, blue), uint8 or uint16; None
      if they do not decode.

    Raises:
      Refused: a wrong checksum.
    """
    for segment in header.deflated:
        _check_deflated(data[segment.offset : segment.offset + segment.length], segment.decoded)
    if header.colour != "gray" and header.bits == 16:
        return _decode_colour_16(data)
    try:
        with warnings.catch_warnings():
            # About tags that do not concern the pixels.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=["tiff"]) as image:
                pixels = np.asarray(image)
    # What Pillow raises for damaged bytes has no common type: OSError, struct.error, ...
    except Exception:
        return None
    # A file of big-endian numbers gives an array of such numbers.
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)


def _decode_colour_16(data: bytes) -> np.ndarray | None:
    """OpenCV keeps 16 bits, of which Pillow would drop the lower eight."""
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if image is None or image.ndim != 3:
        return None
    return image[..., ::-1]


def _check_deflated(packed: bytes, decoded: int) -> None:
    """Unpacks a segment, no further than its pixels need."""
    unpacking = zlib.decompressobj()
    try:
        found = len(unpacking.decompress(packed, decoded + 1))
    except zlib.error:
        found = -1
    if found != decoded or not unpacking.eof:
        raise Refused(f"is damaged: wrong checksum or length of its pixel data; {DOWNLOAD_AGAIN}")
