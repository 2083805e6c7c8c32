"""Stops a build whose splits would be far from the sizes that were asked for.

A group never straddles a split, so a large one makes splits uneven. Mostly that is a mistake:
near-duplicates that are none, of images that look alike, or a group column of few values.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from hpa_jax.errors import InputError
from tfds_builder.hpa.sources import Example
from tfds_builder.hpa.split.perceptual import Rule
from tfds_builder.hpa.split.stratify import Deviations

FACTOR = 2
"""A split may have this many times the images that it should have, or this part of them."""
SLACK = 10
"""Images by which any split may be off: few images cannot be divided evenly."""


def uneven_subset(found: Deviations) -> int | None:
    """The subset whose size is farthest from proportional, if one is out of bounds.

    Args:
      found: of `stratify.deviations`.

    Returns:
      0 for the test split, f + 1 for fold f; None if all are within bounds.
    """
    images = found.images[:, -1]
    wanted = found.proportional[:, -1]
    off = np.abs(images - wanted)
    # A split that should be empty has images only where a reference dataset puts them there.
    out_of_bounds = (images > FACTOR * wanted) | (images * FACTOR < wanted)
    out_of_bounds &= (off > SLACK) & (wanted > 0)
    if not out_of_bounds.any():
        return None
    return int(np.where(out_of_bounds, off, -1).argmax())


def check_even(
    found: Deviations,
    examples: Sequence[Example],
    groups: np.ndarray,
    duplicates: Sequence[tuple[str, str, int]],
    rule: Rule | None,
) -> None:
    """Refuses splits that are out of bounds.

    Args:
      found: of `stratify.deviations`.
      examples: the images.
      groups: int64 [N], the group of each.
      duplicates: (Id, Id, distance) of near-duplicates.
      rule: by which they were found; None if they were not sought.

    Raises:
      InputError: names the split, the largest group, what holds it together, and what to do.
    """
    subset = uneven_subset(found)
    if subset is None:
        return
    where = f"fold {subset - 1}" if subset else "the test split"
    images = found.images[subset, -1]
    wanted = found.proportional[subset, -1]
    largest = np.bincount(groups).argmax()
    members = [examples[i] for i in np.flatnonzero(groups == largest)]
    reasons, advice = _reasons(members, duplicates, rule)
    reason = f" ({'; '.join(reasons)})" if reasons else ""
    advice.append("accept it: --allow_uneven_splits")
    raise InputError(
        f"{where} would have {images} of {len(examples)} images, {wanted:.0f} would be "
        f"proportional: the largest group has {len(members)}{reason}; {'; or '.join(advice)}"
    )


def _reasons(
    members: list[Example], duplicates: Sequence[tuple[str, str, int]], rule: Rule | None
) -> tuple[list[str], list[str]]:
    """What holds a group together, and what could be done about it."""
    reasons = []
    advice = []
    ids = {example.id for example in members}
    pairs = [pair for pair in duplicates if pair[0] in ids]
    if pairs and rule:
        # The farthest pair is the likeliest mistake.
        a, b, distance = max(pairs, key=lambda pair: pair[2])
        reasons.append(
            f"{len(pairs)} near-duplicate pairs join its images, such as {a} and {b}, "
            f"{distance} bits apart"
        )
        stricter = f"--duplicate_bits={rule.bits // 2} or --duplicate_correlation=0.9"
        advice.append(f"if those two are not the same image, {stricter}")
        advice.append("do not look for near-duplicates: --near_duplicates=off")
    keys = Counter(example.group_key for example in members if example.group_key)
    if keys:
        key, number = keys.most_common(1)[0]
        reasons.append(f"{number} of them have the group key {key}")
        advice.append("group by something finer, or change --test and --folds")
    return reasons, advice
