"""The sections about a run as a whole: at a glance, and its settings."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from hpa_jax.config import Config, differences, to_dict
from hpa_jax.report.dataset.labels import FEW_IMAGES
from hpa_jax.report.html import Card, Finding, Section, decimal, names_of, number, percent, plural
from hpa_jax.report.run.load import METRICS, Run
from hpa_jax.report.tables import Table

# Settings that say how a run is evaluated, or where it lies, and not what it is.
_NOT_OF_THE_RUN = (
    "evaluate.",
    "export.",
    "report.",
    "data.data_dir",
    "data.threads",
    "data.eval_split",
)
_MAX_NAMES = 8  # labels named in a finding
_LATE = 0.9  # a best checkpoint after this fraction of the steps: the run may have been too short
_DECAYED = 0.05  # of the highest learning rate: below it nothing is left to learn with
_CALIBRATED = 0.05  # a larger calibration error is worth a look


def overview_section(runs: Sequence[Run]) -> Section:
    """Cards, what stands out, and all metrics with their intervals."""
    run = runs[0]
    evaluate = run.config.evaluate
    rows = []
    for metric, name in METRICS.items():
        if any(metric in other.metrics for other in runs):
            cells = [(other.metrics.get(metric), other.interval(metric)) for other in runs]
            rows.append((name, cells))
    data = {
        "cards": _cards(run),
        "findings": findings(runs),
        "level": evaluate.level,
        "replicates": evaluate.replicates,
        "groups": len(np.unique(run.table.groups)),
        "has_intervals": any(other.metrics.get("intervals") for other in runs),
        "folds": int(run.metrics["folds"]),
        "empty_accuracy": 1 - float((run.table.targets != 0).mean()),
        "tta": run.table.tta,
        "runs": names_of(runs),
        "rows": rows,
        "by_dataset": _by_dataset(run),
    }
    title = "At a glance"
    return Section("overview", title, "run/overview.html", data, [_metrics_table(runs)])


def _cards(run: Run) -> list[Card]:
    cards = []
    for metric, title in (
        ("macro_f1_crossfit", "Macro F1, cross-fitted"),
        ("macro_f1", "Macro F1 at 0.5"),
        ("micro_f1", "Micro F1 at 0.5"),
        ("samples_f1", "Samples F1 at 0.5"),
        ("accuracy", "Element-wise accuracy"),
    ):
        note = ""
        if interval := run.interval(metric):
            note = f"{decimal(interval[0])} to {decimal(interval[1])}"
        cards.append(Card(title, decimal(run.metrics.get(metric)), note))
    sources = ", ".join(run.table.source_names)
    cards.append(Card("Images", number(len(run.table.ids)), f"{run.table.split} of {sources}"))
    checkpoint = f"checkpoint {number(run.table.checkpoint)}"
    if run.table.checkpoint < 0:
        checkpoint = "an ensemble"
    net = f"{net_parts(run)}, {run.config.data.image_size} px, {checkpoint}"
    cards.append(Card("Net", run.config.model.name, net, wide=True))
    return [*cards, *vote_cards(run)]


def vote_cards(run: Run) -> list[Card]:
    """What the votes of neighbours bring, where a net has them."""
    if not run.votes:
        return []
    note = f"of 1; {run.votes['gain']:+.4f} macro F1 out of fold"
    return [Card("Weight of votes", decimal(run.votes["weight"]), note)]


def net_parts(run: Run) -> str:
    """What a net has beside its name: its head, or the nets that it is made of."""
    if run.config.fusion.parts:
        return ", ".join(run.config.fusion.parts)
    return f"{run.config.model.head} head"


def _by_dataset(run: Run) -> dict[str, Any] | None:
    """A row for each dataset, where there are several."""
    per_source = run.metrics.get("per_source") or []
    # Of a single dataset it would repeat the table above.
    if len(per_source) < 2:
        return None
    shown = {metric: name for metric, name in METRICS.items() if metric in per_source[0]}
    rows = []
    for source in per_source:
        images = run.table.source == run.table.source_names.index(source["name"])
        values = [source.get(metric) for metric in shown]
        rows.append((source["name"], int(images.sum()), values))
    return {"head": list(shown.values()), "rows": rows}


def _metrics_table(runs: Sequence[Run]) -> Table:
    """Each metric over all labels of each run, with its interval."""
    rows = []
    for run in runs:
        table = run.table
        place = [run.name, table.split, table.checkpoint, len(table.ids)]
        for metric in METRICS:
            if metric in run.metrics:
                low, high = run.interval(metric) or (None, None)
                rows.append([*place, metric, run.metrics[metric], low, high])
    columns = ("run", "split", "checkpoint", "fields", "figure", "value", "low", "high")
    return Table("figures", columns, rows)


def findings(runs: Sequence[Run]) -> list[Finding]:
    """Lists what stands out in the first run."""
    run = runs[0]
    return [*selection_findings(run), *_label_findings(run), *_training_findings(run)]


def selection_findings(run: Run) -> Iterable[Finding]:
    """Yields what the choice of the images does to the metrics."""
    split = run.table.split
    trained_on = run.config.data.train_split
    if "all" in (split, trained_on) or split == trained_on:
        yield Finding(
            "settings",
            "The net was trained on these very images:",
            details="no metric here says how good it is.",
        )
    elif run.table.thresholds_split == split:
        yield Finding(
            "overview",
            f"The best checkpoint was chosen by its metric on {split}:",
            details="all metrics here are a little too high. For images that took no part in that:",
            flag="--config.data.eval_split=test",
        )


def _label_findings(run: Run) -> Iterable[Finding]:
    absent = []
    rare = []
    never = []
    for label in run.metrics["per_label"]:
        if label["support"] == 0:
            absent.append(label["name"])
            continue
        if label["support"] < FEW_IMAGES:
            rare.append(label["name"])
        if label["f1_crossfit"] == 0:
            never.append(label["name"])
    details = "Their F1 moves the macro average and says little."
    if absent:
        headline = f"{plural(len(absent), 'label')} with no image here:"
        yield Finding("labels", headline, _first(absent), details)
    if rare:
        headline = f"{plural(len(rare), 'label')} with fewer than {FEW_IMAGES} images here:"
        yield Finding("labels", headline, _first(rare), details)
    if never:
        yield Finding("labels", f"{plural(len(never), 'label')} never found:", _first(never))


def _training_findings(run: Run) -> Iterable[Finding]:
    steps = [record["step"] for record in run.records]
    rates = [record["lr"] for record in run.records if "lr" in record]
    # A learning rate that has decayed leaves the best checkpoint at the end, however long the run.
    decayed = bool(rates) and rates[-1] < _DECAYED * max(rates)
    if steps and run.table.checkpoint > _LATE * max(steps) and not decayed:
        step = f"step {number(run.table.checkpoint)} of {number(max(steps))}"
        yield Finding(
            "learning",
            "The best checkpoint is among the last:",
            details=f"the run may have been too short ({step}).",
        )
    error = run.metrics.get("calibration_error")
    if error is not None and error > _CALIBRATED:
        headline = f"Scores are off by {percent(error)} on average"
        yield Finding("calibration", headline, details="as probabilities.")


def _first(names: list[str]) -> list[str]:
    """The first names, and how many more there are."""
    more = len(names) - _MAX_NAMES
    if more <= 0:
        return names
    last = f"{names[_MAX_NAMES - 1]} and {number(more)} more"
    return [*names[: _MAX_NAMES - 1], last]


def settings_section(runs: Sequence[Run]) -> Section:
    """What the first run has set, and what others have set otherwise."""
    mine = runs[0].config
    own = []
    for key, (default, value) in differences(Config(), mine).items():
        if not key.startswith(_NOT_OF_THE_RUN):
            own.append((key, _printed(value), _printed(default)))
    data = {
        "runs": names_of(runs),
        "own": own,
        "differing": _differing_settings(mine, runs[1:]),
    }
    return Section("settings", "How it was trained", "run/settings.html", data)


def _differing_settings(mine: Config, others: Sequence[Run]) -> list[tuple[str, ...]]:
    """A row for each setting in which a run differs from the first."""
    differing: dict[str, list[str]] = {}
    for i, other in enumerate(others):
        for key, (_, value) in differences(mine, other.config).items():
            if not key.startswith(_NOT_OF_THE_RUN):
                cells = differing.setdefault(key, ["the same"] * len(others))
                cells[i] = _printed(value)
    settings = to_dict(mine)
    rows = []
    for key, cells in differing.items():
        section, _, name = key.partition(".")
        rows.append((key, _printed(settings[section][name]), *cells))
    return rows


def _printed(value: Any) -> str:
    if value == "":
        return "''"
    if not isinstance(value, list):
        return str(value)
    items = [f"{item:.4g}" if isinstance(item, float) else str(item) for item in value]
    return ", ".join(items) or "()"
