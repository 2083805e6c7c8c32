"""Is one run better than another, or is it chance? Images matched by Id, and a paired test.

Design: the thresholds of both runs are cross-fitted anew on the images that they share, in the
same folds, so that neither has seen more than the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hpa_jax.config import Evaluate
from hpa_jax.evaluation.score_table import ScoreTable
from hpa_jax.metrics.paired import paired_test
from hpa_jax.report.html import Section
from hpa_jax.report.run.load import METRICS, Run, crossfit_predictions
from hpa_jax.report.tables import Table

_MAX_LABELS = 10  # in the table of the labels that differ most


@dataclass(frozen=True)
class Comparison:
    """A run beside another.

    Attributes:
      name: of the other run.
      images: how many both have scored, with equal labels; without any, `metrics` and `per_label`
        are empty.
      relabelled: images that both have scored, whose labels differ between their datasets: left
        out.
      labels: names of those that both have learnt.
      metrics: by name a dict with `a` (the other's), `b` (ours), `difference` (ours less the
        other's), `interval` and `p_value`.
      per_label: by name a list of such dicts, one for each label.
    """

    name: str
    images: int
    relabelled: int
    labels: tuple[str, ...]
    metrics: dict[str, dict]
    per_label: dict[str, list[dict]]


def compare(run: Run, other: Run) -> Comparison:
    """Compares `run` with `other`, with the settings of `run.config.evaluate`."""
    labels = tuple(name for name in run.labels() if other.column(name) is not None)
    my_rows, their_rows = shared_rows(run.table, other.table)
    mine = _select(run, my_rows, labels)
    theirs = _select(other, their_rows, labels)
    agree = np.zeros(len(my_rows), bool)
    if labels:
        agree = (mine.targets == theirs.targets).all(axis=1)
    images = int(agree.sum())
    relabelled = int((~agree).sum())
    if not images:
        return Comparison(other.name, 0, relabelled, labels, {}, {})

    mine = mine.take(np.flatnonzero(agree))
    theirs = theirs.take(np.flatnonzero(agree))
    # Folds are assigned by group: both runs need the same groups to get the same folds.
    theirs = replace(theirs, groups=mine.groups)
    evaluate = run.config.evaluate
    found = paired_test(
        theirs.scores,
        mine.scores,
        mine.targets,
        decisions_a=crossfit_predictions(evaluate, theirs),
        decisions_b=crossfit_predictions(evaluate, mine),
        groups=mine.groups,
        # Without any replicates there would be no test.
        replicates=evaluate.replicates or Evaluate().replicates,
        level=evaluate.level,
        seed=evaluate.seed,
    )
    return Comparison(other.name, images, relabelled, labels, found["metrics"], found["per_label"])


def shared_rows(a: ScoreTable, b: ScoreTable) -> tuple[np.ndarray, np.ndarray]:
    """Matches the images of two tables by Id, or by dataset and Id where a table has an Id twice.

    Returns:
      Rows int64 [K] of `a` and of `b` with the same images, in the order of `a`.
    """
    keys_a = a.ids
    keys_b = b.ids
    # The Id alone is preferred: the same images can be in datasets of different names.
    if len(set(keys_a)) < len(keys_a) or len(set(keys_b)) < len(keys_b):
        keys_a = a.names()
        keys_b = b.names()
    row_in_b = {key: row for row, key in enumerate(keys_b)}
    rows_a = []
    rows_b = []
    for row, key in enumerate(keys_a):
        if key in row_in_b:
            rows_a.append(row)
            rows_b.append(row_in_b[key])
    return np.array(rows_a, np.int64), np.array(rows_b, np.int64)


def _select(run: Run, rows: np.ndarray, labels: Sequence[str]) -> ScoreTable:
    table = run.table.take(rows)
    columns = [run.column(name) for name in labels]
    return replace(
        table,
        scores=table.scores[:, columns],
        targets=table.targets[:, columns],
        thresholds=table.thresholds[columns],
        label_ids=tuple(table.label_ids[column] for column in columns),
        label_names=tuple(labels),
    )


def comparison_section(run: Run, comparisons: Sequence[Comparison]) -> Section:
    """For each of the others metrics over all labels, then the labels that differ most."""
    shown = []
    for comparison in comparisons:
        metrics = []
        for metric, name in METRICS.items():
            if metric in comparison.metrics:
                metrics.append((name, comparison.metrics[metric]))
        labels = []
        for name, row in zip(
            comparison.labels, comparison.per_label.get("f1_crossfit", ()), strict=False
        ):
            # A label without any difference, or without one that is defined, is no news.
            if row["difference"]:
                labels.append((name, row))
        labels.sort(key=lambda label: 1.0 if label[1]["p_value"] is None else label[1]["p_value"])
        shown.append((comparison, metrics, labels[:_MAX_LABELS]))
    data = {"run": run.name, "level": run.config.evaluate.level, "comparisons": shown}
    tables = _tables(run, comparisons)
    return Section("comparison", "Is one run better?", "run/comparison.html", data, tables)


def _tables(run: Run, comparisons: Sequence[Comparison]) -> list[Table]:
    """Metrics over all labels, and by label."""
    overall = []
    by_label = []
    for comparison in comparisons:
        place = [run.name, comparison.name, comparison.images]
        for metric, row in comparison.metrics.items():
            overall.append([*place, metric, *_values(row)])
        for metric, rows in comparison.per_label.items():
            for name, row in zip(comparison.labels, rows, strict=True):
                by_label.append([*place, metric, name, *_values(row)])
    head = ("run", "other", "fields", "figure")
    values = ("run_value", "other_value", "difference", "low", "high", "p_value")
    return [
        Table("differences", (*head, *values), overall),
        Table("differences_per_label", (*head, "label", *values), by_label),
    ]


def _values(row: dict[str, Any]) -> list[float | None]:
    low, high = row["interval"] or (None, None)
    return [row["b"], row["a"], row["difference"], low, high, row["p_value"]]
