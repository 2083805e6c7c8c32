"""sweep.json: what a sweep has tried, and what it has found."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hpa_jax.config import Config
from hpa_jax.files import write_json
from hpa_jax.sweep.record import TrialRecord
from hpa_jax.sweep.space import SearchSpace, Value, recipe_values, to_json
from hpa_jax.sweep.trial import setting_flags

FILE = "sweep.json"
FORMAT = 1


def best_of(records: Sequence[TrialRecord]) -> TrialRecord | None:
    """The complete trial with the largest metric; of equal ones the first."""
    complete = [record for record in records if record.state == "complete"]
    return max(complete, key=TrialRecord.best, default=None)


def line_of(record: TrialRecord, metric: str, best: TrialRecord | None) -> str:
    """The line about a trial that has ended."""
    values = ", ".join(f"{name}={_short(value)}" for name, value in record.values.items())
    line = f"trial {record.number}: "
    if record.state == "failed":
        return f"{line}failed with {values}: {record.reason}"
    step = max(record.evaluations, default=0)
    line += f"{metric} {_metric(record.best())} "
    line += f"after {step} steps" if record.state == "complete" else f"pruned at step {step}"
    line += f", {values}; {record.seconds:.0f} s"
    if best is not None and best.number != record.number:
        line += f" (best: trial {best.number}, {_metric(best.best())})"
    return line


def chosen_command(
    recipe: str, changed: Mapping[str, Any], values: Mapping[str, Value]
) -> list[str]:
    """The command that trains with chosen values, ready for a shell: a flag in each line."""
    flags = [f"--config={recipe}", "--workdir=RUN", *setting_flags({**changed, **values})]
    return ["python -m hpa_jax.main", *map(shlex.quote, flags)]


def write_summary(
    folder: Path,
    config: Config,
    recipe: str,
    changed: Mapping[str, Any],
    space: SearchSpace,
    records: Sequence[TrialRecord],
    importances: Mapping[str, float],
) -> None:
    """Writes SWEEP/sweep.json.

    Args:
      folder: of the sweep.
      config: of the sweep.
      recipe: its path, as it was given.
      changed: `changed_settings` of the call.
      space: what is searched.
      records: all trials that were started.
      importances: of `SweepStudy.importances`.
    """
    best = best_of(records)
    chosen = None
    if best is not None:
        chosen = {
            "trial": best.number,
            "value": best.best(),
            "values": dict(best.values),
            "command": chosen_command(recipe, changed, best.values),
        }
    summary = {
        "format": FORMAT,
        "recipe": recipe,
        "metric": config.checkpoint.metric,
        "split": config.data.eval_split,
        "search_space": to_json(space),
        "recipe_values": recipe_values(space, config),
        # An earlier start may have asked for more.
        "planned": max(config.sweep.trials, len(records)),
        "trials": [_trial(record) for record in records],
        "importances": dict(importances),
        "chosen": chosen,
    }
    write_json(folder / FILE, summary)


def _trial(record: TrialRecord) -> dict[str, Any]:
    return {
        "number": record.number,
        "state": record.state,
        "value": record.best(),
        "values": dict(record.values),
        "evaluations": [[step, value] for step, value in record.evaluations.items()],
        "seconds": round(record.seconds, 1),
        "folder": TrialRecord.folder_of(record.number),
        "reason": record.reason,
    }


def _short(value: Value) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _metric(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4f}"
