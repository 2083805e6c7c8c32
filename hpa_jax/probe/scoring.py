"""How well fitted probes rank images and labels, with intervals over groups of images.

The metrics are SubCell's (`get_metrics` of its `train_classification.py`).

All features are scored on the same bootstrap draws, so that differences between them have intervals
of their own: two that overlap may still differ for sure.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hpa_jax.metrics import bootstrap, ranking, resampling
from hpa_jax.metrics.classification import mean_of_defined

MAIN = "macro_average_precision"
"""The metric of the protocol: the mean over the labels that have a positive."""

OF_IMAGES = ("label_ranking_average_precision", "coverage_error")
"""Means over the images that have a label, of their labels among those that some image has."""

METRICS = (MAIN, "micro_average_precision", "macro_auc", "micro_auc", *OF_IMAGES)

_REPLICATES_AT_ONCE = 100


@dataclass(frozen=True)
class Scored:
    """Metrics of the fits on one kind of features; means over S seeds where nothing else is said.

    Attributes:
      metrics: by name, METRICS.
      by_seed: macro average precision of each seed.
      by_label: average precision float64 `[L]`, NaN where undefined.
      draws: float64 `[R]` by name: the metrics of each replicate of the bootstrap.
      draws_by_label: float64 `[L, R]`.
    """

    metrics: dict[str, float]
    by_seed: list[float]
    by_label: np.ndarray
    draws: dict[str, np.ndarray]
    draws_by_label: np.ndarray


def score(
    scores_by_seed: Sequence[np.ndarray],
    targets: np.ndarray,
    groups: np.ndarray,
    *,
    replicates: int,
    seed: int,
) -> Scored:
    """Scores the fits on one kind of features.

    Args:
      scores_by_seed: float32 `[N, L]` of each seed.
      targets: 0/1 `[N, L]`.
      groups: int `[N]`, drawn as one.
      replicates: of the bootstrap, R; 0: none.
      seed: of its draws.
    """
    found = []
    draws = []
    draws_by_label = []
    group, count = resampling.group_index(len(targets), groups)
    occurs = (targets != 0).any(axis=0)
    for scores in scores_by_seed:
        metrics = ranking.ranking_metrics(scores, targets)
        of_images = ranking.label_rankings(scores[:, occurs], targets[:, occurs])
        by_image = dict(zip(OF_IMAGES, of_images, strict=True))
        for name, values in by_image.items():
            metrics[name] = float(mean_of_defined(values))
        found.append(metrics)
        if not replicates:
            continue
        problem = resampling.prepare(
            targets, decisions={}, scores=scores, group=group, groups=count
        )
        over_all, by_label = bootstrap.bootstrap_metrics(problem, replicates, seed)
        for name, values in by_image.items():
            over_all[name] = _mean_draws(values, group, count, replicates, seed)
        draws.append(over_all)
        draws_by_label.append(by_label["average_precision"])
    by_label = [metrics["per_label"]["average_precision"] for metrics in found]
    mean_draws = {}
    mean_draws_by_label = np.zeros((targets.shape[1], 0))
    if replicates:
        mean_draws_by_label = np.mean(draws_by_label, axis=0)
        for name in METRICS:
            mean_draws[name] = np.mean([metrics[name] for metrics in draws], axis=0)
    return Scored(
        metrics={name: float(np.mean([metrics[name] for metrics in found])) for name in METRICS},
        by_seed=[metrics[MAIN] for metrics in found],
        by_label=np.mean(by_label, axis=0),
        draws=mean_draws,
        draws_by_label=mean_draws_by_label,
    )


def _mean_draws(
    values: np.ndarray, group: np.ndarray, groups: int, replicates: int, seed: int
) -> np.ndarray:
    """The mean of the values `[N]` that are defined, in each replicate: float64 `[R]`."""
    defined = ~np.isnan(values)
    sums = np.bincount(group, np.where(defined, values, 0), groups)
    counts = np.bincount(group, defined, groups)
    draws = []
    for start in range(0, replicates, _REPLICATES_AT_ONCE):
        block = range(start, min(start + _REPLICATES_AT_ONCE, replicates))
        weights = bootstrap.bootstrap_weights(groups, block, seed)
        drawn = counts @ weights
        # A replicate may have no image with a label.
        draws.append(np.where(drawn > 0, (sums @ weights) / np.maximum(drawn, 1), np.nan))
    return np.concatenate(draws)


def metrics_json(scored: Scored, level: float) -> dict:
    """The metrics with their intervals, as plain values."""
    values = {}
    for name in METRICS:
        values[name] = bootstrap.json_value(scored.metrics[name])
    intervals = {}
    for name, draws in scored.draws.items():
        intervals[name] = bootstrap.json_value(bootstrap.percentile_interval(draws, level))
    return values | {"by_seed": scored.by_seed, "intervals": intervals}


def difference_json(first: Scored, other: Scored, level: float) -> dict:
    """By how much the first's macro average precision is above the other's, with an interval."""
    found = {"value": first.metrics[MAIN] - other.metrics[MAIN], "interval": None}
    if first.draws:
        draws = first.draws[MAIN] - other.draws[MAIN]
        found["interval"] = bootstrap.json_value(bootstrap.percentile_interval(draws, level))
    return found


def labels_json(
    scored: dict[str, Scored], targets: np.ndarray, names: Sequence[str], level: float
) -> list[dict]:
    """A dict for each label: `name`, `support`, and for each kind of features what it reaches."""
    support = np.count_nonzero(targets, axis=0)
    rows = []
    for label, name in enumerate(names):
        row = {"name": name, "support": int(support[label])}
        for kind, found in scored.items():
            value = {"average_precision": bootstrap.json_value(found.by_label[label])}
            if found.draws:
                ends = bootstrap.percentile_interval(found.draws_by_label[label], level)
                value["interval"] = bootstrap.json_value(ends)
            row[kind] = value
        rows.append(row)
    return rows


def guessing(targets: np.ndarray) -> float:
    """The macro average precision that scores without knowledge have on average.

    It is the mean frequency of the labels that occur, up to a term that vanishes with the number
    of images.
    """
    frequency = targets.mean(axis=0)
    return float(frequency[frequency > 0].mean())
