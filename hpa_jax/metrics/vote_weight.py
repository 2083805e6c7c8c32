"""How much the votes of neighbours weigh beside a net's own scores, and what that brings.

The weight w makes `(1 - w) * score + w * vote` as likely as it can be (stacking.py), on images that
neither has learnt from. What it gains is measured out of fold: each image is blended by a weight
that was fitted without its fold, and its group is in no other.
"""

from typing import NamedTuple

import numpy as np

from hpa_jax.metrics import single_label as one_label
from hpa_jax.metrics import stacking
from hpa_jax.metrics.crossfitting import assign_folds, crossfit


class VoteWeight(NamedTuple):
    """A fitted weight, and macro F1 out of fold.

    Attributes:
      weight: fitted on all images, from 0 to 1.
      by_fold: float64 `[folds]`, each fitted without its fold.
      macro_f1_scores: of the scores alone, with cross-fitted thresholds where there are thresholds.
      macro_f1_votes: of the votes alone, in the same way.
      macro_f1: blended, each image by the weight of its fold.
    """

    weight: float
    by_fold: np.ndarray
    macro_f1_scores: float
    macro_f1_votes: float
    macro_f1: float

    def to_dict(self) -> dict:
        """The same as JSON has it, with what the votes gain."""
        found = self._asdict()
        found["by_fold"] = self.by_fold.tolist()
        return found | {"gain": self.macro_f1 - self.macro_f1_scores}


def fit_vote_weight(
    scores: np.ndarray,
    votes: np.ndarray,
    targets: np.ndarray,
    *,
    single_label: bool = False,
    folds: int = 5,
    seed: int = 0,
    groups: np.ndarray | None = None,
    few_positives: int = 0,
) -> VoteWeight:
    """Fits the weight and measures what it brings.

    Args:
      scores: float `[N, L]` in [0, 1], of images that the net has not learnt from.
      votes: float `[N, L]` in [0, 1], of neighbours among images that these are none of.
      targets: 0/1 `[N, L]`.
      single_label: every image has exactly one label, and rows of both sum to 1: what counts is the
        probability of that label alone.
      folds, seed, groups: of `crossfitting.assign_folds`.
      few_positives: of `thresholds.fit`.
    """
    both = np.stack([scores, votes]).astype(np.float64)
    compared, truth = both, targets
    if single_label:
        own = targets.argmax(axis=1)[:, np.newaxis]
        compared = np.take_along_axis(both, own[np.newaxis], axis=2)
        truth = np.ones_like(own)
    weight = stacking.fit_weights(compared, truth)[1]
    assigned = {"folds": folds, "seed": seed, "groups": groups}
    _, by_fold = stacking.crossfit_mean(compared, truth, **assigned)
    fold = assign_folds(len(scores), len(by_fold), seed, groups)
    own_weight = by_fold[fold, 1][:, np.newaxis]
    blended = (1 - own_weight) * both[0] + own_weight * both[1]

    def macro_f1(array: np.ndarray) -> float:
        if single_label:
            matrix = one_label.confusion_matrix(one_label.decide(array), targets)
            return one_label.metrics_from_matrix(matrix)["macro_f1"]
        found = crossfit(array.astype(np.float32), targets, few_positives=few_positives, **assigned)
        return found["crossfit"]["macro_f1"]

    return VoteWeight(
        weight=float(np.clip(weight, 0, 1)),
        by_fold=by_fold[:, 1],
        macro_f1_scores=macro_f1(both[0]),
        macro_f1_votes=macro_f1(both[1]),
        macro_f1=macro_f1(blended),
    )
