"""The two lossless encodings of an image inside a record: `png` and `zstd`.

`png` is one RGBA PNG that any program decodes (`png.py`). `zstd` is made to be read fast
(`zstd_planes.py`): it takes several times fewer CPU cycles an image than four PNGs, and fewer
bytes.
"""

import cv2
import numpy as np

from hpa_jax.data import png, zstd_planes
from hpa_jax.images.header import MAX_PIXELS

CODECS = ("png", "zstd")

HEAD_BYTES = 24
"""`read_size` needs this many of the first bytes of an encoded image."""

_MAGIC_BYTES = 8
CHANNELS = 4
"""Of an image that is encoded."""

_DTYPES = (np.uint8, np.uint16)


def encode(image: np.ndarray, codec: str) -> bytes:
    """Encodes an image without loss.

    The same image gives the same bytes, with one version of OpenCV and of zstandard.

    Args:
      image: uint8 or uint16 [H, W, 4]: red, green, blue, yellow.
      codec: one of CODECS.

    Returns:
      The encoded image.

    Raises:
      ValueError: no such codec, or an array that is no such image.
    """
    if codec not in CODECS:
        raise ValueError(f"no codec {codec!r}: choose one of {', '.join(CODECS)}")
    shape = list(image.shape)
    if image.dtype not in _DTYPES or image.ndim != 3 or shape[2] != CHANNELS:
        raise ValueError(f"an image is uint8 or uint16 [H, W, 4], got {image.dtype} {shape}")
    if not 0 < shape[0] * shape[1] <= MAX_PIXELS:
        raise ValueError(f"an image has 1 to {MAX_PIXELS} pixels, got {shape}")
    if codec == "png":
        return png.encode(np.ascontiguousarray(image[..., [2, 1, 0, 3]]))
    return zstd_planes.encode(cv2.split(image))


def decode(data: bytes, out: np.ndarray | None = None) -> np.ndarray:
    """Decodes what `encode` returned; the codec is recognized by the data.

    Args:
      data: an encoded image, of either codec.
      out: C-contiguous array that the image is written into if it has the image's shape and dtype.

    Returns:
      uint8 or uint16 [H, W, 4], writable; `out` itself if that was used.

    Raises:
      ValueError: anything else: damaged, truncated or overlong data, no image, not four channels,
        or more than MAX_PIXELS (which is refused before memory for it is taken).
    """
    magic = data[:_MAGIC_BYTES]
    if magic not in (png.MAGIC, zstd_planes.MAGIC):
        raise ValueError("not an image" if data else "no data")
    if len(data) < HEAD_BYTES:
        raise ValueError("truncated: it ends in its header")
    height, width = read_size(data)
    if not 0 < height * width <= MAX_PIXELS:
        raise ValueError(f"it claims {height} x {width} pixels (allowed: 1 to {MAX_PIXELS})")
    shape = (height, width, CHANNELS)

    if magic == zstd_planes.MAGIC:
        planes = zstd_planes.decode(data)
        return cv2.merge(planes, _usable(out, shape, planes[0].dtype))
    bgra = png.decode(data)
    if bgra.dtype not in _DTYPES or bgra.shape != shape:
        raise ValueError(f"{bgra.dtype} {list(bgra.shape)}, not uint8 or uint16 [H, W, 4]")
    return cv2.cvtColor(bgra, cv2.COLOR_BGRA2RGBA, dst=_usable(out, shape, bgra.dtype))


def read_size(head: bytes) -> tuple[int, int]:
    """Reads (height, width) in px from the first HEAD_BYTES of an encoded image.

    Returns (0, 0) where the bytes do not start an image of one of CODECS.
    """
    if len(head) < HEAD_BYTES:
        return 0, 0
    magic = head[:_MAGIC_BYTES]
    if magic == zstd_planes.MAGIC:
        return zstd_planes.read_size(head)
    if magic == png.MAGIC:
        return png.read_size(head)
    return 0, 0


def _usable(out: np.ndarray | None, shape: tuple, dtype: np.dtype) -> np.ndarray | None:
    """Returns `out` if an image of this shape and dtype can be written into it, else None."""
    if out is None or not out.flags.c_contiguous:
        return None
    if out.shape != shape or out.dtype != dtype:
        return None
    return out
