"""False and missed pairs of near-duplicates, and what finding them costs.

    HPA_SAMPLE_DIR=DIR HPA_HEP2_DIR=DIR python benchmarks/near_duplicates.py [--json=FILE]

Images are the real sample (four channels, and the protein alone), the training cells of HEp-2 (one
channel) and synthetic ones of several sizes; what is not set is left out. All pairs of a set are
false pairs, except that HEp-2 has cells that were cut out twice: pairs within 4 bits mostly are
such. Copies are altered images, compared with their originals; a missed pair is one not recognised.
`before` is the rule of version 0.2: 32 of the 256 bits, whatever was imaged. Then the search among
so many hashes, of which 3 % are copies, and among equal, blank and nearly equal ones.
"""

import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import checkout  # noqa: F401
import numpy as np
from command_line import make_parser, run
from duplicate_images import ALTERATIONS, image_sets
from results import make_row, write_rows
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from splits import draw_hashes

from tfds_builder.hpa.split import duplicates, perceptual
from tfds_builder.hpa.split.candidates import near_pairs
from tfds_builder.hpa.split.perceptual import Rule

BEFORE = "before"
RULES: dict[str, Rule | None] = {
    BEFORE: None,
    "6 bits, 0.9": Rule(6, 0.9),
    "8 bits, 0.9": Rule(8, 0.9),
    "8 bits, 0.8": Rule(8, 0.8),
    "10 bits, 0.8": Rule(10, 0.8),
    "12 bits, 0.8": Rule(12, 0.8),
}
_BLOCK = 256  # images compared with all others at a time
_VISIBLE = 0.5  # std in gray levels from which a channel of a thumbnail is not blank


class Measured(NamedTuple):
    """Images as the rules see them.

    Attributes:
      words: uint64 [N, 4], the hashes.
      thumbnails: uint8 [N, 64, 64, 4].
    """

    words: np.ndarray
    thumbnails: np.ndarray

    def are_same(self, other: "Measured", pairs: np.ndarray, rule: Rule) -> np.ndarray:
        """bool [P]: whether a rule takes each pair, int [P, 2], for near-duplicates."""
        apart, shared = perceptual.hash_distance(self.words[pairs[:, 0]], other.words[pairs[:, 1]])
        same = (apart <= rule.bits * shared) & (shared > 0)
        for number in np.flatnonzero(same):
            a, b = pairs[number]
            same[number] = perceptual.same_pixels(
                self.thumbnails[a], other.thumbnails[b], rule.correlation
            )
        return same


def measure(images: Sequence[np.ndarray]) -> Measured:
    """Hashes and thumbnails of uint8 [H, W, 4] images."""
    hashes = b"".join(map(perceptual.perceptual_hash, images))
    words = perceptual.channel_words(np.frombuffer(hashes, np.uint8))
    return Measured(words, np.stack([perceptual.thumbnail(image) for image in images]))


def same_before(a: Measured, b: Measured) -> np.ndarray:
    """bool [N, M]: the rule of version 0.2 between all images of two sets.

    A channel that was blank in both had no bits, and none of its pixels to correlate; 32 bits were
    allowed all the same.
    """
    near = np.bitwise_count(a.words[:, None] ^ b.words[None]).sum(-1, dtype=np.int64) <= 32
    alike = np.ones(near.shape, bool)
    some = np.zeros(near.shape, bool)
    for channel in range(4):
        pixels_a, visible_a = _normalized(a.thumbnails[..., channel])
        pixels_b, visible_b = _normalized(b.thumbnails[..., channel])
        visible = visible_a[:, None] | visible_b[None]
        if visible.any():
            alike &= (pixels_a @ pixels_b.T > 0.6) | ~visible
            some |= visible
    return near & alike & some


