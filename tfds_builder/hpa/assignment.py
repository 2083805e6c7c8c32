"""Which split and fold each image gets: by its labels and group, or as a column or lists say."""

from typing import NamedTuple

import numpy as np

from tfds_builder.hpa.build import UNLABELLED, Build
from tfds_builder.hpa.grouping import Grouping
from tfds_builder.hpa.sources import Example
from tfds_builder.hpa.split import by_column, evenness, stratify
from tfds_builder.hpa.split.duplicates import renumber_groups

# Of an image without labels, to tell its group from those of the other splits.
_NO_FOLD = -2


class Assignment(NamedTuple):
    """Where the images of a build go.

    Attributes:
      folds: int64 [N], `stratify.TEST` in the test split and without labels.
      groups: int64 [N], of which none lies in two splits.
      notes: what the user should know, a line each.
    """

    folds: np.ndarray
    groups: np.ndarray
    notes: list[str]


def labels_known(examples: list[Example]) -> np.ndarray:
    """bool [N]: whether the labels of each image are known."""
    return np.array([example.labels_known for example in examples])


def assign_splits(build: Build, examples: list[Example], grouping: Grouping) -> Assignment:
    """Assigns images to splits; those of which nobody knows the labels to one of their own.

    Raises:
      InputError: the splits are out of bounds, or a column of splits has none to learn from.
    """
    known = labels_known(examples)
    folds = np.full(len(known), stratify.TEST)
    notes = []
    groups = grouping.groups
    if known.any():
        folds[known], notes = _assign_known(build, examples, grouping, known)
    if examples[0].split or not known.all():
        # A third split beside those that folds tell apart.
        groups = by_column.separate_groups(groups, np.where(known, folds, _NO_FOLD))
    unlabelled = np.count_nonzero(~known)
    if unlabelled:
        where = f"split `{UNLABELLED}`" if known.any() else "split `all`"
        images = f"{unlabelled} images" if known.any() else "all images"
        notes.append(f"nobody knows the labels of {images}, in the {where}, to predict on.")
    return Assignment(folds, groups, notes)


def _assign_known(
    build: Build, examples: list[Example], grouping: Grouping, known: np.ndarray
) -> tuple[np.ndarray, list[str]]:
    """The folds of the images whose labels are known, and what the user should know of them."""
    examples = [examples[i] for i in np.flatnonzero(known)]
    groups = renumber_groups(grouping.groups[known])
    fixed = None if grouping.fixed is None else grouping.fixed[known]
    classes = len(build.source.vocabulary)
    if examples[0].split:
        settings = {"folds": build.folds, "seed": build.seed, "flag": build.split_flag}
        folds = by_column.assign_folds(examples, groups, classes, **settings)
        notes = by_column.describe_crossings(examples, grouping.duplicates, build.split_flag)
        return folds, notes
    labels = [example.labels for example in examples]
    sizes = {"test": build.test, "folds": build.folds}
    folds = stratify.split(labels, groups, classes, **sizes, seed=build.seed, fixed=fixed)
    notes = []
    if fixed is not None:
        matched = np.count_nonzero(fixed != stratify.UNDECIDED)
        name = build.match_splits_of.name
        notes.append(f"{matched} images follow their near-duplicates in {name}.")
    deviations = stratify.deviations(labels, groups, folds, classes, **sizes)
    if not build.allow_uneven_splits:
        evenness.check_even(
            deviations, examples, groups, grouping.duplicates, build.near_duplicates
        )
    names = build.source.vocabulary.labels
    notes += stratify.explain_deviations(labels, groups, deviations, names)
    return folds, notes
