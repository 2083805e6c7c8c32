"""Splits that a column of the csv or public lists name: they win over near-duplicates and groups.

`validation` is fold 0 and `test` the held-out split, as named. The images of `train` are divided
into the other folds, stratified, whole groups at a time. Where no image is in `validation`, one of
the folds of `train` is.

Near-duplicates and groups that lie on both sides make scores look better than they are: they are
counted and reported, and their images are then in a group for each split.
"""

from collections.abc import Sequence

import numpy as np

from hpa_jax.errors import InputError
from tfds_builder.hpa.sources import Example
from tfds_builder.hpa.split import stratify
from tfds_builder.hpa.split.duplicates import renumber_groups

COLUMN_FLAG = "--split_column"

_VALIDATION_FOLD = 0


def assign_folds(
    examples: Sequence[Example],
    groups: np.ndarray,
    classes: int,
    *,
    folds: int,
    seed: int,
    flag: str = COLUMN_FLAG,
) -> np.ndarray:
    """The fold of each image.

    Args:
      examples: each with its `split`.
      groups: int64 [N], the group of each.
      classes: number of labels.
      folds: number of folds, `validation` included.
      seed: of the folds of `train`.
      flag: that named the splits, for messages.

    Returns:
      int64 [N]: `stratify.TEST` or the fold.

    Raises:
      InputError: no image is in `train`.
    """
    splits = np.array([example.split for example in examples])
    train = np.flatnonzero(splits == "train")
    if not len(train):
        raise InputError(f"{flag} puts no image in train; put train there for those to learn from")
    fold = np.full(len(examples), stratify.TEST, np.int64)
    fold[splits == "validation"] = _VALIDATION_FOLD
    first = 1 if (splits == "validation").any() else 0
    if folds - first < 2:
        fold[train] = 1
        return fold
    labels = [examples[i].labels for i in train]
    settings = {"test": 0, "folds": folds - first, "seed": seed}
    fold[train] = first + stratify.split(labels, groups[train], classes, **settings)
    return fold


def separate_groups(groups: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Groups of which none lies in two splits.

    Args:
      groups: int64 [N], the group of each image.
      folds: int64 [N], the fold of each.

    Returns:
      int64 [N], numbered by first appearance.
    """
    split = np.minimum(folds, 1)
    _, number = np.unique(np.stack([groups, split]), axis=1, return_inverse=True)
    return renumber_groups(number.ravel())


def describe_crossings(
    examples: Sequence[Example],
    duplicates: Sequence[tuple[str, str, int]],
    flag: str = COLUMN_FLAG,
) -> list[str]:
    """What lies on both sides of the splits, and which are made up, a line each.

    Args:
      examples: each with its `split`.
      duplicates: (Id, Id, distance) of near-duplicates.
      flag: that named the splits.
    """
    by_id = {example.id: example for example in examples}
    notes = []
    if all(example.split != "validation" for example in examples):
        notes.append(f"{flag} puts no image in validation: a part of train is validation.")
    crossing = []
    for a, b, _ in duplicates:
        # One of them may be no image of a split.
        both = a in by_id and b in by_id
        if both and by_id[a].split != by_id[b].split:
            crossing.append((by_id[a], by_id[b]))
    if crossing:
        a, b = crossing[0]
        notes.append(
            f"{len(crossing)} near-duplicate pairs of {len(duplicates)} lie in two splits of "
            f"{flag}, such as {_shown(a)} and {_shown(b)}: scores on them are too good; "
            "see duplicates.csv."
        )
    splits_of: dict[str, set[str]] = {}
    for example in examples:
        if example.group_key:
            splits_of.setdefault(example.group_key, set()).add(example.split)
    torn = [key for key, splits in splits_of.items() if len(splits) > 1]
    if torn:
        notes.append(
            f"{len(torn)} groups of {len(splits_of)} lie in several splits of {flag}, "
            f"such as {torn[0]}: scores on them are too good."
        )
    return notes


def _shown(example: Example) -> str:
    return f"{example.original_id or example.id} ({example.split})"
