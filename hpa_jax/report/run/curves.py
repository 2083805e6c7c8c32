"""The sections of curves: learning, precision and recall, metrics over thresholds, calibration."""

from collections.abc import Sequence

import numpy as np

from hpa_jax.metrics import histogram
from hpa_jax.report.html import Section, decimal, names_of
from hpa_jax.report.line_charts import FRACTIONS, Line, LineChart, downsample, fit_axis, line_chart
from hpa_jax.report.run.load import Run
from hpa_jax.report.run.score_curves import metrics_over_thresholds, precision_recall, reliability
from hpa_jax.report.tables import Table

LEARNING = {
    "loss": "Training loss",
    "macro_f1": "Macro F1 at 0.5",
    "macro_average_precision": "Macro average precision",
    "micro_f1": "Micro F1 at 0.5",
    "samples_f1": "Samples F1 at 0.5",
    "accuracy": "Element-wise accuracy at 0.5",
    "mean_class_accuracy": "Mean class accuracy",
    "lr": "Learning rate",
    "grad_norm": "Norm of the gradient",
    "images_per_sec": "Images a second",
    "data_wait": "Fraction of the time waiting for data",
    "goodput": "Goodput: fraction of the time since the first start on steps that count",
    "mfu": "Fraction of the chips' peak arithmetic (MFU)",
    "hbm_fraction": "Fraction of the chips' memory bandwidth",
}
"""Keys of metrics.jsonl that are drawn, where a run has them, and their names."""

_LEARNING_SINGLE_LABEL = {"macro_f1": "Macro F1", "accuracy": "Accuracy"}
"""The names of those that are something else where every image has one label."""

# Their values lie between 0 and 1, too, but an axis from 0 would flatten them.
_NOT_FROM_ZERO = ("lr", "loss", "accuracy")

_SMALL = (200, 140)  # px of a chart of one label
_WIDE = (440, 210)  # px of a chart of learning
_TALL = (440, 280)  # px of a chart of calibration
_MAX_LEVELS = 60  # of recall in a curve, as drawn
_THRESHOLD_STEP = 10  # every tenth threshold of the grid of 1,001 is drawn and written


def learning_section(runs: Sequence[Run]) -> Section:
    """A chart for each metric that training logged, with a line for each run."""
    names = LEARNING
    if runs[0].table.single_label:
        names = LEARNING | _LEARNING_SINGLE_LABEL
    charts = []
    for key, name in names.items():
        lines = []
        for style, run in enumerate(runs):
            records = [record for record in run.records if key in record]
            if key == "accuracy":
                # Of a batch in training it is another quantity than of an evaluation.
                records = [record for record in records if "images_per_sec" not in record]
            if records:
                steps = np.array([record["step"] for record in records])
                values = np.array([record[key] for record in records])
                lines.append(Line(run.name, *downsample(steps, values), style))
        if lines:
            charts.append((name, _learning_chart(key, name, lines)))
    data = {"single_label": runs[0].table.single_label, "runs": names_of(runs), "charts": charts}
    return Section("learning", "Learning curves", "run/learning.html", data, [_records_table(runs)])


def _learning_chart(key: str, name: str, lines: Sequence[Line]) -> LineChart:
    ends = [f"{line.name}: {line.y[-1]:.4g} at step {line.x[-1]:.0f}" for line in lines]
    are_fractions = all(line.y.min() >= 0 and line.y.max() <= 1 for line in lines)
    return line_chart(
        lines,
        f"{name} over steps. {'; '.join(ends)}",
        fit_axis([line.x for line in lines], from_zero=True),
        fit_axis([line.y for line in lines], from_zero=are_fractions and key not in _NOT_FROM_ZERO),
        size=_WIDE,
        # Room for a small learning rate.
        left=46,
    )


def _records_table(runs: Sequence[Run]) -> Table:
    """Every line of metrics.jsonl of each run, a row for each metric."""
    rows = []
    for run in runs:
        for record in run.records:
            for key, value in record.items():
                if key not in ("step", "split"):
                    rows.append([run.name, record["step"], record["split"], key, value])
    return Table("learning_curves", ("run", "step", "split", "figure", "value"), rows)


def precision_recall_section(runs: Sequence[Run]) -> Section:
    """A small chart for each label, with a line for each run.

    A dot marks the first run's fitted threshold.
    """
    run = runs[0]
    charts = []
    absent = []
    for column in run.by_support():
        label = run.metrics["per_label"][column]
        if not label["support"]:
            absent.append(label["name"])
            continue
        lines = []
        for style, other in enumerate(runs):
            points = _precision_recall(other, run.labels()[column])
            if points is not None:
                _, precision, recall = points
                lines.append(Line(other.name, recall, precision, style))
        average = label.get("average_precision")
        title = (
            f"{label['name']}: precision over recall; average precision {decimal(average)}, "
            f"{label['support']} images"
        )
        point = (0, *_operating_point(run, column, label["threshold"]))
        chart = line_chart(lines, title, FRACTIONS, FRACTIONS, size=_SMALL, points=[point])
        charts.append((label["name"], average, label["support"], chart))
    data = {"runs": names_of(runs), "charts": charts, "absent": absent}
    title = "Precision and recall"
    table = _precision_recall_table(runs)
    return Section("precision", title, "run/precision.html", data, [table])


