"""Are scores of 0.8 right eight times in ten? Reliability diagrams and calibration error.

Scores are put into B bins of equal width, bin b the scores above (b - 1) / B and up to b / B, a
score of 0 in the first. Then

    ECE = sum_b n_b / n * |mean target in bin b - mean score in bin b|

The paper's is over the winning class of a softmax. Labels here are decided one by one, so that a
label's confidence is its score, whether high or low, and its accuracy the fraction of images that
have it.

Notes:
- The metric is biased upwards where bins hold few images, since chance alone opens a gap: compare
  it between models on the same images, or with its interval.

References:
  Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, arXiv:1706.04599, eq. 3.
"""

from dataclasses import dataclass

import numpy as np

BINS = 15
"""As in Guo et al., table 1."""


@dataclass(frozen=True)
class Reliability:
    """Sums by bin of the score, [L, bins] each, or [bins] after `pooled`.

    Attributes:
      total: int64, scores in the bin.
      positives: int64, those of images that have the label.
      score_sum: float64, the sum of the scores.
    """

    total: np.ndarray
    positives: np.ndarray
    score_sum: np.ndarray

    def pooled(self) -> "Reliability":
        """All (image, label) pairs together."""
        return Reliability(self.total.sum(0), self.positives.sum(0), self.score_sum.sum(0))


def calibration_bin(scores: np.ndarray, bins: int = BINS) -> np.ndarray:
    """The bin of each score: int64 [...] in 0..bins - 1."""
    edges = np.arange(1, bins) / bins
    return np.searchsorted(edges, scores.astype(np.float64), side="left")


def reliability(scores: np.ndarray, targets: np.ndarray, bins: int = BINS) -> Reliability:
    """Sums each label's scores and targets by bin of the score.

    Args:
      scores: float [N, L] in [0, 1].
      targets: 0/1 [N, L].
      bins: of equal width.
    """
    labels = scores.shape[1]
    # One flat histogram for all labels: `bins` cells a label.
    cell = calibration_bin(scores, bins) + bins * np.arange(labels)

    def sum_by_bin(values: np.ndarray | None = None) -> np.ndarray:
        return np.bincount(cell.ravel(), values, labels * bins).reshape(labels, bins)

    positive = (targets != 0).ravel().astype(np.float64)
    return Reliability(
        total=sum_by_bin(),
        positives=sum_by_bin(positive).astype(np.int64),
        score_sum=sum_by_bin(scores.ravel().astype(np.float64)),
    )


def calibration_error(table: Reliability) -> np.ndarray:
    """The expected calibration error.

    Args:
      table: of L labels, or pooled.

    Returns:
      float64 [L] in [0, 1]; a scalar array of a pooled table.
    """
    gaps = np.abs(table.score_sum - table.positives)
    return gaps.sum(-1) / table.total.sum(-1)
