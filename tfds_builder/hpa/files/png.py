"""Reads the PNG file of a single channel.

Unusual: nothing is left to an image library's good will. Decoders turn 16 bits into 8, colours into luma, and cut
files into images that are half black, each in silence; so the chunks of a file are walked first (size, depth, colour
type, end), and before decoding every chunk's CRC is checked.
"""

import os
import struct
import zlib
from typing import BinaryIO

import cv2
import numpy as np

from tfds_builder.hpa.files.header import AGAIN, Header, check_pixels
from tfds_builder.hpa.files.store import Refused

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOURS = {0: "gray", 2: "RGB", 3: "palette", 4: "gray with alpha", 6: "RGBA"}


def scan(file: BinaryIO) -> Header:
    """Walks the chunks of a file without reading its pixels.

    Raises:
      Refused: it is no PNG, cut short, or too large.
    """
    header = _head(file.read(33))
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind == b"tRNS":
            header = header._replace(colour=f"{header.colour} with a transparent shade")
        if kind == b"IEND":
            if len(file.read(4)) == 4:
                return header
            break
        file.seek(length + 4, os.SEEK_CUR)
    raise Refused(f"is cut short: it has no end chunk; {AGAIN}")


def _head(head: bytes) -> Header:
    """Signature and IHDR, the first 33 bytes."""
    if not head.startswith(SIGNATURE):
        raise Refused(f"is not a PNG; {AGAIN}")
    if len(head) < 33:
        raise Refused(f"is cut short: {len(head)} bytes; {AGAIN}")
    length, kind, width, height, bits, colour = struct.unpack(">I4sIIBB", head[8:26])
    if kind != b"IHDR" or length != 13:
        raise Refused(f"has a damaged PNG header; {AGAIN}")
    check_pixels(width, height)
    return Header("PNG", height, width, bits, _COLOURS.get(colour, f"of colour type {colour}"))


def decode(data: bytes, header: Header) -> np.ndarray | None:
    """Decodes a file whose chunks were walked by `scan`, after checking the CRC of each.

    Returns:
      Exactly the values in the file, [H, W] or [H, W, 3] (red, green, blue), uint8 or uint16; None if they do not
      decode.

    Raises:
      Refused: a wrong CRC.
    """
    at = len(SIGNATURE)
    while True:
        length, kind = struct.unpack_from(">I4s", data, at)
        if (
            struct.pack(">I", zlib.crc32(data[at + 4 : at + 8 + length]))
            != data[at + 8 + length : at + 12 + length]
        ):
            raise Refused(f"is damaged: wrong checksum of its chunk at byte {at}; {AGAIN}")
        if kind == b"IEND":
            break
        at += 12 + length
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    return (
        image[..., ::-1] if image is not None and image.ndim == 3 else image
    )  # OpenCV's order: BGR
