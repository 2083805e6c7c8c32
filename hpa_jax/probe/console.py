"""probe.json as text for the terminal."""

_OVER_ALL = (
    ("macro average precision", "macro_average_precision", 3),
    ("micro", "micro_average_precision", 3),
    ("AUC, macro", "macro_auc", 3),
    ("label ranking", "label_ranking_average_precision", 3),
    ("coverage error", "coverage_error", 2),
)
"""Title, metric and digits: a coverage error is a number of labels."""


def format_table(report: dict) -> str:
    """A row a label, then the metrics of each kind of features, then remarks."""
    kinds = [row["features"] for row in report["rows"]]
    names = [row["name"] for row in report["per_label"]]
    width = max(len("macro average precision"), *map(len, names))
    cells = [f"{kind:>19}" for kind in kinds]
    lines = [f"{'label':<{width}}  {'images':>6}  {'  '.join(cells)}"]
    for row in report["per_label"]:
        cells = []
        for kind in kinds:
            found = row[kind]
            cells.append(_cell(found["average_precision"], found.get("interval")))
        lines.append(f"{row['name']:<{width}}  {row['support']:>6}  {'  '.join(cells)}")
    lines.append("-" * len(lines[0]))
    for title, metric, digits in _OVER_ALL:
        cells = []
        for row in report["rows"]:
            cells.append(_cell(row[metric], row["intervals"].get(metric), digits))
        lines.append(f"{title:<{width}}  {report['images']['test']:>6}  {'  '.join(cells)}")
    return "\n".join([*lines, "", *_remarks(report)])


def _cell(value: float | None, interval: list[float] | None, digits: int = 3) -> str:
    if value is None:
        return f"{'undefined':>19}"
    ends = ""
    if interval is not None:
        low, high = interval
        ends = f" [{low:.{digits}f}, {high:.{digits}f}]"
    return f"{f'{value:.{digits}f}{ends}':>19}"


def _remarks(report: dict) -> list[str]:
    images = report["images"]
    lines = [
        f"fitted on {images['train']} images, epoch chosen on {images['validation']}, scored on "
        f"{images['test']}; without looking: {report['guessing']:.3f}"
    ]
    for row in report["rows"]:
        fits = row["fits"]
        epochs = ", ".join(f"{fit['epoch']} of {fit['epochs']}" for fit in fits)
        lines.append(
            f"{row['features']}: {row['size']} features, epoch {epochs}, "
            f"{fits[0]['updates']} updates"
        )
        if "embedding_less_this" in row:
            less = row["embedding_less_this"]
            lines.append(f"  the embedding less this: {less['value']:+.3f}{_ends(less)}")
    if report["replicates"]:
        lines.append(
            f"in brackets: {100 * report['level']:g} % intervals, {report['replicates']} bootstrap "
            f"draws of the {report['groups']} groups of test images; another fit, and other images "
            "to fit on, are not in them"
        )
    return lines


def _ends(found: dict) -> str:
    if found["interval"] is None:
        return ""
    low, high = found["interval"]
    return f" [{low:+.3f}, {high:+.3f}]"
