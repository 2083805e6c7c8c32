"""The two forms in which a record holds a field's image, both lossless: `png` and `zstd`.

`png` is one RGBA PNG that any program decodes. `zstd` is there to be read fast: several times fewer CPU cycles a field
than four PNGs, in fewer bytes.

What is unusual in `zstd`:

- Each channel is a plane of its own, one Zstandard frame. Matches shorter than seven bytes are not taken: pixels are
  mostly noise, which entropy coding alone stores as well, and each match costs the decoder more than it saves.
- A plane's filter is chosen by size: none (best for the challenge's dark, noisy 512 px images), or differences along
  columns, rows or both (best for smooth ones). Undoing a difference is a running sum; it is done with whole rows at a
  time, and along rows on the transposed plane, since a sum from pixel to pixel would cost as much as the rest.
- Its last four bytes are the CRC-32C of all before them, so that damage is found before a decoder sees it.

    8 bytes magic | uint32 height | uint32 width | uint8 bytes a sample | 7 bytes zero |
    4 x (uint32 bytes of the frame, uint8 filter, 3 bytes zero) | 4 frames | uint32 CRC-32C         (little-endian)

16-bit planes are stored as a plane of low bytes and one of high bytes, filtered before they are split.
"""

import itertools
import math
import struct
import zlib

import cv2
import google_crc32c
import numpy as np
import zstandard

CODECS = ("png", "zstd")
MAX_PIXELS = (
    4096 * 4096
)  # the largest Atlas fields are 3072 x 3072; a header that claims more is not believed
HEAD_BYTES = 24
"""So many bytes of an encoded image are enough for `size`."""

_PNG = b"\x89PNG\r\n\x1a\n"
# Run-length matching with the Sub filter: on Atlas images three times faster than zlib's default level, and smaller.
_PNG_ENCODING = (
    cv2.IMWRITE_PNG_COMPRESSION,
    1,
    cv2.IMWRITE_PNG_STRATEGY,
    cv2.IMWRITE_PNG_STRATEGY_RLE,
)

_ZSTD = b"\x89HPAZ\r\n\x01"  # the last byte is the version of the layout
_HEAD = struct.Struct("<8sIIB7x" + 4 * "IB3x")
_CRC = struct.Struct("<I")
_RESIDUE = 0x48674BC7  # the CRC-32C of any data with their own CRC-32C behind them
_COLUMNS, _ROWS = 1, 2  # bits of a plane's filter: differences down the columns, along the rows
_FILTERS = (0, _COLUMNS, _ROWS, _COLUMNS | _ROWS)  # by the time that it takes to undo them
_WORTH = 0.9  # undoing a filter takes half as long as decompressing the plane: it has to save a tenth of the bytes


def _compressor(**parameters) -> zstandard.ZstdCompressor:
    """Explicit parameters, where a level's depend on the length of the data."""
    fixed = {"min_match": 7, "window_log": 18, "write_content_size": 1}
    return zstandard.ZstdCompressor(
        compression_params=zstandard.ZstdCompressionParameters(**fixed, **parameters)
    )


_FAST = {"strategy": zstandard.STRATEGY_FAST, "hash_log": 6, "chain_log": 6, "search_log": 1}
_SMALL = {"strategy": zstandard.STRATEGY_LAZY, "hash_log": 17, "chain_log": 17, "search_log": 3}


def encode(image: np.ndarray, codec: str) -> bytes:
    """The bytes of a field. The same image gives the same bytes, with one version of OpenCV and of zstandard.

    Args:
      image: uint8 or uint16 [H, W, 4]: red, green, blue, yellow.
      codec: one of CODECS.
    """
    if codec not in CODECS:
        raise ValueError(f"no codec {codec!r}: choose one of {', '.join(CODECS)}")
    if image.dtype not in (np.uint8, np.uint16) or image.ndim != 3 or image.shape[2] != 4:
        raise ValueError(
            f"a field is uint8 or uint16 [H, W, 4], got {image.dtype} {list(image.shape)}"
        )
    if not 0 < image.shape[0] * image.shape[1] <= MAX_PIXELS:
        raise ValueError(f"a field has 1 to {MAX_PIXELS} pixels, got {list(image.shape)}")
    return _encode_png(image) if codec == "png" else _encode_zstd(image)


