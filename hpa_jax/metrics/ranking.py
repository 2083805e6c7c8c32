"""How well scores rank images, or the labels of one, whatever the threshold.

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


def label_rankings(scores: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How well the labels of each image are ranked among all labels.

    Their means are scikit-learn's label ranking average precision and coverage error of the images
    that have a label. It counts the others as 1 and 0, which would flatter where there are many.

    Args:
      scores: float [N, L], no NaN.
      targets: 0/1 [N, L].

    Returns:
      precision: float64 [N], the average precision of the image's own labels, at most 1.
      coverage: float64 [N], how many labels have to be taken, from the highest score down, to have
        all that the image has; at best as many as it has.
      Both are NaN for an image without labels.
    """
    labels = scores.shape[1]
    order = np.argsort(-scores, axis=1, kind="stable")
    ranked = np.take_along_axis(scores, order, axis=1)
    is_own = np.take_along_axis(targets != 0, order, axis=1)
    # Equal scores are one step, as in a curve: each place counts up to the last of its score.
    is_end = np.ones(scores.shape, bool)
    is_end[:, :-1] = ranked[:, 1:] != ranked[:, :-1]
    ends = np.where(is_end, np.arange(labels), labels)
    ends = np.minimum.accumulate(ends[:, ::-1], axis=1)[:, ::-1]
    own_so_far = np.take_along_axis(np.cumsum(is_own, axis=1), ends, axis=1)
    precision = np.sum(is_own * own_so_far / (ends + 1), axis=1)
    coverage = np.max(is_own * (ends + 1), axis=1, initial=0)
    own = is_own.sum(axis=1)
    has_labels = own > 0
    return (
        np.where(has_labels, precision / np.maximum(own, 1), np.nan),
        np.where(has_labels, coverage, np.nan),
    )


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
