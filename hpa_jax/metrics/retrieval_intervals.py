"""How sure figures of retrieval are: the groups of the queries are drawn with replacement.

A query goes with its group, so that images of one antibody, which are answered alike, do not pass
for independent ones. What is searched stays as it is: an interval is for other queries to the same
collection. Two embeddings of the same images are compared on the same draws.

References:
  Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, ch. 13.
"""

import numpy as np

from hpa_jax.metrics import bootstrap, resampling
from hpa_jax.metrics.classification import ratio
from hpa_jax.metrics.retrieval import Retrieval

_BLOCK = 128  # replicates whose draws are held at a time


def resampled_means(
    values: np.ndarray,
    groups: np.ndarray | None = None,
    *,
    replicates: int = 1000,
    seed: int = 0,
) -> np.ndarray:
    """Means of R draws of the groups.

    Args:
      values: float [N], one a query; NaN for those that do not count.
      groups: [N], drawn as one; None: every query is its own.
      replicates: R.
      seed: of the draws; with the same seed and groups they are the same for any values.

    Returns:
      float64 [R]; NaN where a draw has no query that counts.
    """
    group, count = resampling.group_index(len(values), groups)
    counted = ~np.isnan(values)
    sums = np.bincount(group[counted], values[counted], minlength=count)
    sizes = np.bincount(group[counted], minlength=count)
    means = []
    for start in range(0, replicates, _BLOCK):
        numbers = range(start, min(start + _BLOCK, replicates))
        weights = bootstrap.bootstrap_weights(count, numbers, seed)
        total = sums @ weights
        size = sizes @ weights
        means.append(np.where(size > 0, ratio(total, size), np.nan))
    return np.concatenate(means)


def intervals(
    found: Retrieval,
    groups: np.ndarray,
    *,
    replicates: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """The interval of each metric.

    Args:
      found: of `retrieval.retrieve`.
      groups: int [N], as there.
      replicates, seed: as of `resampled_means`.
      level: of the intervals, 0 to 1.

    Returns:
      float64 [2] each, low and high.
    """
    ends = {}
    for name, values in found.values().items():
        means = resampled_means(values, groups, replicates=replicates, seed=seed)
        ends[name] = bootstrap.percentile_interval(means, level)
    return ends


def difference(
    values: np.ndarray,
    less: np.ndarray,
    groups: np.ndarray | None = None,
    *,
    replicates: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, np.ndarray]:
    """By how much the mean of one embedding's values is above another's, with its interval.

    Args:
      values: float [N], one a query; NaN for those that do not count.
      less: of the other embedding, the same queries.
      groups, replicates, level, seed: as of `intervals`.

    Returns:
      The difference of the means, and float64 [2], low and high.
    """
    beyond = values - less
    drawn = resampled_means(beyond, groups, replicates=replicates, seed=seed)
    return float(np.nanmean(beyond)), bootstrap.percentile_interval(drawn, level)