def decode(data: bytes, out: np.ndarray | None = None) -> np.ndarray:
    """The image that `encode` was given: uint8 or uint16 [H, W, 4], writable; the codec is told from the data.

    Args:
      data: of either codec.
      out: a C-contiguous array that the image goes into, and that is returned, if it has the image's shape and dtype.

    Raises ValueError on anything else: damaged, cut short, longer than it says, no image, not four channels, or larger
    than MAX_PIXELS (before memory for it is taken).
    """
    if data[:8] == _ZSTD:
        return _decode_zstd(data, out)
    if data[:8] == _PNG:
        return _decode_png(data, out)
    raise ValueError("not an image" if data else "no data")


def size(head: bytes) -> tuple[int, int]:
    """Image (height, width) from the first HEAD_BYTES of its data; (0, 0) where they are not those of an image."""
    if head[:8] == _ZSTD and len(head) >= 16:
        return struct.unpack_from("<II", head, 8)
    if head[:8] == _PNG and head[12:16] == b"IHDR" and len(head) >= 24:
        return struct.unpack_from(">II", head, 16)[::-1]
    return 0, 0


def _check_size(height: int, width: int) -> None:
    if not 0 < height * width <= MAX_PIXELS:
        raise ValueError(f"it claims {height} x {width} pixels (allowed: 1 to {MAX_PIXELS})")


def _encode_png(image: np.ndarray) -> bytes:
    done, data = cv2.imencode(
        ".png", np.ascontiguousarray(image[..., [2, 1, 0, 3]]), _PNG_ENCODING
    )  # OpenCV's: BGRA
    if not done:
        raise ValueError(f"OpenCV could not encode a field of shape {list(image.shape)}")
    return data.tobytes()


def _decode_png(data: bytes, out: np.ndarray | None) -> np.ndarray:
    _check_chunks(data)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        image = None
    if image is None:
        raise ValueError("its pixel data do not decode")
    if image.dtype not in (np.uint8, np.uint16) or image.shape != (*size(data), 4):
        raise ValueError(f"{image.dtype} {list(image.shape)}, not uint8 or uint16 [H, W, 4]")
    return cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA, dst=_fitting(out, image.shape, image.dtype))


def _fitting(out: np.ndarray | None, shape: tuple, dtype: np.dtype) -> np.ndarray | None:
    return (
        out
        if out is not None and out.shape == shape and out.dtype == dtype and out.flags.c_contiguous
        else None
    )


