"""Every figure of the evaluator as a function of how often each group of fields counts: what resampling is made of.

A replicate of the bootstrap, and a permutation, is a weight for each group. All figures are ratios of weighted sums:
decisions by label, gaps by calibration bin, and, for the ranking figures, the fields between one score that a positive
bears and the next. So the arrays are sorted once, and all replicates are one product of a sparse matrix with one entry
a (field, label) pair.

Unusual here:
- at equal weights the figures are those of metrics.py, ranking.py and calibration.py, and at whole numbers those of the
  arrays with each field repeated so often: no binning, no approximation;
- a label that some field bears, but none of those that a replicate drew, is undefined there, and the replicate's macro
  figures are means without it: it would count as 0, and the interval of a macro F1 of few fields lie below the figure;
- negatives that score below every positive are left out of the product: they are the total less the rest;
- counts are float32 where that is exact (sums below 2**24), which halves the time, and float64 where it is not.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from hpa_jax.metrics import calibration, classification

BLOCK = 64
"""Replicates in one product: so many that the weights stay in the cache. 32 and 128 took 1.5 and 1.8 times as long."""


@dataclass(frozen=True)
class Ranking:
    """One ranking, its rows in the matrix of counts in this order: K levels (distinct scores that a positive bears,
    falling), the positives at each; the negatives at each or between it and the level above; the negatives that tie
    with a positive, for the levels in `tied`. Then all positives and all fields of the ranking.
    """

    matrix: sparse.csr_matrix
    levels: int
    tied: np.ndarray


@dataclass(frozen=True)
class Problem:
    """Arrays made ready for any weights; see `prepare`."""

    fields: int
    labels: int
    counts: (
        sparse.csr_matrix
    )  # [1 + L + sets * (2 L + 1), groups]: fields; borne; then of each set tp, given, field F1
    borne: np.ndarray  # bool [L], labels that some field bears
    sets: tuple[str, ...]
    rankings: tuple[Ranking, ...]  # of each label, then of all pairs; none without scores
    gaps: sparse.csr_matrix | None  # [L * bins, groups]: sum of score - target
    sizes: np.ndarray  # float64 [groups], fields of each


def group_index(fields: int, groups: np.ndarray | None) -> tuple[np.ndarray, int]:
    """int64 [N] in 0..G - 1 in the order of the groups' names, and G; None: each field is its own."""
    if groups is None:
        return np.arange(fields), fields
    names, index = np.unique(groups, return_inverse=True)
    return index, len(names)


def prepare(
    targets: np.ndarray,
    *,
    decisions: dict[str, np.ndarray],
    scores: np.ndarray | None = None,
    group: np.ndarray,
    groups: int,
) -> Problem:
    """Sorts and adds up by group, once.

    Args:
      targets: 0/1 [N, L].
      decisions: bool [N, L] each, by the suffix that their figures get.
      scores: float [N, L] in [0, 1], for the ranking figures and calibration; None: without them.
      group: int [N] in 0..groups - 1, whose weight each field takes.
    """
    borne = targets != 0
    fields, labels = borne.shape
    rows = [np.ones((fields, 1)), borne]
    for given in decisions.values():
        rows += [given & borne, given, classification.field_f1(given, borne)[:, None]]
    rankings, gaps = [], None
    if scores is not None:
        rankings = [_ranking(scores[:, i], borne[:, i], group, groups) for i in range(labels)]
        rankings.append(_ranking(scores.ravel(), borne.ravel(), np.repeat(group, labels), groups))
        cell = calibration.bin_of(scores) + calibration.BINS * np.arange(labels)
        gap = scores.astype(np.float64) - borne
        gaps = _matrix(
            cell.ravel(), np.repeat(group, labels), labels * calibration.BINS, groups, gap.ravel()
        )
    table = sparse.csr_matrix(np.concatenate([np.asarray(a, np.float64) for a in rows], axis=1))
    by_group = _matrix(group, np.arange(fields), groups, fields)
    return Problem(
        fields=fields,
        labels=labels,
        borne=borne.any(0),
        counts=(by_group @ table).T.tocsr(),
        sets=tuple(decisions),
        rankings=tuple(rankings),
        gaps=gaps,
        sizes=np.bincount(group, minlength=groups).astype(np.float64),
    )


