"""One threshold a label instead of 0.5, fitted to F1, and decisions with it.

Notes:
- Scores are counted on the devices (`histogram.count_arrays`); the search runs on the host, over
  those counts.
- Two F1 are compared as fractions of integers, cross-multiplied in int64: no rounding, so
  thresholds do not depend on the device that counted.
- A label with a handful of positives is shrunk toward what the other labels suggest: see `fit`.

References:
  Lipton, Elkan and Naryanaswamy, "Optimal Thresholding of Classifiers to Maximize F1 Measure", ECML
  PKDD 2014, arXiv:1402.1892.

  Fay and Herriot, "Estimates of Income for Small Places: An Application of James-Stein Procedures
  to Census Data", Journal of the American Statistical Association 74 (1979): estimates from small
  samples, shrunk toward a regression.
"""

import numpy as np

from hpa_jax.metrics import classification, histogram


def fit(counts: histogram.ScoreCounts, *, few_positives: int = 0) -> np.ndarray:
    """The threshold on the grid that maximizes each label's F1.

    Where several thresholds are equally good, as they all are between two neighboring scores, the
    middle one (the lower median) is taken: it leaves most room on both sides. A label without
    positives, or whose best F1 is 0, keeps 0.5.

    With `few_positives` = m above 0, the threshold of a label with n < m positives is shrunk toward
    a regression on prevalence. Over the labels with at least m positives, logit(threshold) is
    regressed on log(positives) (least squares; rarer labels have lower thresholds). The value of
    that line at n, clipped to the range of those thresholds, has weight 1 - n / m, and the label's
    own logit n / m. A label that cannot be fitted takes the line's value, one without any positives
    that at n = 1. No threshold is then 0, which would predict a label for every image, or 1, which
    would predict it for none. Of m = 0, 5 and 10 five is best, on real scores and on simulated ones
    (benchmarks/borrowing.py).

    Args:
      counts: ScoreCounts of int [..., L, bins + 2].
      few_positives: m; 0 fits every label on its own.

    Returns:
      float64 [..., L].
    """
    bins = counts.positives.shape[-1] - 2
    return histogram.threshold_grid(bins)[fit_index(counts, few_positives)]