def _precision_recall(run: Run, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Thresholds, precision, recall of a label at the points to draw; None if no image has it."""
    column = run.column(name)
    if column is None or not run.table.targets[:, column].any():
        return None
    curve = precision_recall(run.table.scores[:, column], run.table.targets[:, column])
    thresholds, precision, recall = curve
    kept = _corners(recall)
    return thresholds[kept], precision[kept], recall[kept]


def _operating_point(run: Run, column: int, threshold: float) -> tuple[float, float]:
    """Recall and precision of a label at a threshold."""
    positive = run.table.targets[:, column] != 0
    above = run.table.scores[:, column] > threshold
    hits = (above & positive).sum()
    precision = hits / above.sum() if above.any() else 1.0
    return hits / positive.sum(), precision


def _corners(recall: np.ndarray) -> np.ndarray:
    """Positions to draw of a curve with rising recall.

    These are the first and the last at each level of recall, which are its corners. Of more than
    _MAX_LEVELS levels as many, evenly spread.
    """
    starts = np.flatnonzero(np.diff(recall, prepend=-1.0))
    ends = np.append(starts[1:] - 1, len(recall) - 1)
    if len(starts) > _MAX_LEVELS:
        levels = np.linspace(0, len(starts) - 1, _MAX_LEVELS).round().astype(int)
        starts = starts[levels]
        ends = ends[levels]
    return np.unique(np.concatenate([starts, ends]))


def _precision_recall_table(runs: Sequence[Run]) -> Table:
    """Points of the curves as drawn."""
    rows = []
    for run in runs:
        for name in run.labels():
            points = _precision_recall(run, name)
            if points is not None:
                rows += [[run.name, name, *point] for point in zip(*points, strict=True)]
    columns = ("run", "label", "threshold", "precision", "recall")
    return Table("precision_recall", columns, rows)


def thresholds_section(runs: Sequence[Run]) -> Section:
    """A small chart for each label of the first run: F1, precision and recall over the threshold.

    The stored threshold is marked.
    """
    run = runs[0]
    grid = histogram.threshold_grid()
    curves = metrics_over_thresholds(run.table.scores, run.table.targets)
    names = {"f1": "F1", "precision": "precision", "recall": "recall"}
    charts = []
    for column in run.by_support():
        label = run.metrics["per_label"][column]
        if not label["support"]:
            continue
        # Above the highest score nothing is predicted, and there is no precision to draw.
        is_defined = {"precision": grid < run.table.scores[:, column].max()}
        lines = []
        for style, (key, name) in enumerate(names.items()):
            values = np.where(is_defined.get(key, True), curves[key][column], np.nan)
            shown = slice(None, None, _THRESHOLD_STEP)
            lines.append(Line(name, grid[shown], values[shown], style))
        stored = float(run.table.thresholds[column])
        best = int(curves["f1"][column].argmax())
        title = (
            f"{label['name']}: over thresholds; best F1 {curves['f1'][column, best]:.3f} "
            f"at {grid[best]:.3f}, chosen {stored:.3f}"
        )
        chart = line_chart(lines, title, FRACTIONS, FRACTIONS, size=_SMALL, marker=stored)
        charts.append((label["name"], stored, chart))
    data = {
        "fitted_on": run.table.thresholds_split,
        "metrics": list(names.values()),
        "charts": charts,
    }
    table = _thresholds_table(runs)
    return Section("thresholds", "Thresholds", "run/thresholds.html", data, [table])


def _thresholds_table(runs: Sequence[Run]) -> Table:
    """The curves as drawn, but with 0 for the precision of no predictions."""
    grid = histogram.threshold_grid()
    metrics = ("f1", "precision", "recall")
    rows = []
    for run in runs:
        curves = metrics_over_thresholds(run.table.scores, run.table.targets)
        for column, name in enumerate(run.labels()):
            for k in range(0, len(grid), _THRESHOLD_STEP):
                values = [curves[metric][column, k] for metric in metrics]
                rows.append([run.name, name, grid[k], *values])
    return Table("threshold_curves", ("run", "label", "threshold", *metrics), rows)


def calibration_section(runs: Sequence[Run]) -> Section:
    """How often an image has a label, over the score; and how many pairs have such a score."""
    table = _calibration_table(runs)
    fractions = []
    counts = []
    for style, run in enumerate(runs):
        bins = table.where("run", run.name)
        score = np.array(bins.column("mean_score"))
        positive = np.array(bins.column("share_borne"))
        fractions.append(Line(run.name, score, positive, style))
        pairs = np.array(bins.column("pairs"))
        middles = (np.arange(len(pairs)) + 0.5) / len(pairs)
        # A logarithm, since most pairs have a score near 0; an empty bin has no point.
        exponents = np.where(pairs > 0, np.log10(np.maximum(pairs, 1)), np.nan)
        counts.append(Line(run.name, middles, exponents, style))
    title = "Fraction of images with the label over the score"
    fraction_chart = line_chart(fractions, title, FRACTIONS, FRACTIONS, size=_TALL, diagonal=True)
    count_axis = fit_axis([line.y for line in counts], from_zero=True)
    title = "Number of pairs over the score"
    count_chart = line_chart(counts, title, FRACTIONS, count_axis, size=_TALL)
    data = {
        "runs": names_of(runs),
        "errors": [(run.name, run.metrics.get("calibration_error")) for run in runs],
        "fraction_chart": fraction_chart,
        "count_chart": count_chart,
        "bins": list(table.where("run", runs[0].name).records()),
    }
    return Section("calibration", "Calibration", "run/calibration.html", data, [table])


def _calibration_table(runs: Sequence[Run]) -> Table:
    """The bins of the curve."""
    rows = []
    for run in runs:
        pairs, score, positive = reliability(run.table.scores, run.table.targets)
        bins = len(pairs)
        for b in range(bins):
            rows.append([run.name, b / bins, (b + 1) / bins, pairs[b], score[b], positive[b]])
    # "share_borne": the name that was published, for the fraction that has the label.
    columns = ("run", "above", "up_to", "pairs", "mean_score", "share_borne")
    return Table("calibration", columns, rows)
