"""Every metric of the evaluator as a function of how often each group of images counts.

A replicate of the bootstrap, and a permutation, is a weight for each group. All replicates are
products of the sparse matrices of resampling.py with a matrix of weights.

Notes:
- At equal weights the metrics are those of classification.py, ranking.py and calibration.py, and at
  whole numbers those of the arrays with each image repeated so often: no binning, no approximation.
- A label that some image has, but none of those that a replicate drew, is undefined there, and the
  replicate's macro metrics are means without it. As 0 it would pull the interval of a macro F1 of
  few images below the metric itself.
- Weights of ranking products are float32 where that is exact (sums below 2**24), which halves the
  time, and float64 where it is not.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from scipy import sparse

from hpa_jax.metrics import calibration
from hpa_jax.metrics.classification import mean_of_defined, ratio
from hpa_jax.metrics.resampling import Problem, Ranking

BLOCK = 64
"""Replicates in one product: so many that the weights stay in the cache. 32 and 128 took 1.5 and
1.8 times as long.
"""


class Metrics(NamedTuple):
    """Metrics of R columns of weights, by name; NaN where undefined.

    Attributes:
      over_all: float64 [R] each.
      by_label: float64 [L, R] each.
    """

    over_all: dict[str, np.ndarray]
    by_label: dict[str, np.ndarray]


def weighted_metrics(problem: Problem, weights: np.ndarray) -> Metrics:
    """All metrics under each column of weights.

    They have the names of `metrics_from_confusion` and `ranking_metrics`, and `samples_f1` and
    `calibration_error`.

    Args:
      problem: from `resampling.prepare`.
      weights: whole numbers, [groups, R], none negative; every column must count some image.
    """

    def columns_of(columns: range) -> np.ndarray:
        return weights[:, columns.start : columns.stop]

    return resampled_metrics(problem, columns_of, weights.shape[1])


def resampled_metrics(
    problem: Problem, weights_of: Callable[[range], np.ndarray], replicates: int
) -> Metrics:
    """As `weighted_metrics`, of weights that are made a block at a time.

    Blocks run on as many threads as there are processors, at most four; that changes no metric.

    Args:
      problem: from `resampling.prepare`.
      weights_of: takes a range of columns, returns their weights [groups, columns].
      replicates: how many columns there are, R.
    """

    def block(start: int) -> Metrics:
        weights = weights_of(range(start, min(start + BLOCK, replicates)))
        return _block_metrics(problem, np.ascontiguousarray(weights, np.float64))

    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as threads:
        blocks = list(threads.map(block, range(0, replicates, BLOCK)))
    over_all = _concatenated([block.over_all for block in blocks])
    by_label = _concatenated([block.by_label for block in blocks])
    return Metrics(over_all, by_label)


def _concatenated(blocks: list[dict]) -> dict:
    """The blocks' arrays by name, one after the other along the last axis."""
    return {name: np.concatenate([block[name] for block in blocks], -1) for name in blocks[0]}


def _block_metrics(problem: Problem, weights: np.ndarray) -> Metrics:
    """`weighted_metrics` of one block, weights float64 [groups, R] in C order."""
    over_all = {}
    by_label = {}
    images = (problem.images @ weights)[0]
    positives = problem.positives @ weights
    missed = problem.has_positives[:, None] & (positives == 0)
    for suffix, sums in problem.decisions.items():
        tp = sums.tp @ weights
        predicted = sums.predicted @ weights
        image_f1 = (sums.image_f1 @ weights)[0]
        for name, values in _decision_metrics(tp, predicted, positives, images, missed).items():
            over_all[f"{name}{suffix}"] = values
        over_all[f"samples_f1{suffix}"] = image_f1 / images
        own = {
            "precision": ratio(tp, predicted),
            "recall": ratio(tp, positives),
            "f1": ratio(2 * tp, predicted + positives),
        }
        for name, values in own.items():
            by_label[f"{name}{suffix}"] = np.where(missed, np.nan, values)
    if problem.calibration_gaps is None:
        return Metrics(over_all, by_label)

    gaps = problem.calibration_gaps @ weights
    gaps = gaps.reshape(problem.labels, calibration.BINS, -1)
    over_all["calibration_error"] = np.abs(gaps.sum(0)).sum(0) / (images * problem.labels)
    by_label["calibration_error"] = np.abs(gaps).sum(1) / images

    largest_sum = images.max() * problem.labels
    ranking_weights = weights
    if largest_sum < 2**24:
        ranking_weights = weights.astype(np.float32)
    ranked = [_ranking_metrics(ranking, ranking_weights) for ranking in problem.rankings]
    for i, name in enumerate(("average_precision", "auc")):
        *of_labels, of_all_pairs = (metrics[i] for metrics in ranked)
        by_label[name] = np.array(of_labels)
        over_all[f"micro_{name}"] = of_all_pairs
        over_all[f"macro_{name}"] = mean_of_defined(by_label[name])
    return Metrics(over_all, by_label)


