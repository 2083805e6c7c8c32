"""Reads PNG files, of every depth and interlacing.

Design: nothing is left to an image library's leniency. Decoders silently reduce 16 bits to 8 and
colours to luma, and turn truncated files into images that are half black. So the chunks of a file
are walked first (size, depth, colour type, end), and each chunk's CRC is checked before decoding.
"""

import os
import struct
import zlib
from dataclasses import replace
from typing import BinaryIO

import cv2
import numpy as np

from hpa_jax.images import exif
from hpa_jax.images.colour import is_ramp
from hpa_jax.images.header import COMPOSITE, Description, Header, check_pixels
from hpa_jax.images.store import DOWNLOAD_AGAIN, Refused

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER_BYTES = 33  # signature and IHDR
_COLOURS = {0: "gray", 2: "RGB", 3: "palette", 4: "gray with alpha", 6: "RGBA"}
_NAMES = {
    "gray": ("",),
    "RGB": COMPOSITE,
    "palette": ("",),
    "gray with alpha": ("", ""),
    "RGBA": (*COMPOSITE, ""),
}
# Longest chunk that is read for its content; notes of cameras have a few kilobytes.
_MAX_NOTE_BYTES = 2**16
# Programs write pixels in chunks of eight kilobytes and more.
_MAX_CHUNKS = 2**17


def scan(file: BinaryIO) -> Header:
    """Walks the chunks of a file without reading its pixels.

    Raises:
      Refused: it is no PNG, truncated, too large, animated, or not upright.
    """
    description = _parse_header(file.read(_HEADER_BYTES))
    colour = description.colour
    for _ in range(_MAX_CHUNKS):
        head = file.read(8)
        if len(head) < 8:
            break
        length, kind = struct.unpack(">I4s", head)
        if kind == b"tRNS":
            colour = f"{description.colour} with a transparent shade"
        if kind == b"PLTE" and colour == "palette" and length == 3 * 2**description.bits:
            palette = np.frombuffer(file.read(length), np.uint8)
            if len(palette) == length and is_ramp(palette.reshape(-1, 3)):
                colour = "gray in a palette"
            length = 0
        if kind == b"acTL":
            raise Refused("is animated; save the image that is meant as a plain PNG")
        if kind == b"IEND":
            if len(file.read(4)) < 4:
                break
            return Header(replace(description, colour=colour))
        if kind == b"eXIf" and length <= _MAX_NOTE_BYTES:
            exif.check_upright(file.read(length))
            length = 0
        file.seek(length + 4, os.SEEK_CUR)
    else:
        raise Refused(f"has more than {_MAX_CHUNKS} chunks; save it again")
    raise Refused(f"is cut short: it has no end chunk; {DOWNLOAD_AGAIN}")


def _parse_header(head: bytes) -> Description:
    if not head.startswith(SIGNATURE):
        raise Refused(f"is not a PNG; {DOWNLOAD_AGAIN}")
    if len(head) < _HEADER_BYTES:
        raise Refused(f"is cut short: {len(head)} bytes; {DOWNLOAD_AGAIN}")
    length, kind, width, height, bits, number = struct.unpack(">I4sIIBB", head[8:26])
    if kind != b"IHDR" or length != 13:
        raise Refused(f"has a damaged PNG header; {DOWNLOAD_AGAIN}")
    check_pixels(width, height)
    colour = _COLOURS.get(number, f"of colour type {number}")
    names = _NAMES.get(colour, ("",))
    return Description(
        "PNG",
        height,
        width,
        bits,
        planes=len(names),
        names=names,
        colour=colour,
    )


def decode(data: bytes, header: Header) -> np.ndarray | None:
    """Decodes a file that `scan` accepted, after checking the CRC of each chunk.

    Args:
      data: the file.
      header: of `scan`.

    Returns:
      exactly the values in the file, [H, W], [H, W, 3] (red, green, blue) or [H, W, 4] (and
      alpha), uint8 or uint16; None if they do not decode.

    Raises:
      Refused: a wrong CRC.
    """
    _check_chunks(data)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if image is None:
        return None
    description = header.description
    if image.ndim == 2:
        if description.bits < 8:
            # The decoder stretches 1, 2 and 4 bits to eight.
            image //= 255 // (2**description.bits - 1)
        return image
    if description.colour == "gray in a palette":
        # The decoder gives the shades; in the colour of the palette they are the numbers.
        shades = image[..., :3].max(axis=-1)
        return shades // (255 // (2**description.bits - 1))
    # OpenCV's order is BGR.
    if image.shape[-1] == 4:
        return image[..., [2, 1, 0, 3]]
    return image[..., ::-1]


def _check_chunks(data: bytes) -> None:
    start = len(SIGNATURE)
    kind = b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, start)
        end = start + 8 + length
        found = struct.pack(">I", zlib.crc32(data[start + 4 : end]))
        if found != data[end : end + 4]:
            raise Refused(
                f"is damaged: wrong checksum of its chunk at byte {start}; {DOWNLOAD_AGAIN}"
            )
        start = end + 4
