"""The report of `hpa_jax.metrics.single_label_summary.evaluate` as text for the terminal."""

from hpa_jax.evaluation.text import (
    interval_text,
    intervals_line,
    number_text,
    temperature_line,
)

_OVER_ALL = (
    ("accuracy", "accuracy"),
    ("mean class accuracy", "mean_class_accuracy"),
    ("macro F1", "macro_f1"),
)
_OF_SCORES = (
    ("AUC, macro", "macro_auc"),
    ("average precision, macro", "macro_average_precision"),
    ("calibration error", "calibration_error"),
    ("log loss", "log_loss"),
)
_WIDEST_MATRIX = 12  # labels, that a terminal of 120 columns has room for


def format_single_label(report: dict) -> str:
    """The report as text: a row a label, metrics over all, the confusion matrix."""
    names = [row["name"] for row in report["per_label"]]
    width = max(len("label"), *map(len, names))
    lines = [_header(width, report)]
    for row in report["per_label"]:
        lines.append(_label_row(row, width))
    lines.append("-" * len(lines[0]))
    lines.append(_over_all(report, _OVER_ALL))
    lines.append(_over_all(report, _OF_SCORES))
    lines.append(temperature_line(report))
    lines.append("each image's label is the one with the largest probability: no threshold")
    if report["intervals"]:
        lines.append(intervals_line(report))
    lines += ["", *_matrix(report, names, width)]
    for row in report.get("per_source", ()):
        lines.append(_source_line(row))
    return "\n".join(lines)


def _header(width: int, report: dict) -> str:
    gap = " " * len(" [.123, .456]") if report["intervals"] else ""
    return (
        f"{'id':>4}  {'label':<{width}}  {'images':>7}  {'predicted':>9}  "
        f"{'found':>6}{gap}  {'precision':>9}  {'F1':>6}{gap}"
    )


def _label_row(row: dict, width: int) -> str:
    return (
        f"{row['id']:>4}  {row['name']:<{width}}  {row['support']:>7}  {row['predicted']:>9}  "
        f"{row['recall']:>6.4f}{interval_text(row, 'recall_interval')}  "
        f"{row['precision']:>9.4f}  {row['f1']:>6.4f}{interval_text(row, 'f1_interval')}"
    )


def _over_all(report: dict, metrics: tuple) -> str:
    parts = []
    for title, name in metrics:
        interval = interval_text(report["intervals"], name)
        parts.append(f"{title} {number_text(report[name])}{interval}")
    return "; ".join(parts)


def _matrix(report: dict, names: list[str], width: int) -> list[str]:
    ids = [row["id"] for row in report["per_label"]]
    if len(ids) > _WIDEST_MATRIX:
        return ["the confusion matrix is in evaluation.json (confusion), and in --mode=report"]
    # At least as wide as the widest count, so that columns stay below each other.
    widest = max(len(str(count)) for row in report["confusion"] for count in row)
    cell = max(widest, *(len(str(label_id)) for label_id in ids))
    heads = "  ".join(f"{label_id:>{cell}}" for label_id in ids)
    lines = [
        "images with each label (rows) that were predicted to have each (columns, by id)",
        f"{'':>4}  {'':<{width}}  {heads}",
    ]
    for label_id, name, row in zip(ids, names, report["confusion"], strict=True):
        counts = "  ".join(f"{count:>{cell}}" for count in row)
        lines.append(f"{label_id:>4}  {name:<{width}}  {counts}")
    return lines


def _source_line(row: dict) -> str:
    if not row["images"]:
        return f"source {row['name']}: no images"
    return f"source {row['name']}: {row['images']} images; {_over_all(row, _OVER_ALL)}"