def fit_index(counts: histogram.ScoreCounts, few_positives: int = 0) -> np.ndarray:
    """As `fit`, but the thresholds' positions on the grid: int64 [..., L]."""
    positives, negatives = classification.host_counts(counts)
    bins = positives.shape[-1] - 2
    tp = _count_above(positives)
    fp = _count_above(negatives)
    support = positives.sum(-1)
    # F1 = 2 tp / (tp + fp + tp + fn), where tp + fn are all positives. Where that is 0, so is tp:
    # any divisor will do.
    denominator = np.maximum(tp + fp + support[..., None], 1)
    index, fitted = _best_index(tp, denominator)
    if not few_positives:
        return np.where(fitted, index, bins // 2)
    # A threshold of 0 or 1 is never meant: only those between are candidates now.
    inner = tp.copy()
    inner[..., [0, bins]] = 0
    inner_index, fitted = _best_index(inner, denominator)
    # The lower median of equally good thresholds may be 0: one step up, then.
    index = np.where(index > 0, index, inner_index)
    index = np.where(fitted, index, bins // 2)
    return _shrink(index, fitted, support, few_positives, bins)


def _count_above(histogram_counts: np.ndarray) -> np.ndarray:
    """How many scores lie above each threshold: int64 [..., bins + 1] from [..., bins + 2]."""
    from_bin_up = np.flip(np.cumsum(np.flip(histogram_counts, -1), -1), -1)
    return from_bin_up[..., 1:]


def _best_index(numerator: np.ndarray, denominator: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the fraction is largest along the last axis.

    Args:
      numerator: int64 [..., K], below 2**31.
      denominator: int64 [..., K], 1 or more and below 2**32.

    Returns:
      index: int64 [...], the lower median of the positions of the largest fraction.
      fitted: bool [...], whether that is above 0.
    """
    best_numerator = numerator[..., 0]
    best_denominator = denominator[..., 0]
    for k in range(1, numerator.shape[-1]):
        # a / b > c / d as a d > c b, products below 2**63. In float64 close fractions of large
        # counts would be equal.
        larger = numerator[..., k] * best_denominator > best_numerator * denominator[..., k]
        best_numerator = np.where(larger, numerator[..., k], best_numerator)
        best_denominator = np.where(larger, denominator[..., k], best_denominator)
    equal = numerator * best_denominator[..., None] == best_numerator[..., None] * denominator
    rank = np.cumsum(equal, -1)
    median_rank = (rank[..., -1:] + 1) // 2
    return np.argmax(rank >= median_rank, -1), best_numerator > 0


def _shrink(
    index: np.ndarray, fitted: np.ndarray, support: np.ndarray, few_positives: int, bins: int
) -> np.ndarray:
    """The rule of `fit` for labels of fewer than `few_positives` positives.

    Args:
      index: int64 [..., L], each label's own position in 1..bins - 1.
      fitted: bool [..., L], whether that was found rather than assumed.
      support: int64 [..., L], positives.

    Returns:
      int64 [..., L] in 1..bins - 1.
    """
    logit = np.log(index) - np.log(bins - index)
    log_support = np.log(np.maximum(support, 1))
    trusted = fitted & (support >= few_positives)
    line = _regression_line(log_support, logit, trusted)
    own_weight = np.where(fitted, np.minimum(support / few_positives, 1), 0)
    shrunk = own_weight * logit + (1 - own_weight) * line
    shrunk_index = np.round(bins / (1 + np.exp(-shrunk))).astype(np.int64)
    return np.where(trusted, index, np.clip(shrunk_index, 1, bins - 1))


def _regression_line(x: np.ndarray, y: np.ndarray, trusted: np.ndarray) -> np.ndarray:
    """The least-squares line through the trusted points, at every x.

    It is clipped to the range of the trusted y. All arrays are [..., L], and each row has a line of
    its own. Without a trusted point the line is 0: as a logit, 0.5.
    """

    def trusted_mean(values: np.ndarray) -> np.ndarray:
        total = np.sum(values, axis=-1, keepdims=True, where=trusted)
        return total / np.maximum(trusted.sum(-1, keepdims=True), 1)

    x_offset = x - trusted_mean(x)
    mean_y = trusted_mean(y)
    variance = trusted_mean(x_offset**2)
    covariance = trusted_mean(x_offset * (y - mean_y))
    # Labels that are all as frequent define no slope: the line is then flat.
    line = mean_y + classification.ratio(covariance, variance) * x_offset
    lowest = np.min(y, axis=-1, keepdims=True, where=trusted, initial=np.inf)
    highest = np.max(y, axis=-1, keepdims=True, where=trusted, initial=-np.inf)
    any_trusted = trusted.any(-1, keepdims=True)
    return np.where(any_trusted, np.clip(line, lowest, highest), 0)


def decide(scores: np.ndarray, thresholds: np.ndarray, *, fill_empty: bool = False) -> np.ndarray:
    """Which labels each image is predicted to have.

    A label is predicted where score > threshold, in the scores' own precision.

    Args:
      scores: float [N, L] in [0, 1].
      thresholds: float [L] (or [N, L]).
      fill_empty: an image above no threshold gets the one label whose score / threshold is largest
        (the first of equal ones). Where every score is 0 that is label 0.

    Returns:
      bool [N, L].
    """
    thresholds = np.broadcast_to(thresholds, scores.shape)
    decided = scores > thresholds.astype(scores.dtype)
    if fill_empty:
        empty = np.flatnonzero(~decided.any(1))
        # A threshold of 0 counts as 0 here, not as infinitely near.
        nearness = classification.ratio(scores[empty], thresholds[empty])
        decided[empty, nearness.argmax(1)] = True
    return decided
