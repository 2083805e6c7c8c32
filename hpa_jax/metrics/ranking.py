"""How well the scores rank the fields, whatever the threshold: average precision and the area under the ROC curve.

Exact, on the scores as they are: fields of equal score are one step of the curve, as in scikit-learn, and only the
order of the scores counts, so that subnormal scores and those of float16 rank as they stand.

Unusual here: an undefined figure is NaN and never 0 or 1. Average precision wants a positive, the area under the ROC
curve a positive and a negative; a macro mean is taken over the labels that have what it wants and names no other.
"""

import numpy as np


def curve(scores: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where each distinct score ends, from the highest down: everything that a ranking figure or a curve needs.

    Args:
      scores: float [N], no NaN; targets: 0/1 [N].

    Returns:
      levels: the K distinct scores, falling; tp, fp: int64 [K], positives and negatives with at least that score.
      Precision is tp / (tp + fp), recall tp / tp[-1], the false positive rate fp / fp[-1].
    """
    order = np.argsort(scores, kind="stable")[::-1]
    ranked = scores[order]
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    tp = np.cumsum(targets[order] != 0, dtype=np.int64)[ends]
    return ranked[ends], tp, ends + 1 - tp


def average_precision(scores: np.ndarray, targets: np.ndarray) -> float:
    """sum_k (R_k - R_(k-1)) P_k over the distinct scores from the highest down; NaN without positives. [N] each."""
    _, tp, fp = curve(scores, targets)
    if tp[-1] == 0:
        return float("nan")
    return float(np.sum(np.diff(tp, prepend=0) * (tp / (tp + fp))) / tp[-1])


def auc(scores: np.ndarray, targets: np.ndarray) -> float:
    """Share of the pairs of a positive and a negative that are ranked right, a tie counting half (Mann-Whitney): the
    area under the ROC curve. NaN without positives or without negatives. [N] each.
    """
    _, tp, fp = curve(scores, targets)
    if tp[-1] == 0 or fp[-1] == 0:
        return float("nan")
    twice = np.sum(np.diff(fp, prepend=0) * (2 * tp - np.diff(tp, prepend=0)))  # integers: exact
    return float(twice / (2 * tp[-1] * fp[-1]))


def figures(scores: np.ndarray, targets: np.ndarray) -> dict:
    """Both figures of each label and over all of them.

    Args:
      scores: float [N, L], no NaN; targets: 0/1 [N, L].

    Returns:
      macro_average_precision, macro_auc: means over the labels for which they are defined (NaN if there is none).
      micro_average_precision, micro_auc: of all (field, label) pairs in one ranking.
      per_label: `average_precision` and `auc`, float64 [L] each, NaN where undefined.
    """
    by_label = {
        name: np.array([of(scores[:, i], targets[:, i]) for i in range(scores.shape[1])])
        for name, of in (("average_precision", average_precision), ("auc", auc))
    }
    pairs = scores.ravel(), targets.ravel()
    return {
        "macro_average_precision": mean_of_defined(by_label["average_precision"]),
        "micro_average_precision": average_precision(*pairs),
        "macro_auc": mean_of_defined(by_label["auc"]),
        "micro_auc": auc(*pairs),
        "per_label": by_label,
    }


def mean_of_defined(values: np.ndarray) -> float:
    """The mean of those that are not NaN; NaN if all are."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")
