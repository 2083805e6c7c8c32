"""All pairs of hashes that are near enough, without comparing all pairs.

Two hashes that differ in at most `bits` times the number of channels that both have differ in at
most `bits` in one of these channels. So each channel's 64 bits are searched by themselves: they are
cut into bands, and of two words that differ in r bits, one of k bands differs in r // k at most.
The bands are looked up in a table of their values, under every value that is so near. Nothing
within the limit is missed.

The fewer bands, the more values to look up and the fewer pairs to compare; the number that is
cheapest for so many images is taken.
"""

from collections.abc import Iterator
from itertools import combinations, pairwise
from math import comb
from typing import NamedTuple

import numpy as np

from tfds_builder.hpa.split.perceptual import hash_distance

OUT = -1  # in `settled`: images that need not be compared with any other
_WORD = 64  # bits
_MAX_WIDTH = 22  # bits of a band: a table of four million
_CHUNK = 2**18  # pairs compared at a time


def near_pairs(
    words: np.ndarray, among: np.ndarray, bits: int, settled: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Finds all pairs whose hashes differ in at most `bits` for each channel that both have.

    Args:
      words: uint64 [N, 4], the hashes; see `perceptual.channel_words`.
      among: int64 [M], the images that are searched, by position.
      bits: see `perceptual.Rule`.
      settled: int64 [N], equal for images that need not be compared with one another, whose pairs
        may be left out; `OUT` for those that need not be compared with any. The caller may change
        it in place while it takes the pairs: ten thousand images that turn out to be one have fifty
        million pairs, and the first few suffice.

    Yields:
      a, b: int64 [P], positions, in each pair the lower one first. A pair may come several times.
    """
    for channel in range(words.shape[1]):
        word = words[:, channel]
        images = among[word[among] != 0]
        if len(images) < 2:
            continue
        for left, right in _pairs_with_a_near_band(word, images, bits, settled):
            is_open = settled[left] != settled[right]
            left = left[is_open]
            right = right[is_open]
            near = np.bitwise_count(word[left] ^ word[right]) <= bits
            a = np.minimum(left, right)[near]
            b = np.maximum(left, right)[near]
            apart, shared = hash_distance(words[a], words[b])
            near = apart <= bits * shared
            if near.any():
                yield a[near], b[near]


def _pairs_with_a_near_band(
    word: np.ndarray, images: np.ndarray, bits: int, settled: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs among `images` of whose words, uint64 [N], a band differs in few enough bits."""
    bands = _number_of_bands(len(images), bits)
    edges = [_WORD * band // bands for band in range(bands + 1)]
    for first, end in pairwise(edges):
        width = end - first
        images = images[settled[images] != OUT]
        shifted = word[images] >> np.uint64(first)
        key = (shifted & np.uint64(2**width - 1)).astype(np.int64)
        order = np.argsort(key, kind="stable")
        yield from _near_keys(key[order], width, bits // bands, images[order], settled)


def _number_of_bands(images: int, bits: int) -> int:
    """The number of bands that is cheapest; each of them has `_MAX_WIDTH` bits at most."""
    best = 0
    best_cost = float("inf")
    for bands in range(-(-_WORD // _MAX_WIDTH), _WORD // 2):
        width = -(-_WORD // bands)
        values = _values_within(width, bits // bands)
        # The table, then for each image a lookup of every value and what is found there.
        cost = bands * (2**width + images * values * (1 + images / 2**width))
        if cost < best_cost:
            best = bands
            best_cost = cost
    return best


def _values_within(width: int, radius: int) -> int:
    """Number of values of `width` bits that differ from a given one in at most `radius`."""
    return sum(comb(width, flipped) for flipped in range(min(radius, width) + 1))


def _near_keys(
    key: np.ndarray, width: int, radius: int, images: np.ndarray, settled: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of images whose keys differ in at most `radius` bits, each pair once.

    Args:
      key: int64 [M], of `width` bits, sorted.
      width: number of bits.
      radius: number of bits.
      images: int64 [M], the image of each key.
      settled: see `near_pairs`.
    """
    start = np.zeros(2**width + 1, np.int64)
    np.cumsum(np.bincount(key, minlength=2**width), out=start[1:])
    position = np.arange(len(key))
    yield from _expand(_Ranges(position, position + 1, start[key + 1]), images, settled)
    for flipped in range(1, min(radius, width) + 1):
        for bits in combinations(range(width), flipped):
            # Of the two keys of a pair, only that without the highest bit looks for the other.
            asking = np.flatnonzero((key >> bits[-1]) & 1 == 0)
            wanted = key[asking] ^ sum(1 << bit for bit in bits)
            ranges = _Ranges(asking, start[wanted], start[wanted + 1])
            yield from _expand(ranges, images, settled)


class _Ranges(NamedTuple):
    """Images that are to be compared, each with a range of others; all are positions by key.

    Attributes:
      asking: int64 [R].
      begin: int64 [R], where its range begins.
      end: int64 [R].
    """

    asking: np.ndarray
    begin: np.ndarray
    end: np.ndarray

    def take(self, some: np.ndarray | slice) -> "_Ranges":
        """Some of them."""
        return _Ranges(self.asking[some], self.begin[some], self.end[some])


def _expand(
    ranges: _Ranges, images: np.ndarray, settled: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The pairs of images of the ranges, about `_CHUNK` at a time."""
    ranges = ranges.take(ranges.end > ranges.begin)
    while len(ranges.asking):
        number = ranges.end - ranges.begin
        total = np.cumsum(number)
        # Looking it up pays where the pairs are many.
        if total[-1] > len(images):
            unsettled = ~_is_settled(ranges, settled[images])
            ranges = ranges.take(unsettled)
            number = number[unsettled]
            total = np.cumsum(number)
            if not len(number):
                return
        # One at least, even if it alone has more partners than a chunk.
        taken = max(int(np.searchsorted(total, _CHUNK, side="right")), 1)
        number = number[:taken]
        left = np.repeat(ranges.asking[:taken], number)
        offset = np.arange(len(left)) - np.repeat(total[:taken] - number, number)
        right = np.repeat(ranges.begin[:taken], number) + offset
        yield images[left], images[right]
        ranges = ranges.take(slice(taken, None))


def _is_settled(ranges: _Ranges, settled: np.ndarray) -> np.ndarray:
    """bool [R]: whether an image need not be compared with any in its range.

    Args:
      ranges: of positions by key.
      settled: of the image in each position; see `near_pairs`.
    """
    changes = np.cumsum(np.append(False, settled[1:] != settled[:-1]))
    are_equal = changes[ranges.begin] == changes[ranges.end - 1]
    return are_equal & (settled[ranges.begin] == settled[ranges.asking])
