"""Images that must be in one split: near-duplicates, and images that share a group key.

Near-duplicates are found by a perceptual hash and confirmed on pixels. The hash is imagehash's
phash of each channel, 64 bits, so that a blank channel leaves three others to distinguish images
by. On 81 real images, distinct ones differ in 88 bits or more of the 256, copies (JPG quality 50,
resized, 0.7 to 1.3 times as bright, shifted by a pixel) in at most 10; on pixels, distinct ones
correlate to 0.27 at most, copies to 0.92 at least.

Design:
- Candidates come from 16 bands of 16 bits, each sorted once, rather than from all pairs: hashes
  that differ in up to 15 bits agree in some band.
- An image that is connected to another already is not compared with it again, so ten thousand equal
  images cost ten thousand comparisons of pixels.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import starmap as sequential_starmap
from typing import NamedTuple

import cv2
import imagehash
import numpy as np
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

HASH_BYTES = 32  # four channels of 64 bits
DISTANCE = 32  # bits of the 256
_HASHED = 32  # px, what phash works on
_FLAT = 1.0  # gray levels of range, below which a channel is blank and has no bits set
_SIDE = 64  # px of a thumbnail: a shift of one pixel in 512 is an eighth of one
_BLANK = 0.5  # std in gray levels, below which a thumbnail's channel is blank
_ALIKE = 0.6  # correlation of each channel above which two thumbnails show the same image
_BANDS = 16  # as many as a word has bits
_WINDOW = 256  # neighbours compared in a band in which many hashes agree
_MAX_FAILURES = 8  # failed confirmations after which an image is not compared any more

Starmap = Callable[[Callable[[int, int], bool], Sequence[tuple[int, int]]], Iterable[bool]]


class Pair(NamedTuple):
    """Two images found to be the same.

    Attributes:
      a: the lower position.
      b: the higher position.
      distance: number of bits in which their hashes differ.
    """

    a: int
    b: int
    distance: int


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
        return bytes(8)
    stretched = np.round((small - darkest) * (255 / (brightest - darkest))).astype(np.uint8)
    return np.packbits(imagehash.phash(Image.fromarray(stretched)).hash).tobytes()


def thumbnail(image: np.ndarray) -> np.ndarray:
    """Shrinks an image to uint8 [64, 64, 4], which is all that `same_pixels` looks at."""
    return cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)


def same_pixels(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two images show the same, at whatever size and brightness.

    Every channel that is not blank in both must correlate; if all are blank, the images must be
    equal.

    Args:
      a: uint8 [H, W, 4].
      b: uint8 [H, W, 4], of any other size.
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
    visible = np.maximum(variance_a, variance_b) >= blank
    if not visible.any():
        return bool(np.array_equal(pixels_a, pixels_b))
    scale = np.sqrt(variance_a[visible] * 1.0 * variance_b[visible])
    return bool(np.all(covariance[visible] > _ALIKE * scale))


def near_duplicates(
    hashes: np.ndarray,
    same: Callable[[int, int], bool],
    *,
    distance: int = DISTANCE,
    starmap: Starmap = sequential_starmap,
) -> list[Pair]:
    """Finds pairs that connect all near-duplicates: not every pair, but a path between any two.

    Images of equal hashes are compared with the first of them. Of the others, all pairs are found
    whose hashes differ in up to 15 bits, and nearly all up to `distance`: those with fewer than
    `_WINDOW` hashes between them in a band that they share, and fewer than `_MAX_FAILURES` failed
    comparisons before. Time grows as n log n, memory as n.

    Args:
      hashes: uint8 [N, HASH_BYTES], of `perceptual_hash`.
      same: (a, b) -> whether the images in these positions are the same on their pixels.
      distance: bits in which the hashes of candidates may differ.
      starmap: calls `same` for a list of pairs that do not depend on one another; results in order.

    Returns:
      pairs in order of `a`, then `b`; at most N - 1.
    """
    hashes = np.ascontiguousarray(hashes, np.uint8).reshape(-1, HASH_BYTES)
    found = _Connected(hashes, same, starmap)
    order = _confirm_equal_hashes(hashes, found)
    words = hashes[order].view(np.uint64)
    for band in range(_BANDS):
        key = _band_key(hashes[order], band)
        # A stable sort keeps the order of whole hashes within a band: near ones lie near.
        by_key = np.argsort(key, kind="stable")
        _confirm_neighbours(key[by_key], words[by_key], order[by_key], distance, found)
    return sorted(found.pairs)


def _confirm_equal_hashes(hashes: np.ndarray, found: "_Connected") -> np.ndarray:
    """Compares images of equal hashes.

    Returns:
      int64 [M], positions sorted by hash: one image for each hash and each different content.
    """
    words = hashes.view(">u8")
    # lexsort is stable: among equal hashes the first image leads.
    order = np.lexsort(words.T[::-1])
    if not len(order):
        return order
    new = np.append(True, (words[order[1:]] != words[order[:-1]]).any(1))
    leader = order[np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))]
    found.confirm(leader[~new], order[~new])
    different = found.root[order] != found.root[leader]
    return order[different | new]


def _confirm_neighbours(
    key: np.ndarray, words: np.ndarray, images: np.ndarray, distance: int, found: "_Connected"
) -> None:
    """Compares images whose hashes agree in a band and lie within `_WINDOW` of each other.

    Args:
      key: uint16 [M], sorted.
      words: uint64 [M, HASH_BYTES / 8], the hash of each.
      images: int64 [M], the position of each.
      distance: see `near_duplicates`.
      found: takes the pairs.
    """
    left = np.arange(len(images))
    for step in range(1, _WINDOW):
        left = left[: np.searchsorted(left, len(images) - step)]
        left = left[key[left] == key[left + step]]
        if not len(left):
            return
        apart = np.bitwise_count(words[left] ^ words[left + step]).sum(1)
        near = left[apart <= distance]
        found.confirm(images[near], images[near + step])


def _band_key(hashes: np.ndarray, band: int) -> np.ndarray:
    """uint16 [N]: one bit of each 16-bit word of a hash, other frequencies of each channel."""
    words = hashes.view(">u2")
    key = np.zeros(len(words), np.uint16)
    for number in range(words.shape[1]):
        bit = (words[:, number] >> (band + 5 * number) % _BANDS) & 1
        key |= bit.astype(np.uint16) << number
    return key


class _Connected:
    """The pairs confirmed so far, and which images they connect.

    Attributes:
      pairs: confirmed.
      root: int64 [N], equal for images that are connected.
    """

    def __init__(self, hashes: np.ndarray, same: Callable, starmap: Starmap):
        self.pairs: list[Pair] = []
        self.root = np.arange(len(hashes))
        self._members: dict[int, list[int]] = {}
        self._hashes = hashes
        self._same = same
        self._starmap = starmap
        self._failures = np.zeros(len(hashes), np.int64)
        self._rejected: set[tuple[int, int]] = set()

    def confirm(self, a: np.ndarray, b: np.ndarray) -> None:
        """Compares the images in these positions on their pixels, unless connected already."""
        failures = np.maximum(self._failures[a], self._failures[b])
        open = (self.root[a] != self.root[b]) & (failures < _MAX_FAILURES)
        low = np.minimum(a, b)[open].tolist()
        high = np.maximum(a, b)[open].tolist()
        pairs = [pair for pair in zip(low, high, strict=True) if pair not in self._rejected]
        for pair, same in zip(pairs, self._starmap(self._same, pairs), strict=True):
            if same:
                self._connect(*pair)
            else:
                self._rejected.add(pair)
                self._failures[list(pair)] += 1

    def _connect(self, a: int, b: int) -> None:
        larger = int(self.root[a])
        smaller = int(self.root[b])
        if larger == smaller:
            return
        members = self._members.pop(larger, [larger])
        moved = self._members.pop(smaller, [smaller])
        if len(members) < len(moved):
            larger = smaller
            members, moved = moved, members
        self.root[moved] = larger
        members.extend(moved)
        self._members[larger] = members
        distance = np.bitwise_count(self._hashes[a] ^ self._hashes[b]).sum()
        self.pairs.append(Pair(a, b, int(distance)))


def group_numbers(n: int, pairs: Iterable[Pair], group_keys: Sequence[str]) -> np.ndarray:
    """Numbers the groups of images that pairs or equal group keys connect.

    Args:
      n: number of images.
      pairs: (a, b, ...) positions of images that belong together.
      group_keys: of each image; empty for an image on its own.

    Returns:
      int64 [n], the group of each image: 0, 1, ... by first appearance.
    """
    edges = [(pair[0], pair[1]) for pair in pairs]
    first: dict[str, int] = {}
    for image, key in enumerate(group_keys):
        if key:
            edges.append((first.setdefault(key, image), image))
    if not n:
        return np.empty(0, np.int64)
    a, b = np.array(edges, np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(a), np.int8), (a, b)), shape=(n, n))
    _, component = connected_components(graph, directed=False)
    return renumber_groups(component)


def renumber_groups(numbers: np.ndarray) -> np.ndarray:
    """The same groups, numbered 0, 1, ... in the order in which the images name them; int64 [N]."""
    _, first, number = np.unique(np.asarray(numbers), return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[number]
