"""How sure a figure is: bootstrap intervals, and a paired test of two models on the same fields.

The groups (neighbours of one specimen, as the split keeps them together) are drawn with replacement, as many as there
are, and every figure is taken again; an interval holds the middle `level` of those values (percentile interval, Efron
and Tibshirani, "An Introduction to the Bootstrap", 1993, ch. 13). It covers what another draw of fields would do to the
figure of this one classifier, with the decisions that it has made. It does not cover another run of the training, or
another fit of the thresholds.

Unusual here: all figures of all replicates come from the same draws and from one product (see weighted.py), so that
1,000 replicates of 31,072 fields and 28 labels take seconds, and figures of one report can be compared.
"""

import numpy as np

from hpa_jax.metrics import resampling


def draws(groups: int, replicates: range, seed: int = 0) -> np.ndarray:
    """How often each group was drawn in each of these replicates: int64 [groups, replicates].

    A replicate depends on the seed and its own number alone.
    """
    columns = [np.random.default_rng([seed, r]).integers(groups, size=groups) for r in replicates]
    return np.stack([np.bincount(column, minlength=groups) for column in columns], axis=1)


def replicate(
    problem: resampling.Problem, replicates: int = 1000, seed: int = 0
) -> tuple[dict, dict]:
    """Figures of the replicates: over all labels, float64 [replicates] each, and by label, [L, replicates] each."""
    return resampling.resampled(
        problem, lambda columns: draws(len(problem.sizes), columns, seed), replicates
    )


def interval(values: np.ndarray, level: float = 0.95) -> np.ndarray:
    """The middle `level` of the values along the last axis: float64 [..., 2]; NaN (undefined there) is left out.

    NaN where all are. So the interval of a figure that some replicates leave undefined (a label of two positives is
    absent from one replicate in seven) is that of the replicates which have it.
    """
    tail = (1 - level) / 2
    defined = ~np.isnan(values).all(-1)
    safe = np.where(defined[..., None], values, 0)
    found = np.nanquantile(safe, [tail, 1 - tail], axis=-1)
    return np.where(defined[..., None], np.moveaxis(found, 0, -1), np.nan)


def intervals(
    targets: np.ndarray,
    *,
    decisions: dict[str, np.ndarray],
    scores: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    replicates: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[dict, dict]:
    """Intervals of all figures.

    Args:
      targets: 0/1 [N, L].
      decisions: bool [N, L] each, by the suffix that the names of their figures get.
      scores: float [N, L] in [0, 1], for average precision, AUC and calibration; None: without them.
      groups: int [N], drawn whole; None: every field is its own group.

    Returns:
      figures over all labels, float64 [2] each, and of each label, [L, 2] each: low and high.
    """
    group, count = resampling.group_index(len(targets), groups)
    problem = resampling.prepare(
        targets, decisions=decisions, scores=scores, group=group, groups=count
    )
    found = replicate(problem, replicates, seed)
    return tuple({name: interval(values, level) for name, values in part.items()} for part in found)


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
    """Is b better than a on the same fields, or is it chance?

    The interval is the paired bootstrap's: both models on the same draws of groups. The p-value is a permutation
    test's, which needs no normal figures and no large sample: were the two models alike, one might swap all that they
    say of a group without a difference; p = (1 + number of random swappings that part them at least as far) /
    (1 + replicates), two-sided. At level 0.05 it finds a difference between equal models once in twenty, per figure: of
    28 labels one or two look different by chance.

    Args:
      a, b: the two models' scores, float [N, L] in [0, 1], or decisions, bool [N, L].
      targets: 0/1 [N, L], rows as in a and b.
      decisions_a, decisions_b: bool [N, L], cross-fitted, say; their figures end in `_crossfit`.
      groups: int [N], drawn and swapped whole; None: every field is its own group.

    Returns:
      figures: by name, `a`, `b`, `difference` (b - a), `interval` [low, high] of the difference, `p_value`.
      per_label: by figure (f1, f1_crossfit, average_precision, ...), a list of the same, one a label.
      None stands for what is undefined.
    """
    group, count = resampling.group_index(len(targets), groups)
    sides = []
    for given, decided in ((a, decisions_a), (b, decisions_b)):
        scores = None if given.dtype == bool else given
        sets = {"": given if scores is None else given > scores.dtype.type(0.5)}
        sides.append((sets if decided is None else sets | {"_crossfit": decided}, scores))
    (sets_a, scores_a), (sets_b, scores_b) = sides
    if sets_a.keys() != sets_b.keys() or (scores_a is None) != (scores_b is None):
        raise ValueError(
            "a and b must be given alike: both scores or both decisions, cross-fitted or not"
        )
    alone = [
        resampling.prepare(targets, decisions=sets, scores=scores, group=group, groups=count)
        for sets, scores in sides
    ]
    # both models' fields in one table: which rows count as model a's is a matter of weights
    both = resampling.prepare(
        np.concatenate([targets, targets]),
        decisions={name: np.concatenate([sets_a[name], sets_b[name]]) for name in sets_a},
        scores=None if scores_a is None else np.concatenate([scores_a, scores_b]),
        group=np.concatenate([group, group + count]),
        groups=2 * count,
    )
    observed = [resampling.figures(problem, np.ones((count, 1))) for problem in alone]
    drawn = [replicate(problem, replicates, seed) for problem in alone]

    def swap(columns: range, sides: tuple[int, int]) -> np.ndarray:
        swapped = [np.random.default_rng([seed, r, 1]).integers(2, size=count) for r in columns]
        own = 1 - np.stack(swapped, axis=1)
        return np.concatenate([np.abs(side - own) for side in sides])

    # the first model is what counts with weights of (own, not own), the second with (not own, own)
    swapped = [
        resampling.resampled(both, lambda columns, sides=sides: swap(columns, sides), replicates)
        for sides in ((0, 1), (1, 0))
    ]

    def rows(i: int) -> dict:
        return {
            name: _rows(
                *(o[i][name] for o in observed),
                *(_minus(pair, i, name) for pair in (drawn, swapped)),
                level,
            )
            for name in observed[0][i]
        }

    over_all, by_label = rows(0), rows(1)
    return {"figures": {name: found[0] for name, found in over_all.items()}, "per_label": by_label}


def _minus(pair: list, i: int, name: str) -> np.ndarray:
    return pair[1][i][name] - pair[0][i][name]


def _rows(a, b, drawn, swapped, level: float) -> list[dict]:
    """One row a label; figures over all labels come as one. a, b: [..., 1]; drawn, swapped: [..., replicates]."""
    a, b, (drawn, swapped) = a.ravel(), b.ravel(), (np.atleast_2d(x) for x in (drawn, swapped))
    difference = b - a
    # sums of other roundings may part equal figures by a few units of the last place
    extreme = (np.abs(swapped) >= np.abs(difference)[:, None] - 1e-12).sum(-1)
    p = np.where(np.isnan(difference), np.nan, (1 + extreme) / (1 + (~np.isnan(swapped)).sum(-1)))
    columns = (a, b, difference, interval(drawn, level), p)
    names = ("a", "b", "difference", "interval", "p_value")
    return [dict(zip(names, map(plain, row), strict=True)) for row in zip(*columns, strict=True)]


def plain(value) -> float | list | None:
    """A number, or a list of numbers (an interval), that goes into JSON: None for what is undefined."""
    if np.isnan(value).any():
        return None
    return np.asarray(value, np.float64).tolist()