def _check_chunks(data: bytes) -> None:
    """Walks the chunks of a PNG and checks each one's CRC: OpenCV makes images of damaged files, in silence."""
    at = len(_PNG)
    _check_size(*size(data))
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 8 + length
        if end + 4 > len(data):
            break
        if zlib.crc32(memoryview(data)[at + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            raise ValueError(f"wrong checksum of its chunk at byte {at}")
        at = end + 4
        if kind == b"IEND":
            if at != len(data):
                raise ValueError(f"{len(data) - at} bytes behind its end")
            return
    raise ValueError("cut short: it has no end chunk")


def _encode_zstd(image: np.ndarray) -> bytes:
    fast, small = _compressor(**_FAST), _compressor(**_SMALL)
    entries, frames = [], []
    for channel in cv2.split(image):
        chosen, least = 0, None
        for candidate in _FILTERS:
            bytes_a_plane = len(fast.compress(_stored(channel, candidate)))
            if least is None or bytes_a_plane < _WORTH * least:
                chosen, least = candidate, bytes_a_plane
        frames.append(small.compress(_stored(channel, chosen)))
        entries += [len(frames[-1]), chosen]
    body = b"".join([_HEAD.pack(_ZSTD, *image.shape[:2], image.itemsize, *entries), *frames])
    return body + _CRC.pack(google_crc32c.value(body))


def _stored(plane: np.ndarray, chosen: int) -> bytes:
    """A channel [H, W] filtered and as bytes; 16 bits as the low bytes of all pixels, then the high ones."""
    if chosen & _ROWS:
        plane = np.concatenate([plane[:, :1], plane[:, 1:] - plane[:, :-1]], axis=1)
    if chosen & _COLUMNS:
        plane = np.concatenate([plane[:1], plane[1:] - plane[:-1]])
    if plane.dtype == np.uint8:
        return plane.tobytes()
    return (plane & 255).astype(np.uint8).tobytes() + (plane >> 8).astype(np.uint8).tobytes()


def _decode_zstd(data: bytes, out: np.ndarray | None) -> np.ndarray:
    if len(data) < _HEAD.size + _CRC.size:
        raise ValueError("cut short: it ends in its header")
    _, height, width, sample, *entries = _HEAD.unpack_from(data)
    _check_size(height, width)
    if google_crc32c.value(data) != _RESIDUE:
        raise ValueError("its data do not match their checksum")
    lengths, filters = entries[::2], entries[1::2]
    if (
        sample not in (1, 2)
        or not set(filters) <= set(_FILTERS)
        or _HEAD.size + sum(lengths) + _CRC.size != len(data)
    ):
        raise ValueError("its header contradicts itself")
    view, ends = memoryview(data), list(itertools.accumulate(lengths, initial=_HEAD.size))
    decompressor = (
        zstandard.ZstdDecompressor()
    )  # not to be shared between threads, and cheap to make
    planes = []
    for start, end, chosen in zip(ends, ends[1:], filters, strict=False):
        parts = _decompress(decompressor, view[start:end], (sample, height, width))
        # Bytes to samples: OpenCV's merge is several times faster than NumPy's strided copies.
        plane = parts[0] if sample == 1 else cv2.merge(list(parts)).view("<u2")[..., 0]
        if chosen & _COLUMNS:
            plane = plane.copy()
            _running_sum(plane)
        if chosen & _ROWS:
            turned = cv2.transpose(plane)
            _running_sum(turned)
            plane = cv2.transpose(turned)
        planes.append(plane)
    return cv2.merge(planes, _fitting(out, (height, width, len(planes)), planes[0].dtype))


def _decompress(
    decompressor: zstandard.ZstdDecompressor, frame: memoryview, shape: tuple[int, int, int]
) -> np.ndarray:
    """One frame as a read-only uint8 array of a shape that it has to fill."""
    try:
        # A frame of another length is refused before memory for it is taken.
        if zstandard.frame_content_size(frame) != math.prod(shape):
            raise ValueError("a plane is not as long as its size says")
        return np.frombuffer(
            decompressor.decompress(frame, allow_extra_data=False), np.uint8
        ).reshape(shape)
    except zstandard.ZstdError as error:
        raise ValueError(f"a plane does not decode ({error})") from None


def _running_sum(plane: np.ndarray, step: int = 8) -> None:
    """`plane[i] += plane[i - 1]` for all rows in order, in place, modulo the type; about two passes of row operations.

    Rows are summed within groups of `step`, the groups' last rows among themselves, then added to the groups after.
    """
    groups = len(plane) // step
    if groups > 1:
        grouped = plane[: groups * step].reshape(groups, step, -1)
        for i in range(1, step):
            grouped[:, i] += grouped[:, i - 1]
        _running_sum(grouped[:, -1], step)
        grouped[1:, :-1] += grouped[:-1, -1:]
    for i in range(groups * step if groups > 1 else 1, len(plane)):
        plane[i] += plane[i - 1]
