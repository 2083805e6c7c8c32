"""The sections about a run's labels: F1 with support and interval, errors that occur together."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hpa_jax.report.dataset.labels import FEW_IMAGES
from hpa_jax.report.html import Section, names_of
from hpa_jax.report.run.load import Run, defined_interval
from hpa_jax.report.table_charts import FRACTION_MARKS, heat_map, interval_bars
from hpa_jax.report.tables import Table

_MAX_PAIRS = 10  # of labels, in the table of the most frequent errors


def labels_section(runs: Sequence[Run]) -> Section:
    """A row for each label, the most frequent first: bars of all runs, the first run's metrics."""
    run = runs[0]
    rows = []
    for column in run.by_support():
        label = run.metrics["per_label"][column]
        name = run.labels()[column]
        rows.append(
            {
                "label": label,
                "bars": interval_bars([_f1_bar(other, name) for other in runs]),
                "f1_crossfit_interval": defined_interval(label.get("f1_crossfit_interval")),
                "f1_interval": defined_interval(label.get("f1_interval")),
            }
        )
    data = {
        "runs": names_of(runs),
        "rows": rows,
        "axis": FRACTION_MARKS,
        "few": FEW_IMAGES,
    }
    return Section("labels", "F1 by label", "run/labels.html", data, [_labels_table(runs)])


def _f1_bar(run: Run, name: str) -> tuple[float, tuple[float, float] | None]:
    column = run.column(name)
    if column is None:
        return 0.0, None
    label = run.metrics["per_label"][column]
    return label["f1_crossfit"], defined_interval(label.get("f1_crossfit_interval"))


def _labels_table(runs: Sequence[Run]) -> Table:
    """What the evaluation says of each label of each run."""
    records = []
    columns: dict[str, None] = {}
    for run in runs:
        for label in run.metrics["per_label"]:
            records.append({"run": run.name} | _split_intervals(label))
            # Runs may differ in what their evaluation has; the columns are those of all.
            columns |= dict.fromkeys(records[-1])
    rows = [[record.get(key) for key in columns] for record in records]
    return Table("per_label", list(columns), rows)


def _split_intervals(label: dict[str, Any]) -> dict[str, Any]:
    """An interval becomes two columns, also where it is not defined."""
    flat = {}
    for key, value in label.items():
        if isinstance(value, list | tuple):
            flat[f"{key}_low"], flat[f"{key}_high"] = value
        elif key.endswith("_interval"):
            flat[f"{key}_low"] = None
            flat[f"{key}_high"] = None
        else:
            flat[key] = value
    return flat


def error_cooccurrence(predicted: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Counts images by missed label (row) and wrongly predicted label (column).

    Args:
      predicted: bool [N, L].
      targets: 0/1 [N, L].

    Returns:
      int64 [L, L]; the diagonal, where nothing can be, has all images in which the row's label was
      missed.
    """
    positive = targets != 0
    missed = (positive & ~predicted).astype(np.float32)
    wrong = (predicted & ~positive).astype(np.float32)
    # float32 holds counts up to 16 million exactly.
    counts = (missed.T @ wrong).astype(np.int64)
    np.fill_diagonal(counts, missed.sum(axis=0, dtype=np.int64))
    return counts


def silent_misses(predicted: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Counts images in which a label was missed and none was wrongly predicted: int64 [L]."""
    positive = targets != 0
    nothing_wrong = ~(predicted & ~positive).any(axis=1)
    return (positive & ~predicted)[nothing_wrong].sum(axis=0, dtype=np.int64)


def errors_section(runs: Sequence[Run]) -> Section:
    """The first run's heat map of missed and wrongly predicted labels; the table has all runs."""
    run = runs[0]
    counts = error_cooccurrence(run.predicted, run.table.targets)
    table = _errors_table(runs)
    pairs = []
    for record in table.where("run", run.name).records():
        # Without a second label it is a miss in whose place nothing was predicted.
        if record["wrongly_predicted"] is not None:
            pairs.append(record)
    pairs.sort(key=lambda record: -record["fields"])
    missed = int(np.diag(counts).sum())
    silent = int(silent_misses(run.predicted, run.table.targets).sum())
    data = {
        "missed": missed,
        "silent": silent / max(1, missed),
        "names": run.labels(),
        "rows": heat_map(counts),
        "pairs": pairs[:_MAX_PAIRS],
    }
    return Section("errors", "Errors that occur together", "run/errors.html", data, [table])


def _errors_table(runs: Sequence[Run]) -> Table:
    """Every pair that occurs, and each label's misses without a wrong prediction."""
    rows = []
    for run in runs:
        names = run.labels()
        counts = error_cooccurrence(run.predicted, run.table.targets)
        silent = silent_misses(run.predicted, run.table.targets)
        for i, name in enumerate(names):
            missed = counts[i, i]
            for j in np.flatnonzero(counts[i]):
                if j != i:
                    rows.append([run.name, name, names[j], counts[i, j], missed])
            if silent[i]:
                rows.append([run.name, name, None, silent[i], missed])
    columns = ("run", "missed", "wrongly_predicted", "fields", "fields_missed")
    return Table("errors", columns, rows)
