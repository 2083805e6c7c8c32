"""Is one model better than another on the same images? A paired bootstrap and a permutation test.

References:
  Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, ch. 13 and 15.
"""

from dataclasses import dataclass

import numpy as np

from hpa_jax.metrics import bootstrap, resampling, weighted


def paired_test(
    a: np.ndarray,
    b: np.ndarray,
    targets: np.ndarray,
    *,
    decisions_a: np.ndarray | None = None,
    decisions_b: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    replicates: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict:
    """Is model b better than model a on the same images, or is it chance?

    The interval is the paired bootstrap's: both models on the same draws of groups. The p-value is
    a permutation test's, which needs no normal distribution and no large sample: were the two
    models alike, one might swap their outputs for a group without a difference; p = (1 + number of
    random swaps that separate them at least as far) / (1 + replicates), two-sided. At level 0.05 it
    finds a difference between equal models once in twenty, per metric: of 28 labels one or two look
    different by chance.

    Args:
      a: the first model's scores, float [N, L] in [0, 1], or decisions, bool [N, L].
      b: the second model's.
      targets: 0/1 [N, L], rows as in a and b.
      decisions_a: bool [N, L], cross-fitted decisions for instance; their metrics end in
        `_crossfit`.
      decisions_b: bool [N, L], given where decisions_a is.
      groups: int [N], drawn and swapped as one; None: every image is its own group.
      replicates: draws of the groups, and swaps.
      level: of the intervals, 0 to 1.
      seed: of draws and swaps.

    Returns:
      metrics: by metric, `a`, `b`, `difference` (b - a), `interval` [low, high] of the difference,
        `p_value`.
      per_label: by metric (f1, f1_crossfit, average_precision, ...), a list of the same, one a
      label. None stands for what is undefined.

    Raises:
      ValueError: one model's scores and the other's decisions are given.
    """
    group, count = resampling.group_index(len(targets), groups)
    models = (_Model.of(a, decisions_a), _Model.of(b, decisions_b))
    _check_alike(*models)

    ones = np.ones((count, 1))
    observed = []
    drawn = []
    for model in models:
        problem = model.problem(targets, group, count)
        observed.append(weighted.weighted_metrics(problem, ones))
        drawn.append(bootstrap.bootstrap_metrics(problem, replicates, seed))
    swapped = _swapped_metrics(models, targets, group, count, replicates, seed)

    over_all = {}
    for name in observed[0].over_all:
        pairs = (_pair(metrics, "over_all", name) for metrics in (observed, drawn, swapped))
        (over_all[name],) = _comparisons(*pairs, level)
    by_label = {}
    for name in observed[0].by_label:
        pairs = (_pair(metrics, "by_label", name) for metrics in (observed, drawn, swapped))
        by_label[name] = _comparisons(*pairs, level)
    return {"metrics": over_all, "per_label": by_label}


@dataclass(frozen=True)
class _Model:
    """One side of a paired test.

    Attributes:
      decisions: bool [N, L] each, by the suffix of their metrics' names.
      scores: float [N, L], or None.
    """

    decisions: dict[str, np.ndarray]
    scores: np.ndarray | None

    @classmethod
    def of(cls, output: np.ndarray, crossfit_decisions: np.ndarray | None) -> "_Model":
        if output.dtype == bool:
            scores = None
            decisions = {"": output}
        else:
            scores = output
            decisions = {"": output > output.dtype.type(0.5)}
        if crossfit_decisions is not None:
            decisions["_crossfit"] = crossfit_decisions
        return cls(decisions, scores)

    def problem(self, targets: np.ndarray, group: np.ndarray, groups: int) -> resampling.Problem:
        return resampling.prepare(
            targets, decisions=self.decisions, scores=self.scores, group=group, groups=groups
        )


def _check_alike(a: _Model, b: _Model) -> None:
    if a.decisions.keys() != b.decisions.keys() or (a.scores is None) != (b.scores is None):
        raise ValueError(
            "a and b must be given alike: both scores or both decisions, cross-fitted or not"
        )


def _swapped_metrics(
    models: tuple[_Model, _Model],
    targets: np.ndarray,
    group: np.ndarray,
    groups: int,
    replicates: int,
    seed: int,
) -> list[weighted.Metrics]:
    """Metrics of both models after each random swap of their outputs, group by group."""
    a, b = models
    # Both models' images in one table, so that which rows count as the first model's is a matter of
    # weights: groups 0..G - 1 are a's rows, G..2 G - 1 are b's.
    both_scores = None
    if a.scores is not None:
        both_scores = np.concatenate([a.scores, b.scores])
    both_decisions = {}
    for suffix, decisions in a.decisions.items():
        both_decisions[suffix] = np.concatenate([decisions, b.decisions[suffix]])
    both = _Model(both_decisions, both_scores)
    problem = both.problem(
        np.concatenate([targets, targets]), np.concatenate([group, group + groups]), 2 * groups
    )

    def kept(columns: range) -> np.ndarray:
        """int64 [G, columns], 1 where a group keeps its model and 0 where it is swapped."""
        swaps = []
        for replicate in columns:
            # Another stream than the bootstrap's, so that swaps do not depend on its draws.
            rng = np.random.default_rng([seed, replicate, 1])
            swaps.append(rng.integers(2, size=groups))
        return 1 - np.stack(swaps, axis=1)

    def first_model(columns: range) -> np.ndarray:
        own = kept(columns)
        return np.concatenate([own, 1 - own])

    def second_model(columns: range) -> np.ndarray:
        own = kept(columns)
        return np.concatenate([1 - own, own])

    return [
        weighted.resampled_metrics(problem, first_model, replicates),
        weighted.resampled_metrics(problem, second_model, replicates),
    ]


def _pair(both_models: list[weighted.Metrics], kind: str, name: str) -> tuple:
    """Both models' values of a metric, float64 [labels, R]; one row where `kind` is over_all."""
    a, b = (np.atleast_2d(getattr(metrics, kind)[name]) for metrics in both_models)
    return a, b


def _comparisons(observed: tuple, drawn: tuple, swapped: tuple, level: float) -> list[dict]:
    """The rows of one metric, one a label.

    Args:
      observed: both models' values, float64 [labels, 1] each.
      drawn: those of the bootstrap's replicates, [labels, R].
      swapped: those after each swap, [labels, R].
      level: of the intervals.
    """
    a, b = (values.ravel() for values in observed)
    drawn_a, drawn_b = drawn
    swapped_a, swapped_b = swapped
    difference = b - a
    swapped_difference = swapped_b - swapped_a
    # Sums rounded otherwise may separate equal metrics by a few units of the last place.
    as_far = np.abs(swapped_difference) >= np.abs(difference)[:, None] - 1e-12
    defined = ~np.isnan(swapped_difference)
    p_value = (1 + as_far.sum(-1)) / (1 + defined.sum(-1))
    p_value = np.where(np.isnan(difference), np.nan, p_value)
    interval = bootstrap.percentile_interval(drawn_b - drawn_a, level)
    rows = []
    for label in range(len(difference)):
        row = {
            "a": bootstrap.json_value(a[label]),
            "b": bootstrap.json_value(b[label]),
            "difference": bootstrap.json_value(difference[label]),
            "interval": bootstrap.json_value(interval[label]),
            "p_value": bootstrap.json_value(p_value[label]),
        }
        rows.append(row)
    return rows
