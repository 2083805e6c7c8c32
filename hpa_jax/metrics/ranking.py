"""How well scores rank images, whatever the threshold: average precision and ROC AUC.

Exact, on the scores as they are: images of equal score are one step of the curve, as in
scikit-learn, and only the order of the scores counts, so that subnormal scores and those of float16
rank as they stand.

Notes:
- An undefined metric is NaN, never 0 or 1. Average precision needs a positive, the area under the
  ROC curve a positive and a negative. A macro mean is taken over the labels for which the metric is
  defined.
"""

import numpy as np

from hpa_jax.metrics.classification import mean_of_defined


def ranking_curve(
    scores: np.ndarray, targets: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True and false positives at each distinct score, from the highest down.

    Precision is tp / (tp + fp), recall tp / tp[-1], the false positive rate fp / fp[-1].

    Args:
      scores: float [N], no NaN.
      targets: 0/1 [N].

    Returns:
      levels: float [K], the distinct scores, falling.
      tp: int64 [K], positives with at least that score.
      fp: int64 [K], negatives with at least that score.
    """
    order = np.argsort(scores, kind="stable")[::-1]
    ranked = scores[order]
    # Equal scores are one step: a curve has a point where each distinct score ends.
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    tp = np.cumsum(targets[order] != 0, dtype=np.int64)[ends]
    fp = ends + 1 - tp
    return ranked[ends], tp, fp


def average_precision(scores: np.ndarray, targets: np.ndarray) -> float:
    """sum_k (R_k - R_(k-1)) P_k over the distinct scores from the highest down.

    Args:
      scores: float [N], no NaN.
      targets: 0/1 [N].

    Returns:
      A float in (0, 1], NaN without positives.
    """
    _, tp, fp = ranking_curve(scores, targets)
    if tp[-1] == 0:
        return float("nan")
    precision = tp / (tp + fp)
    return float(np.sum(np.diff(tp, prepend=0) * precision) / tp[-1])


def auc(scores: np.ndarray, targets: np.ndarray) -> float:
    """The area under the ROC curve.

    It is the fraction of the pairs of a positive and a negative that are ranked right, a tie
    counting half (Mann-Whitney).

    Args:
      scores: float [N], no NaN.
      targets: 0/1 [N].

    Returns:
      A float in [0, 1], NaN without positives or without negatives.
    """
    _, tp, fp = ranking_curve(scores, targets)
    if tp[-1] == 0 or fp[-1] == 0:
        return float("nan")
    # Twice the number of pairs ranked right is an integer: exact.
    twice = np.sum(np.diff(fp, prepend=0) * (2 * tp - np.diff(tp, prepend=0)))
    return float(twice / (2 * tp[-1] * fp[-1]))


def ranking_metrics(scores: np.ndarray, targets: np.ndarray) -> dict:
    """Average precision and AUC of each label and over all of them.

    Args:
      scores: float [N, L], no NaN.
      targets: 0/1 [N, L].

    Returns:
      macro_average_precision, macro_auc: means over the labels for which they are defined (NaN if
        there is none).
      micro_average_precision, micro_auc: of all (image, label) pairs in one ranking.
      per_label: `average_precision` and `auc`, float64 [L] each, NaN where undefined.
    """
    labels = scores.shape[1]
    precision_by_label = np.empty(labels)
    auc_by_label = np.empty(labels)
    for label in range(labels):
        precision_by_label[label] = average_precision(scores[:, label], targets[:, label])
        auc_by_label[label] = auc(scores[:, label], targets[:, label])
    all_scores = scores.ravel()
    all_targets = targets.ravel()
    return {
        "macro_average_precision": float(mean_of_defined(precision_by_label)),
        "micro_average_precision": average_precision(all_scores, all_targets),
        "macro_auc": float(mean_of_defined(auc_by_label)),
        "micro_auc": auc(all_scores, all_targets),
        "per_label": {"average_precision": precision_by_label, "auc": auc_by_label},
    }
