"""The sections of a run's page that tell of the run as a whole: at a glance, learning curves, settings."""

from collections.abc import Sequence

import numpy as np

from hpa_jax.config import Config, differences, to_dict
from hpa_jax.report.dataset.labels import FEW
from hpa_jax.report.html import number, percent, plural, table, text
from hpa_jax.report.run.load import FIGURES, Run
from hpa_jax.report.svg import Line, axis_of, keys, line_chart, thinned
from hpa_jax.report.tables import Table

CURVES = (
    ("loss", "Training loss"),
    ("macro_f1", "Macro F1 at 0.5"),
    ("macro_average_precision", "Macro average precision"),
    ("micro_f1", "Micro F1 at 0.5"),
    ("samples_f1", "Samples F1 at 0.5"),
    ("accuracy", "Element-wise accuracy at 0.5"),
    ("lr", "Learning rate"),
    ("grad_norm", "Norm of the gradient"),
    ("images_per_sec", "Images a second"),
    ("data_wait", "Share of the time waiting for data"),
    ("mfu", "Share of the chips' peak arithmetic (MFU)"),
    ("hbm_share", "Share of the chips' memory bandwidth"),
)
"""Figures of metrics.jsonl that are drawn, where they are there, and their names."""
# Fields that say how a run is looked at, or where it lies, and not what it is.
_OF_HERE = ("evaluate.", "export.", "report.", "data.data_dir", "data.threads", "data.eval_split")
_NAMED = 8  # labels named in a line
_SPENT = 0.05  # of the highest rate: below it there is nothing left to learn with
_LATE = (
    0.9  # a best checkpoint after this share of the steps: the run may not have been long enough
)


def figure(value: float | None, interval: tuple[float, float] | None = None) -> str:
    """A figure with its interval, in HTML; a dash where it is not defined."""
    if value is None or not np.isfinite(value):
        return "–"
    if interval is None or not np.isfinite(interval).all():
        return f"{value:.3f}"
    return f"{value:.3f} <small>{interval[0]:.3f} to {interval[1]:.3f}</small>"


def known_figures(run: Run) -> list[tuple[str, str]]:
    """Those of FIGURES that the evaluation gave."""
    return [(key, name) for key, name in FIGURES if key in run.figures]


def overview_section(runs: Sequence[Run]) -> str:
    """Cards, what stands out, and all figures with their intervals."""
    run = runs[0]
    f, config = run.figures, run.config
    sources = ", ".join(text(name) for name in run.table.source_names)
    at = "an ensemble" if run.table.checkpoint < 0 else f"checkpoint {number(run.table.checkpoint)}"
    cards = [
        ("Macro F1, cross-fitted", *_card(run, "macro_f1_crossfit")),
        ("Macro F1 at 0.5", *_card(run, "macro_f1")),
        ("Micro F1 at 0.5", *_card(run, "micro_f1")),
        ("Samples F1 at 0.5", *_card(run, "samples_f1")),
        ("Element-wise accuracy", *_card(run, "accuracy")),
        ("Fields", number(f["fields"]), f"{text(run.table.split)} of {sources}"),
        (
            "Net",
            text(config.model.name),
            f"{text(config.model.head)} head, {config.data.image_size} px, {at}",
        ),
    ]
    found = "".join(
        f'<li>{said} <a href="#{section}">see</a></li>\n' for said, section in findings(runs)
    )
    head = ["Figure", *(text(r.name) for r in runs)]
    rows = [
        [name, *(figure(r.figures.get(key), r.interval(key)) for r in runs)]
        for key, name in FIGURES
        if any(key in r.figures for r in runs)
    ]
    level = percent(config.evaluate.level)
    groups = len(np.unique(run.table.groups))
    spread = (
        f"Small figures are {level} intervals from {number(config.evaluate.replicates)} bootstrap replicates of the "
        f"{plural(groups, 'group')} of fields (near-duplicates and fields of one antibody stay together). They say how "
        "far a figure moves with the choice of fields, not with another training of the same net. "
        if any(r.figures.get("intervals") for r in runs)
        else "Without intervals: config.evaluate.replicates is 0. "
    )
    return (
        '<dl class="cards">'
        + "".join(
            f"<div><dt>{a}</dt><dd>{b}</dd><dd class=sub>{c}</dd></div>" for a, b, c in cards[:-1]
        )
        + "<div class=two><dt>{}</dt><dd>{}</dd><dd class=sub>{}</dd></div>".format(*cards[-1])
        + "</dl>\n"
        + (f'<h3>Worth a look</h3>\n<ul class="findings">{found}</ul>\n' if found else "")
        + f"<p>{spread}Cross-fitted: each field is decided with thresholds fitted on the others, in "
        f"{plural(int(f['folds']), 'fold')}. Samples F1 is the mean over fields, macro F1 the mean over labels, micro "
        "F1 pools all decisions, and element-wise accuracy is the share of (field, label) decisions that are right: "
        f"predicting nothing at all would give {_empty_accuracy(run):.3f}. Scored: {text(run.table.views)}.</p>\n"
        + table(head, rows, caption="Figures over all labels")
        + _by_source(run)
    )


