"""Reads the JPG file of a single channel.

Unusual: JPG has no checksum, and most decoders fill up what is missing or broken with gray, in silence; Pillow and
OpenCV among them, where the file was cut and its end marker put back. simplejpeg hands on libjpeg-turbo's warnings;
here each one refuses the file. A flipped bit after which the stream still decodes remains unseen: nothing can tell it.
"""

import os
import struct
from typing import BinaryIO

import numpy as np
import simplejpeg

from tfds_builder.hpa.files.header import AGAIN, Header, check_pixels
from tfds_builder.hpa.files.store import Refused

_MAX_SCANS = 200  # a progressive file has about ten; each costs a pass over all pixels
_FRAMES = {
    0xC0,
    0xC1,
    0xC2,
}  # baseline, extended, progressive; the others are lossless or arithmetic
_NO_FRAMES = {0xC4, 0xC8, 0xCC}
_COMPONENTS = {1: "gray", 3: "RGB", 4: "CMYK"}


def scan(file: BinaryIO) -> Header:
    """Walks the segments of a file up to its pixels, and looks for its end marker.

    Raises:
      Refused: it is no JPG, cut short, too large, or of a kind that is not read.
    """
    header = _frame(file)
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 4096))  # some programs add bytes after the end
    if b"\xff\xd9" not in file.read():
        raise Refused(f"is cut short: it has no end marker; {AGAIN}")
    return header


def _frame(file: BinaryIO) -> Header:
    file.read(2)
    while True:
        marker = file.read(1)
        if marker != b"\xff":
            raise Refused(
                f"is cut short in its header; {AGAIN}"
                if not marker
                else f"has a damaged header; {AGAIN}"
            )
        while marker == b"\xff":
            marker = file.read(1)
        head = file.read(2)
        if len(head) < 2:
            raise Refused(f"is cut short in its header; {AGAIN}")
        kind, (length,) = marker[0], struct.unpack(">H", head)
        if 0xC0 <= kind <= 0xCF and kind not in _NO_FRAMES:
            body = file.read(6)
            if len(body) < 6:
                raise Refused(f"is cut short in its header; {AGAIN}")
            bits, height, width, components = struct.unpack(">BHHB", body)
            if kind not in _FRAMES:
                raise Refused(
                    "is a JPG of a rare kind (lossless or arithmetic); save it again as a plain one"
                )
            check_pixels(width, height)
            return Header(
                "JPEG",
                height,
                width,
                bits,
                _COMPONENTS.get(components, f"of {components} components"),
            )
        if kind in (0xD8, 0xD9, 0xDA) or length < 2:
            raise Refused(f"has a damaged header; {AGAIN}")
        file.seek(length - 2, os.SEEK_CUR)


def decode(data: bytes, header: Header) -> np.ndarray:
    """Decodes a file that `scan` took, with libjpeg-turbo's exact (not its fast) arithmetic.

    Returns:
      uint8 [H, W], or [H, W, 3] in red, green, blue.

    Raises:
      Refused: libjpeg-turbo warns of anything at all.
    """
    if data.count(b"\xff\xda") > _MAX_SCANS:
        raise Refused(f"has more than {_MAX_SCANS} scans; save it again as a plain JPG")
    try:
        image = simplejpeg.decode_jpeg(
            data,
            "GRAY" if header.colour == "gray" else "RGB",
            fastdct=False,
            fastupsample=False,
            strict=True,
        )
    except ValueError as error:
        raise Refused(f"is damaged ({' '.join(str(error).split())[:80]}); {AGAIN}") from None
    return image[..., 0] if header.colour == "gray" else image
