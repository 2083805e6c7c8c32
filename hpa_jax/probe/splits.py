"""Divides rows that come without splits: by groups, at random, the same way each time."""

import numpy as np

from hpa_jax.errors import InputError
from hpa_jax.probe.examples import SPLITS, TEST, TRAIN, VALIDATION

VALIDATION_FRACTION = 0.1
TEST_FRACTION = 0.2
"""About those of SubCell's lists of antibodies (10,433, 1,487 and 3,460 lines)."""


def divide(groups: np.ndarray, seed: int) -> np.ndarray:
    """Assigns groups in random order until validation and test have their fractions of the rows.

    Args:
      groups: int64 `[N]`.
      seed: of the order.

    Returns:
      int8 `[N]`, positions in SPLITS; each split has one group at least.

    Raises:
      InputError: there are fewer groups than splits.
    """
    names, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    count = len(names)
    if count < len(SPLITS):
        raise InputError(
            f"{count} groups cannot be divided into {', '.join(SPLITS)}; give "
            "config.probe.splits, or smaller groups"
        )
    order = np.random.default_rng(seed).permutation(count)
    rows_so_far = np.cumsum(sizes[order])
    rows = len(groups)
    in_validation = np.searchsorted(rows_so_far, VALIDATION_FRACTION * rows, "right")
    in_validation = np.clip(in_validation, 1, count - 2)
    in_both = (VALIDATION_FRACTION + TEST_FRACTION) * rows
    test_ends = np.searchsorted(rows_so_far, in_both, "right")
    test_ends = np.clip(test_ends, in_validation + 1, count - 1)
    split_of_group = np.full(count, TRAIN, np.int8)
    split_of_group[order[:in_validation]] = VALIDATION
    split_of_group[order[in_validation:test_ends]] = TEST
    return split_of_group[group]
