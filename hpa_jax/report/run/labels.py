"""The sections of a run's page that tell of its labels: F1 bars with support and interval, errors that meet."""

from collections.abc import Sequence

import numpy as np

from hpa_jax.report.charts import heat_table
from hpa_jax.report.dataset.labels import FEW
from hpa_jax.report.html import number, percent, plural, table, text
from hpa_jax.report.run.curve_points import alone, errors_together
from hpa_jax.report.run.load import Run
from hpa_jax.report.run.overview import figure
from hpa_jax.report.svg import keys, share_axis, share_bars
from hpa_jax.report.tables import Table


def _span(row: dict, key: str) -> tuple[float, float] | None:
    found = row.get(key)
    return None if not found or None in found else (float(found[0]), float(found[1]))


def labels_section(runs: Sequence[Run]) -> str:
    """A row a label, the most frequent first: a bar for each run, and the first run's figures."""
    run, rows = runs[0], []
    for i in run.by_support():
        row = run.figures["per_label"][i]
        bars = []
        for other in runs:
            column = other.column(run.table.label_ids[i])
            theirs = {"f1_crossfit": 0.0} if column is None else other.figures["per_label"][column]
            bars.append((theirs["f1_crossfit"], _span(theirs, "f1_crossfit_interval")))
        support = row["support"]
        few = (
            ' <em class="few">none</em>'
            if not support
            else ' <em class="few">few</em>'
            if support < FEW
            else ""
        )
        rows.append(
            [
                f'<span class="id">{row["id"]}</span> {text(row["name"])}{few}',
                number(support),
                share_bars(bars),
                figure(row["f1_crossfit"], _span(row, "f1_crossfit_interval")),
                figure(row["f1"], _span(row, "f1_interval")),
                *(
                    figure(row.get(key))
                    for key in ("precision", "recall", "average_precision", "auc")
                ),
                *(figure(row.get(key)) for key in ("calibration_error", "threshold")),
            ]
        )
    head = [
        "Label",
        "Fields",
        share_axis(),
        "F1, cross-fitted",
        "F1 at 0.5",
        "Precision at 0.5",
        "Recall at 0.5",
    ]
    head += ["Average precision", "AUC", "Calibration error", "Threshold"]
    return (
        "<p>Bars: F1 with cross-fitted thresholds; the line over a bar is its interval. Fields: how many here bear the "
        "label. Average precision and AUC need no threshold; AUC is 0.5 for guessing, average precision the label's "
        "share of the fields. The threshold is fitted on all these fields.</p>\n"
        + keys([r.name for r in runs], kind="p")
        + table(head, rows, caption=f"Labels of {text(run.name)}", kind="counts wideset")
    )


def labels_table(runs: Sequence[Run]) -> Table:
    """What `evaluate_scores` says of each label of each run; an interval is two columns."""
    rows = [{"run": run.name} | _split(row) for run in runs for row in run.figures["per_label"]]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    return Table("per_label", columns, [[row.get(key) for key in columns] for row in rows])


def _split(row: dict) -> dict:
    out = {}
    for key, value in row.items():
        if isinstance(value, list | tuple):
            out[f"{key}_low"], out[f"{key}_high"] = value
        elif key.endswith("_interval"):
            out[f"{key}_low"] = out[f"{key}_high"] = None
        else:
            out[key] = value
    return out


def errors_section(run: Run) -> str:
    """The heat map of missed and wrongly predicted labels, and how often a label was missed without company."""
    together, silent = (
        errors_together(run.decided, run.table.targets),
        alone(run.decided, run.table.targets),
    )
    names = run.labels()
    off = together.copy()
    np.fill_diagonal(off, 0)
    worst = [divmod(int(k), len(names)) for k in np.argsort(-off, axis=None, kind="stable")[:10]]
    rows = [
        [text(names[i]), text(names[j]), number(off[i, j]), percent(off[i, j] / together[i, i])]
        for i, j in worst
        if off[i, j]
    ]
    missed = int(np.diag(together).sum())
    return (
        "<p>Decisions with cross-fitted thresholds. Row: the label that was missed; column: a label that was wrongly "
        "predicted in the same field; the shade is the share of the row's misses. The diagonal is how often the row's "
        "label was missed at all. A strong cell is a pair that the net takes for each other, or that people label "
        f"either way. Missed in all: {plural(missed, 'label')}; in {percent(silent.sum() / max(1, missed))} of these "
        "cases nothing was wrongly predicted in its place.</p>\n"
        + heat_table(
            together,
            names,
            caption="Fields in which the row's label was missed and the column's wrongly predicted",
            region="Co-occurrence of errors",
            said="missed {row}, wrongly predicted {column}: {count}, {share} of the misses",
            own="{row} missed: {count} in all",
        )
        + table(
            ["Missed", "Wrongly predicted", "Fields", "Of the misses"],
            rows,
            caption="The most frequent",
            words=2,
        )
    )


def errors_table(runs: Sequence[Run]) -> Table:
    """Every pair that occurs, and each label's misses without company."""
    rows = []
    for run in runs:
        together, silent = (
            errors_together(run.decided, run.table.targets),
            alone(run.decided, run.table.targets),
        )
        names = run.labels()
        for i, name in enumerate(names):
            rows += [
                [run.name, name, names[j], together[i, j], together[i, i]]
                for j in range(len(names))
                if j != i and together[i, j]
            ]
            rows += [[run.name, name, None, silent[i], together[i, i]]] if silent[i] else []
    return Table("errors", ("run", "missed", "wrongly_predicted", "fields", "fields_missed"), rows)
