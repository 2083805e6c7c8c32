"""What makes two images near-duplicates: their perceptual hashes, and their pixels.

A hash is imagehash's phash of each of the four channels, 64 bits a channel. A channel that was not
imaged is blank and carries no evidence, so both comparisons are of the channels that both images
have: the hashes may differ in `Rule.bits` times their number, and on the pixels each must
correlate. benchmarks/duplicates.py measures false and missed pairs; docs/results.md has the table.

Design:
- A blank channel's 8 bytes are zero, and no other's are: phash sets the bit of the mean in every
  channel that shows anything. So a hash records which channels an image has.
- A pair in which one image lacks a channel is judged by the rest: an Atlas image of which somebody
  has the protein alone shows the same cells.
"""

from typing import NamedTuple

import cv2
import imagehash
import numpy as np
from PIL import Image

CHANNEL_BYTES = 8
HASH_BYTES = 4 * CHANNEL_BYTES
MAX_BITS = 16  # half of what unrelated channels differ in
_HASHED = 32  # px, what phash works on
_FLAT = 1.0  # gray levels of range, below which a channel is blank and has no bits set
_SIDE = 64  # px of a thumbnail: a shift of one pixel in 512 is an eighth of one
_BLANK = 0.5  # std in gray levels, below which a thumbnail's channel is blank


class Rule(NamedTuple):
    """How near near-duplicates are.

    Attributes:
      bits: in which the hashes may differ, for each channel that both images have; 0 to `MAX_BITS`.
      correlation: of the pixels, above which each of these channels must be; from 0 to below 1.
    """

    bits: int = 8
    correlation: float = 0.8


def perceptual_hash(image: np.ndarray) -> bytes:
    """Computes phash of each of four channels.

    Each channel is stretched to its own range first, so that dark ones keep their detail. A blank
    channel has no bits set.

    Args:
      image: uint8 [H, W, 4].

    Returns:
      `HASH_BYTES` bytes, 8 a channel.

    References:
      https://www.hackerfactor.com/blog/index.php?/archives/432-Looks-Like-It.html
    """
    if min(image.shape[:2]) > 8 * _HASHED:
        # Integers are fast to average, and at this size fine enough.
        image = cv2.resize(image, (8 * _HASHED, 8 * _HASHED), interpolation=cv2.INTER_AREA)
    small = cv2.resize(image.astype(np.float32), (_HASHED, _HASHED), interpolation=cv2.INTER_AREA)
    hashes = [_hash_channel(small[..., channel]) for channel in range(small.shape[-1])]
    return b"".join(hashes)


def _hash_channel(small: np.ndarray) -> bytes:
    darkest = small.min()
    brightest = small.max()
    if brightest - darkest < _FLAT:
        return bytes(CHANNEL_BYTES)
    stretched = np.round((small - darkest) * (255 / (brightest - darkest))).astype(np.uint8)
    return np.packbits(imagehash.phash(Image.fromarray(stretched)).hash).tobytes()


def channel_words(hashes: np.ndarray) -> np.ndarray:
    """The hashes of the channels as integers: uint8 [N, HASH_BYTES] to uint64 [N, 4].

    0 stands for a channel that the image does not have.
    """
    hashes = np.ascontiguousarray(hashes, np.uint8).reshape(-1, HASH_BYTES)
    return hashes.view(np.uint64)


def hash_distance(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compares hashes on the channels that both images have.

    Args:
      a: uint64 [..., 4], of `channel_words`.
      b: likewise.

    Returns:
      int64 [...], the bits that differ; and the number of channels compared.
    """
    shared = (a != 0) & (b != 0)
    apart = np.where(shared, np.bitwise_count(a ^ b), 0).sum(-1, dtype=np.int64)
    return apart, shared.sum(-1)


def thumbnail(image: np.ndarray) -> np.ndarray:
    """Shrinks an image to uint8 [64, 64, 4], which is all that `same_pixels` looks at."""
    return cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)


def same_pixels(a: np.ndarray, b: np.ndarray, correlation: float = Rule().correlation) -> bool:
    """Whether two images show the same, at whatever size and brightness.

    Every channel that is blank in neither must correlate; there must be one, or the images must be
    blank altogether and equal.

    Args:
      a: uint8 [H, W, 4].
      b: uint8 [H, W, 4], of any other size.
      correlation: see `Rule`.
    """
    pixels_a = thumbnail(a).reshape(_SIDE**2, -1).astype(np.int64)
    pixels_b = thumbnail(b).reshape(_SIDE**2, -1).astype(np.int64)
    # Deviations from the mean, times the number of pixels: so they stay integers.
    centered_a = _SIDE**2 * pixels_a - pixels_a.sum(0)
    centered_b = _SIDE**2 * pixels_b - pixels_b.sum(0)
    variance_a = (centered_a * centered_a).sum(0)
    variance_b = (centered_b * centered_b).sum(0)
    covariance = (centered_a * centered_b).sum(0)
    blank = (_BLANK * _SIDE**2) ** 2 * _SIDE**2
    if not np.any(np.maximum(variance_a, variance_b) >= blank):
        return bool(np.array_equal(pixels_a, pixels_b))
    shared = np.minimum(variance_a, variance_b) >= blank
    if not shared.any():
        return False
    scale = np.sqrt(variance_a[shared] * 1.0 * variance_b[shared])
    return bool(np.all(covariance[shared] > correlation * scale))
