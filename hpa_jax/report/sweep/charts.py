"""The sections of charts: each setting by itself, all of them together, and how trials learnt."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hpa_jax.report.html import Section
from hpa_jax.report.line_charts import Axis, Line, fit_axis, line_chart
from hpa_jax.report.sweep.load import Sweep, SweepTrial
from hpa_jax.report.tables import Table

KINDS = ("best", "the recipe's own values", "other complete trials", "pruned")
"""Of trials: each is drawn in the style of its place here."""

_OTHER, _PRUNED = 2, 3
_SMALL = (300, 180)  # px of a chart of one setting
_WIDE = (620, 260)  # px of a chart of all trials
_LONGEST_LABEL = 15  # characters under a tick


def kind_of(sweep: Sweep, trial: SweepTrial) -> int:
    """The place in KINDS of a trial that has ended."""
    if trial is sweep.best():
        return 0
    if trial is sweep.of_recipe():
        return 1
    return _OTHER if trial.state == "complete" else _PRUNED


def drawn(sweep: Sweep) -> list[SweepTrial]:
    """The trials that charts show: those with a metric and all values; the best is drawn last."""
    shown = []
    for trial in sweep.trials:
        if trial.value is not None and trial.values.keys() == sweep.space.keys():
            shown.append(trial)
    return sorted(shown, key=lambda trial: -kind_of(sweep, trial))


def slice_section(sweep: Sweep) -> Section:
    """A chart for each setting: the metric of every trial over its value."""
    trials = drawn(sweep)
    charts = []
    for name, allowed in sweep.space.items():
        points = []
        for trial in trials:
            x = position(trial.values[name], allowed)
            points.append((kind_of(sweep, trial), x, trial.value))
        chart = line_chart(
            [],
            f"{sweep.metric} over {name}, {len(points)} trials",
            axis_of(allowed),
            fit_axis([np.array([trial.value for trial in trials])]),
            size=_SMALL,
            points=points,
            left=46,
        )
        charts.append((name, chart))
    data = {"kinds": KINDS, "charts": charts if trials else [], "metric": sweep.metric}
    return Section("slices", "Each setting", "sweep/slices.html", data)


def parallel_section(sweep: Sweep) -> Section:
    """A line for each trial through its values, each on an axis of its own, and its metric."""
    trials = drawn(sweep)
    data = {"kinds": KINDS, "chart": None, "names": [*sweep.space, sweep.metric], "ends": []}
    if trials:
        values = np.array([trial.value for trial in trials])
        metric_axis = fit_axis([values])
        lines = []
        for trial in trials:
            heights = []
            for name, allowed in sweep.space.items():
                axis = axis_of(allowed)
                x = position(trial.values[name], allowed)
                heights.append(_fraction(x, axis))
            heights.append(_fraction(trial.value, metric_axis))
            places = np.arange(len(heights), dtype=np.float64)
            name = f"trial {trial.number}"
            lines.append(Line(name, places, np.array(heights), kind_of(sweep, trial)))
        count = len(data["names"])
        places = list(range(count))
        data["chart"] = line_chart(
            lines,
            f"{len(trials)} trials: a line through the values of {', '.join(data['names'])}",
            # Without sections, for want of room; the table below has them.
            Axis(-0.3, count - 0.7, places, [*map(_field_of, sweep.space), "metric"]),
            Axis(-0.05, 1.05, (0.0, 1.0), ("low", "high")),
            size=_WIDE,
        )
        for name, allowed in sweep.space.items():
            labels = axis_of(allowed).labels
            if "values" in allowed:
                labels = list(map(str, allowed["values"]))
            data["ends"].append((name, labels[0], labels[-1]))
        data["ends"].append((sweep.metric, metric_axis.labels[0], metric_axis.labels[-1]))
    return Section("together", "All settings together", "sweep/parallel.html", data)


def learning_section(sweep: Sweep) -> Section:
    """The metric of every trial over its steps, and the same as a table."""
    lines = []
    rows = []
    for trial in reversed(sweep.trials):
        for step, value in zip(trial.steps, trial.metrics, strict=True):
            rows.append([trial.number, int(step), value])
    for trial in drawn(sweep):
        name = f"trial {trial.number}"
        lines.append(Line(name, trial.steps, trial.metrics, kind_of(sweep, trial)))
    chart = None
    if lines:
        chart = line_chart(
            lines,
            f"{sweep.metric} of {len(lines)} trials over steps",
            fit_axis([line.x for line in lines], from_zero=True),
            fit_axis([line.y for line in lines]),
            size=_WIDE,
            left=46,
        )
    data = {"kinds": KINDS, "chart": chart, "metric": sweep.metric}
    table = Table("evaluations", ("trial", "step", sweep.metric), rows)
    return Section("learning", "Evaluations", "sweep/learning.html", data, [table])


def position(value: Any, allowed: Mapping[str, Any]) -> float:
    """Where a value lies on the axis of its setting."""
    if "values" in allowed:
        return float(allowed["values"].index(value))
    return float(np.log10(value)) if allowed["log"] else float(value)


def axis_of(allowed: Mapping[str, Any]) -> Axis:
    """The axis of a setting: its range, or its choices with equal distances."""
    if "values" in allowed:
        count = len(allowed["values"])
        labels = [_shortened(str(value)) for value in allowed["values"]]
        return Axis(-0.5, count - 0.5, list(range(count)), labels)
    low = allowed["low"]
    high = allowed["high"]
    if not allowed["log"]:
        middle = (low + high) / 2
        ticks = [low, middle, high]
        return Axis(low, high, ticks, [f"{tick:.3g}" for tick in ticks])
    ends = np.log10([low, high])
    decades = _decades_between(*ends)
    ticks = [ends[0], *decades, ends[1]]
    return Axis(ends[0], ends[1], ticks, [f"{10**tick:.3g}" for tick in ticks])


def _decades_between(low: float, high: float) -> Sequence[float]:
    """Powers of ten well inside a range; all lengths are logarithms."""
    margin = 0.12 * (high - low)
    powers = np.arange(np.ceil(low), np.floor(high) + 1)
    return [power for power in powers if low + margin < power < high - margin]


def _field_of(name: str) -> str:
    return name.rpartition(".")[2]


def _shortened(text: str) -> str:
    """A text that fits under a tick, by its beginning and its end."""
    if len(text) <= _LONGEST_LABEL:
        return text
    half = (_LONGEST_LABEL - 1) // 2
    return f"{text[:half]}\u2026{text[-half:]}"


def _fraction(value: float, axis: Axis) -> float:
    return (value - axis.low) / (axis.high - axis.low)
