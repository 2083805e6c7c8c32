"""Fields that must not straddle a split: near-duplicates, found by perceptual hash and confirmed on pixels; families.

The hash is imagehash's phash of each channel, 64 bits, so that a blank channel leaves three others to tell fields
apart. On 81 real fields distinct ones differ in 88 bits or more of the 256, copies (JPG 50, resized, 0.7 to 1.3 times
as bright, a pixel aside) in 10 at most; on pixels, distinct ones correlate to 0.27 at most, copies to 0.92 at least.

Unusual: candidates come from 16 bands of 16 bits, each sorted once, and not from all pairs: hashes that differ in up to
15 bits agree in a band. A field that hangs together with another already is not compared again, so that ten thousand
equal fields cost ten thousand comparisons of pixels.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import starmap as one_after_another
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
_FLAT = 1.0  # gray levels between darkest and brightest of those pixels below which a channel is blank: all bits 0
_SIDE = 64  # px of a thumbnail: a shift of one pixel in 512 is an eighth of one
_BLANK = 0.5  # standard deviation in gray levels below which a thumbnail's channel is blank
_ALIKE = 0.6  # correlation of each channel from which two thumbnails show the same field
_BANDS = 16  # as many as a word has bits
_WINDOW = 256  # neighbours compared in a band in which many hashes agree
_TRIES = 8  # failed confirmations after which a field is compared no more


class Pair(NamedTuple):
    """Two fields found to be the same."""

    a: int  # position, the lower one
    b: int
    distance: int  # bits in which their hashes differ


def perceptual_hash(image: np.ndarray) -> bytes:
    """phash (https://www.hackerfactor.com/blog/index.php?/archives/432-Looks-Like-It.html) of each of four channels.

    Each channel is stretched to its own range first, so that dark ones keep their detail. A blank one has no bits set.

    Args:
      image: uint8 [H, W, 4].

    Returns:
      `HASH_BYTES` bytes, 8 a channel.
    """
    if (
        min(image.shape[:2]) > 8 * _HASHED
    ):  # whole numbers are fast to average, and at this size fine enough
        image = cv2.resize(image, (8 * _HASHED, 8 * _HASHED), interpolation=cv2.INTER_AREA)
    small = cv2.resize(image.astype(np.float32), (_HASHED, _HASHED), interpolation=cv2.INTER_AREA)
    return b"".join(_hash_channel(small[..., channel]) for channel in range(small.shape[-1]))


def _hash_channel(small: np.ndarray) -> bytes:
    darkest, brightest = small.min(), small.max()
    if brightest - darkest < _FLAT:
        return bytes(8)
    stretched = np.round((small - darkest) * (255 / (brightest - darkest))).astype(np.uint8)
    return np.packbits(imagehash.phash(Image.fromarray(stretched)).hash).tobytes()


def thumbnail(image: np.ndarray) -> np.ndarray:
    """uint8 [64, 64, 4]: all of an image that `same_pixels` looks at, so it may stand for it."""
    return cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)


def same_pixels(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two images (uint8 [H, W, 4], of any sizes) show the same field, at whatever brightness.

    Every channel that either of them shows must correlate; two of which neither shows anything must be equal.
    """
    a, b = (thumbnail(image).reshape(_SIDE**2, -1).astype(np.int64) for image in (a, b))
    ca, cb = (
        _SIDE**2 * x - x.sum(0) for x in (a, b)
    )  # whole numbers: the mean taken off, times the number of pixels
    aa, bb, ab = (ca * ca).sum(0), (cb * cb).sum(0), (ca * cb).sum(0)
    shown = np.maximum(aa, bb) >= (_BLANK * _SIDE**2) ** 2 * _SIDE**2
    if not shown.any():
        return bool(np.array_equal(a, b))
    return bool(np.all(ab[shown] > _ALIKE * np.sqrt(aa[shown] * 1.0 * bb[shown])))


def near_duplicates(
    hashes: np.ndarray,
    same: Callable[[int, int], bool],
    *,
    distance: int = DISTANCE,
    starmap: Callable[
        [Callable[[int, int], bool], Sequence[tuple[int, int]]], Iterable[bool]
    ] = one_after_another,
) -> list[Pair]:
    """Pairs that connect near-duplicates: not every pair of them, but all that belong together hang together.

    Fields of equal hashes are compared with the first of them. Of the others, all are found whose hashes differ in up
    to 15 bits, and nearly all up to `distance`, if fewer than `_WINDOW` hashes lie between them in the band that they
    share, and neither was confused with `_TRIES` others before. Time grows as n log n, memory as n.

    Args:
      hashes: uint8 [N, HASH_BYTES], of `perceptual_hash`.
      same: (a, b) -> whether the fields in these positions show the same, on their pixels.
      distance: bits in which the hashes of candidates may differ.
      starmap: calls `same` for a list of pairs, which do not depend on one another; results in their order.

    Returns:
      pairs in order of `a`, then `b`; at most N - 1.
    """
    hashes = np.ascontiguousarray(hashes, np.uint8).reshape(-1, HASH_BYTES)
    found = _Found(hashes, same, starmap)
    rows = hashes.view(">u8")
    order = np.lexsort(rows.T[::-1])  # stable: of equal hashes the first field leads
    if len(order):
        new = np.append(True, (rows[order[1:]] != rows[order[:-1]]).any(1))
        first = order[np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))]
        found.confirm(first[~new], order[~new])
        order = order[(found.root[order] != found.root[first]) | new]  # one for each hash and look
    rows = hashes[order].view(np.uint64)
    for band in range(_BANDS):
        key = _key(hashes[order], band)
        by = np.argsort(
            key, kind="stable"
        )  # within a band the order of whole hashes remains: near ones lie near
        key, sorted_rows, fields = key[by], rows[by], order[by]
        left = np.arange(len(by))
        for step in range(1, _WINDOW):
            left = left[: np.searchsorted(left, len(by) - step)]
            left = left[key[left] == key[left + step]]
            if not len(left):
                break
            apart = np.bitwise_count(sorted_rows[left] ^ sorted_rows[left + step]).sum(1)
            near = left[apart <= distance]
            found.confirm(fields[near], fields[near + step])
    return sorted(found.pairs)


