"""Images that must be in one split: near-duplicates, and images that share a group key.

Near-duplicates are found by their perceptual hashes and confirmed on pixels; `perceptual.py` says
what makes two images near-duplicates.

Design: an image that is connected to another already is not compared with it again, so ten thousand
equal images cost ten thousand comparisons of pixels.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import starmap as sequential_starmap
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tfds_builder.hpa.split.candidates import OUT, near_pairs
from tfds_builder.hpa.split.perceptual import Rule, channel_words, hash_distance

_CANDIDATES = 2**18  # pairs collected before they are compared, the nearest first
_MAX_FAILURES = 16  # failed confirmations after which an image is not compared any more

Starmap = Callable[[Callable[[int, int], bool], Sequence[tuple[int, int]]], Iterable[bool]]


class Pair(NamedTuple):
    """Two images found to be the same.

    Attributes:
      a: the lower position.
      b: the higher position.
      distance: number of bits in which the hashes of the channels differ that both have.
    """

    a: int
    b: int
    distance: int


def near_duplicates(
    hashes: np.ndarray,
    same: Callable[[int, int], bool],
    *,
    bits: int = Rule().bits,
    starmap: Starmap = sequential_starmap,
) -> list[Pair]:
    """Finds pairs that connect all near-duplicates: not every pair, but a path between any two.

    Images of equal hashes are compared with the first of them that shows the same. Of the others,
    all pairs within `bits` are found, and compared with the nearest first, unless their images are
    connected already or one has failed `_MAX_FAILURES` times before.

    Args:
      hashes: uint8 [N, HASH_BYTES], of `perceptual_hash`.
      same: (a, b) -> whether the images in these positions are the same on their pixels.
      bits: see `perceptual.Rule`.
      starmap: calls `same` for a list of pairs that do not depend on one another; results in order.

    Returns:
      pairs in order of `a`, then `b`; at most N - 1.
    """
    found = _Connected(hashes, same, starmap)
    different = _confirm_equal_hashes(found)
    collected = []
    number = 0
    for pairs in near_pairs(found.words, different, bits, found.settled):
        collected.append(pairs)
        number += len(pairs[0])
        if number >= _CANDIDATES:
            found.confirm_nearest_first(*np.concatenate(collected, axis=1))
            collected = []
            number = 0
    if collected:
        found.confirm_nearest_first(*np.concatenate(collected, axis=1))
    return sorted(found.pairs)


def _confirm_equal_hashes(found: "_Connected") -> np.ndarray:
    """Compares images of equal hashes with the first of them, then the others with their first.

    Returns:
      int64 [M], positions: one image for each hash and each different content.
    """
    if not len(found.words):
        return np.empty(0, np.int64)
    _, number = np.unique(found.words, axis=0, return_inverse=True)
    number = number.ravel()
    different = []
    left = np.arange(len(number))
    for _ in range(_MAX_FAILURES):
        _, first, of = np.unique(number[left], return_index=True, return_inverse=True)
        leader = left[first]
        different.append(leader)
        of_leader = leader[of]
        rest = of_leader != left
        found.confirm(of_leader[rest], left[rest])
        left = left[found.root[left] != found.root[of_leader]]
        if not len(left):
            break
    return np.sort(np.concatenate([*different, left]))


class _Connected:
    """The pairs confirmed so far, and which images they connect.

    Attributes:
      words: uint64 [N, 4], the hashes; see `perceptual.channel_words`.
      pairs: confirmed.
      root: int64 [N], equal for images that are connected.
      settled: int64 [N], the same, but `OUT` for images that are not compared any more; changed
        in place.
    """

    def __init__(self, hashes: np.ndarray, same: Callable, starmap: Starmap):
        self.words = channel_words(hashes)
        self.pairs: list[Pair] = []
        self.root = np.arange(len(self.words))
        self.settled = self.root.copy()
        self._members: dict[int, list[int]] = {}
        self._same = same
        self._starmap = starmap
        self._failures = np.zeros(len(self.words), np.int64)
        self._rejected = np.empty(0, np.int64)

    def confirm_nearest_first(self, a: np.ndarray, b: np.ndarray) -> None:
        """Compares the images in these positions until nothing is left that could connect them."""
        apart, shared = hash_distance(self.words[a], self.words[b])
        # Bits for each channel, so that pairs of one channel and of four are compared alike.
        order = np.argsort(apart / shared, kind="stable")
        a = a[order]
        b = b[order]
        most = 1
        while True:
            is_open = self._is_open(a, b)
            a = a[is_open]
            b = b[is_open]
            if not len(a):
                return
            # One comparison for each image at a time, and few between the images of two groups:
            # the next may not be needed any more.
            _, first = np.unique(b, return_index=True)
            first.sort()
            roots = np.sort([self.root[a[first]], self.root[b[first]]], axis=0)
            few = first[_rank_among_equals(self._code(*roots)) < most]
            self.confirm(a[few], b[few])
            most *= 4

    def confirm(self, a: np.ndarray, b: np.ndarray) -> None:
        """Compares the images in these positions on their pixels; `a` are the lower ones."""
        is_open = self._is_open(a, b)
        a = a[is_open]
        b = b[is_open]
        pairs = list(zip(a.tolist(), b.tolist(), strict=True))
        failed = np.zeros(len(pairs), bool)
        for number, same in enumerate(self._starmap(self._same, pairs)):
            if same:
                self._connect(*pairs[number])
            else:
                failed[number] = True
        self._rejected = np.append(self._rejected, self._code(a[failed], b[failed]))
        # Counted for one of the two alone: an image that many are compared with, of which each is
        # another, may still have a copy.
        np.add.at(self._failures, b[failed], 1)
        self.settled[:] = np.where(self._failures < _MAX_FAILURES, self.root, OUT)

    def _is_open(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """bool [P]: whether the two are to be compared: not connected, nor known to differ."""
        is_open = (self.root[a] != self.root[b]) & (self._failures[b] < _MAX_FAILURES)
        is_open[is_open] = ~np.isin(self._code(a[is_open], b[is_open]), self._rejected)
        return is_open

    def _code(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """One number for each pair, in the order of `a`, then `b`."""
        return a * len(self.words) + b

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
        apart, _ = hash_distance(self.words[a], self.words[b])
        self.pairs.append(Pair(a, b, int(apart)))


def _rank_among_equals(values: np.ndarray) -> np.ndarray:
    """int64 [N]: how many equal values stand before each."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    is_first = np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)]
    position = np.arange(len(ordered))
    rank = np.empty_like(position)
    rank[order] = position - np.maximum.accumulate(np.where(is_first, position, 0))
    return rank


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
