"""Train, validation and test: a seeded split in which every label stands in each part in proportion.

Iterative stratification (Sechidis, Tsoumakas, Vlahavas 2011: https://doi.org/10.1007/978-3-642-23808-6_10) by the
package iterative-stratification. Unusual: it is asked for all three parts at once, and repaired afterwards. It gives
a label's only field to the largest part, so that a small set of rare labels would leave validation and test empty.
"""

from collections.abc import Sequence

import numpy as np
from iterstrat.ml_stratifiers import IterativeStratification

PARTS = ("train", "validation", "test")
ENOUGH = 10  # fields with which a label is promised to stand in each part


def split(labels: Sequence[Sequence[int]], classes: int, fractions: Sequence[float], seed: int) -> dict[str, list[int]]:
    """Splits fields into the three `PARTS`.

    From three fields on no part is empty. A label borne by `ENOUGH` fields or more stands in each part.

    Args:
      labels: the label ids of each field; the split depends on their order, so sort the fields first.
      classes: the number of labels.
      fractions: positive share of each part; they sum to 1.
      seed: of the random order and of the ties.

    Returns:
      the fields' positions, ascending, for each part that has any: with one or two fields, train alone.
    """
    borne = np.zeros((len(labels), classes), bool)
    for field, ids in enumerate(labels):
        borne[field, list(ids)] = True
    random = np.random.RandomState(seed)
    order = random.permutation(len(labels))
    share = np.asarray(fractions, float)
    part = np.empty(len(labels), int)
    part[order] = IterativeStratification(borne[order], share.copy(), random)
    if len(part) >= len(PARTS):
        part = _fill(part, borne, share, order)
    part = _cover(part, borne, share, order)
    return {
        name: np.flatnonzero(part == number).tolist() for number, name in enumerate(PARTS) if np.any(part == number)
    }


def _fill(part: np.ndarray, borne: np.ndarray, share: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Moves fields into parts that are smaller than their share, rounded down (but never below one field)."""
    least = np.maximum(np.floor(share * len(part) + 1e-9), 1)
    least[np.argmax(least)] -= max(least.sum() - len(part), 0)  # three fields: one each
    while True:
        sizes = np.bincount(part, minlength=len(share))
        poor, rich = np.argmin(sizes - least), np.argmax(sizes - least)
        if sizes[poor] >= least[poor] or sizes[rich] <= least[rich]:
            return part
        part = _move(part, borne, share, order[part[order] == rich], poor)


def _cover(part: np.ndarray, borne: np.ndarray, share: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Moves a field with it into each part in which a label borne by `ENOUGH` fields is missing."""
    for label in np.flatnonzero(borne.sum(0) >= ENOUGH):
        for poor in range(len(share)):
            counts = np.bincount(part[borne[:, label]], minlength=len(share))
            if not counts[poor]:
                bearers = order[(part[order] == np.argmax(counts)) & borne[order, label]]
                part = _move(part, borne, share, bearers, poor)
    return part


def _move(part: np.ndarray, borne: np.ndarray, share: np.ndarray, candidates: np.ndarray, to: int) -> np.ndarray:
    """Moves the candidate that disturbs the shares of the labels least into the part `to`; the first one of equals."""
    total = np.maximum(borne.sum(0), 1)
    here = part[candidates[0]]
    excess = {p: borne[part == p].sum(0) / total - share[p] for p in (here, to)}
    # Moving a field changes the squared deviation of each of its labels' shares by 2 (e_to - e_here) / n + 2 / n^2.
    cost = borne[candidates] @ (2 * (excess[to] - excess[here]) / total + 2 / total**2)
    last = borne[candidates] @ ((borne[part == here].sum(0) == 1) & (total >= ENOUGH))  # would take a label's last away
    part = part.copy()
    part[candidates[np.lexsort((cost, last))[0]]] = to
    return part
