"""Reads JPG files, baseline and progressive.

Design: JPG has no checksum, and most decoders silently fill what is missing or broken with gray,
Pillow and OpenCV among them if a truncated file has its end marker again. simplejpeg passes on the
warnings of libjpeg-turbo; here each of them refuses the file. A flipped bit after which the stream
still decodes remains undetected: nothing can detect it.
"""

import os
import struct
from typing import BinaryIO

import numpy as np
import simplejpeg

from hpa_jax.images import exif
from hpa_jax.images.header import COMPOSITE, Description, Header, check_pixels
from hpa_jax.images.store import DOWNLOAD_AGAIN, Refused

_MAX_SCANS = 200  # a progressive file has about ten; each costs a pass over all pixels
_MAX_SEGMENTS = 4096  # in front of the pixels; a profile of colours and notes have dozens
_MAX_FILL_BYTES = 4096
_TAIL = 4096  # bytes at the end among which the end marker is looked for

# Start-of-frame markers: baseline, extended and progressive are read; the others are lossless or
# arithmetic. Three markers of the same range start no frame.
_FRAMES = {0xC0, 0xC1, 0xC2}
_NO_FRAMES = {0xC4, 0xC8, 0xCC}
_FRAME_RANGE = range(0xC0, 0xD0)
_FRAME_OF_JPEG_LS = 0xF7
_OUT_OF_PLACE = (0xD8, 0xD9, 0xDA)  # start, end and scan, before any frame
_NOTES = 0xE1
_EXIF = b"Exif\x00\x00"
_COMPONENTS = {1: "gray", 3: "RGB", 4: "CMYK"}


def scan(file: BinaryIO) -> Header:
    """Walks the segments of a file up to its pixels, and looks for its end marker.

    Raises:
      Refused: it is no JPG, truncated, too large, not upright, or of a kind that is not read.
    """
    header = _find_frame(file)
    size = file.seek(0, os.SEEK_END)
    # Some programs add bytes after the end.
    file.seek(max(0, size - _TAIL))
    if b"\xff\xd9" not in file.read():
        raise Refused(f"is cut short: it has no end marker; {DOWNLOAD_AGAIN}")
    return header


def _find_frame(file: BinaryIO) -> Header:
    file.read(2)
    for _ in range(_MAX_SEGMENTS):
        marker = _next_marker(file)
        (length,) = struct.unpack(">H", _read(file, 2))
        is_frame = marker in _FRAME_RANGE and marker not in _NO_FRAMES
        if is_frame or marker == _FRAME_OF_JPEG_LS:
            return _parse_frame(_read(file, 6), marker)
        if marker in _OUT_OF_PLACE or length < 2:
            raise Refused(f"has a damaged header; {DOWNLOAD_AGAIN}")
        if marker == _NOTES:
            notes = _read(file, length - 2)
            if notes.startswith(_EXIF):
                exif.check_upright(notes[len(_EXIF) :])
        else:
            file.seek(length - 2, os.SEEK_CUR)

    raise Refused(f"has more than {_MAX_SEGMENTS} notes in front of its pixels; save it again")


def _next_marker(file: BinaryIO) -> int:
    byte = _read(file, 1)
    if byte != b"\xff":
        raise Refused(f"has a damaged header; {DOWNLOAD_AGAIN}")
    # Any number of fill bytes may precede a marker.
    for _ in range(_MAX_FILL_BYTES):
        byte = _read(file, 1)
        if byte != b"\xff":
            return byte[0]
    raise Refused(f"has a damaged header; {DOWNLOAD_AGAIN}")


def _read(file: BinaryIO, length: int) -> bytes:
    data = file.read(length)
    if len(data) < length:
        raise Refused(f"is cut short in its header; {DOWNLOAD_AGAIN}")
    return data


def _parse_frame(body: bytes, marker: int) -> Header:
    bits, height, width, components = struct.unpack(">BHHB", body)
    if bits != 8:
        raise Refused(f"is a JPG of {bits} bits; save it as a PNG or TIFF of 16 bits")
    if marker not in _FRAMES:
        raise Refused(
            "is a JPG of a rare kind (lossless or arithmetic); save it again as a plain one"
        )
    check_pixels(width, height)
    colour = _COMPONENTS.get(components, f"of {components} components")
    names = COMPOSITE if colour == "RGB" else ("",) * components
    described = Description(
        "JPEG",
        height,
        width,
        bits,
        planes=components,
        names=names,
        colour=colour,
    )
    return Header(described)


def decode(data: bytes, header: Header) -> np.ndarray:
    """Decodes a file that `scan` accepted, with libjpeg-turbo's exact (not its fast) arithmetic.

    Args:
      data: the file.
      header: of `scan`.

    Returns:
      uint8 [H, W], or [H, W, 3] in red, green, blue.

    Raises:
      Refused: libjpeg-turbo warns of anything at all.
    """
    if data.count(b"\xff\xda") > _MAX_SCANS:
        raise Refused(f"has more than {_MAX_SCANS} scans; save it again as a plain JPG")
    is_gray = header.description.colour == "gray"
    try:
        image = simplejpeg.decode_jpeg(
            data,
            "GRAY" if is_gray else "RGB",
            fastdct=False,
            fastupsample=False,
            strict=True,
        )
    except ValueError as error:
        reason = " ".join(str(error).split())[:80]
        raise Refused(f"is damaged ({reason}); {DOWNLOAD_AGAIN}") from None
    return image[..., 0] if is_gray else image
