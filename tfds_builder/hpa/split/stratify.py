"""Seeded split into a held-out test split and k folds, stratified by label, whole groups at a time.

Groups (near-duplicates, images of one antibody) never straddle a split. Iterative stratification by
the package iterative-stratification assigns the groups, each a row with the union of its labels;
`rebalance.py` then moves groups until the subsets are proportional in images. A subset is the test
split or a fold.

Design: the package is asked once, for all subsets, and what follows is integer arithmetic, so that
no machine rounds or sums in another order and gets another split.

References:
  Sechidis, Tsoumakas, Vlahavas 2011, https://doi.org/10.1007/978-3-642-23808-6_10
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from iterstrat.ml_stratifiers import IterativeStratification

from hpa_jax.errors import InputError
from hpa_jax.labels import LABELS
from tfds_builder.hpa.split.duplicates import renumber_groups
from tfds_builder.hpa.split.rebalance import rebalance

TEST = -1  # number of the held-out split; the folds are 0, 1, ...
UNDECIDED = -2  # in `fixed`: the split decides
# Images with which a label, if in twice as many groups as there are subsets, is in every subset.
ENOUGH = 10
_UNIT = 10_000  # fractions are integers of this unit


def split(
    labels: Sequence[Sequence[int]],
    groups: np.ndarray,
    classes: int,
    *,
    test: float = 0.1,
    folds: int = 5,
    seed: int = 0,
    fixed: np.ndarray | None = None,
) -> np.ndarray:
    """Assigns images to a test split and `folds` folds of equal size, whole groups at a time.

    With three groups or more, the test split (unless `test` is 0), fold 0 and at least one more
    fold have images; there are fewer folds if there are fewer groups. One or two groups are all in
    fold 1, which is `train`.

    Args:
      labels: label ids of each image; the split depends on their order, so sort the images first.
      groups: int [N], the group of each image; which numbers name the groups has no meaning.
      classes: number of labels.
      test: fraction of the test split, 0.001 to 0.9; or 0 for none.
      folds: 2 or more.
      seed: of the random order and of ties.
      fixed: int [N], `TEST` or the fold of each image that is decided already, else `UNDECIDED`. A
        group goes where most of its decided images go, of equals to the lowest number; see
        `conflicts`.

    Returns:
      int64 [N]: `TEST` or the fold of each image.

    Raises:
      InputError: a fraction, a number of folds or a fixed fold is out of range.
    """
    check(test, folds)
    if not len(labels):
        return np.empty(0, np.int64)
    group = renumber_groups(groups)
    decided = _decided_folds(group, fixed, folds)
    fraction = fractions(test, folds, len(decided), int(decided.max()))
    counts = _group_counts(labels, group, classes)
    random = np.random.RandomState(seed)
    order = random.permutation(len(counts))
    # From here on 0 is the test split, fold f is f + 1 and undecided is -1.
    subset = decided + 1
    free = order[subset[order] < 0]
    if len(decided) < 3:
        subset[free] = 2
        return subset[group] - 1
    _stratify(subset, free, counts, fraction, random)
    # A label in too few groups cannot be in every subset; but no subset may be empty.
    images_with = counts.sum(0)
    groups_with = (counts > 0).sum(0)
    required = (images_with >= ENOUGH) & (groups_with >= np.count_nonzero(fraction))
    required[-1] = True
    return rebalance(subset, counts, fraction, required, free)[group] - 1


def _group_counts(labels: Sequence[Sequence[int]], group: np.ndarray, classes: int) -> np.ndarray:
    """int32 [G, classes + 1]: images of each group with each label; the last column counts all."""
    counts = np.zeros((group.max() + 1, classes + 1), np.int32)
    image, label = _image_label_pairs(labels)
    np.add.at(counts, (group[image], label), 1)
    counts[:, -1] = np.bincount(group)
    return counts


def _stratify(
    subset: np.ndarray,
    free: np.ndarray,
    counts: np.ndarray,
    fraction: np.ndarray,
    random: np.random.RandomState,
) -> None:
    """Assigns the `free` groups, in place, with what the decided groups take already deducted."""
    sizes = counts[:, -1]
    is_decided = subset >= 0
    taken = np.bincount(subset[is_decided], sizes[is_decided], minlength=len(fraction))
    missing = np.maximum(fraction * sizes.sum() - _UNIT * taken.astype(np.int64), 0)
    wanted = np.where(fraction > 0, missing, 0)
    if len(free):
        has_label = (counts > 0)[free, :-1]
        subset[free] = IterativeStratification(has_label, wanted / wanted.sum(), random)
    # The package resolves ties among full subsets without regard to their fractions.
    misplaced = free[fraction[subset[free]] == 0]
    subset[misplaced] = 1 + np.argmax(fraction[1:])


def check(test: float, folds: int) -> None:
    """Raises InputError unless there is such a split."""
    if test and not 0.001 <= test <= 0.9:
        raise InputError(
            f"the test split cannot be {test:g} of the images; choose 0, or 0.001 to 0.9"
        )
    if not 2 <= folds <= 100:
        raise InputError(f"images cannot be split into {folds} folds; choose 2 to 100")


def fractions(test: float, folds: int, groups: int, highest: int = 0) -> np.ndarray:
    """The fraction of the images that the test split and each fold should have.

    Args:
      test: see `split`.
      folds: see `split`.
      groups: number of groups. There are fewer folds if there are fewer groups, but at least two.
      highest: the highest fold in use, which stays.

    Returns:
      int64 [1 + folds], ten-thousandths; their sum is 10,000.
    """
    folds = max(min(folds, groups - (test > 0)), 2, highest + 1)
    held_out = round(Fraction(str(test)) * _UNIT)
    each, remainder = divmod(_UNIT - held_out, folds)
    fold_fractions = [each + (fold < remainder) for fold in range(folds)]
    return np.array([held_out, *fold_fractions], np.int64)


class Conflict(NamedTuple):
    """A group whose images were decided to be in several subsets.

    Attributes:
      images: positions of the decided ones.
      folds: of each of them.
      fold: the group's.
    """

    images: list[int]
    folds: list[int]
    fold: int


def conflicts(groups: np.ndarray, fixed: np.ndarray) -> list[Conflict]:
    """The groups that `fixed` would tear apart, and where `split` puts them.

    Args:
      groups: see `split`.
      fixed: see `split`.

    Returns:
      one for each such group, by first appearance.
    """
    group = renumber_groups(groups)
    fixed = np.asarray(fixed)
    fold = _decided_folds(group, fixed, int(fixed.max(initial=0)) + 1)
    known = np.flatnonzero(fixed != UNDECIDED)
    elsewhere = known[fixed[known] != fold[group[known]]]
    members: dict[int, list[int]] = {number: [] for number in np.unique(group[elsewhere])}
    for image in known[np.isin(group[known], list(members))].tolist():
        members[group[image]].append(image)
    found = []
    for number, images in members.items():
        found.append(Conflict(images, fixed[images].tolist(), int(fold[number])))
    return found


class Deviations(NamedTuple):
    """How far the subsets are from proportional.

    Rows are the test split, then the folds; columns are the labels, then all images.

    Attributes:
      images: int64 [1 + folds, classes + 1], images with the label.
      proportional: float64, the number that would be exactly proportional.
      fraction: float64, (images - proportional) / the label's images; 0 for a label without images.
    """

    images: np.ndarray
    proportional: np.ndarray
    fraction: np.ndarray


def deviations(
    labels: Sequence[Sequence[int]],
    groups: np.ndarray,
    fold: np.ndarray,
    classes: int,
    *,
    test: float,
    folds: int,
) -> Deviations:
    """Compares the result of `split`, or any other such assignment, with proportion.

    Args:
      labels: see `split`.
      groups: see `split`.
      fold: int [N], `TEST` or the fold of each image.
      classes: see `split`.
      test: see `split`.
      folds: see `split`.
    """
    fold = np.asarray(fold)
    fraction = fractions(test, folds, len(np.unique(groups)), int(fold.max(initial=0)))
    images = np.zeros((len(fraction), classes + 1), np.int64)
    image, label = _image_label_pairs(labels)
    np.add.at(images, (fold[image] + 1, label), 1)
    np.add.at(images[:, -1], fold + 1, 1)
    total = images.sum(0)
    proportional = np.outer(fraction, total) / _UNIT
    return Deviations(images, proportional, (images - proportional) / np.maximum(total, 1))


def explain_deviations(
    labels: Sequence[Sequence[int]],
    groups: np.ndarray,
    found: Deviations,
    names: Sequence[str] = LABELS,
    most: int = 5,
) -> list[str]:
    """Describes the labels that groups keep 1 % of their images or more from proportion.

    Single images can come within one image of it, so a wider gap is caused by the groups.

    Args:
      labels: see `split`.
      groups: see `split`.
      found: of these images.
      names: of the labels.
      most: number of labels.

    Returns:
      a line for each, the worst first.
    """
    image, label = _image_label_pairs(labels)
    group = renumber_groups(groups)
    off = np.abs(found.images - found.proportional)[:, :-1]
    worst_subset = off.argmax(0)
    worst_fraction = np.abs(found.fraction[:, :-1]).max(0)
    lines = []
    for one in np.argsort(-worst_fraction, kind="stable"):
        subset = worst_subset[one]
        fraction = found.fraction[subset, one]
        group_sizes = np.bincount(group[image[label == one]])
        if off[subset, one] <= 1 or abs(fraction) < 0.01 or group_sizes.max(initial=0) < 2:
            continue
        name = names[one] if one < len(names) else f"label {one}"
        where = f"fold {subset - 1}" if subset else "the test split"
        lines.append(
            f"{name}: {found.images[subset, one]} images in {where}, "
            f"{found.proportional[subset, one]:.1f} would be proportional "
            f"({100 * fraction:+.1f} % of its {group_sizes.sum()} images): "
            f"they are in {_describe_groups(np.count_nonzero(group_sizes), group_sizes.max())}"
        )
    return lines[:most]


def _describe_groups(number: int, largest: int) -> str:
    if number == 1:
        return "one group"
    return f"{number} groups of up to {largest}"


def _image_label_pairs(labels: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """(image, label) of every label of every image, each int64 [total]."""
    lengths = np.fromiter(map(len, labels), np.int64, len(labels))
    flat = (label for ids in labels for label in ids)
    image = np.repeat(np.arange(len(labels)), lengths)
    return image, np.fromiter(flat, np.int64, int(lengths.sum()))


def _decided_folds(group: np.ndarray, fixed: np.ndarray | None, folds: int) -> np.ndarray:
    """int64 [G]: the fold of each group with a fixed image, else `UNDECIDED`."""
    undecided = np.full(group.max(initial=-1) + 1, UNDECIDED, np.int64)
    if fixed is None:
        return undecided
    fixed = np.asarray(fixed)
    out_of_range = fixed[(fixed < UNDECIDED) | (fixed >= folds)]
    if len(out_of_range):
        raise InputError(
            f"an image is fixed in fold {out_of_range[0]}, but there are {folds} folds; "
            "give as many as the dataset has that decided it"
        )
    known = fixed != UNDECIDED
    votes = np.zeros((len(undecided), folds + 1), np.int64)
    np.add.at(votes, (group[known], fixed[known] + 1), 1)
    # argmax takes the first of equals, so the lowest number.
    return np.where(votes.any(1), votes.argmax(1) - 1, undecided)
