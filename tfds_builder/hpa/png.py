"""Reads the eight-bit gray PNG files of single channels, and writes the one four-channel PNG of a field.

Unusual: nothing is left to an image library's good will. Decoders turn 16 bits into 8, colours into luma, and cut
files into images that are half black, each in silence; so the chunks of a file are walked first (size, depth, colour
type, end), and before decoding every chunk's CRC is checked. What is not an eight-bit gray PNG, whole and sound, is
refused.

An InputError of this module names the file and the remedy; who calls knows the Id and adds it.
"""

import os
import stat
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np

from hpa_jax.errors import InputError

MAX_PIXELS = 4096 * 4096  # the largest Atlas fields are 3072 x 3072; a header that claims more is not believed
SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOURS = {0: "gray", 2: "RGB", 3: "palette", 4: "gray with alpha", 6: "RGBA"}
_OTHER_FORMATS = {
    b"\xff\xd8\xff": "a JPEG",
    b"II*\x00": "a TIFF",
    b"MM\x00*": "a TIFF",
    b"GIF8": "a GIF",
    b"BM": "a BMP",
    b"<": "a web page or other text",
}
_AGAIN = "download it again"
_SAVE_GRAY = "save the channel's own plane as an eight-bit gray PNG"

# Run-length matching with the Sub filter: on Atlas images three times faster than zlib's default level, and smaller.
_ENCODING = (cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE)


def scan(path: Path) -> tuple[int, int]:
    """Walks the chunks of a file without reading its pixels, and returns (height, width).

    Raises:
      InputError: the file is missing, empty, no PNG, cut short, too large, or not eight-bit gray.
    """
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            raise InputError(f"{path} is not a file; put the channel's PNG there")
        with open(path, "rb") as file:
            head = file.read(33)
            size = _check_head(path, head)
            while len(head := file.read(8)) == 8:
                length, kind = struct.unpack(">I4s", head)
                if kind == b"tRNS":
                    raise InputError(f"{path} is gray with a transparent shade, not plain gray; {_SAVE_GRAY}")
                if kind == b"IEND":
                    if len(file.read(4)) == 4:
                        return size
                    break
                file.seek(length + 4, os.SEEK_CUR)
    except FileNotFoundError:
        raise InputError(f"{path} is missing; {_AGAIN}, or take its row out of the csv") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); make it readable, or {_AGAIN}") from None
    raise InputError(f"{path} is cut short: it has no end chunk; {_AGAIN}")


def _check_head(path: Path, head: bytes) -> tuple[int, int]:
    """Checks signature and IHDR, the first 33 bytes; returns (height, width)."""
    if not head:
        raise InputError(f"{path} is empty (0 bytes); {_AGAIN}")
    if not head.startswith(SIGNATURE):
        for magic, name in _OTHER_FORMATS.items():
            if head.startswith(magic):
                raise InputError(f"{path} is not a PNG but {name}; {_AGAIN} as PNG")
        raise InputError(f"{path} is not a PNG; {_AGAIN}")
    if len(head) < 33:
        raise InputError(f"{path} is cut short: {len(head)} bytes; {_AGAIN}")
    length, kind, width, height, depth, colour = struct.unpack(">I4sIIBB", head[8:26])
    if kind != b"IHDR" or length != 13 or not width or not height:
        raise InputError(f"{path} has a damaged PNG header; {_AGAIN}")
    if colour != 0:
        raise InputError(f"{path} is {_COLOURS.get(colour, f'of colour type {colour}')}, not gray; {_SAVE_GRAY}")
    if depth != 8:
        raise InputError(f"{path} has {depth} bits a pixel, not 8; {_SAVE_GRAY}")
    if width * height > MAX_PIXELS:
        raise InputError(f"{path} claims {width} x {height} pixels, more than {MAX_PIXELS}; scale it down, or {_AGAIN}")
    return height, width


def read_gray(path: Path) -> np.ndarray:
    """Decodes an eight-bit gray PNG whose chunks all have the right CRC.

    Returns:
      uint8 [H, W], exactly the values in the file.

    Raises:
      InputError: all that `scan` refuses, and a wrong CRC or pixel data that do not decode.
    """
    size = scan(path)
    data = path.read_bytes()
    at = len(SIGNATURE)
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if zlib.crc32(data[at + 4 : at + 8 + length]) != struct.unpack_from(">I", data, at + 8 + length)[0]:
            raise InputError(f"{path} is damaged: wrong checksum of its chunk at byte {at}; {_AGAIN}")
        if kind == b"IEND":
            break
        at += 12 + length
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        image = None
    if image is None or image.dtype != np.uint8 or image.shape != size:
        raise InputError(f"{path} is damaged: its pixel data do not decode; {_AGAIN}")
    return image


def encode(image: np.ndarray) -> bytes:
    """Encodes uint8 [H, W, 4] as one lossless PNG (colour type RGBA: red, green, blue, yellow)."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 4:
        raise ValueError(f"a field is uint8 [H, W, 4], got {image.dtype} {image.shape}")
    done, data = cv2.imencode(".png", np.ascontiguousarray(image[..., [2, 1, 0, 3]]), _ENCODING)  # OpenCV's order: BGRA
    if not done:
        raise ValueError(f"OpenCV could not encode a field of shape {image.shape}")
    return data.tobytes()
