"""Unpacks the strips and tiles of a TIFF page, exactly to the length that its tags announce.

Decoders elsewhere fill a segment that is short with zeros. Here it refuses the file, and nothing is
unpacked beyond what the page needs, so a bomb costs no more than the image it claims to be.
"""

import io

import imagecodecs
import numpy as np

from hpa_jax.images import jpg
from hpa_jax.images.store import DOWNLOAD_AGAIN, Refused
from hpa_jax.images.tiff.page import Page, Segment, packed_row

_HORIZONTAL = 2
_FLOATING = 3
# Each fails where the room is too small, and deflate also where its checksum is wrong.
_CODECS = {
    "deflate": imagecodecs.deflate_decode,
    "LZW": imagecodecs.lzw_decode,
    "PackBits": imagecodecs.packbits_decode,
    "zstd": imagecodecs.zstd_decode,
}
# JPEG's marker that says how colours are coded: 0 as they are, 1 as luma and chroma.
_ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"


def decode_page(data: bytes, page: Page, plane: int | None = None) -> np.ndarray:
    """Decodes a page.

    Args:
      data: the file.
      page: of the file.
      plane: of a page with separate planes, the one to decode; None otherwise.

    Returns:
      [H, W, S] of the values in the file, S being 1 for a page with separate planes: uint8 up to 8
      bits, uint16 up to 16, float32 for floating-point numbers.

    Raises:
      Refused: a segment does not decode, or is longer or shorter than announced.
    """
    together = 1 if page.separate else page.samples
    image = np.empty((page.height, page.width, together), _dtype(page))
    for segment in page.segments:
        if plane is not None and segment.plane != plane:
            continue
        try:
            values = _decode(data, page, segment, together)
        except (Refused, MemoryError):
            raise
        # Each codec has an exception of its own.
        except Exception:
            raise _damaged() from None
        rows = min(segment.rows, page.height - segment.top)
        columns = min(segment.columns, page.width - segment.left)
        target = image[segment.top :, segment.left :]
        target[:rows, :columns] = values[:rows, :columns]
    return image


def _damaged() -> Refused:
    return Refused(f"is damaged: wrong checksum or length of its pixel data; {DOWNLOAD_AGAIN}")


def _dtype(page: Page) -> np.dtype:
    if page.number == "float":
        return np.dtype(np.float32)
    if page.bits <= 8:
        return np.dtype(np.uint8)
    return np.dtype(np.uint16)


def _decode(data: bytes, page: Page, segment: Segment, together: int) -> np.ndarray:
    packed = data[segment.offset : segment.offset + segment.length]
    shape = (segment.rows, segment.columns, together)
    if page.method == "JPEG":
        return _decode_jpeg(packed, page, shape)
    if page.reversed_bits:
        packed = imagecodecs.bitorder_decode(packed)
    row = packed_row(page, segment.columns)
    needed = row * segment.rows
    # Some programs pack the last strip as long as the others.
    longest = row * page.segments[0].rows
    unpacked = _unpack(packed, page.method, longest)
    if len(unpacked) not in (needed, longest):
        raise _damaged()
    return _numbers(unpacked[:needed], page, shape)


def _unpack(packed: bytes, method: str, longest: int) -> bytes:
    """No more than a byte beyond `longest`, to tell what is too long."""
    if method == "none":
        return packed
    room = np.empty(longest + 1, np.uint8)
    return _CODECS[method](packed, out=room)


def _numbers(unpacked: bytes, page: Page, shape: tuple[int, int, int]) -> np.ndarray:
    rows, columns, together = shape
    if page.predictor == _FLOATING:
        return _floats(unpacked, shape)
    if page.bits in (8, 16, 32):
        letter = "f" if page.number == "float" else "u"
        stored = np.dtype(f"{page.byte_order}{letter}{page.bits // 8}")
        values = np.frombuffer(unpacked, stored).reshape(shape)
        values = values.astype(stored.newbyteorder("="), copy=False)
    else:
        dtype = _dtype(page)
        flat = imagecodecs.packints_decode(unpacked, dtype, page.bits, runlen=columns * together)
        values = flat.reshape(shape)
    if page.predictor == _HORIZONTAL:
        values = imagecodecs.delta_decode(values, axis=1)
    return values


def _floats(unpacked: bytes, shape: tuple[int, int, int]) -> np.ndarray:
    """Numbers stored by predictor 3: differences of bytes, of which the highest come first."""
    rows, columns, together = shape
    differences = np.frombuffer(unpacked, np.uint8).reshape(rows, -1, together)
    stored = np.cumsum(differences, axis=1, dtype=np.uint8)
    of_one_weight = stored.reshape(rows, 4, columns * together)
    numbers = np.ascontiguousarray(of_one_weight.transpose(0, 2, 1)).view(">f4")
    return numbers.astype(np.float32).reshape(shape)


def _decode_jpeg(packed: bytes, page: Page, shape: tuple[int, int, int]) -> np.ndarray:
    """A JPEG stream of the segment's size, put together with the tables of its page."""
    if not packed.startswith(b"\xff\xd8"):
        raise _damaged()
    tables = page.jpeg_tables[2:-2] if page.jpeg_tables.startswith(b"\xff\xd8") else b""
    # Where the page says that colours are stored as they are, decoders must not convert them.
    is_plain_colour = shape[2] == 3 and not page.is_ycbcr
    adobe = _ADOBE if is_plain_colour else b""
    stream = packed[:2] + adobe + tables + packed[2:]
    header = jpg.scan(io.BytesIO(stream))
    found = header.description
    samples = {"gray": 1, "RGB": 3}.get(found.colour)
    heights = (shape[0], page.segments[0].rows)
    is_fitting = found.height in heights and (found.width, samples) == shape[1:]
    if not is_fitting or found.bits != 8:
        raise _damaged()
    return jpg.decode(stream, header).reshape(found.height, *shape[1:])