def _matrix(rows, columns, height, width, values=None) -> sparse.csr_matrix:
    values = np.ones(len(rows)) if values is None else values
    return sparse.csr_matrix(
        (values, (rows, columns)), shape=(height, width)
    )  # equal places are added up


def _ranking(scores: np.ndarray, borne: np.ndarray, group: np.ndarray, groups: int) -> Ranking:
    levels, position = np.unique(scores[borne], return_inverse=True)
    size = len(levels)
    own = size - 1 - position  # 0 is the highest
    below = scores[~borne]
    at_or_under = np.searchsorted(
        levels, below, side="right"
    )  # levels that are not above the score
    group_below = group[~borne]
    counted = at_or_under > 0
    between = size - at_or_under[counted]
    ties = counted & (levels[np.maximum(at_or_under - 1, 0)] == below) if size else counted
    tied, tie_row = np.unique(size - at_or_under[ties], return_inverse=True)
    rows = [own, size + between, 2 * size + tie_row]
    rows += [
        np.full(borne.sum(), 2 * size + len(tied)),
        np.full(len(scores), 2 * size + len(tied) + 1),
    ]
    columns = [group[borne], group_below[counted], group_below[ties], group[borne], group]
    height = 2 * size + len(tied) + 2
    matrix = _matrix(np.concatenate(rows), np.concatenate(columns), height, groups)
    return Ranking(matrix.astype(np.float32), size, tied)  # times weights of float64 it is float64


def figures(problem: Problem, weights: np.ndarray) -> tuple[dict, dict]:
    """All figures under each column of weights.

    Args:
      weights: whole numbers, [groups, R], none negative; every column must count some field.

    Returns:
      figures over all labels, float64 [R] each, and figures of each label, float64 [L, R] each, by the names of
      `metrics.ratios`, `ranking.figures` and `calibration_error`. NaN where undefined.
    """
    return resampled(
        problem, lambda columns: weights[:, columns.start : columns.stop], weights.shape[1]
    )


def resampled(
    problem: Problem, weights_of: Callable[[range], np.ndarray], replicates: int
) -> tuple[dict, dict]:
    """As `figures`, of weights that are made a block at a time: `weights_of(range of columns)` gives [groups, R].

    Blocks run on as many threads as there are processors, at most four; that changes no figure.
    """

    def block(start: int) -> tuple[dict, dict]:
        weights = weights_of(range(start, min(start + BLOCK, replicates)))
        return _block(problem, np.ascontiguousarray(weights, np.float64))

    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as threads:
        parts = list(threads.map(block, range(0, replicates, BLOCK)))
    return tuple(
        {name: np.concatenate([p[i][name] for p in parts], -1) for name in parts[0][i]}
        for i in (0, 1)
    )


def _block(problem: Problem, weights: np.ndarray) -> tuple[dict, dict]:
    over_all, by_label, labels = {}, {}, problem.labels
    sums = problem.counts @ weights
    fields, borne, rest = sums[0], sums[1 : 1 + labels], sums[1 + labels :]
    missed = problem.borne[:, None] & (borne == 0)
    for name in problem.sets:
        tp, given, fields_f1, rest = (
            rest[:labels],
            rest[labels : 2 * labels],
            rest[2 * labels],
            rest[2 * labels + 1 :],
        )
        over_all |= {f"{k}{name}": v for k, v in _decided(tp, given, borne, fields, missed).items()}
        over_all[f"samples_f1{name}"] = fields_f1 / fields
        own = {
            f"precision{name}": classification.ratio(tp, given),
            f"recall{name}": classification.ratio(tp, borne),
            f"f1{name}": classification.ratio(2 * tp, given + borne),
        }
        by_label |= {k: np.where(missed, np.nan, v) for k, v in own.items()}
    if problem.gaps is None:
        return over_all, by_label
    gaps = (problem.gaps @ weights).reshape(labels, calibration.BINS, -1)
    over_all["calibration_error"] = np.abs(gaps.sum(0)).sum(0) / (fields * labels)
    by_label["calibration_error"] = np.abs(gaps).sum(1) / fields
    exact = fields.max() * labels < 2**24
    narrow = weights.astype(np.float32) if exact else weights
    found = np.array([_ranked(ranking, narrow) for ranking in problem.rankings])  # [L + 1, 2, R]
    for i, name in enumerate(("average_precision", "auc")):
        by_label[name] = found[:-1, i]
        over_all[f"micro_{name}"] = found[-1, i]
        over_all[f"macro_{name}"] = mean_of_defined(found[:-1, i])
    return over_all, by_label


