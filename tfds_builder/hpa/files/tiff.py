"""Reads the TIFF file of a single channel.

Unusual: the directory of the file is read here before Pillow sees it. It tells what Pillow decodes in silence to
something else (16-bit colours to 8, white as 0) and what it would let pass: a second page, a strip that lies past
the end of the file. Deflated strips carry a checksum, which is checked here; TIFF has no other.
"""

import io
import struct
import warnings
import zlib
from typing import BinaryIO

import cv2
import numpy as np
from PIL import Image

from hpa_jax.data.codec import MAX_PIXELS
from tfds_builder.hpa.files.header import AGAIN, Header, check_pixels
from tfds_builder.hpa.files.store import Refused

_WIDTH, _HEIGHT, _BITS, _PACKING, _MEANING, _STRIPS, _ORIENTATION, _SAMPLES = (
    256,
    257,
    258,
    259,
    262,
    273,
    274,
    277,
)
_ROWS, _STRIP_BYTES, _PLANAR, _TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES = (
    278,
    279,
    284,
    322,
    323,
    324,
    325,
)
_FORMAT = 339
_USED = {*range(256, 260), 262, 273, 274, 277, 278, 279, 284, *range(322, 326), 339}
_TYPES = {1: "B", 3: "H", 4: "I"}  # BYTE, SHORT, LONG: whatever is read here is one of them
_DEFLATED = (8, 32946)
_PACKINGS = {1: "none", 5: "LZW", 8: "deflate", 32946: "deflate", 32773: "PackBits", 50000: "zstd"}
_FORMATS = {
    1: "",
    2: "of signed numbers",
    3: "of floating-point numbers",
    4: "of undefined numbers",
}
_MAX_PIECES = 2**17  # strips or tiles
_SAVE = "save the channel's own plane as a plain gray TIFF"


def scan(file: BinaryIO) -> Header:
    """Reads the directory of a file, and checks that its pixel data lie inside.

    Raises:
      Refused: it is cut short, damaged, too large, or holds what is not one image of unsigned numbers.
    """
    size = file.seek(0, io.SEEK_END)
    tags = _directory(file, size)
    width, height = (_one(tags, tag, 0) for tag in (_WIDTH, _HEIGHT))
    check_pixels(width, height)
    samples, bits = _one(tags, _SAMPLES, 1), tags.get(_BITS, (1,))
    if len(set(bits)) != 1:
        raise Refused(f"has channels of different depths; {_SAVE}")
    if words := _FORMATS.get(_one(tags, _FORMAT, 1), "of unknown numbers"):
        raise Refused(f"is {words}; save it with unsigned integers of 8 or 16 bits")
    meaning, packing = _one(tags, _MEANING, 1), _one(tags, _PACKING, 1)
    if packing not in _PACKINGS:
        raise Refused(
            f"is packed by method {packing}; save it with LZW, deflate or without compression"
        )
    if meaning == 0:
        raise Refused("stores white as 0; save it with black as 0")
    if _one(tags, _ORIENTATION, 1) != 1:
        raise Refused("is to be turned or mirrored to be seen (tag Orientation); save it upright")
    colour = {
        (1, 1): "gray",
        (2, 3): "RGB",
        (3, 1): "palette",
        (1, 2): "gray with alpha",
        (2, 4): "RGBA",
    }.get((meaning, samples), f"of {samples} samples a pixel in colours of kind {meaning}")
    if (
        colour == "RGB" and bits[0] > 8 and _one(tags, _PLANAR, 1) != 1
    ):  # read by no library at hand
        colour = "RGB in separate planes"
    pieces = _pieces(tags, width, height, size)
    return Header("TIFF", height, width, bits[0], colour, pieces if packing in _DEFLATED else ())


