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
_COARSE = 3.0  # px of a thumbnail: std of the blur whose difference is the details
_OF_DETAILS = 0.2  # by which details may correlate less than the whole


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
    """Whether two images show the same, at whatever size and brightness, a pixel aside or not.

    Every channel that is blank in neither must correlate; there must be one, or the images must be
    blank altogether and equal.

    Args:
      a: uint8 [H, W, 4].
      b: uint8 [H, W, 4], of any other size.
      correlation: see `Rule`.
    """
    thumbnail_a = thumbnail(a)
    thumbnail_b = thumbnail(b)
    visible_a = _is_visible(thumbnail_a)
    visible_b = _is_visible(thumbnail_b)
    if not np.any(visible_a | visible_b):
        return bool(np.array_equal(thumbnail_a, thumbnail_b))
    shared = np.flatnonzero(visible_a & visible_b)
    for channel in shared:
        if not _correlate(thumbnail_a[..., channel], thumbnail_b[..., channel], correlation):
            return False
    return len(shared) > 0


def _is_visible(image: np.ndarray) -> np.ndarray:
    """bool [C]: whether a channel of a thumbnail, int [64, 64, C], is not blank."""
    pixels = image.reshape(_SIDE**2, -1).astype(np.int64)
    # The variance, times the number of pixels squared: so it stays an integer.
    variance = _SIDE**2 * (pixels * pixels).sum(0) - pixels.sum(0) ** 2
    return variance >= (_BLANK * _SIDE**2) ** 2


def _correlate(a: np.ndarray, b: np.ndarray, correlation: float) -> bool:
    """Whether a channel of two thumbnails, uint8 [64, 64], correlates, and its details do."""
    if _largest_correlation(a, b) <= correlation:
        return False
    details_a = _details(a)
    details_b = _details(b)
    # Details too faint to tell are no evidence.
    if not (_is_visible(details_a).all() and _is_visible(details_b).all()):
        return True
    return _largest_correlation(details_a, details_b) > correlation - _OF_DETAILS


def _details(plane: np.ndarray) -> np.ndarray:
    """int64 [64, 64]: what a blur takes away. Of 8 bits OpenCV's is the same on any machine."""
    blurred = cv2.GaussianBlur(plane, None, _COARSE)
    return plane.astype(np.int64) - blurred


def _largest_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Of two planes, int [64, 64], of which the second may be a pixel of the thumbnail aside."""
    side = _SIDE - 2
    own = a[1:-1, 1:-1].astype(np.int64).ravel()
    # Deviations from the mean, times the number of pixels: so sums are integers, and exact.
    own = own.size * own - own.sum()
    others = np.lib.stride_tricks.sliding_window_view(b.astype(np.int64), (side, side))
    others = others.reshape(-1, own.size)
    others = own.size * others - others.sum(1, keepdims=True)
    covariance = others @ own
    scale = np.sqrt((own * own).sum() * 1.0 * (others * others).sum(1))
    return float(np.max(covariance / np.maximum(scale, 1)))