def _key(hashes: np.ndarray, band: int) -> np.ndarray:
    """uint16 [N]: one bit of each 16-bit word of a hash: from each channel, and other frequencies of each."""
    words = hashes.view(">u2")
    key = np.zeros(len(words), np.uint16)
    for number in range(words.shape[1]):
        key |= ((words[:, number] >> (band + 5 * number) % _BANDS) & 1).astype(np.uint16) << number
    return key


class _Found:
    """The pairs confirmed so far, and which fields hang together by them."""

    def __init__(self, hashes: np.ndarray, same: Callable, starmap: Callable):
        self.pairs: list[Pair] = []
        self.root = np.arange(len(hashes))
        self._members: dict[int, list[int]] = {}
        self._hashes, self._same, self._starmap = hashes, same, starmap
        self._failures = np.zeros(len(hashes), np.int64)
        self._rejected: set[tuple[int, int]] = set()

    def confirm(self, a: np.ndarray, b: np.ndarray) -> None:
        """Compares the fields in these positions on their pixels, but those that hang together already."""
        open = (self.root[a] != self.root[b]) & (
            np.maximum(self._failures[a], self._failures[b]) < _TRIES
        )
        low, high = np.minimum(a, b)[open].tolist(), np.maximum(a, b)[open].tolist()
        pairs = [pair for pair in zip(low, high, strict=True) if pair not in self._rejected]
        for pair, same in zip(pairs, self._starmap(self._same, pairs), strict=True):
            if same:
                self._join(*pair)
            else:
                self._rejected.add(pair)
                self._failures[list(pair)] += 1

    def _join(self, a: int, b: int) -> None:
        keep, drop = int(self.root[a]), int(self.root[b])
        if keep == drop:
            return
        one, other = self._members.pop(keep, [keep]), self._members.pop(drop, [drop])
        if len(one) < len(other):
            keep, one, other = drop, other, one
        self.root[other] = keep
        one.extend(other)
        self._members[keep] = one
        self.pairs.append(
            Pair(a, b, int(np.bitwise_count(self._hashes[a] ^ self._hashes[b]).sum()))
        )


def group_numbers(n: int, pairs: Iterable[Pair], families: Sequence[str]) -> np.ndarray:
    """Fields that hang together by pairs or families, numbered.

    Args:
      n: number of fields.
      pairs: (a, b, ...) positions of fields that belong together.
      families: of each field, its family; "": of none.

    Returns:
      int64 [n], the group of each field: 0, 1, ... by first appearance.
    """
    edges = [(pair[0], pair[1]) for pair in pairs]
    first: dict[str, int] = {}
    edges += [
        (first.setdefault(family, field), field) for field, family in enumerate(families) if family
    ]
    a, b = np.array(edges, np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(a), np.int8), (a, b)), shape=(n, n))
    return by_first_appearance(
        connected_components(graph, directed=False)[1] if n else np.empty(0, np.int64)
    )


def by_first_appearance(numbers: np.ndarray) -> np.ndarray:
    """int64 [N]: the same groups, numbered 0, 1, ... in the order in which the fields name them."""
    _, first, number = np.unique(np.asarray(numbers), return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[number]
