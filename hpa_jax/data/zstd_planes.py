"""Images of four channels as Zstandard frames, made to be decoded fast.

Layout, little-endian:

    8 bytes magic | uint32 height | uint32 width | uint8 bytes a sample | 7 bytes zero |
    4 x (uint32 bytes of the frame, uint8 filter, 3 bytes zero) | 4 frames | uint32 CRC-32C

Design:

- Each channel is a plane of its own, in one Zstandard frame. Matches shorter than seven bytes are
  not taken: pixels are mostly noise, which entropy coding alone stores as well, and each match
  costs the decoder more than it saves.
- The filter of a plane is chosen by size: none (best for the challenge's dark, noisy 512 px
  images), or differences along columns, rows or both (best for smooth ones). Undoing a difference
  is a running sum. It adds whole rows at a time, and works on the transposed plane for differences
  along rows, since a sum from pixel to pixel would cost as much as everything else.
- The last four bytes are the CRC-32C of all bytes before them, so that damage is found before a
  decoder sees it.
- A 16-bit plane is stored as a plane of low bytes and one of high bytes, filtered before the split.
"""

import math
import struct
from collections.abc import Sequence

import cv2
import google_crc32c
import numpy as np
import zstandard

MAGIC = b"\x89HPAZ\r\n\x01"  # the last byte is the version of the layout

_HEAD = struct.Struct("<8sIIB7x" + 4 * "IB3x")
_CRC = struct.Struct("<I")

# The CRC-32C of any data that are followed by their own CRC-32C.
_CRC_RESIDUE = 0x48674BC7

# Bits of a plane's filter: differences down the columns, differences along the rows.
_COLUMNS = 1
_ROWS = 2
_FILTERS = (0, _COLUMNS, _ROWS, _COLUMNS | _ROWS)  # fastest to undo first

# Undoing a filter takes half as long as decompressing the plane, so a slower filter is taken only
# where it saves a tenth of the bytes.
_WORTHWHILE = 0.9

# All parameters are explicit: those of a level would depend on the length of the data.
_FAST = {"strategy": zstandard.STRATEGY_FAST, "hash_log": 6, "chain_log": 6, "search_log": 1}
_SMALL = {"strategy": zstandard.STRATEGY_LAZY, "hash_log": 17, "chain_log": 17, "search_log": 3}


def encode(planes: Sequence[np.ndarray]) -> bytes:
    """Encodes four planes, uint8 or uint16 [H, W] each."""
    fast = _compressor(**_FAST)
    small = _compressor(**_SMALL)
    entries = []
    frames = []
    for plane in planes:
        plane_filter = _choose_filter(plane, fast)
        frame = small.compress(_filtered_bytes(plane, plane_filter))
        frames.append(frame)
        entries += [len(frame), plane_filter]
    height, width = planes[0].shape
    head = _HEAD.pack(MAGIC, height, width, planes[0].itemsize, *entries)
    body = b"".join([head, *frames])
    return body + _CRC.pack(google_crc32c.value(body))


def decode(data: bytes) -> list[np.ndarray]:
    """Decodes to four planes, uint8 or uint16 [H, W] each.

    Raises:
      ValueError: damaged, truncated or overlong data.
    """
    if len(data) < _HEAD.size + _CRC.size:
        raise ValueError("truncated: it ends in its header")
    _, height, width, itemsize, *entries = _HEAD.unpack_from(data)
    if google_crc32c.value(data) != _CRC_RESIDUE:
        raise ValueError("its data do not match their checksum")
    lengths = entries[::2]
    filters = entries[1::2]
    known = itemsize in (1, 2) and set(filters) <= set(_FILTERS)
    if not known or _HEAD.size + sum(lengths) + _CRC.size != len(data):
        raise ValueError("its header contradicts itself")

    view = memoryview(data)
    # Not to be shared between threads, and cheap to make.
    decompressor = zstandard.ZstdDecompressor()
    planes = []
    start = _HEAD.size
    for length, plane_filter in zip(lengths, filters, strict=True):
        frame = view[start : start + length]
        start += length
        stored = _decompress(decompressor, frame, (itemsize, height, width))
        planes.append(_unfiltered(stored, plane_filter))
    return planes


