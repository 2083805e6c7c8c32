"""The sections of a run's page that are curves: precision and recall, figures over thresholds, calibration."""

from collections.abc import Sequence

import numpy as np

from hpa_jax.metrics import classification
from hpa_jax.report.html import number, table, text
from hpa_jax.report.run.curve_points import over_thresholds, precision_recall, reliability
from hpa_jax.report.run.load import Run
from hpa_jax.report.run.overview import figure
from hpa_jax.report.svg import SHARE, Line, axis_of, keys, line_chart
from hpa_jax.report.tables import Table

_SMALL = (200, 140)  # px of a chart of one label
_POINTS = 60  # levels of recall of a curve, as drawn
_STEP = 10  # of the grid of 1,001 thresholds every tenth is drawn and written down


def precision_recall_section(runs: Sequence[Run]) -> str:
    """A small chart a label, a line for each run; a dot where the first run's fitted threshold stands."""
    run, charts, bare = runs[0], "", []
    for i in run.by_support():
        row, name = run.figures["per_label"][i], run.labels()[i]
        if not row["support"]:
            bare.append(name)
            continue
        lines, dots = [], []
        for style, other in enumerate(runs):
            column = other.column(run.table.label_ids[i])
            if column is None or not other.table.targets[:, column].any():
                continue
            scores, borne = other.table.scores[:, column], other.table.targets[:, column] != 0
            _, precision, recall = precision_recall(scores, borne)
            kept = _corners(recall)
            lines.append(Line(other.name, recall[kept], precision[kept], style))
            if other is run:
                above = scores > row["threshold"]
                hits = (above & borne).sum()
                dots.append((style, hits / borne.sum(), hits / above.sum() if above.any() else 1.0))
        said = figure(row.get("average_precision"))
        title = f"{name}: precision over recall; average precision {said}, {row['support']} fields"
        chart = line_chart(lines, title, SHARE, SHARE, size=_SMALL, dots=dots)
        charts += _small(f"{text(name)} <small>{said} of {number(row['support'])}</small>", chart)
    return (
        "<p>Precision (upright) over recall (across), from the strictest threshold to the laxest. The dot is the "
        "threshold fitted to F1 on these fields. Behind a label's name: its average precision, and of how many "
        "fields that bear it. A curve of few fields has few steps.</p>\n"
        + keys([r.name for r in runs])
        + f'<div class="multiples">{charts}</div>\n'
        + (f"<p>Without any field: {text(', '.join(bare))}.</p>\n" if bare else "")
    )


def _small(caption: str, chart: str) -> str:
    return f'<figure class="chart"><figcaption>{caption}</figcaption>{chart}</figure>\n'


def _corners(recall: np.ndarray) -> np.ndarray:
    """Positions to draw of a curve with rising recall: the first and the last at each level of recall, which are its
    corners, and the very first. Of more than _POINTS levels as many, evenly spread.
    """
    starts = np.flatnonzero(np.diff(recall, prepend=-1.0))
    ends = np.append(starts[1:] - 1, len(recall) - 1)
    if len(starts) > _POINTS:
        levels = np.linspace(0, len(starts) - 1, _POINTS).round().astype(int)
        starts, ends = starts[levels], ends[levels]
    return np.unique(np.concatenate([starts, ends]))


def precision_recall_table(runs: Sequence[Run]) -> Table:
    """Points of the curves as drawn."""
    rows = []
    for run in runs:
        for i, name in enumerate(run.labels()):
            borne = run.table.targets[:, i] != 0
            if borne.any():
                at, precision, recall = precision_recall(run.table.scores[:, i], borne)
                rows += [[run.name, name, at[k], precision[k], recall[k]] for k in _corners(recall)]
    return Table("precision_recall", ("run", "label", "threshold", "precision", "recall"), rows)