def _normalized(thumbnails: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Float32 [N, P] with mean 0 and norm 1, or 0 if blank; and whether it is not, bool [N]."""
    pixels = thumbnails.reshape(len(thumbnails), -1).astype(np.float32)
    pixels -= pixels.mean(-1, keepdims=True)
    visible = pixels.std(-1) >= _VISIBLE
    norm = np.linalg.norm(pixels, axis=-1)
    pixels *= np.where(visible, 1 / np.maximum(norm, 1e-9), 0)[:, None]
    return pixels, visible


class Groups:
    """The number of pairs that were taken for near-duplicates, and the groups that they make."""

    def __init__(self, images: int):
        self.pairs = 0
        self._component = np.arange(images)

    def add(self, pairs: np.ndarray) -> None:
        """Joins pairs, int [P, 2]."""
        self.pairs += len(pairs)
        images = len(self._component)
        edges = self._component[pairs].T
        graph = coo_array((np.ones(len(pairs), bool), tuple(edges)), shape=(images, images))
        _, joined = connected_components(graph, directed=False)
        self._component = joined[self._component]

    def largest(self) -> int:
        """Images in the largest group."""
        return int(np.bincount(self._component).max())


def false_pairs(measured: Measured) -> dict[str, Groups]:
    """What each of RULES takes for near-duplicates among all pairs."""
    images = len(measured.words)
    everything = np.arange(images)
    found = {name: Groups(images) for name in RULES}
    for first in range(0, images, _BLOCK):
        block = Measured(*(array[first : first + _BLOCK] for array in measured))
        rest = Measured(*(array[first:] for array in measured))
        found[BEFORE].add(np.argwhere(np.triu(same_before(block, rest), 1)) + first)
    for name, rule in RULES.items():
        if rule is None:
            continue
        near = [np.empty((0, 2), np.int64)]
        for pairs in near_pairs(measured.words, everything, rule.bits, everything.copy()):
            near.append(np.stack(pairs, axis=1))
        candidates = np.unique(np.concatenate(near), axis=0)
        found[name].add(candidates[measured.are_same(measured, candidates, rule)])
    return found


def missed_percent(originals: Measured, copies: Measured) -> dict[str, float]:
    """Of copies in the order of their originals, how many each of RULES does not recognise."""
    own = np.stack([np.arange(len(originals.words))] * 2, axis=1)
    missed = {}
    for name, rule in RULES.items():
        if rule is None:
            same = np.diag(same_before(originals, copies))
        else:
            same = originals.are_same(copies, own, rule)
        missed[name] = 100 * float(np.mean(~same))
    return missed


def calibrate(title: str, images: Sequence[np.ndarray], copied: int) -> list[dict]:
    """Prints the table of one set of images; returns its rows.

    Args:
      title: of the set.
      images: uint8 [H, W, 4].
      copied: number of images of which altered copies are made.
    """
    measured = measure(images)
    every = max(len(images) // copied, 1)
    originals = measure(images[::every])
    missed = {}
    for kind, alter in ALTERATIONS.items():
        copies = measure([alter(image) for image in images[::every]])
        missed[kind] = missed_percent(originals, copies)
    total = len(images) * (len(images) - 1) // 2
    print(f"\n{title}: {len(images)} images, {total} pairs; {len(originals.words)} copied")
    print(f"  {'':<14}{'false pairs':>12}{'largest group':>15}   % of copies missed")
    rows = []
    for name, found in false_pairs(measured).items():
        of_rule = {kind: percent[name] for kind, percent in missed.items()}
        text = "  ".join(f"{kind} {percent:.1f}" for kind, percent in of_rule.items())
        print(f"  {name:<14}{found.pairs:>12}{found.largest():>15}   {text}", flush=True)
        row = make_row(
            f"duplicates_{title}_{name}_false_pairs",
            found.pairs,
            "pairs",
            device="any",
            pairs=total,
            largest_group=found.largest(),
            missed_percent=of_rule,
        )
        rows.append(row)
    return rows


def near_cloud(images: int) -> np.ndarray:
    """One hash of which up to a dozen bits are flipped; uint8 [N, HASH_BYTES]."""
    rng = np.random.default_rng(0)
    words = np.tile(rng.integers(0, 256, perceptual.HASH_BYTES, dtype=np.uint8), (images, 1))
    flipped = np.zeros((images, 8 * perceptual.HASH_BYTES), bool)
    for row in flipped:
        row[rng.integers(0, len(row), rng.integers(0, 12))] = True
    return words ^ np.packbits(flipped, axis=1)


def search(title: str, hashes: np.ndarray, same: Callable[[int, int], bool]) -> list[dict]:
    """Prints what finding the near-duplicates of so many hashes costs; returns the rows."""
    calls = 0

    def count_and_compare(a: int, b: int) -> bool:
        nonlocal calls
        calls += 1
        return same(a, b)

    start = time.process_time()
    pairs = duplicates.near_duplicates(hashes, count_and_compare)
    seconds = time.process_time() - start
    print(f"  {title:<28}{seconds:>8.2f} CPU s{len(pairs):>8} pairs{calls:>9} comparisons")
    name = f"duplicates_search_{title.replace(' ', '_')}"
    row = make_row(
        f"{name}_seconds", seconds, "s", device="cpu", pairs=len(pairs), comparisons=calls
    )
    return [row]


def search_all(many: Sequence[int]) -> list[dict]:
    """Searches among different hashes, so many each time, and among those that are alike."""
    print("\nsearch, without the comparisons of pixels")
    rows = []
    for images in many:
        hashes, original = draw_hashes(images)
        rows += search(f"{images}", hashes, lambda a, b, of=original: of[a] == of[b])
        one_channel = hashes.copy()
        one_channel[:, :8] = 0
        one_channel[:, 16:] = 0
        rows += search(
            f"{images} of one channel", one_channel, lambda a, b, of=original: of[a] == of[b]
        )
    rows += search("10000 blank", np.zeros((10_000, 32), np.uint8), lambda a, b: True)
    rows += search("10000 equal", np.full((10_000, 32), 85, np.uint8), lambda a, b: True)
    rows += search("10000 nearly equal", near_cloud(10_000), lambda a, b: True)
    rows += search("10000 that only look equal", near_cloud(10_000), lambda a, b: False)
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__)
    parser.add_argument("--cells", type=int, default=8701, help="of HEp-2 (default %(default)s)")
    parser.add_argument("--drawn", type=int, default=400, help="of each size (default %(default)s)")
    parser.add_argument("--copied", type=int, default=400, help="of each set (default %(default)s)")
    parser.add_argument(
        "--hashes", type=int, nargs="*", default=[31_072, 100_000], help="to search among"
    )
    return run(lambda: report(parser.parse_args(argv)))


def report(args) -> None:
    """Calibrates on each set of images, measures the search, and writes the rows."""
    rows = []
    for title, images in image_sets(args.cells, args.drawn):
        rows += calibrate(title, images, args.copied)
    if args.hashes:
        rows += search_all(args.hashes)
    write_rows(args.json, rows)


if __name__ == "__main__":
    sys.exit(main())
