"""The sections about a run whose images have one label each: at a glance, labels, confusions."""

import numpy as np

from hpa_jax.report.dataset.labels import FEW_IMAGES
from hpa_jax.report.html import Card, Section, decimal, number
from hpa_jax.report.run.load import Run, defined_interval
from hpa_jax.report.run.overview import net_parts, selection_findings, vote_cards
from hpa_jax.report.table_charts import FRACTION_MARKS, HeatCell, interval_bars, shade_of
from hpa_jax.report.tables import Table

METRICS = {
    "accuracy": "Accuracy",
    "mean_class_accuracy": "Mean class accuracy",
    "macro_f1": "Macro F1",
    "macro_average_precision": "Macro average precision",
    "macro_auc": "Macro AUC",
    "calibration_error": "Calibration error",
    "log_loss": "Log loss",
}
"""Metrics over all labels that a page shows, and their names."""

_CARDS = ("accuracy", "mean_class_accuracy", "macro_f1")
_MAX_PAIRS = 10  # in the table of the most frequent confusions


def overview_section(run: Run) -> Section:
    """Cards, and all metrics with their intervals."""
    evaluate = run.config.evaluate
    rows = []
    for metric, name in METRICS.items():
        rows.append((name, run.metrics.get(metric), run.interval(metric)))
    data = {
        "cards": _cards(run),
        "findings": list(selection_findings(run)),
        "level": evaluate.level,
        "replicates": evaluate.replicates,
        "groups": len(np.unique(run.table.groups)),
        "has_intervals": bool(run.metrics.get("intervals")),
        "tta": run.table.tta,
        "rows": rows,
        "run": run.name,
        "by_dataset": run.metrics.get("per_source") or [],
    }
    table = _metrics_table(run)
    return Section("overview", "At a glance", "run/single_label_overview.html", data, [table])


def _cards(run: Run) -> list[Card]:
    cards = []
    for metric in _CARDS:
        note = ""
        if interval := run.interval(metric):
            note = f"{decimal(interval[0])} to {decimal(interval[1])}"
        cards.append(Card(METRICS[metric], decimal(run.metrics[metric]), note))
    table = run.table
    sources = ", ".join(table.source_names)
    cards.append(Card("Images", number(len(table.ids)), f"{table.split} of {sources}"))
    config = run.config
    net = f"{net_parts(run)}, {config.data.image_size} px, "
    net += f"checkpoint {number(table.checkpoint)}"
    cards.append(Card("Net", config.model.name, net, wide=True))
    return [*cards, *vote_cards(run)]


def _metrics_table(run: Run) -> Table:
    table = run.table
    place = [run.name, table.split, table.checkpoint, len(table.ids)]
    rows = []
    for metric in METRICS:
        low, high = run.interval(metric) or (None, None)
        rows.append([*place, metric, run.metrics.get(metric), low, high])
    columns = ("run", "split", "checkpoint", "images", "metric", "value", "low", "high")
    return Table("metrics", columns, rows)


def labels_section(run: Run) -> Section:
    """A row for each label, the most frequent first: which fraction of its images was found."""
    rows = []
    records = []
    for column in run.by_support():
        label = run.metrics["per_label"][column]
        found = defined_interval(label.get("recall_interval"))
        f1 = defined_interval(label.get("f1_interval"))
        bars = interval_bars([(label["recall"], found)])
        rows.append({"label": label, "bars": bars, "found": found, "f1": f1})
        record = {"run": run.name}
        for key, value in label.items():
            if not key.endswith("_interval"):
                record[key] = value
        records.append(record)
    data = {"rows": rows, "axis": FRACTION_MARKS, "few": FEW_IMAGES, "run": run.name}
    table = Table("per_label", list(records[0]), [list(record.values()) for record in records])
    return Section("labels", "Label by label", "run/single_label_labels.html", data, [table])


def confusion_section(run: Run) -> Section:
    """The confusion matrix, and the pairs that are taken for each other most often."""
    matrix = np.array(run.metrics["confusion"])
    names = run.labels()
    rows = []
    pairs = []
    for i, counts in enumerate(matrix.tolist()):
        total = sum(counts)
        for j in np.flatnonzero(matrix[i]):
            pairs.append([run.name, names[i], names[j], counts[j], total])
        rows.append({"cells": confusion_cells(counts), "total": total})
    columns = ("run", "label", "predicted", "images", "images_of_label")
    table = Table("confusion", columns, pairs)
    mistakes = []
    for record in table.records():
        if record["label"] != record["predicted"]:
            mistakes.append(record)
    mistakes.sort(key=lambda record: -record["images"])
    data = {
        "names": names,
        "rows": rows,
        "predicted": matrix.sum(axis=0).tolist(),
        "right": int(np.diag(matrix).sum()),
        "images": int(matrix.sum()),
        "pairs": mistakes[:_MAX_PAIRS],
    }
    return Section("confusion", "What was taken for what", "run/confusion.html", data, [table])


def confusion_cells(counts: list[int]) -> list[HeatCell]:
    """A row of the matrix: counts, as fractions of the images that have the row's label."""
    total = sum(counts)
    cells = []
    for count in counts:
        fraction = count / total if total else 0.0
        cells.append(HeatCell(count, fraction, shade_of(count, fraction)))
    return cells
