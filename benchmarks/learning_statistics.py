"""Statistics over the seeds of a recipe, for `learning.py` and `ablation.py`."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

LEVEL = 0.95

Interval = tuple[float, float]


def metric_values(results: dict[str, dict], recipe: str, tta: str, metric: str) -> list[float]:
    """A metric of each seed of a recipe that has it, in the order of the seeds.

    Args:
      results: of `learning_runs.run_all`, by RECIPE_SEED.
    """
    values = []
    for name in sorted(results):
        if name.rpartition("_")[0] != recipe:
            continue
        metrics = results[name]["metrics"][tta]
        if metric in metrics:
            values.append(metrics[metric])
    return values


def mean(values: Sequence[float]) -> float | None:
    """None if there are no values, as of a metric that the evaluator does not give."""
    if not values:
        return None
    return float(np.mean(values))


def std(values: Sequence[float]) -> float | None:
    """Of one seed's value; None with one seed."""
    if len(values) < 2:
        return None
    return float(np.std(values, ddof=1))


def t_interval(values: Sequence[float]) -> Interval | None:
    """The 95 % t-interval of the mean over seeds; None with one seed."""
    if len(values) < 2:
        return None
    quantile = stats.t.ppf((1 + LEVEL) / 2, len(values) - 1)
    half = quantile * np.std(values, ddof=1) / np.sqrt(len(values))
    center = np.mean(values)
    return float(center - half), float(center + half)


def welch_interval(ours: Sequence[float], peer: Sequence[float]) -> Interval | None:
    """Welch's 95 % interval of the mean of ours less the peer's; None with one seed of either."""
    if min(len(ours), len(peer)) < 2:
        return None
    found = stats.ttest_ind(ours, peer, equal_var=False).confidence_interval(LEVEL)
    return float(found.low), float(found.high)


def chance(targets: np.ndarray) -> float:
    """The largest macro F1 without looking, that of every label for every image.

    It is the mean over labels of 2 p / (1 + p), where p is the frequency of the label.

    Args:
      targets: 0/1 `[N, L]`.
    """
    frequencies = targets.mean(axis=0)
    return float(np.mean(2 * frequencies / (1 + frequencies)))
