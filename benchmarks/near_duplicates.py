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
from tfds_builder.hpa.split.perceptual import Rule

BEFORE = "before"
RULES = {
    BEFORE: Rule(32, 0.6),
    "4 bits, 0.9": Rule(4, 0.9),
    "6 bits, 0.9": Rule(6, 0.9),
    "8 bits, 0.9": Rule(8, 0.9),
    "8 bits, 0.8": Rule(8, 0.8),
    "10 bits, 0.8": Rule(10, 0.8),
}
_BLOCK = 256  # images compared with all others at a time
_VISIBLE = 0.5  # std in gray levels from which a channel of a thumbnail is not blank


class Measured(NamedTuple):
    """Images as the rules see them.

    Attributes:
      words: uint64 [N, 4], the hashes.
      pixels: float32 [4, N, P], thumbnails with mean 0 and norm 1; 0 where blank.
      visible: bool [N, 4].
    """

    words: np.ndarray
    pixels: np.ndarray
    visible: np.ndarray


def measure(images: Sequence[np.ndarray]) -> Measured:
    """Hashes and thumbnails of uint8 [H, W, 4] images."""
    hashes = b"".join(map(perceptual.perceptual_hash, images))
    words = perceptual.channel_words(np.frombuffer(hashes, np.uint8))
    rows = [perceptual.thumbnail(image).reshape(-1, 4).T for image in images]
    pixels = np.stack(rows, axis=1).astype(np.float32)
    pixels -= pixels.mean(-1, keepdims=True)
    visible = pixels.std(-1) >= _VISIBLE
    norm = np.linalg.norm(pixels, axis=-1, keepdims=True)
    pixels *= np.where(visible[..., None], 1 / np.maximum(norm, 1e-9), 0)
    return Measured(words, pixels, visible.T)


class Compared(NamedTuple):
    """Pairs of images as the rules see them; by channel in the last axis.

    Attributes:
      bits: that differ.
      hashed: whether both have a hash of the channel.
      correlation: of the pixels.
      visible_a: whether the first's pixels are not blank.
      visible_b: whether the second's are not.
    """

    bits: np.ndarray
    hashed: np.ndarray
    correlation: np.ndarray
    visible_a: np.ndarray
    visible_b: np.ndarray

    def are_same(self, name: str) -> np.ndarray:
        """Whether each pair is one of near-duplicates by one of RULES."""
        rule = RULES[name]
        both = self.visible_a & self.visible_b
        if name == BEFORE:
            near = self.bits.sum(-1) <= rule.bits
            compared = self.visible_a | self.visible_b
        else:
            shared = self.hashed.sum(-1)
            near = (self.bits * self.hashed).sum(-1) <= rule.bits * shared
            near &= shared > 0
            compared = both
        alike = (both & (self.correlation > rule.correlation)) | ~compared
        return near & alike.all(-1) & compared.any(-1)


def compare_copies(a: Measured, b: Measured) -> Compared:
    """Compares each image of one set with that in the same position of the other."""
    return Compared(
        np.bitwise_count(a.words ^ b.words).astype(int),
        (a.words != 0) & (b.words != 0),
        np.einsum("cnp,cnp->nc", a.pixels, b.pixels),
        a.visible,
        b.visible,
    )


class Found(NamedTuple):
    """What a rule takes for near-duplicates among images that are none.

    Attributes:
      pairs: their number.
      largest: images in the largest group that they make.
    """

    pairs: int
    largest: int


def false_pairs(measured: Measured) -> dict[str, Found]:
    """Compares all pairs by each of RULES."""
    images = len(measured.words)
    pairs = dict.fromkeys(RULES, 0)
    component = {name: np.arange(images) for name in RULES}
    # A channel that no image has is equal in all.
    channels = np.flatnonzero(measured.visible.any(0) | (measured.words != 0).any(0))
    words = measured.words[:, channels]
    visible = measured.visible[:, channels]
    for first in range(0, images, _BLOCK):
        end = min(first + _BLOCK, images)
        correlation = [pixels[first:end] @ pixels[first:].T for pixels in measured.pixels[channels]]
        block = words[first:end, None]
        compared = Compared(
            np.bitwise_count(block ^ words[None, first:]),
            (block != 0) & (words[None, first:] != 0),
            np.stack(correlation, axis=-1),
            visible[first:end, None],
            visible[None, first:],
        )
        for name in RULES:
            rows, columns = np.nonzero(np.triu(compared.are_same(name), 1))
            pairs[name] += len(rows)
            edges = component[name][rows + first], component[name][columns + first]
            graph = coo_array((np.ones(len(rows), bool), edges), shape=(images, images))
            _, joined = connected_components(graph, directed=False)
            component[name] = joined[component[name]]
    return {name: Found(pairs[name], int(np.bincount(component[name]).max())) for name in RULES}


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
    comparisons = {}
    for kind, alter in ALTERATIONS.items():
        copies = measure([alter(image) for image in images[::every]])
        comparisons[kind] = compare_copies(originals, copies)
    total = len(images) * (len(images) - 1) // 2
    print(f"\n{title}: {len(images)} images, {total} pairs; {len(originals.words)} copied")
    print(f"  {'':<14}{'false pairs':>12}{'largest group':>15}   % of copies missed")
    rows = []
    for name, (pairs, largest) in false_pairs(measured).items():
        missed = {}
        for kind, compared in comparisons.items():
            missed[kind] = 100 * float(np.mean(~compared.are_same(name)))
        text = "  ".join(f"{kind} {percent:.1f}" for kind, percent in missed.items())
        print(f"  {name:<14}{pairs:>12}{largest:>15}   {text}", flush=True)
        row = make_row(
            f"duplicates_{title}_{name}_false_pairs",
            pairs,
            "pairs",
            device="any",
            pairs=total,
            largest_group=largest,
            missed_percent=missed,
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
