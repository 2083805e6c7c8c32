"""Which fields a page shows, by position alone: the same dataset, the same fields."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hpa_jax.report.dataset.load import Facts, Pair

PER_LABEL = 9
"""Fields shown of each label."""
PAIRS = 24
"""Near-duplicates shown."""


class Spot(NamedTuple):
    """A field among those of several datasets."""

    source: int
    position: int


class Twins(NamedTuple):
    """A pair of near-duplicates, with its fields as far as they are in these datasets."""

    pair: Pair
    a: Spot | None
    b: Spot | None


def mosaic(facts: Sequence[Facts], n: int = PER_LABEL) -> list[list[Spot]]:
    """For each label up to `n` fields that bear it, evenly spread over the stored order of all datasets."""
    ends = np.cumsum([len(dataset) for dataset in facts])
    targets = np.concatenate([dataset.targets for dataset in facts])

    def spot(i: int) -> Spot:
        source = int(np.searchsorted(ends, i, side="right"))
        return Spot(source, i - (int(ends[source - 1]) if source else 0))

    return [[spot(i) for i in spread(np.flatnonzero(column), n)] for column in targets.T]


def spread(positions: np.ndarray, n: int) -> list[int]:
    """`n` of them at equal distances, the first and the last among them; all where there are no more."""
    if len(positions) <= n:
        return positions.tolist()
    return positions[np.linspace(0, len(positions) - 1, n).round().astype(int)].tolist()


def twins(facts: Sequence[Facts]) -> list[Twins]:
    """All near-duplicates, those with differing labels first, then the nearest."""
    found = []
    for s, dataset in enumerate(facts):
        if not dataset.pairs:
            continue
        # An Id of the dataset itself, else of another one that is looked at: a build can be told of a neighbour.
        order = [other for other in range(len(facts)) if other != s] + [s]
        at = {
            field_id: Spot(other, i)
            for other in order
            for i, field_id in enumerate(facts[other].ids)
        }
        found += [Twins(pair, at.get(pair.a), at.get(pair.b)) for pair in dataset.pairs]
    return sorted(found, key=lambda pair: (not labels_differ(facts, pair), pair.pair.distance))


def labels_differ(facts: Sequence[Facts], pair: Twins) -> bool:
    """Whether two near-duplicates bear different labels; False where one is in none of these datasets."""
    if pair.a is None or pair.b is None:
        return False
    a, b = (facts[spot.source].targets[spot.position] for spot in (pair.a, pair.b))
    return not np.array_equal(a, b)


def leaks(facts: Sequence[Facts], pair: Twins) -> bool:
    """Whether two near-duplicates stand in different folds, or one in the test part alone."""
    if pair.a is None or pair.b is None:
        return False
    a, b = (facts[spot.source].folds[spot.position] for spot in (pair.a, pair.b))
    return bool(a != b)


def straddling(dataset: Facts) -> int:
    """Number of groups with fields in more than one fold, or in the test part and a fold: none, if all is well."""
    places = np.unique(np.stack([dataset.groups, dataset.folds], axis=1), axis=0)
    return int((np.unique(places[:, 0], return_counts=True)[1] > 1).sum())


def shown(mosaic: Sequence[Sequence[Spot]], pairs: Sequence[Twins]) -> list[Spot]:
    """Every field of the mosaic and of the first PAIRS pairs, once, in stored order."""
    paired = (spot for pair in pairs[:PAIRS] for spot in (pair.a, pair.b) if spot is not None)
    return sorted({spot for strip in mosaic for spot in strip} | set(paired))