def read_size(head: bytes) -> tuple[int, int]:
    """Reads (height, width) from the first 16 bytes."""
    return struct.unpack_from("<II", head, len(MAGIC))


def _compressor(**parameters) -> zstandard.ZstdCompressor:
    compression_params = zstandard.ZstdCompressionParameters(
        min_match=7,
        window_log=18,
        write_content_size=1,
        **parameters,
    )
    return zstandard.ZstdCompressor(compression_params=compression_params)


def _choose_filter(plane: np.ndarray, compressor: zstandard.ZstdCompressor) -> int:
    """Returns the filter that is worthwhile; in doubt, the one that is faster to undo."""
    chosen = _FILTERS[0]
    smallest = len(compressor.compress(_filtered_bytes(plane, chosen)))
    for candidate in _FILTERS[1:]:
        size = len(compressor.compress(_filtered_bytes(plane, candidate)))
        if size < _WORTHWHILE * smallest:
            chosen = candidate
            smallest = size
    return chosen


def _filtered_bytes(plane: np.ndarray, plane_filter: int) -> bytes:
    """A plane [H, W], filtered, as bytes; of 16-bit samples all low bytes, then all high bytes."""
    if plane_filter & _ROWS:
        plane = np.concatenate([plane[:, :1], plane[:, 1:] - plane[:, :-1]], axis=1)
    if plane_filter & _COLUMNS:
        plane = np.concatenate([plane[:1], plane[1:] - plane[:-1]])
    if plane.dtype == np.uint8:
        return plane.tobytes()
    low = (plane & 255).astype(np.uint8)
    high = (plane >> 8).astype(np.uint8)
    return low.tobytes() + high.tobytes()


def _decompress(
    decompressor: zstandard.ZstdDecompressor, frame: memoryview, shape: tuple[int, int, int]
) -> np.ndarray:
    """Decompresses a frame to a read-only uint8 array of the shape, which it has to fill."""
    try:
        # A frame of another length is refused before memory for it is taken.
        if zstandard.frame_content_size(frame) != math.prod(shape):
            raise ValueError("a plane is not as long as its size says")
        content = decompressor.decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise ValueError(f"a plane does not decode ({error})") from None
    return np.frombuffer(content, np.uint8).reshape(shape)


def _unfiltered(stored: np.ndarray, plane_filter: int) -> np.ndarray:
    """The plane [H, W] of which `stored`, uint8 [bytes a sample, H, W], is the filtered form."""
    if len(stored) == 1:
        plane = stored[0]
    else:
        # OpenCV's merge of bytes into samples is several times faster than NumPy's strided copies.
        plane = cv2.merge(list(stored)).view("<u2")[..., 0]
    if plane_filter & _COLUMNS:
        plane = plane.copy()
        _accumulate_rows(plane)
    if plane_filter & _ROWS:
        transposed = cv2.transpose(plane)
        _accumulate_rows(transposed)
        plane = cv2.transpose(transposed)
    return plane


def _accumulate_rows(plane: np.ndarray, step: int = 8) -> None:
    """Does `plane[i] += plane[i - 1]` for all rows in order, in place, modulo the type's range.

    Rows are summed within groups of `step`, then the last rows of the groups among themselves,
    then those are added to the groups after them: about two passes, in operations on many rows.
    """
    groups = len(plane) // step
    first_left = 1
    if groups > 1:
        grouped = plane[: groups * step].reshape(groups, step, -1)
        for i in range(1, step):
            grouped[:, i] += grouped[:, i - 1]
        _accumulate_rows(grouped[:, -1], step)
        grouped[1:, :-1] += grouped[:-1, -1:]
        first_left = groups * step
    for i in range(first_left, len(plane)):
        plane[i] += plane[i - 1]
