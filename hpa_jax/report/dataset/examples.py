"""Which images a page shows, by position alone: the same dataset gives the same images."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hpa_jax.report.dataset.load import DatasetSummary

PER_LABEL = 9
"""Images shown of each label."""
MAX_PAIRS = 24
"""Pairs of near-duplicates shown."""


class ImageRef(NamedTuple):
    """An image among those of several datasets."""

    dataset: int
    index: int


class DuplicatePair(NamedTuple):
    """A pair of near-duplicates; its images as far as they are in these datasets.

    Attributes:
      ids: the two Ids.
      distance: bits in which the perceptual hashes differ.
      images: None for one that is in none of these datasets.
      labels_differ: False where one image is unknown.
      folds_differ: they are in different folds, or only one is in the test split; False where one
        image is unknown.
    """

    ids: tuple[str, str]
    distance: int
    images: tuple[ImageRef | None, ImageRef | None]
    labels_differ: bool
    folds_differ: bool


def examples_per_label(
    datasets: Sequence[DatasetSummary], n: int = PER_LABEL
) -> list[list[ImageRef]]:
    """Returns for each label up to `n` images that have it, evenly spread over the stored order."""
    targets = np.concatenate([dataset.targets for dataset in datasets])
    lengths = np.array([len(dataset) for dataset in datasets])
    ends = np.cumsum(lengths)
    starts = ends - lengths
    examples = []
    for column in targets.T:
        refs = []
        for position in evenly_spread(np.flatnonzero(column), n):
            dataset = int(np.searchsorted(ends, position, side="right"))
            refs.append(ImageRef(dataset, position - int(starts[dataset])))
        examples.append(refs)
    return examples


def evenly_spread(positions: np.ndarray, n: int) -> list[int]:
    """Returns `n` of them at equal distances, with the first and last; all if there are fewer."""
    if len(positions) > n:
        chosen = np.linspace(0, len(positions) - 1, n).round().astype(int)
        positions = positions[chosen]
    return positions.tolist()


def duplicate_pairs(datasets: Sequence[DatasetSummary]) -> list[DuplicatePair]:
    """Returns all near-duplicates: differing labels first, then by increasing distance."""
    pairs = []
    for number, dataset in enumerate(datasets):
        # Indexing the Ids of all datasets takes time; without a pair nobody asks for them.
        if not dataset.duplicates:
            continue
        refs = _refs_by_id(datasets, preferred=number)
        for a, b, distance in dataset.duplicates:
            pairs.append(_pair(datasets, (a, b), distance, (refs.get(a), refs.get(b))))
    return sorted(pairs, key=lambda pair: (not pair.labels_differ, pair.distance))


def _refs_by_id(datasets: Sequence[DatasetSummary], preferred: int) -> dict[str, ImageRef]:
    """Images of all datasets by Id, the preferred dataset's where several have it.

    The others count, too: a build can be compared with a neighbouring dataset.
    """
    refs = {}
    # The preferred dataset comes last, and so replaces what others have.
    numbers = sorted(range(len(datasets)), key=lambda number: number == preferred)
    for number in numbers:
        for i, image_id in enumerate(datasets[number].ids):
            refs[image_id] = ImageRef(number, i)
    return refs


def _pair(
    datasets: Sequence[DatasetSummary],
    ids: tuple[str, str],
    distance: int,
    images: tuple[ImageRef | None, ImageRef | None],
) -> DuplicatePair:
    a, b = images
    if a is None or b is None:
        return DuplicatePair(ids, distance, images, labels_differ=False, folds_differ=False)
    dataset_a = datasets[a.dataset]
    dataset_b = datasets[b.dataset]
    labels_differ = dataset_a.targets[a.index] != dataset_b.targets[b.index]
    folds_differ = dataset_a.folds[a.index] != dataset_b.folds[b.index]
    return DuplicatePair(ids, distance, images, bool(labels_differ.any()), bool(folds_differ))


def groups_across_folds(dataset: DatasetSummary) -> int:
    """Counts groups with images in several folds, or in a fold and the test split; 0 is sound."""
    places = np.unique(np.stack([dataset.groups, dataset.folds], axis=1), axis=0)
    # One row for each group and fold that occur together.
    folds_per_group = np.unique(places[:, 0], return_counts=True)[1]
    return int((folds_per_group > 1).sum())


def images_to_show(
    examples: Sequence[Sequence[ImageRef]], pairs: Sequence[DuplicatePair]
) -> list[ImageRef]:
    """Returns the images of the examples and of the pairs to show, once, in stored order."""
    refs = set()
    for images in examples:
        refs.update(images)
    for pair in pairs[:MAX_PAIRS]:
        refs.update(pair.images)
    return sorted(refs - {None})