def thresholds_section(run: Run) -> str:
    """A small chart a label of the first run: F1, precision and recall over the threshold, the stored one marked."""
    curves, grid = over_thresholds(run.table.scores, run.table.targets), classification.thresholds()
    names = [("F1", "f1"), ("precision", "precision"), ("recall", "recall")]
    charts = ""
    for i in run.by_support():
        row, name = run.figures["per_label"][i], run.labels()[i]
        if not row["support"]:
            continue
        # Above the highest score nothing is predicted, and there is no precision to draw.
        shown = {key: curve[i] for key, curve in curves.items()}
        shown["precision"] = np.where(
            grid < run.table.scores[:, i].max(), shown["precision"], np.nan
        )
        lines = [
            Line(what, grid[::_STEP], shown[key][::_STEP], s) for s, (what, key) in enumerate(names)
        ]
        chosen = float(run.table.thresholds[i])
        best = int(curves["f1"][i].argmax())
        title = f"{name}: over thresholds; best F1 {curves['f1'][i, best]:.3f} at {grid[best]:.3f}, chosen {chosen:.3f}"
        chart = line_chart(lines, title, SHARE, SHARE, size=_SMALL, upright=chosen)
        charts += _small(f"{text(name)} <small>chosen {chosen:.3f}</small>", chart)
    where = run.table.thresholds_split
    fitted = (
        f"The upright line is the threshold that is stored with the checkpoint, fitted on {text(where)}: predictions "
        "and exports use it."
        if where
        else "No thresholds were fitted: the upright line is 0.5."
    )
    return (
        f"<p>{fitted} A flat top says that the choice hardly matters; a narrow peak, or one of a handful of fields, "
        "that it is luck.</p>\n"
        + keys([what for what, _ in names])
        + f'<div class="multiples">{charts}</div>\n'
    )


def thresholds_table(runs: Sequence[Run]) -> Table:
    """The curves as drawn."""
    rows, grid = [], classification.thresholds()
    for run in runs:
        curves = over_thresholds(run.table.scores, run.table.targets)
        for i, name in enumerate(run.labels()):
            rows += [
                [
                    run.name,
                    name,
                    grid[k],
                    *(curves[key][i, k] for key in ("f1", "precision", "recall")),
                ]
                for k in range(0, len(grid), _STEP)
            ]
    return Table(
        "threshold_curves", ("run", "label", "threshold", "f1", "precision", "recall"), rows
    )


def calibration_section(runs: Sequence[Run]) -> str:
    """How often a label is borne, against its score; and how many pairs have such a score."""
    lines, counts, rows = [], [], []
    for style, run in enumerate(runs):
        pairs, score, share = reliability(run.table.scores, run.table.targets)
        lines.append(Line(run.name, score, share, style))
        with np.errstate(divide="ignore"):
            middle = (np.arange(len(pairs)) + 0.5) / len(pairs)
            counts.append(
                Line(
                    run.name,
                    middle,
                    np.where(pairs > 0, np.log10(np.maximum(pairs, 1)), np.nan),
                    style,
                )
            )
        if not style:
            edges = np.arange(len(pairs) + 1) / len(pairs)
            rows = [
                [
                    f"{edges[b]:.2f} to {edges[b + 1]:.2f}",
                    number(pairs[b]),
                    figure(score[b]),
                    figure(share[b]),
                ]
                for b in range(len(pairs))
            ]
    said = "; ".join(f"{run.name} {figure(run.figures.get('calibration_error'))}" for run in runs)
    return (
        "<p>Left: of all (field, label) pairs with a score in one of fifteen steps, the share that bears the label. On "
        "the diagonal a score of 0.3 is right three times in ten; below it, scores are too high. Right: how many pairs "
        "there are in each step, as powers of ten: what few pairs say, wavers. Calibration error, the mean distance "
        f"from the diagonal (Guo et al. 2017, arXiv:1706.04599): {text(said)}.</p>\n"
        + keys([run.name for run in runs])
        + '<div class="charts"><figure class="chart"><figcaption>Share borne over score</figcaption>'
        + line_chart(
            lines,
            "Share of labels borne over the score",
            SHARE,
            SHARE,
            size=(440, 280),
            diagonal=True,
        )
        + '</figure><figure class="chart"><figcaption>Pairs over score, powers of ten</figcaption>'
        + line_chart(
            counts,
            "Number of pairs over the score",
            SHARE,
            axis_of([line.y for line in counts], from_zero=True),
            size=(440, 280),
        )
        + "</figure></div>\n"
        + table(
            ["Score", "Pairs", "Mean score", "Share borne"],
            rows,
            caption=f"Calibration of {text(runs[0].name)}",
        )
    )


def calibration_table(runs: Sequence[Run]) -> Table:
    """The bins of the curve."""
    rows = []
    for run in runs:
        pairs, score, share = reliability(run.table.scores, run.table.targets)
        rows += [
            [run.name, b / len(pairs), (b + 1) / len(pairs), pairs[b], score[b], share[b]]
            for b in range(len(pairs))
        ]
    return Table(
        "calibration", ("run", "above", "up_to", "pairs", "mean_score", "share_borne"), rows
    )
