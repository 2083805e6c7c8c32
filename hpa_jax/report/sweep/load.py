"""What a sweep's page is made of: sweep.json, checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpa_jax.errors import InputError
from hpa_jax.files import read_json

FILE = "sweep.json"

_FORMAT = 1
_STATES = ("running", "complete", "pruned", "failed")


@dataclass(frozen=True)
class SweepTrial:
    """A run of a sweep.

    Attributes:
      number: from 0.
      state: running, complete, pruned or failed.
      value: the largest metric of its evaluations; None without one.
      values: of the settings that are searched, by name.
      steps: of its evaluations, float [K].
      metrics: of its evaluations, float [K].
      seconds: that it took.
      folder: of the run, below that of the sweep.
      reason: why it failed.
    """

    number: int
    state: str
    value: float | None
    values: Mapping[str, Any]
    steps: np.ndarray
    metrics: np.ndarray
    seconds: float
    folder: str
    reason: str


@dataclass(frozen=True)
class Sweep:
    """A sweep as sweep.json has it.

    Attributes:
      name: of its folder.
      recipe: its path.
      metric: that ranks the trials.
      split: that the metric is of.
      space: the range of each setting: `low`, `high` and `log`, or `values`.
      planned: number of trials.
      trials: by number.
      importances: by setting; empty where trials are too few.
      recipe_values: what the recipe has for the settings.
      chosen: number of the best trial; None without one.
      command: that trains with its values.
    """

    name: str
    recipe: str
    metric: str
    split: str
    space: Mapping[str, Mapping[str, Any]]
    planned: int
    trials: Sequence[SweepTrial]
    importances: Mapping[str, float]
    recipe_values: Mapping[str, Any]
    chosen: int | None
    command: Sequence[str]

    def best(self) -> SweepTrial | None:
        return None if self.chosen is None else self.trials[self.chosen]

    def of_recipe(self) -> SweepTrial | None:
        """The trial with the recipe's own values, if it is complete."""
        for trial in self.trials:
            if trial.state == "complete" and trial.values == self.recipe_values:
                return trial
        return None


def read_sweep(folder: Path) -> Sweep:
    """Reads SWEEP/sweep.json.

    Raises:
      InputError: it cannot be read, or is no sweep's.
    """
    path = folder / FILE
    advice = "start the sweep again, which writes it anew"
    content = read_json(path, advice=advice)
    if content.get("format") != _FORMAT:
        raise InputError(f"{path} is of format {content.get('format')!r}, not {_FORMAT}; {advice}")
    try:
        return _parse(folder, content)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{path} cannot be read ({reason}); {advice}") from None


def _parse(folder: Path, content: Mapping[str, Any]) -> Sweep:
    space = {name: _parse_range(values) for name, values in content["search_space"].items()}
    trials = []
    for number, trial in enumerate(content["trials"]):
        trials.append(_parse_trial(trial, number, space))
    chosen = content["chosen"]
    number = None
    command = []
    if chosen is not None:
        number = trials[chosen["trial"]].number
        command = list(map(str, chosen["command"]))
    importances = {name: float(value) for name, value in content["importances"].items()}
    return Sweep(
        name=folder.absolute().name,
        recipe=str(content["recipe"]),
        metric=str(content["metric"]),
        split=str(content["split"]),
        space=space,
        planned=int(content["planned"]),
        trials=trials,
        importances=importances,
        recipe_values=dict(content["recipe_values"]),
        chosen=number,
        command=command,
    )


def _parse_range(values: Mapping[str, Any]) -> dict[str, Any]:
    if "values" in values:
        return {"values": list(values["values"])}
    low = float(values["low"])
    high = float(values["high"])
    log = bool(values["log"])
    if not low < high or (log and low <= 0):
        raise ValueError(f"{low} to {high} is no range")
    return {"low": low, "high": high, "log": log}


def _check_value(name: str, value: Any, allowed: Mapping[str, Any]) -> None:
    if "values" in allowed:
        is_allowed = value in allowed["values"]
    else:
        is_allowed = allowed["low"] <= value <= allowed["high"]
    if not is_allowed:
        raise ValueError(f"{name}={value!r} is outside of what was searched")


def _parse_trial(trial: Mapping[str, Any], number: int, space: Mapping[str, Any]) -> SweepTrial:
    for name, value in trial["values"].items():
        _check_value(name, value, space[name])
    if trial["number"] != number or trial["state"] not in _STATES:
        raise ValueError(f"trial {number} is no trial")
    evaluations = np.array(trial["evaluations"], np.float64).reshape(-1, 2)
    value = trial["value"]
    return SweepTrial(
        number=number,
        state=trial["state"],
        value=None if value is None else float(value),
        values=dict(trial["values"]),
        steps=evaluations[:, 0],
        metrics=evaluations[:, 1],
        seconds=float(trial["seconds"]),
        folder=str(trial["folder"]),
        reason=str(trial["reason"]),
    )
