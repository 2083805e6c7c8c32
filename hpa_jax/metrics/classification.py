"""Precision, recall, F1 and average precision from integer counts.

Counts come from the device (`histogram.ScoreCounts`, `agreement_counts`) or from decisions on the
host. Every ratio is taken once, on the host, in float64, and is 0 where its denominator is 0
(scikit-learn's `zero_division=0`)."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from hpa_jax.metrics.histogram import ScoreCounts

METRICS = (
    "macro_f1",
    "micro_f1",
    "macro_precision",
    "macro_recall",
    "micro_precision",
    "micro_recall",
    "accuracy",
    "macro_f1_present",
    "macro_average_precision",
)
"""What `metrics_from_counts` returns over all labels."""


@dataclass(frozen=True)
class Confusion:
    """Right and wrong decisions by label.

    Attributes:
      tp: int64 [L], true positives.
      fp: int64 [L], false positives.
      fn: int64 [L], false negatives.
      tn: int64 [L], true negatives.
    """

    tp: np.ndarray
    fp: np.ndarray
    fn: np.ndarray
    tn: np.ndarray


def confusion_from_counts(counts: ScoreCounts, index) -> Confusion:
    """Decisions at one threshold a label, on the host.

    Args:
      counts: ScoreCounts of int [L, bins + 2].
      index: int or int [L], the position of each label's threshold on the grid.
    """
    positives, negatives = host_counts(counts)
    index = np.broadcast_to(index, positives.shape[:1])
    above = np.arange(positives.shape[-1]) > index[:, None]
    tp = np.sum(positives * above, -1)
    fp = np.sum(negatives * above, -1)
    return Confusion(tp=tp, fp=fp, fn=positives.sum(-1) - tp, tn=negatives.sum(-1) - fp)


def confusion_from_decisions(predicted: np.ndarray, targets: np.ndarray) -> Confusion:
    """Decisions that are given.

    Args:
      predicted: bool [N, L].
      targets: bool [N, L].
    """
    tp = (predicted & targets).sum(0)
    fp = (predicted & ~targets).sum(0)
    fn = (~predicted & targets).sum(0)
    return Confusion(tp=tp, fp=fp, fn=fn, tn=len(targets) - tp - fp - fn)


def host_counts(counts: ScoreCounts) -> tuple[np.ndarray, np.ndarray]:
    """Positives and negatives as int64 on the host: sums and products of them do not overflow."""
    counts = jax.device_get(counts)
    return np.asarray(counts.positives, np.int64), np.asarray(counts.negatives, np.int64)


def ratio(numerator, denominator) -> np.ndarray:
    """numerator / denominator in float64, and 0 where the denominator is 0."""
    numerator = np.asarray(numerator, np.float64)
    denominator = np.asarray(denominator, np.float64)
    zeros = np.zeros_like(denominator)
    return np.divide(numerator, denominator, out=zeros, where=denominator != 0)


def mean_of_defined(values: np.ndarray) -> np.ndarray:
    """The mean along the first axis of what is not NaN, float64 [...]; NaN where all is.

    Args:
      values: float64 [L, ...].
    """
    # Labels that are NaN throughout are dropped first: a single column is then summed as by
    # values.mean().
    other_axes = tuple(range(1, values.ndim))
    values = values[~np.isnan(values).all(other_axes)]
    defined = ~np.isnan(values)
    count = defined.sum(0)
    mean = ratio(np.where(defined, values, 0).sum(0), count)
    return np.where(count > 0, mean, np.nan)


def f1_from_counts(tp, fp, fn) -> np.ndarray:
    """2 tp / (2 tp + fp + fn), the harmonic mean of precision and recall; 0 where all are 0."""
    return ratio(2 * tp, 2 * tp + fp + fn)


def metrics_from_confusion(confusion: Confusion) -> dict:
    """Metrics of any set of decisions.

    `macro_*` is the plain mean over all labels, `micro_*` pools the decisions of all labels,
    `macro_f1_present` is the mean over the labels that some image has, `accuracy` is the fraction
    of (image, label) decisions that are right.

    Returns:
      `macro_f1`, `micro_f1`, `macro_precision`, `macro_recall`, `micro_precision`, `micro_recall`,
      `accuracy` and `macro_f1_present`, each a float in [0, 1]; `per_label`, a dict of `support`,
      `tp`, `fp`, `fn` (int64 [L]) and `precision`, `recall`, `f1` (float64 [L]).
    """
    tp, fp, fn = confusion.tp, confusion.fp, confusion.fn
    support = tp + fn
    present = support > 0
    precision = ratio(tp, tp + fp)
    recall = ratio(tp, support)
    f1 = f1_from_counts(tp, fp, fn)
    all_tp = tp.sum()
    all_fp = fp.sum()
    all_fn = fn.sum()
    all_tn = confusion.tn.sum()
    accuracy = ratio(all_tp + all_tn, all_tp + all_fp + all_fn + all_tn)
    return {
        "macro_f1": float(f1.mean()),
        "micro_f1": float(f1_from_counts(all_tp, all_fp, all_fn)),
        "macro_precision": float(precision.mean()),
        "macro_recall": float(recall.mean()),
        "micro_precision": float(ratio(all_tp, all_tp + all_fp)),
        "micro_recall": float(ratio(all_tp, all_tp + all_fn)),
        "accuracy": float(accuracy),
        "macro_f1_present": float(ratio(f1[present].sum(), present.sum())),
        "per_label": {
            "support": support,
            "tp": tp,
            "fp": fp,
            "fn": fn,
            "precision": precision,
            "recall": recall,
            "f1": f1,
        },
    }


def metrics_from_counts(counts: ScoreCounts) -> dict:
    """METRICS at threshold 0.5, always, and `per_label` as in `metrics_from_confusion`.

    `macro_average_precision` is of the same counts: the mean over the labels that some image has, 0
    without any.

    Args:
      counts: ScoreCounts of int [L, bins + 2].
    """
    bins = counts.positives.shape[-1] - 2
    precision = average_precision_from_counts(counts)
    present = ~np.isnan(precision)
    metrics = metrics_from_confusion(confusion_from_counts(counts, bins // 2))
    metrics["macro_average_precision"] = float(ratio(precision[present].sum(), present.sum()))
    return metrics


def average_precision_from_counts(counts: ScoreCounts) -> np.ndarray:
    """Average precision of each label, the scores of one bin taken as ties.

    sum_k (R_k - R_(k-1)) P_k over the bins from the highest down, as scikit-learn's
    average_precision_score. It is that of scores rounded up to steps of 1 / bins;
    `ranking.average_precision` is that of the scores as they are.

    Args:
      counts: ScoreCounts of int [..., L, bins + 2].

    Returns:
      float64 [..., L], NaN without positives.
    """
    positives, negatives = host_counts(counts)
    positives = np.flip(positives, -1)
    negatives = np.flip(negatives, -1)
    tp = np.cumsum(positives, -1)
    fp = np.cumsum(negatives, -1)
    total = np.sum(positives * ratio(tp, tp + fp), -1)
    return np.where(tp[..., -1] > 0, ratio(total, tp[..., -1]), np.nan)


def label_f1(predicted: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """F1 of each label.

    Args:
      predicted: bool [N, L].
      targets: bool [N, L].

    Returns:
      float64 [L], 0 for a label without positives and predictions.
    """
    confusion = confusion_from_decisions(predicted, targets)
    return f1_from_counts(confusion.tp, confusion.fp, confusion.fn)


def macro_f1(predicted: np.ndarray, targets: np.ndarray) -> float:
    """The mean of `label_f1` over all labels. Arguments as there."""
    return float(label_f1(predicted, targets).mean())


def micro_f1(predicted: np.ndarray, targets: np.ndarray) -> float:
    """F1 of the (image, label) decisions of all labels pooled. Arguments as of `label_f1`."""
    confusion = confusion_from_decisions(predicted, targets)
    return float(f1_from_counts(confusion.tp.sum(), confusion.fp.sum(), confusion.fn.sum()))


def image_f1(predicted: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """F1 of each image over its labels: 2 |predicted and positive| / (|predicted| + |positive|).

    Args:
      predicted: bool [N, L].
      targets: bool [N, L].

    Returns:
      float64 [N], 0 for an image that has no label and is predicted none.
    """
    return ratio(2 * (predicted & targets).sum(1), predicted.sum(1) + targets.sum(1))


def mean_image_f1(predicted: np.ndarray, targets: np.ndarray) -> float:
    """The mean of `image_f1`: the metric `samples_f1`, as scikit-learn calls it."""
    return float(image_f1(predicted, targets).mean())


def agreement_counts(predicted: jax.Array, targets: jax.Array, mask: jax.Array) -> jax.Array:
    """How many images have i labels both predicted and positive, and s predicted plus positive.
    Pure; jit it.

    An image's F1 is 2 i / s with integers i and s, so that counting images by i and s loses
    nothing, and the counts add up exactly over any sharding.

    Args:
      predicted: bool [B, L].
      targets: bool [B, L].
      mask: bool [B], False for rows that are not counted.

    Returns:
      int32 [L + 1, 2 L + 1], by i and s.
    """
    labels = targets.shape[1]
    both = jnp.sum(predicted & targets, axis=1)
    either = jnp.sum(predicted, axis=1) + jnp.sum(targets, axis=1)
    counts = jnp.zeros((labels + 1, 2 * labels + 1), jnp.int32)
    return counts.at[both, either].add(mask.astype(jnp.int32))


def mean_image_f1_from_counts(agreement: np.ndarray) -> float:
    """`mean_image_f1` from the `agreement_counts` of all batches, int [L + 1, 2 L + 1]."""
    both, either = np.indices(agreement.shape)
    f1 = ratio(2 * both, either)
    return float(ratio((agreement * f1).sum(), agreement.sum()))
