"""Images of four channels as PNG, with every checksum checked.

Channels are in OpenCV's order here: blue, green, red, alpha.
"""

import struct
import zlib

import cv2
import numpy as np

MAGIC = b"\x89PNG\r\n\x1a\n"

# Run-length matching with the Sub filter: on Atlas images three times faster than zlib's default
# level, and smaller.
_OPTIONS = (
    cv2.IMWRITE_PNG_COMPRESSION,
    1,
    cv2.IMWRITE_PNG_STRATEGY,
    cv2.IMWRITE_PNG_STRATEGY_RLE,
)

_CHUNK_HEAD = struct.Struct(">I4s")  # length of the data, kind
_CHUNK_CRC = struct.Struct(">I")  # of kind and data


def encode(image: np.ndarray) -> bytes:
    """Encodes uint8 or uint16 [H, W, 4]."""
    ok, data = cv2.imencode(".png", image, _OPTIONS)
    if not ok:
        raise ValueError(f"OpenCV could not encode an image of shape {list(image.shape)}")
    return data.tobytes()


def decode(data: bytes) -> np.ndarray:
    """Decodes a PNG, to whatever array it holds.

    Raises:
      ValueError: damaged, truncated or overlong data.
    """
    _check_chunks(data)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        image = None
    if image is None:
        raise ValueError("its pixel data do not decode")
    return image


def read_size(head: bytes) -> tuple[int, int]:
    """Reads (height, width) from the first 24 bytes; (0, 0) where they hold no size."""
    if head[12:16] != b"IHDR":
        return 0, 0
    width, height = struct.unpack_from(">II", head, 16)
    return height, width


def _check_chunks(data: bytes) -> None:
    """Walks the chunks and checks each CRC, since OpenCV silently decodes damaged files."""
    view = memoryview(data)
    start = len(MAGIC)
    while start + _CHUNK_HEAD.size + _CHUNK_CRC.size <= len(data):
        length, kind = _CHUNK_HEAD.unpack_from(data, start)
        end = start + _CHUNK_HEAD.size + length
        if end + _CHUNK_CRC.size > len(data):
            break
        (stored_crc,) = _CHUNK_CRC.unpack_from(data, end)
        if zlib.crc32(view[start + 4 : end]) != stored_crc:
            raise ValueError(f"wrong checksum of its chunk at byte {start}")
        start = end + _CHUNK_CRC.size
        if kind == b"IEND":
            if start != len(data):
                raise ValueError(f"{len(data) - start} bytes after its end")
            return
    raise ValueError("truncated: it has no end chunk")
