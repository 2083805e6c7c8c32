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
      values: float [N], one a query, or [N, K], several; NaN for those that do not count.
      groups: [N], drawn as one; None: every query is its own.
      replicates: R.
      seed: of the draws; with the same seed and groups they are the same for any values.

    Returns:
      float64 [R], or [K, R]; NaN where a draw has no query that counts.
    """
    columns = np.atleast_2d(np.asarray(values, np.float64).T)
    group, count = resampling.group_index(len(values), groups)
    counted = ~np.isnan(columns)
    sums = np.zeros((len(columns), count))
    sizes = np.zeros((len(columns), count))
    for column, is_counted in enumerate(counted):
        of_column = columns[column, is_counted]
        sums[column] = np.bincount(group[is_counted], of_column, minlength=count)
        sizes[column] = np.bincount(group[is_counted], minlength=count)
    means = []
    for start in range(0, replicates, _BLOCK):
        numbers = range(start, min(start + _BLOCK, replicates))
        weights = bootstrap.bootstrap_weights(count, numbers, seed).astype(np.float64)
        size = sizes @ weights
        means.append(np.where(size > 0, ratio(sums @ weights, size), np.nan))
    found = np.concatenate(means, axis=1)
    return found if np.ndim(values) == 2 else found[0]


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
    by_metric = found.values()
    values = np.stack(list(by_metric.values()), axis=1)
    means = resampled_means(values, groups, replicates=replicates, seed=seed)
    ends = bootstrap.percentile_interval(means, level)
    return dict(zip(by_metric, ends, strict=True))


def difference(
    values: np.ndarray,
    less: np.ndarray,
    groups: np.ndarray | None = None,
    *,
    replicates: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """By how much the mean of one embedding's values is above another's, with its interval.

    Args:
      values: float [N], one a query, or [N, K], several; NaN for those that do not count.
      less: of the other embedding, the same queries.
      groups, replicates, level, seed: as of `intervals`.

    Returns:
      The difference of the means, float64 scalar or [K], and float64 [2] or [K, 2], low and high.
    """
    beyond = values - less
    drawn = resampled_means(beyond, groups, replicates=replicates, seed=seed)
    return np.nanmean(beyond, axis=0), bootstrap.percentile_interval(drawn, level)
