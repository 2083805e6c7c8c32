"""A held-out test part and k folds: a seeded split of groups in which every label stands in each part in proportion.

Groups (near-duplicates, the fields of one antibody) never straddle a split. Iterative stratification (Sechidis,
Tsoumakas, Vlahavas 2011: https://doi.org/10.1007/978-3-642-23808-6_10) by the package iterative-stratification deals
the groups out, each a row with the union of its labels; `repair.py` then moves groups until the parts fit in fields.

Unusual: it is asked for all parts at once, and what follows it is arithmetic on integers, so that no machine rounds
or sums in another order and gets another split.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from iterstrat.ml_stratifiers import IterativeStratification

from hpa_jax.errors import InputError
from hpa_jax.labels import LABELS
from tfds_builder.hpa.split.duplicates import by_first_appearance
from tfds_builder.hpa.split.rebalance import repair

TEST = -1  # number of the held-out part; the folds are 0, 1, ...
UNDECIDED = -2  # in `fixed`: the split decides
ENOUGH = 10  # fields with which a label, if in twice as many groups as there are parts, stands in each part
_PARTS = 10_000  # shares are whole ten-thousandths


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
    """Deals fields out to a test part and `folds` folds of equal size, whole groups at a time.

    From three groups on, the test part (unless `test` is 0), fold 0 and at least one more fold have fields; there are
    fewer folds where there are fewer groups. One or two groups are all in fold 1: train alone.

    Args:
      labels: the label ids of each field; the split depends on their order, so sort the fields first.
      groups: int [N], the group of each field; which numbers stand for the groups is without meaning.
      classes: the number of labels.
      test: share of the test part, 0.001 to 0.9; or 0: there is none.
      folds: 2 or more.
      seed: of the random order and of the ties.
      fixed: int [N], the part of each field whose part is decided already (`TEST` or a fold), else `UNDECIDED`. A
        group goes where most of its decided fields are, of equals to the lowest number; see `conflicts`.

    Returns:
      int64 [N]: `TEST` or the fold of each field.

    Raises:
      InputError: a share, a number of folds or a fixed part that is out of range.
    """
    check(test, folds)
    if not len(labels):
        return np.empty(0, np.int64)
    group = by_first_appearance(groups)
    decided = _decided(group, fixed, folds)
    share = shares(test, folds, len(decided), int(decided.max()))
    held = np.zeros(
        (len(decided), classes + 1), np.int32
    )  # fields of each group that bear each label; last: all
    field, label = _pairs(labels)
    np.add.at(held, (group[field], label), 1)
    held[:, -1] = np.bincount(group)
    random = np.random.RandomState(seed)
    order = random.permutation(len(held))
    part = decided + 1  # from here on 0 is the test part, fold f is f + 1, undecided is -1
    free = order[part[order] < 0]
    if len(decided) < 3:
        part[free] = 2
        return part[group] - 1
    # What the decided groups take is taken off their parts' shares.
    taken = np.bincount(part[part >= 0], held[part >= 0, -1], minlength=len(share)).astype(np.int64)
    wanted = np.where(share > 0, np.maximum(share * held[:, -1].sum() - _PARTS * taken, 0), 0)
    if len(free):
        part[free] = IterativeStratification((held > 0)[free, :-1], wanted / wanted.sum(), random)
    part[free[share[part[free]] == 0]] = 1 + np.argmax(
        share[1:]
    )  # it breaks ties among parts that are full
    enough = (held.sum(0) >= ENOUGH) & ((held > 0).sum(0) >= np.count_nonzero(share))
    enough[-1] = True  # no part is empty
    return repair(part, held, share, enough, free)[group] - 1


def check(test: float, folds: int) -> None:
    """Raises InputError unless there is such a split."""
    if test and not 0.001 <= test <= 0.9:
        raise InputError(
            f"the test part cannot be {test:g} of the fields; choose 0, or 0.001 to 0.9"
        )
    if not 2 <= folds <= 100:
        raise InputError(f"fields cannot be split into {folds} folds; choose 2 to 100")


def shares(test: float, folds: int, groups: int, highest: int = 0) -> np.ndarray:
    """int64 [1 + folds]: ten-thousandths of the fields that the test part and each fold should have; sum 10,000.

    There are fewer folds where there are fewer groups, but never fewer than two, or than the `highest` one in use.
    """
    folds = max(min(folds, groups - (test > 0)), 2, highest + 1)
    held_out = round(Fraction(str(test)) * _PARTS)
    each, more = divmod(_PARTS - held_out, folds)
    return np.array([held_out] + [each + (fold < more) for fold in range(folds)], np.int64)


class Conflict(NamedTuple):
    """A group whose fields were decided to be in more than one part."""

    fields: list[int]  # positions of the decided ones
    parts: list[int]  # of each of them
    part: int  # the group's


def conflicts(groups: np.ndarray, fixed: np.ndarray) -> list[Conflict]:
    """The groups, by first appearance, that parts decided elsewhere would tear apart, and where `split` puts them."""
    group, fixed = by_first_appearance(groups), np.asarray(fixed)
    part = _decided(group, fixed, int(fixed.max(initial=0)) + 1)
    known = np.flatnonzero(fixed != UNDECIDED)
    torn: dict[int, list[int]] = {
        number: [] for number in np.unique(group[known[fixed[known] != part[group[known]]]])
    }
    for field in known[np.isin(group[known], list(torn))].tolist():
        torn[group[field]].append(field)
    return [
        Conflict(fields, fixed[fields].tolist(), int(part[number]))
        for number, fields in torn.items()
    ]


class Deviations(NamedTuple):
    """How far the parts are from proportional; a row for the test part, then one a fold; the last column: all fields.

    Attributes:
      fields: int64 [1 + folds, classes + 1], fields that bear the label.
      proportional: float64, the number that would be exactly proportional.
      share: float64, (fields - proportional) / the label's fields in all parts; 0 for a label that nobody bears.
    """

    fields: np.ndarray
    proportional: np.ndarray
    share: np.ndarray


def deviations(
    labels: Sequence[Sequence[int]],
    groups: np.ndarray,
    parts: np.ndarray,
    classes: int,
    *,
    test: float,
    folds: int,
) -> Deviations:
    """Compares what `split` gave, or any other such parts, with proportion."""
    parts = np.asarray(parts)
    share = shares(test, folds, len(np.unique(groups)), int(parts.max(initial=0)))
    found = np.zeros((len(share), classes + 1), np.int64)
    field, label = _pairs(labels)
    np.add.at(found, (parts[field] + 1, label), 1)
    np.add.at(found[:, -1], parts + 1, 1)
    total = found.sum(0)
    proportional = np.outer(share, total) / _PARTS
    return Deviations(found, proportional, (found - proportional) / np.maximum(total, 1))


def forced(
    labels: Sequence[Sequence[int]],
    groups: np.ndarray,
    found: Deviations,
    names: Sequence[str] = LABELS,
    most: int = 5,
) -> list[str]:
    """A line for each label that groups keep 1 % of its fields or more from proportion; the `most` worst, those first.

    Single fields can come within one field of it, so a wider gap is the groups' doing.
    """
    field, label = _pairs(labels)
    group = by_first_appearance(groups)
    off = np.abs(found.fields - found.proportional)[:, :-1]
    worst = off.argmax(0)
    lines = []
    for one in np.argsort(-np.abs(found.share[:, :-1]).max(0), kind="stable"):
        here = worst[one]
        sizes = np.bincount(group[field[label == one]])
        if off[here, one] <= 1 or abs(found.share[here, one]) < 0.01 or sizes.max(initial=0) < 2:
            continue
        name = names[one] if one < len(names) else f"label {one}"
        lines.append(
            f"{name}: {found.fields[here, one]} fields in {'the test part' if here == 0 else f'fold {here - 1}'}, "
            f"{found.proportional[here, one]:.1f} would be proportional ({100 * found.share[here, one]:+.1f} % of its "
            f"{sizes.sum()} fields): they stand in {_groups(np.count_nonzero(sizes), sizes.max())}"
        )
    return lines[:most]


def _groups(number: int, largest: int) -> str:
    return f"{number} groups of up to {largest}" if number > 1 else "one group"


def _pairs(labels: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """(field, label) of every label that a field bears."""
    lengths = np.fromiter(map(len, labels), np.int64, len(labels))
    return np.repeat(np.arange(len(labels)), lengths), np.fromiter(
        (label for ids in labels for label in ids), np.int64, int(lengths.sum())
    )


def _decided(group: np.ndarray, fixed: np.ndarray | None, folds: int) -> np.ndarray:
    """int64 [groups]: the part of each group in which a field's part is fixed, else `UNDECIDED`."""
    part = np.full(group.max(initial=-1) + 1, UNDECIDED, np.int64)
    if fixed is None:
        return part
    fixed = np.asarray(fixed)
    odd = fixed[(fixed < UNDECIDED) | (fixed >= folds)]
    if len(odd):
        raise InputError(
            f"a field's part is decided to be fold {odd[0]}, but there are {folds} folds; "
            f"give as many as the dataset has that decided it"
        )
    known = fixed != UNDECIDED
    votes = np.zeros((len(part), folds + 1), np.int64)
    np.add.at(votes, (group[known], fixed[known] + 1), 1)
    return np.where(
        votes.any(1), votes.argmax(1) - 1, part
    )  # argmax: the first, so the lowest, of equals
