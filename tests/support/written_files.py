"""PNG and TIFF files written by hand, with what the usual libraries do not write."""

import struct
import zlib

import numpy as np

SHORT = 3
LONG = 4
ASCII = 2
_ADAM7 = (
    (0, 0, 8, 8),
    (0, 4, 8, 8),
    (4, 0, 8, 4),
    (0, 2, 4, 4),
    (2, 0, 4, 2),
    (0, 1, 2, 2),
    (1, 0, 2, 1),
)


def png_chunk(kind, body):
    """A chunk with its length and CRC."""
    crc = zlib.crc32(kind + body)
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)


def png(image, bits, interlaced=False, colour_type=0, before=b"", pieces=1):
    """A gray or RGB PNG of any depth.

    Args:
      image: unsigned [H, W] or [H, W, S].
      bits: 1, 2, 4, 8 or 16 a sample.
      interlaced: by Adam7.
      colour_type: of the header: 0 gray, 2 RGB, 3 palette.
      before: chunks in front of the pixels.
      pieces: how many chunks the pixels are in.
    """
    height, width = image.shape[:2]
    head = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, int(interlaced))
    if interlaced:
        passes = [image[top::down, left::across] for top, left, down, across in _ADAM7]
    else:
        passes = [image]
    rows = [_png_row(row, bits) for part in passes if part.size for row in part]
    packed = zlib.compress(b"".join(rows))
    step = -(-len(packed) // pieces)
    data = [png_chunk(b"IDAT", packed[at : at + step]) for at in range(0, len(packed), step)]
    body = png_chunk(b"IHDR", head) + before + b"".join(data) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _png_row(row, bits):
    """A row without filter."""
    return b"\0" + packed_bits(row, bits, ">")


def packed_bits(row, bits, byte_order):
    """The bytes of a row of samples, the first in the highest bits."""
    if bits == 16:
        return row.astype(f"{byte_order}u2").tobytes()
    if bits == 8:
        return row.astype(np.uint8).tobytes()
    samples = row.reshape(-1, 1).astype(np.uint16)
    places = np.arange(bits - 1, -1, -1, dtype=np.uint16)
    return np.packbits(((samples >> places) & 1).astype(np.uint8)).tobytes()


def tiff(strips, shape, bits, tags=(), without=(), following=0, order="<", behind=b""):
    """A gray TIFF with one directory behind its pixels.

    Args:
      strips: the bytes of each strip.
      shape: height and width.
      bits: of a sample.
      tags: (number, type, values) that are added or replaced; values are a tuple or bytes.
      without: numbers of tags that are left out.
      following: where the next directory starts.
      order: "<" or ">".
      behind: bytes between the pixels and the directory.
    """
    height, width = shape
    starts = []
    at = 8
    for strip in strips:
        starts.append(at)
        at += len(strip)
    entries = {
        256: (LONG, (width,)),
        257: (LONG, (height,)),
        258: (SHORT, (bits,)),
        259: (SHORT, (1,)),
        262: (SHORT, (1,)),
        273: (LONG, tuple(starts)),
        277: (SHORT, (1,)),
        278: (LONG, (-(-height // len(strips)),)),
        279: (LONG, tuple(len(strip) for strip in strips)),
    }
    for number, kind, values in tags:
        entries[number] = (kind, values)
    for number in without:
        del entries[number]
    start = at + len(behind)
    directory, blob = _directory(entries, start, order)
    head = b"II*\0" if order == "<" else b"MM\0*"
    end = struct.pack(f"{order}I", following)
    pixels = b"".join(strips)
    return head + struct.pack(f"{order}I", start) + pixels + behind + directory + end + blob


def _directory(entries, start, order):
    """The entries of a directory, and the values that do not fit into them."""
    body = struct.pack(f"{order}H", len(entries))
    place = start + 2 + 12 * len(entries) + 4
    blob = b""
    for number in sorted(entries):
        kind, values = entries[number]
        if isinstance(values, bytes):
            raw = values
            count = len(values)
        else:
            letter = "H" if kind == SHORT else "I"
            raw = struct.pack(f"{order}{len(values)}{letter}", *values)
            count = len(values)
        if len(raw) > 4:
            field = struct.pack(f"{order}I", place + len(blob))
            blob += raw
        else:
            field = raw.ljust(4, b"\0")
        body += struct.pack(f"{order}HHI", number, kind, count) + field
    return body, blob


def exif(orientation):
    """EXIF with an orientation and nothing else."""
    entry = struct.pack("<HHIHH", 0x0112, SHORT, 1, orientation, 0)
    return b"II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4)
