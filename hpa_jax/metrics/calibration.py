"""Do scores of 0.8 come true eight times in ten? Reliability by bins of the score, and the expected calibration error.

ECE = sum_b n_b / n * |mean target in bin b - mean score in bin b| over equal-width bins (b - 1) / B < score <= b / B, a
score of 0 in the first (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, arXiv:1706.04599, eq. 3).
Theirs is over the winning class of a softmax; labels here are decided one by one, so that a label's confidence is its
score, whether high or low, and its accuracy the share of fields that bear it.

Unusual here: the figure is biased upwards where bins hold few fields (chance alone opens a gap): compare it between
models on the same fields, or with its interval.
"""

from dataclasses import dataclass

import numpy as np

BINS = 15
"""As in Guo et al., table 1."""


@dataclass(frozen=True)
class Reliability:
    """Sums by bin of the score, [L, bins] each (or [bins] after `pooled`).

    Attributes:
      fields: int64; positives: int64; scores: float64, the sum of the scores.
    """

    fields: np.ndarray
    positives: np.ndarray
    scores: np.ndarray

    def pooled(self) -> "Reliability":
        """All (field, label) pairs together."""
        return Reliability(self.fields.sum(0), self.positives.sum(0), self.scores.sum(0))


def bin_of(scores: np.ndarray, bins: int = BINS) -> np.ndarray:
    """The bin of each score: int64 [...] in 0..bins - 1."""
    return np.searchsorted(np.arange(1, bins) / bins, scores.astype(np.float64), side="left")


def reliability(scores: np.ndarray, targets: np.ndarray, bins: int = BINS) -> Reliability:
    """Counts each label's fields by bin. scores: float [N, L] in [0, 1]; targets: 0/1 [N, L]."""
    labels = scores.shape[1]
    cell = (bin_of(scores, bins) + bins * np.arange(labels)).ravel()

    def total(weights=None):
        return np.bincount(cell, weights, labels * bins).reshape(labels, bins)

    positives = total((targets != 0).ravel().astype(np.float64)).astype(np.int64)
    return Reliability(total(), positives, total(scores.ravel().astype(np.float64)))


def error(table: Reliability) -> np.ndarray:
    """Expected calibration error along the last axis: float64 [L] (a scalar array of a pooled table), 0 to 1."""
    return np.abs(table.scores - table.positives).sum(-1) / table.fields.sum(-1)