def _directory(file: BinaryIO, size: int) -> dict[int, tuple[int, ...]]:
    """The numbers of each tag of the only page."""
    file.seek(0)
    head = file.read(8)
    if len(head) < 8:
        raise Refused(f"is cut short: {len(head)} bytes; {AGAIN}")
    order = "<" if head.startswith(b"II") else ">"
    (at,) = struct.unpack(f"{order}I", head[4:])
    file.seek(at)
    count = file.read(2)
    entries = file.read(12 * struct.unpack(f"{order}H", count)[0]) if len(count) == 2 else b""
    after = file.read(4)
    if not entries or len(after) < 4:
        raise Refused(f"is cut short: its directory lies past its end; {AGAIN}")
    if after != bytes(4):
        raise Refused(f"has more than one page; {_SAVE}")
    tags = {}
    for place in range(0, len(entries), 12):
        tag, kind, number = struct.unpack_from(f"{order}HHI", entries, place)
        if tag not in _USED or kind not in _TYPES or number > _MAX_PIECES:
            continue
        layout = f"{order}{number}{_TYPES[kind]}"
        length = struct.calcsize(layout)
        data = entries[place + 8 : place + 8 + length]
        if length > 4:
            file.seek(struct.unpack_from(f"{order}I", entries, place + 8)[0])
            data = file.read(length)
        if len(data) < length:
            raise Refused(f"is cut short: it has {size} bytes; {AGAIN}")
        tags[tag] = struct.unpack(layout, data)
    return tags


def _one(tags: dict[int, tuple[int, ...]], tag: int, default: int) -> int:
    return (tags.get(tag) or (default,))[0]


def _pieces(
    tags: dict[int, tuple[int, ...]], width: int, height: int, size: int
) -> tuple[tuple[int, int, int], ...]:
    """(at, bytes, bytes unpacked) of each strip or tile, all of them inside the file."""
    samples, bits = _one(tags, _SAMPLES, 1), _one(tags, _BITS, 1)
    tiled = _TILES in tags
    starts = tags.get(_TILES if tiled else _STRIPS, ())
    lengths = tags.get(_TILE_BYTES if tiled else _STRIP_BYTES, ())
    across, down = width, min(_one(tags, _ROWS, height), height)
    if tiled:
        across, down = _one(tags, _TILE_WIDTH, 0), _one(tags, _TILE_HEIGHT, 0)
    if not across or not down or across * down > MAX_PIXELS:
        raise Refused(f"has a damaged directory; {AGAIN}")
    planes, deep = (samples, 1) if _one(tags, _PLANAR, 1) == 2 else (1, samples)
    number = -(-width // across) * -(-height // down) * planes
    if len(starts) != number or len(lengths) != number:
        raise Refused(f"has a damaged directory; {AGAIN}")
    if any(start + length > size for start, length in zip(starts, lengths, strict=True)):
        raise Refused(f"is cut short: it has {size} bytes; {AGAIN}")
    row = -(-across * deep * bits // 8)
    rows = [
        down if tiled else min(down, height - index % (number // planes) * down)
        for index in range(number)
    ]
    return tuple(
        (start, length, row * tall)
        for start, length, tall in zip(starts, lengths, rows, strict=True)
    )


def decode(data: bytes, header: Header) -> np.ndarray | None:
    """Decodes a file that `scan` took, after checking its deflated strips.

    Returns:
      Exactly the values in the file, [H, W] or [H, W, 3] (red, green, blue), uint8 or uint16; None if they do not
      decode.

    Raises:
      Refused: a wrong checksum.
    """
    for start, length, unpacked in header.packed:
        _check_strip(data[start : start + length], unpacked)
    if header.colour != "gray" and header.bits == 16:  # Pillow would leave out the lower eight
        try:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        except cv2.error:
            return None
        return image[..., ::-1] if image is not None and image.ndim == 3 else None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tags that say nothing about the pixels
            with Image.open(io.BytesIO(data), formats=["tiff"]) as image:
                pixels = np.asarray(image)
    except (
        Exception
    ):  # what Pillow raises for damaged bytes has no common type: OSError, struct.error, ...
        return None
    return pixels.astype(
        pixels.dtype.newbyteorder("="), copy=False
    )  # a file of big-endian numbers gives such an array


def _check_strip(strip: bytes, unpacked: int) -> None:
    """Unpacks a strip as far as it may go."""
    unpacking = zlib.decompressobj()
    try:
        found = len(unpacking.decompress(strip, unpacked + 1))
    except zlib.error:
        found = -1
    if found != unpacked or not unpacking.eof:
        raise Refused(f"is damaged: wrong checksum or length of its pixel data; {AGAIN}")
