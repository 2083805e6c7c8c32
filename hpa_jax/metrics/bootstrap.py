"""How sure a metric is: bootstrap intervals.

The groups (near-duplicates, images of one specimen, as the split keeps them together) are drawn
with replacement, as many as there are, and every metric is computed again; an interval holds the
middle `level` of those values (percentile interval). It covers what another draw of images would do
to the metric of this one classifier, with the decisions that it has made. It does not cover another
run of the training, or another fit of the thresholds.

Notes:
- All metrics of all replicates come from the same draws and the same products (see weighted.py), so
  that 1,000 replicates of 31,072 images and 28 labels take seconds, and metrics of one report can
  be compared.

References:
  Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, ch. 13.
"""

import numpy as np

from hpa_jax.metrics import resampling, weighted


def bootstrap_weights(groups: int, replicates: range, seed: int = 0) -> np.ndarray:
    """How often each group was drawn in each of these replicates.

    A replicate depends on the seed and its own number alone.

    Args:
      groups: their number, G.
      replicates: the numbers of R replicates.
      seed: of the draws.

    Returns:
      int64 [G, R].
    """
    weights = []
    for replicate in replicates:
        # Blocks of replicates are drawn in any order and by any thread: each has its own generator.
        rng = np.random.default_rng([seed, replicate])
        drawn = rng.integers(groups, size=groups)
        weights.append(np.bincount(drawn, minlength=groups))
    return np.stack(weights, axis=1)


def bootstrap_metrics(
    problem: resampling.Problem, replicates: int = 1000, seed: int = 0
) -> weighted.Metrics:
    """Metrics of R replicates: over all labels, float64 [R] each, and by label, [L, R] each."""
    groups = len(problem.group_sizes)

    def weights_of(columns: range) -> np.ndarray:
        return bootstrap_weights(groups, columns, seed)

    return weighted.resampled_metrics(problem, weights_of, replicates)


def percentile_interval(values: np.ndarray, level: float = 0.95) -> np.ndarray:
    """The middle `level` of the values along the last axis; NaN (undefined there) is left out.

    So the interval of a metric that some replicates leave undefined (a label of two positives is
    absent from one replicate in seven) is that of the replicates which have it.

    Args:
      values: float64 [..., R].
      level: the fraction of the values inside, 0 to 1.

    Returns:
      float64 [..., 2], low and high; NaN where all values are.
    """
    tail = (1 - level) / 2
    defined = ~np.isnan(values).all(-1)
    # np.nanquantile warns of rows that are NaN throughout.
    safe = np.where(defined[..., None], values, 0)
    ends = np.nanquantile(safe, [tail, 1 - tail], axis=-1)
    return np.where(defined[..., None], np.moveaxis(ends, 0, -1), np.nan)


def bootstrap_intervals(
    targets: np.ndarray,
    *,
    decisions: dict[str, np.ndarray],
    scores: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    replicates: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[dict, dict]:
    """Intervals of all metrics.

    Args:
      targets: 0/1 [N, L].
      decisions: bool [N, L] each, by the suffix that the names of their metrics get.
      scores: float [N, L] in [0, 1], for average precision, AUC and calibration; None: without
        them.
      groups: int [N], drawn as one; None: every image is its own group.
      replicates: draws of the groups.
      level: of the intervals, 0 to 1.
      seed: of the draws.

    Returns:
      Metrics over all labels, float64 [2] each, and of each label, [L, 2] each: low and high.
    """
    group, count = resampling.group_index(len(targets), groups)
    problem = resampling.prepare(
        targets, decisions=decisions, scores=scores, group=group, groups=count
    )
    over_all, by_label = bootstrap_metrics(problem, replicates, seed)
    return _intervals(over_all, level), _intervals(by_label, level)


def mean_interval(
    values: np.ndarray,
    groups: np.ndarray | None = None,
    *,
    replicates: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """The mean over images of values that each image has, and its interval.

    Of the differences between two methods' values on the same images it is the interval of a paired
    comparison.

    Args:
      values: float64 [N, ...]; NaN (undefined for that image) is left out of the means.
      groups: int [N], drawn as one; None: every image is its own group.
      replicates: draws of the groups.
      level: of the interval, 0 to 1.
      seed: of the draws.

    Returns:
      float64 [...] and [..., 2], low and high; NaN where no image has a value.
    """
    group, count = resampling.group_index(len(values), groups)
    flat = np.reshape(np.asarray(values, np.float64), (len(values), -1))
    defined = ~np.isnan(flat)
    totals = np.zeros((count, flat.shape[1]))
    counts = np.zeros_like(totals)
    np.add.at(totals, group, np.where(defined, flat, 0))
    np.add.at(counts, group, defined)
    weights = bootstrap_weights(count, range(replicates), seed)
    shape = np.shape(values)[1:]
    means = _ratio(totals.sum(0), counts.sum(0)).reshape(shape)
    drawn = _ratio(totals.T @ weights, counts.T @ weights)
    ends = percentile_interval(drawn, level)
    return means, ends.reshape(*shape, 2)


def _ratio(totals: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """NaN where there is nothing to divide by."""
    return np.where(counts > 0, totals / np.maximum(counts, 1), np.nan)


def _intervals(metrics: dict, level: float) -> dict:
    return {name: percentile_interval(values, level) for name, values in metrics.items()}


def json_value(value) -> float | list | None:
    """A number, or a list of numbers (an interval), for JSON: None for what is undefined."""
    if np.isnan(value).any():
        return None
    return np.asarray(value, np.float64).tolist()
