"""The sections about a sweep as a whole: at a glance, what was chosen, and all of its trials."""

from typing import Any

from hpa_jax.report.html import Card, Section, decimal, plural
from hpa_jax.report.sweep.load import Sweep
from hpa_jax.report.table_charts import FRACTION_MARKS, interval_bars
from hpa_jax.report.tables import Table


def overview_section(sweep: Sweep) -> Section:
    """Cards: the best trial, the recipe's own values, how many trials, and what they took."""
    best = sweep.best()
    own = sweep.of_recipe()
    counts = []
    for state in ("complete", "pruned", "failed", "running"):
        count = sum(trial.state == state for trial in sweep.trials)
        if count:
            counts.append(f"{count} {state}")
    hours = sum(trial.seconds for trial in sweep.trials) / 3600
    cards = [
        Card(
            f"Best {sweep.metric}",
            decimal(best.value if best else None),
            f"trial {best.number}, on {sweep.split}" if best else "no trial is complete",
        ),
        Card(
            "The recipe's own values",
            decimal(own.value if own else None),
            f"trial {own.number}" if own else "not among the complete trials",
        ),
        Card("Trials", f"{len(sweep.trials)} of {sweep.planned}", " · ".join(counts)),
        Card("Time", f"{hours:.2g} h", "of all trials together"),
    ]
    data = {"cards": cards, "metric": sweep.metric, "split": sweep.split, "recipe": sweep.recipe}
    return Section("overview", "At a glance", "sweep/overview.html", data)


def chosen_section(sweep: Sweep) -> Section:
    """The values of the best trial beside the recipe's, ready to be used."""
    best = sweep.best()
    rows = []
    lines = []
    if best is not None:
        for name, allowed in sweep.space.items():
            value = best.values[name]
            before = sweep.recipe_values.get(name)
            rows.append([name, shown(value), shown(before), _range_text(allowed)])
            lines.append(f"config.{name} = {value!r}")
    command = [word + " \\" for word in sweep.command[:-1]] + list(sweep.command[-1:])
    data = {"rows": rows, "lines": lines, "command": command, "trial": sweep.chosen}
    table = Table("chosen", ("setting", "chosen", "recipe", "searched"), rows)
    return Section("chosen", "Chosen values", "sweep/chosen.html", data, [table])


def importance_section(sweep: Sweep) -> Section:
    """How much of the metric's variance each setting explains."""
    rows = []
    complete = sum(trial.state == "complete" for trial in sweep.trials)
    for name, value in sorted(sweep.importances.items(), key=lambda item: -item[1]):
        rows.append((name, value, interval_bars([(value, None)])))
    data = {
        "rows": rows,
        "axis": FRACTION_MARKS,
        "complete": plural(complete, "complete trial"),
        "metric": sweep.metric,
    }
    table = Table("importances", ("setting", "importance"), [row[:2] for row in rows])
    return Section("importances", "Importances", "sweep/importances.html", data, [table])


def trials_section(sweep: Sweep) -> Section:
    """Every trial with its values, best first."""
    ranked = sorted(
        sweep.trials,
        key=lambda trial: (trial.state != "complete", -(trial.value or 0.0), trial.number),
    )
    rows = []
    plain = []
    for trial in ranked:
        values = [trial.values.get(name) for name in sweep.space]
        step = int(trial.steps.max()) if len(trial.steps) else 0
        rows.append(
            [
                str(trial.number),
                trial.state,
                decimal(trial.value),
                *map(shown, values),
                str(step),
                f"{trial.seconds:.0f} s",
                trial.reason or trial.folder,
            ]
        )
        numbers = [trial.number, trial.state, trial.value]
        plain.append([*numbers, *values, step, trial.seconds, trial.folder, trial.reason])
    head = ["Trial", "State", sweep.metric, *sweep.space, "Steps", "Time", "Folder, or why"]
    columns = ("trial", "state", sweep.metric, *sweep.space, "steps", "seconds", "folder", "reason")
    data = {"head": head, "rows": rows}
    table = Table("trials", columns, plain)
    return Section("trials", "Trials", "sweep/trials.html", data, [table])


def shown(value: Any) -> str:
    """A value in at most three digits, as tables have it."""
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _range_text(allowed: dict[str, Any]) -> str:
    if "values" in allowed:
        return ", ".join(map(str, allowed["values"]))
    text = f"{allowed['low']:g} to {allowed['high']:g}"
    return f"{text}, by the logarithm" if allowed["log"] else text
