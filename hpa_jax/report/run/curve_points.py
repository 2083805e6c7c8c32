"""What a page draws of a score array: curves over thresholds, calibration, errors that come together. NumPy alone.

Everything is exact: ties are one threshold, and nothing is smoothed; what is thinned out for drawing is thinned there.
"""

import numpy as np

from hpa_jax.metrics import calibration, classification, ranking


def precision_recall(
    scores: np.ndarray, targets: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One label's precision and recall at each of its scores taken as threshold, from the strictest on.

    Args:
      scores: float [N]; targets: 0/1 [N], one of them 1.

    Returns:
      thresholds (the distinct scores, falling; predicted is what is not below), precision and recall: float64 [K].
    """
    levels, tp, fp = ranking.curve(scores, targets)
    return levels.astype(np.float64), tp / (tp + fp), tp / tp[-1]


def over_thresholds(scores: np.ndarray, targets: np.ndarray) -> dict[str, np.ndarray]:
    """F1, precision and recall of every label at every threshold of the grid of `metrics.thresholds`.

    Args:
      scores: float [N, L] in [0, 1]; targets: 0/1 [N, L].

    Returns:
      `f1`, `precision`, `recall`: float64 [L, BINS + 1], 0 where nothing is predicted or borne.
    """
    counts = classification.count_arrays(scores, targets)
    positives, negatives = (
        np.asarray(a, np.int64)[0] for a in (counts.positives, counts.negatives)
    )
    above = [np.cumsum(a[:, ::-1], axis=1)[:, ::-1][:, 1:] for a in (positives, negatives)]
    tp, fp = above
    borne = positives.sum(axis=1, keepdims=True)
    return {
        "f1": classification.f1_of(tp, fp, borne - tp),
        "precision": classification.ratio(tp, tp + fp),
        "recall": classification.ratio(tp, np.broadcast_to(borne, tp.shape)),
    }


def reliability(
    scores: np.ndarray, targets: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores against what came true, over all (field, label) pairs, in the bins of the calibration error.

    Returns:
      pairs int64 [BINS], mean score float64 [BINS] and share borne float64 [BINS], NaN where a bin is empty.
    """
    pooled = calibration.reliability(scores, targets).pooled()
    pairs = np.where(pooled.fields > 0, pooled.fields, np.nan)
    return pooled.fields, pooled.scores / pairs, pooled.positives / pairs


def errors_together(decided: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Fields by missed label (row) and wrongly predicted label (column): int64 [L, L].

    The diagonal, where nothing can be, has all fields in which the row's label was missed.

    Args:
      decided: bool [N, L]; targets: 0/1 [N, L].
    """
    borne = targets != 0
    missed, wrong = (borne & ~decided).astype(np.float32), (decided & ~borne).astype(np.float32)
    together = (missed.T @ wrong).astype(np.int64)  # float32 holds counts up to 16 million exactly
    np.fill_diagonal(together, missed.sum(axis=0, dtype=np.int64))
    return together


def alone(decided: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Fields in which a label was missed and none was wrongly predicted: int64 [L]."""
    borne = targets != 0
    silent = ~(decided & ~borne).any(axis=1)
    return (borne & ~decided)[silent].sum(axis=0, dtype=np.int64)