def _decided(tp, given, borne, fields, missed) -> dict:
    f1, present = classification.ratio(2 * tp, given + borne), borne > 0
    bearing = (present | missed).sum(0)  # labels that the sample bears
    scale = len(tp) * classification.ratio(present.sum(0), bearing)

    def macro(values: np.ndarray) -> np.ndarray:
        return classification.ratio(np.where(missed, 0, values).sum(0), scale)

    pooled_tp, pooled_given, pooled_borne = tp.sum(0), given.sum(0), borne.sum(0)
    wrong = pooled_given + pooled_borne - 2 * pooled_tp
    return {
        "macro_f1": macro(f1),
        "micro_f1": classification.ratio(2 * pooled_tp, pooled_given + pooled_borne),
        "macro_precision": macro(classification.ratio(tp, given)),
        "macro_recall": macro(classification.ratio(tp, borne)),
        "micro_precision": classification.ratio(pooled_tp, pooled_given),
        "micro_recall": classification.ratio(pooled_tp, pooled_borne),
        "accuracy": 1 - wrong / (fields * len(tp)),
        "macro_f1_present": classification.ratio((f1 * present).sum(0), present.sum(0)),
    }


def _ranked(ranking: Ranking, weights: np.ndarray) -> np.ndarray:
    """Average precision and area under the ROC curve, float64 [2, R]."""
    k = ranking.levels
    width = max(
        8, 2**20 // (k + 1)
    )  # columns at a time: what is summed below stays in the cache, and memory small
    if weights.shape[1] > width:
        parts = range(0, weights.shape[1], width)
        return np.concatenate([_ranked(ranking, weights[:, i : i + width]) for i in parts], axis=1)
    sums = (ranking.matrix @ weights).astype(np.float64)
    ties, (borne, total) = sums[2 * k : -2], sums[-2:]
    at = sums[:k].copy()
    tp, fp = _running_sum(sums[:k]), _running_sum(sums[k : 2 * k])
    wrong = np.einsum("kr,kr->r", at, fp) - np.einsum("kr,kr->r", at[ranking.tied], ties) / 2
    fp += tp
    np.divide(
        tp, np.maximum(fp, 1, out=fp), out=tp
    )  # 0 / 0 above the first that counts, where `at` is 0 as well
    precision = classification.ratio(np.einsum("kr,kr->r", at, tp), borne)
    pairs = borne * (total - borne)
    area = 1 - classification.ratio(wrong, pairs)
    return np.stack([np.where(borne > 0, precision, np.nan), np.where(pairs > 0, area, np.nan)])


def _running_sum(values: np.ndarray, step: int = 32) -> np.ndarray:
    """`np.cumsum(values, 0)` of whole numbers, in place, in a third of the time: whole rows are added, not columns."""
    long = len(values) // step * step
    parts = values[:long].reshape(-1, step, values.shape[1])
    for j in range(1, step):
        parts[:, j] += parts[:, j - 1]
    totals = np.cumsum(parts[:, -1], axis=0)
    parts[1:] += totals[:-1, None]
    rest = values[long:]
    np.cumsum(rest, axis=0, out=rest)
    if len(totals):
        rest += totals[-1]
    return values


def mean_of_defined(values: np.ndarray) -> np.ndarray:
    """Mean along the first axis over what is not NaN; NaN where all is."""
    defined = ~np.isnan(values)
    count = defined.sum(0)
    return np.where(
        count > 0, classification.ratio(np.where(defined, values, 0).sum(0), count), np.nan
    )