def _card(run: Run, key: str) -> tuple[str, str]:
    value, interval = run.figures.get(key), run.interval(key)
    said = "–" if value is None else f"{value:.3f}"
    return said, "" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}"


def _empty_accuracy(run: Run) -> float:
    return 1 - float((run.table.targets != 0).mean())


def _by_source(run: Run) -> str:
    """A row for each dataset, where there are several."""
    rows = run.figures.get("per_source") or []
    if len(rows) < 2:
        return ""
    shown = [(key, name) for key, name in FIGURES if key in rows[0]]
    return table(
        ["Dataset", "Fields", *(name for _, name in shown)],
        [
            [text(row["name"]), number(row["fields"]), *(figure(row.get(key)) for key, _ in shown)]
            for row in rows
        ],
        caption="Figures by dataset",
    )


def findings(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """What stands out, in HTML, each with the section that shows it."""
    run, out = runs[0], []
    trained_on = run.config.data.train_split
    if run.table.split in (trained_on, "all") or trained_on == "all":
        out.append(
            (
                "<b>The net was trained on these very fields:</b> no figure here says how good it is.",
                "settings",
            )
        )
    elif run.table.thresholds_split == run.table.split:
        out.append(
            (
                f"<b>The best checkpoint was chosen by its figure on {text(run.table.split)}:</b> all figures here are "
                "a little too high. <code>--config.data.eval_split=test</code> looks at fields that took no part.",
                "overview",
            )
        )
    rows = run.figures["per_label"]
    for words, those in (
        ("no field", [r for r in rows if r["support"] == 0]),
        (f"fewer than {FEW} fields", [r for r in rows if 0 < r["support"] < FEW]),
    ):
        if those:
            out.append(
                (
                    f"<b>{plural(len(those), 'label')} with {words} here:</b> {_names(those)}. Their F1 moves the "
                    "macro average and says little.",
                    "labels",
                )
            )
    never = [r for r in rows if r["support"] and r["f1_crossfit"] == 0]
    if never:
        out.append(
            (f"<b>{plural(len(never), 'label')} never found:</b> {_names(never)}.", "labels")
        )
    steps = [line["step"] for line in run.lines]
    rates = [line["lr"] for line in run.lines if "lr" in line]
    ran_out = bool(rates) and rates[-1] < _SPENT * max(rates)  # the best figure is then at the end
    if steps and run.table.checkpoint > _LATE * max(steps) and not ran_out:
        out.append(
            (
                "<b>The best checkpoint is among the last:</b> the run may have been too short "
                f"(step {number(run.table.checkpoint)} of {number(max(steps))}).",
                "learning",
            )
        )
    error = run.figures.get("calibration_error")
    if error is not None and error > 0.05:
        out.append(
            (
                f"<b>Scores are off by {percent(error)} on average</b> as probabilities.",
                "calibration",
            )
        )
    return out


def _names(rows: Sequence[dict]) -> str:
    more = f" and {plural(len(rows) - _NAMED, 'more', 'more')}" if len(rows) > _NAMED else ""
    return ", ".join(text(row["name"]) for row in rows[:_NAMED]) + more


def figures_table(runs: Sequence[Run]) -> Table:
    """Each figure over all labels of each run, with its interval."""
    rows = []
    for run in runs:
        for key, _ in known_figures(run):
            low, high = run.interval(key) or (None, None)
            rows.append(
                [
                    run.name,
                    run.table.split,
                    run.table.checkpoint,
                    len(run.table.ids),
                    key,
                    run.figures[key],
                    low,
                    high,
                ]
            )
    return Table(
        "figures", ("run", "split", "checkpoint", "fields", "figure", "value", "low", "high"), rows
    )


def learning_section(runs: Sequence[Run]) -> str:
    """A chart for each figure that training logged, a line for each run."""
    charts = ""
    for key, name in CURVES:
        series = {}
        for number_, run in enumerate(runs):
            for line in run.lines:
                if key in line and (key != "accuracy" or line["split"] != "train"):
                    series.setdefault(number_, []).append((line["step"], line[key]))
        if not series:
            continue
        lines = [
            Line(
                runs[i].name,
                *thinned(*(np.array(a, np.float64) for a in zip(*points, strict=True))),
                style=i,
            )
            for i, points in series.items()
        ]
        last = "; ".join(
            f"{line.name}: {line.y[-1]:.4g} at step {line.x[-1]:.0f}" for line in lines
        )
        share = all(line.y.min() >= 0 and line.y.max() <= 1 for line in lines) and key not in (
            "lr",
            "loss",
            "accuracy",
        )
        axes = (
            axis_of([line.x for line in lines], from_zero=True),
            axis_of([line.y for line in lines], from_zero=share),
        )
        charts += (
            f'<figure class="chart"><figcaption>{name}</figcaption>'
            f"{line_chart(lines, f'{name} over steps. {last}', *axes, size=(440, 210))}</figure>\n"
        )
    if not charts:
        return '<p class="none">No metrics.jsonl: nothing is known of how training went.</p>\n'
    return (
        "<p>Against steps. F1 and accuracy are those of the evaluations while training, at 0.5; loss, rate and speed "
        "are of training. Long curves are drawn as means of neighbouring records; learning_curves.csv has all.</p>\n"
        + keys([run.name for run in runs])
        + f'<div class="charts">{charts}</div>\n'
    )


def learning_table(runs: Sequence[Run]) -> Table:
    """Every line of metrics.jsonl of each run, a row for each figure."""
    rows = [
        [run.name, line["step"], line["split"], key, value]
        for run in runs
        for line in run.lines
        for key, value in line.items()
        if key not in ("step", "split")
    ]
    return Table("learning_curves", ("run", "step", "split", "figure", "value"), rows)


def settings_section(runs: Sequence[Run]) -> str:
    """What the first run has set, and what others have otherwise."""
    mine = runs[0].config
    changes = differences(Config(), mine)
    own = [
        [key, _value(now), _value(before)]
        for key, (before, now) in changes.items()
        if not key.startswith(_OF_HERE)
    ]
    out = "<p>Fields of the configuration that are not at their defaults; config.json in the run's folder has all.</p>\n"
    out += table(
        ["Field", "Value", "Default"],
        own,
        caption=f"Settings of {text(runs[0].name)}",
        kind="words",
    )
    changed: dict[str, list] = {}
    for number_, other in enumerate(runs[1:]):
        for key, (_, theirs) in differences(mine, other.config).items():
            if key.startswith(_OF_HERE):
                continue
            changed.setdefault(key, [None] * len(runs[1:]))[number_] = theirs
    if changed:
        first = dict(_flat(mine))
        rows = [
            [key, _value(first[key]), *("the same" if v is None else _value(v) for v in values)]
            for key, values in changed.items()
        ]
        head = ["Field", *(text(run.name) for run in runs)]
        out += table(head, rows, caption="Settings in which the runs differ", kind="words")
    return out


def _flat(config: Config):
    return (
        (f"{section}.{key}", value)
        for section, fields in to_dict(config).items()
        for key, value in fields.items()
    )


def _value(value) -> str:
    if isinstance(value, list):
        return text(
            ", ".join(f"{v:.4g}" if isinstance(v, float) else str(v) for v in value) or "()"
        )
    return text("''" if value == "" else value)
