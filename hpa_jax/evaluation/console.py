"""The report of an evaluation as text for the terminal."""

from hpa_jax.evaluation.single_label_console import format_single_label
from hpa_jax.evaluation.text import (
    interval_text,
    intervals_line,
    number_text,
    temperature_line,
)

_AVERAGES = ("macro", "micro", "samples")

_RANKING_METRICS = (
    ("average precision, macro", "macro_average_precision"),
    ("micro", "micro_average_precision"),
    ("AUC, macro", "macro_auc"),
    ("calibration error", "calibration_error"),
)


def format_table(report: dict) -> str:
    """The report as a table: a row a label, then the metrics over all labels, then remarks.

    Args:
      report: of `hpa_jax.metrics.summary.evaluate` or `single_label_summary.evaluate`.
    """
    if "decision" in report:
        return format_single_label(report)
    names = [row["name"] for row in report["per_label"]]
    width = max(len("label"), *map(len, names))
    lines = [_header(width, has_intervals=_has_intervals(report))]
    for row in report["per_label"]:
        lines.append(_label_row(row, width))
    lines.append("-" * len(lines[0]))
    for average in _AVERAGES:
        lines.append(_average_row(report, average, width))
    lines.append("")
    lines += _remarks(report)
    for row in report.get("per_source", ()):
        lines.append(_source_line(row))
    if "note" in report:
        lines.append(f"note: {report['note']}")
    return "\n".join(lines)


def _has_intervals(report: dict) -> bool:
    return "f1_interval" in report["per_label"][0]


def _header(width: int, *, has_intervals: bool) -> str:
    interval = ""
    if has_intervals:
        interval = " " * len(" [.123, .456]")
    return (
        f"{'id':>4}  {'label':<{width}}  {'images':>7}  {'precision':>9}  {'recall':>6}  "
        f"{'F1':>6}{interval}  {'F1 cross-fitted':>15}{interval}  {'threshold':>9}"
    )


def _label_row(row: dict, width: int) -> str:
    f1_interval = interval_text(row, "f1_interval")
    crossfit_interval = interval_text(row, "f1_crossfit_interval")
    return (
        f"{row['id']:>4}  {row['name']:<{width}}  {row['support']:>7}  "
        f"{row['precision']:>9.4f}  {row['recall']:>6.4f}  "
        f"{row['f1']:>6.4f}{f1_interval}  "
        f"{row['f1_crossfit']:>15.4f}{crossfit_interval}  {row['threshold']:>9.3f}"
    )


def _average_row(report: dict, average: str, width: int) -> str:
    f1 = f"{average}_f1"
    precision = ""
    recall = ""
    # The mean over images is of F1 alone.
    if average != "samples":
        precision = f"{report[f'{average}_precision']:.4f}"
        recall = f"{report[f'{average}_recall']:.4f}"
    intervals = report["intervals"]
    return (
        f"{'':>4}  {average:<{width}}  {report['images']:>7}  {precision:>9}  {recall:>6}  "
        f"{report[f1]:>6.4f}{interval_text(intervals, f1)}  "
        f"{report[f'{f1}_crossfit']:>15.4f}{interval_text(intervals, f'{f1}_crossfit')}"
    )


def _remarks(report: dict) -> list[str]:
    intervals = report["intervals"]
    accuracy = f"{report['accuracy']:.4f}{interval_text(intervals, 'accuracy')}"
    present = f"{report['macro_f1_present']:.4f}{interval_text(intervals, 'macro_f1_present')}"
    lines = [
        f"accuracy of single decisions {accuracy}; macro F1 over the labels that occur {present}; "
        "precision, recall, F1 at 0.5"
    ]
    ranking = []
    for title, name in _RANKING_METRICS:
        ranking.append(f"{title} {number_text(report[name])}{interval_text(intervals, name)}")
    lines.append("; ".join(ranking))
    # Evaluations of older versions have none.
    if "temperature" in report:
        lines.append(temperature_line(report))
    lines.append(
        f"thresholds fitted on all these images: macro F1 {report['macro_f1_in_sample']:.4f} on "
        f"the same images (optimistic), {report['macro_f1_crossfit']:.4f} cross-fitted over "
        f"{report['folds']} folds"
    )
    if report["borrowed"]:
        label_ids = ", ".join(map(str, report["borrowed"]))
        lines.append(
            f"labels of fewer than {report['few_positives']} images, whose thresholds are shrunk "
            f"toward what the others' suggest: {label_ids}; without that "
            f"{report['macro_f1_crossfit_own']:.4f}"
        )
    if _has_intervals(report):
        lines.append(intervals_line(report))
    return lines


def _source_line(row: dict) -> str:
    if not row["images"]:
        return f"source {row['name']}: no images"
    intervals = row["intervals"]
    averages = []
    for average in _AVERAGES:
        f1 = f"{average}_f1"
        crossfit = f"{f1}_crossfit"
        averages.append(
            f"{average} F1 {row[f1]:.4f}{interval_text(intervals, f1)}, "
            f"cross-fitted {row[crossfit]:.4f}{interval_text(intervals, crossfit)}"
        )
    return f"source {row['name']}: {row['images']} images; " + "; ".join(averages)
