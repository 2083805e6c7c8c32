"""What is probed: features by name, with the targets, groups and splits of the same rows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hpa_jax.errors import InputError

SPLITS = ("train", "validation", "test")
"""A row's split is a position in this: the net is fitted on the first, its epoch is chosen on the
second, and it is scored on the third."""

TRAIN = 0
VALIDATION = 1
TEST = 2

EMBEDDING = "embedding"
"""The features that are probed."""

UNTRAINED = "untrained"
"""Those of the same net before any training."""

HISTOGRAM = "histogram"
"""Those of intensities alone."""

# Below this fraction of its mean a spread is rounding.
_LEAST_SPREAD = 1e-6

_ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class Examples:
    """N rows.

    Attributes:
      features: float32 `[N, F]` by the name of what made them; F is each one's own.
      targets: uint8 `[N, L]`.
      groups: int64 `[N]`: rows of one group are no independent evidence.
      splits: int8 `[N]`, positions in SPLITS.
      label_names: of the L labels.
    """

    features: Mapping[str, np.ndarray]
    targets: np.ndarray
    groups: np.ndarray
    splits: np.ndarray
    label_names: Sequence[str]

    def counts(self) -> dict[str, int]:
        """Rows of each split, by name."""
        return {name: int((self.splits == number).sum()) for number, name in enumerate(SPLITS)}

    def labels_without(self, split: int) -> list[str]:
        """Names of the labels that a test row has, and no row of that split."""
        in_test = self.targets[self.splits == TEST].any(axis=0)
        in_split = self.targets[self.splits == split].any(axis=0)
        return [self.label_names[label] for label in np.flatnonzero(in_test & ~in_split)]

    def divided_groups(self) -> int:
        """How many groups of the test rows have rows to fit or to choose with as well."""
        test = np.unique(self.groups[self.splits == TEST])
        others = np.unique(self.groups[self.splits != TEST])
        return len(np.intersect1d(test, others, assume_unique=True))


def check_examples(examples: Examples) -> None:
    """Refuses what no net can be fitted on.

    Raises:
      InputError: a split without rows or without positives, or features that are not finite.
    """
    for number, name in enumerate(SPLITS):
        rows = examples.splits == number
        if not rows.any():
            raise InputError(f"no image to probe with in the split {name}; give one at least")
        if not examples.targets[rows].any():
            raise InputError(
                f"no image of the split {name} has a label: there is nothing to probe for"
            )
    for name, features in examples.features.items():
        wrong = ~np.isfinite(features).all(axis=1)
        if wrong.any():
            raise InputError(
                f"the features {name!r} of {int(wrong.sum())} of {len(features)} images are not "
                f"finite, the first of them row {int(np.argmax(wrong))}"
            )


def standardized(features: np.ndarray, splits: np.ndarray) -> np.ndarray:
    """Features with mean 0 and standard deviation 1 over the rows to fit on.

    A feature that is the same in all of these becomes 0 there, and keeps its scale elsewhere.

    Args:
      features: float32 `[N, F]`.
      splits: int8 `[N]`.

    Returns:
      float32 `[N, F]`.
    """
    train = np.flatnonzero(splits == TRAIN)
    size = features.shape[1]
    mean = np.zeros(size)
    for rows in _blocks(train):
        mean += features[rows].sum(axis=0, dtype=np.float64) / len(train)
    variance = np.zeros(size)
    for rows in _blocks(train):
        variance += np.square(features[rows] - mean).sum(axis=0) / len(train)
    std = np.sqrt(variance)
    std[std <= _LEAST_SPREAD * np.abs(mean)] = 1
    standard = np.empty(features.shape, np.float32)
    for rows in _blocks(np.arange(len(features))):
        standard[rows] = (features[rows] - mean) / std
    return standard


def _blocks(rows: np.ndarray) -> Iterator[np.ndarray]:
    """Some rows at a time: an array of embeddings twice as wide, in float64, may not fit."""
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        yield rows[start : start + _ROWS_AT_ONCE]
