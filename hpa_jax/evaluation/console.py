"""The report of `scores.evaluate_scores` as text for the terminal."""


def format_table(report: dict) -> str:
    """The report of `evaluate_scores` as a table for the terminal: a row a label, then the figures over all labels."""
    width = max(len("label"), *(len(row["name"]) for row in report["per_label"]))
    sure = "f1_interval" in report["per_label"][0]
    lines = [
        f"{'id':>4}  {'label':<{width}}  {'fields':>7}  {'precision':>9}  {'recall':>6}  {'F1':>6}"
        f"{_head(sure)}  {'F1 cross-fitted':>15}{_head(sure)}  {'threshold':>9}"
    ]
    for row in report["per_label"]:
        lines.append(
            f"{row['id']:>4}  {row['name']:<{width}}  {row['support']:>7}  {row['precision']:>9.4f}  "
            f"{row['recall']:>6.4f}  {row['f1']:>6.4f}{_range(row, 'f1_interval')}  {row['f1_crossfit']:>15.4f}"
            f"{_range(row, 'f1_crossfit_interval')}  {row['threshold']:>9.3f}"
        )
    lines.append("-" * len(lines[0]))
    ends = report["intervals"]
    for average in ("macro", "micro"):
        lines.append(
            f"{'':>4}  {average:<{width}}  {report['fields']:>7}  {report[f'{average}_precision']:>9.4f}  "
            f"{report[f'{average}_recall']:>6.4f}  {report[f'{average}_f1']:>6.4f}{_range(ends, f'{average}_f1')}  "
            f"{report[f'{average}_f1_crossfit']:>15.4f}{_range(ends, f'{average}_f1_crossfit')}"
        )
    lines.append(
        f"{'':>4}  {'samples':<{width}}  {report['fields']:>7}  {'':>9}  {'':>6}  {report['samples_f1']:>6.4f}"
        f"{_range(ends, 'samples_f1')}  {report['samples_f1_crossfit']:>15.4f}{_range(ends, 'samples_f1_crossfit')}"
    )
    lines += [
        "",
        f"accuracy of single decisions {report['accuracy']:.4f}{_range(ends, 'accuracy')}; macro F1 over the labels "
        f"that occur {report['macro_f1_present']:.4f}{_range(ends, 'macro_f1_present')}; precision, recall, F1 at 0.5",
        "; ".join(
            f"{title} {_number(report[name])}{_range(ends, name)}"
            for title, name in (
                ("average precision, macro", "macro_average_precision"),
                ("micro", "micro_average_precision"),
                ("AUC, macro", "macro_auc"),
                ("calibration error", "calibration_error"),
            )
        ),
        f"thresholds fitted on all these fields: macro F1 {report['macro_f1_in_sample']:.4f} on the same fields "
        f"(optimistic), {report['macro_f1_crossfit']:.4f} cross-fitted over {report['folds']} folds",
    ]
    if report["borrowed"]:
        lines.append(
            f"labels of fewer than {report['few_positives']} fields borrow from the others' thresholds: "
            f"{', '.join(map(str, report['borrowed']))}; without that {report['macro_f1_crossfit_own']:.4f}"
        )
    if sure:
        units = (
            "fields"
            if report["groups"] == report["fields"]
            else f"{report['groups']} groups of fields"
        )
        lines.append(
            f"in brackets: {100 * report['level']:g} % intervals, {report['replicates']} bootstrap draws of the {units}"
        )
    for row in report.get("per_source", ()):
        lines.append(
            f"source {row['name']}: "
            + ("no fields" if not row["fields"] else f"{row['fields']} fields; " + _of_source(row))
        )
    if "note" in report:
        lines.append(f"note: {report['note']}")
    return "\n".join(lines)


def _of_source(row: dict) -> str:
    ends = row.get("intervals", {})
    return "; ".join(
        f"{average} F1 {row[f'{average}_f1']:.4f}{_range(ends, f'{average}_f1')}, "
        f"cross-fitted {row[f'{average}_f1_crossfit']:.4f}{_range(ends, f'{average}_f1_crossfit')}"
        for average in ("macro", "micro", "samples")
    )


def _head(sure: bool) -> str:
    return " " * len(" [.123, .456]") if sure else ""


def _range(ends: dict, name: str) -> str:
    """' [.123, .456]', or nothing without intervals."""
    if ends.get(name) is None:
        return ""
    low, high = (f"{value:.3f}" if value >= 0.9995 else f"{value:.3f}"[1:] for value in ends[name])
    return f" [{low}, {high}]"


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"