def _decision_metrics(
    tp: np.ndarray,
    predicted: np.ndarray,
    positives: np.ndarray,
    images: np.ndarray,
    missed: np.ndarray,
) -> dict:
    """Metrics over all labels, float64 [R] each.

    Args:
      tp: [L, R].
      predicted: [L, R].
      positives: [L, R].
      images: [R].
      missed: bool [L, R], labels of the sample that the replicate lacks.
    """
    labels = len(tp)
    f1 = ratio(2 * tp, predicted + positives)
    present = positives > 0
    labels_of_sample = (present | missed).sum(0)
    # The mean over the labels left, brought to the scale of one over all labels.
    divisor = labels * ratio(present.sum(0), labels_of_sample)

    def macro(values: np.ndarray) -> np.ndarray:
        return ratio(np.where(missed, 0, values).sum(0), divisor)

    all_tp = tp.sum(0)
    all_predicted = predicted.sum(0)
    all_positives = positives.sum(0)
    wrong = all_predicted + all_positives - 2 * all_tp
    return {
        "macro_f1": macro(f1),
        "micro_f1": ratio(2 * all_tp, all_predicted + all_positives),
        "macro_precision": macro(ratio(tp, predicted)),
        "macro_recall": macro(ratio(tp, positives)),
        "micro_precision": ratio(all_tp, all_predicted),
        "micro_recall": ratio(all_tp, all_positives),
        "accuracy": 1 - wrong / (images * labels),
        "macro_f1_present": ratio((f1 * present).sum(0), present.sum(0)),
    }


def _ranking_metrics(ranking: Ranking, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average precision and area under the ROC curve, float64 [R] each."""
    # Few columns at a time where levels are many: the running sums stay in the cache, and memory
    # small.
    levels = ranking.negatives.shape[0]
    width = max(8, 2**20 // (levels + 1))
    precision = []
    area = []
    for start in range(0, weights.shape[1], width):
        columns = weights[:, start : start + width]
        block_precision, block_area = _ranking_block(ranking, columns)
        precision.append(block_precision)
        area.append(block_area)
    return np.concatenate(precision), np.concatenate(area)


def _ranking_block(ranking: Ranking, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    def weighted(counts: sparse.csr_matrix) -> np.ndarray:
        return (counts @ weights).astype(np.float64)

    at_level = weighted(ranking.positives)
    ties = weighted(ranking.ties)
    all_positives = weighted(ranking.all_positives)[0]
    all_images = weighted(ranking.all_images)[0]
    tp = _running_sum(at_level.copy())
    fp = _running_sum(weighted(ranking.negatives))
    # Pairs of a positive and a negative that are ranked wrong; a tie counts half.
    wrong = np.einsum("kr,kr->r", at_level, fp)
    wrong -= np.einsum("kr,kr->r", at_level[ranking.tied], ties) / 2
    # Precision of every level in the place of tp: a copy of such arrays costs more than the
    # division. Above the first level that counts it is 0 / 1, where `at_level` is 0 as well.
    fp += tp
    np.maximum(fp, 1, out=fp)
    np.divide(tp, fp, out=tp)
    precision = ratio(np.einsum("kr,kr->r", at_level, tp), all_positives)
    pairs = all_positives * (all_images - all_positives)
    area = 1 - ratio(wrong, pairs)
    return np.where(all_positives > 0, precision, np.nan), np.where(pairs > 0, area, np.nan)


def _running_sum(values: np.ndarray, step: int = 32) -> np.ndarray:
    """`np.cumsum(values, 0)` of whole numbers, in place, in a third of the time."""
    blocked_rows = len(values) // step * step
    blocks = values[:blocked_rows].reshape(-1, step, values.shape[1])
    for row in range(1, step):
        blocks[:, row] += blocks[:, row - 1]
    totals = np.cumsum(blocks[:, -1], axis=0)
    blocks[1:] += totals[:-1, None]
    rest = values[blocked_rows:]
    np.cumsum(rest, axis=0, out=rest)
    if len(totals):
        rest += totals[-1]
    return values
