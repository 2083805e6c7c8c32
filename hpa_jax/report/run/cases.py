"""Which fields of a score array are worth a look: the surest mistakes, and each label's best hits. Positions alone.

The same scores give the same fields; of equal scores the first in stored order.
"""

from typing import NamedTuple

import numpy as np

MISTAKES = 12
"""Shown of the labels wrongly predicted, and as many of the missed ones."""
OF_A_LABEL = 3
"""At most so many of them of one label, so that one weak label does not fill the page."""
HITS = 4
"""Shown of each label."""


class Case(NamedTuple):
    """One label in one field."""

    field: int  # row of the scores
    label: int  # column
    score: float
    borne: bool


def wrongly_predicted(
    scores: np.ndarray, targets: np.ndarray, decided: np.ndarray, n: int = MISTAKES
) -> list[Case]:
    """The highest scores of predicted labels that their fields do not bear.

    Args:
      scores: float [N, L]; targets: 0/1 [N, L]; decided: bool [N, L], the labels predicted.
    """
    return _first(np.where(decided & (targets == 0), scores, -1.0), scores, targets, n)


def missed(
    scores: np.ndarray, targets: np.ndarray, decided: np.ndarray, n: int = MISTAKES
) -> list[Case]:
    """The lowest scores of labels that their fields bear and that were not predicted."""
    return _first(np.where(~decided & (targets != 0), 1.0 - scores, -1.0), scores, targets, n)


def best_hits(scores: np.ndarray, targets: np.ndarray, n: int = HITS) -> list[list[Case]]:
    """For each label the fields that bear it with the highest scores."""
    out = []
    for label, (column, borne) in enumerate(zip(scores.T, targets.T != 0, strict=True)):
        bearers = np.flatnonzero(borne)
        best = bearers[np.argsort(-column[bearers], kind="stable")[:n]]
        out.append([Case(int(i), label, float(column[i]), True) for i in best])
    return out


def _first(worth: np.ndarray, scores: np.ndarray, targets: np.ndarray, n: int) -> list[Case]:
    """The n largest of `worth`, each field once and each label OF_A_LABEL times at most; below 0 nothing is shown."""
    found, seen, of_label = [], set(), np.zeros(worth.shape[1], int)
    for flat in np.argsort(-worth, axis=None, kind="stable").tolist():
        field, label = divmod(flat, worth.shape[1])
        if len(found) == n or worth[field, label] < 0:
            break
        if field not in seen and of_label[label] < OF_A_LABEL:
            found.append(
                Case(field, label, float(scores[field, label]), bool(targets[field, label]))
            )
            seen.add(field)
            of_label[label] += 1
    return found
