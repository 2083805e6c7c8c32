"""Curves of a score array: precision and recall, metrics over thresholds, calibration. NumPy alone.

Everything is exact: equal scores are one threshold, and nothing is smoothed. What is thinned out
  for drawing is thinned out there.
"""

import numpy as np

from hpa_jax.metrics import calibration, classification, histogram, ranking


def precision_recall(
    scores: np.ndarray, targets: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Computes one label's precision and recall with each of its scores as the threshold.

    Args:
      scores: float [N].
      targets: 0/1 [N], at least one of them 1.

    Returns:
      float64 [K] each, from the strictest threshold on: thresholds (the distinct scores; a label is
      predicted where its score is not below), precision and recall.
    """
    levels, tp, fp = ranking.ranking_curve(scores, targets)
    return levels.astype(np.float64), tp / (tp + fp), tp / tp[-1]


def metrics_over_thresholds(scores: np.ndarray, targets: np.ndarray) -> dict[str, np.ndarray]:
    """Computes F1, precision and recall of every label at every threshold of the grid.

    Args:
      scores: float [N, L] in [0, 1].
      targets: 0/1 [N, L].

    Returns:
      `f1`, `precision`, `recall`: float64 [L, BINS + 1] over `histogram.threshold_grid()`, 0
        where nothing is predicted or no image has the label.
    """
    counts = histogram.count_arrays(scores, targets)
    positives = np.asarray(counts.positives, np.int64)[0]
    tp = _count_above(positives)
    fp = _count_above(np.asarray(counts.negatives, np.int64)[0])
    support = np.broadcast_to(positives.sum(axis=1, keepdims=True), tp.shape)
    return {
        "f1": classification.f1_from_counts(tp, fp, support - tp),
        "precision": classification.ratio(tp, tp + fp),
        "recall": classification.ratio(tp, support),
    }


def _count_above(histogram: np.ndarray) -> np.ndarray:
    """Counts scores above each threshold.

    Args:
      histogram: int64 [L, BINS + 2], scores by how many thresholds are below them.
    """
    at_least = np.cumsum(histogram[:, ::-1], axis=1)[:, ::-1]
    return at_least[:, 1:]


def reliability(
    scores: np.ndarray, targets: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compares scores with what came true, over all (image, label) pairs.

    The bins are those of the calibration error.

    Args:
      scores: float [N, L] in [0, 1].
      targets: 0/1 [N, L].

    Returns: Pairs int64 [BINS], mean score float64 [BINS] and fraction of positives float64
    [BINS], NaN where a bin is empty.
    """
    pooled = calibration.reliability(scores, targets).pooled()
    pairs = np.where(pooled.total > 0, pooled.total, np.nan)
    return pooled.total, pooled.score_sum / pairs, pooled.positives / pairs
