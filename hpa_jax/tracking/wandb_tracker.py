"""Weights & Biases: a run's metrics and settings, under the id that the run has of its own.

What its own variables say holds, such as WANDB_MODE=offline, WANDB_PROJECT and WANDB_ENTITY. Its
files lie in WORKDIR/wandb; `wandb sync` sends those of an offline run.

Notes:
- Each start goes on with the same id. A run that resumes repeats the steps since its last save with
  the same numbers; Weights & Biases keeps the first of two rows of one step.
- Neither what the program prints nor the state of a git checkout is sent.
- A host that cannot be reached does not stop training, nor does it hold up its end for long: the
  start is recorded offline. metrics.jsonl has all in any case.
"""

import os
import sys
from pathlib import Path
from typing import Any

import wandb

from hpa_jax.errors import InputError, one_line

PROJECT = "hpa_jax"
"""Where WANDB_PROJECT names none."""


# So long it is waited for, unless WANDB_INIT_TIMEOUT and WANDB_FINISH_TIMEOUT say otherwise: an
# answer of the host at the start; at the end, that all is sent.
_SECONDS = {"init_timeout": 30.0, "finish_timeout": 60.0}


class WandbTracker:
    """A start of a run, as a `hpa_jax.tracking.tracker.Tracker`.

    Args:
      workdir: the run's folder, whose name is shown.
      run_id: of the run; empty: Weights & Biases draws one.
      settings: shown as the run's config.

    Raises:
      InputError: Weights & Biases refuses; for instance nobody is logged in.
    """

    def __init__(self, workdir: Path, run_id: str, settings: dict[str, Any]):
        self._workdir = workdir
        self._is_lost = False
        self._start = {
            "project": os.environ.get("WANDB_PROJECT", PROJECT),
            "id": run_id or None,
            "resume": "allow",
            "name": workdir.absolute().name,
            "dir": workdir,
            "config": settings,
            "settings": wandb.Settings(
                console="off", disable_git=True, save_code=False, **_timeouts()
            ),
        }
        try:
            self._run = self._open()
        except (wandb.errors.AuthenticationError, wandb.errors.UsageError, ValueError) as error:
            raise InputError(
                f"config.train.tracker=wandb: {one_line(error, limit=200)}; log in (wandb login), "
                "set WANDB_MODE=offline, or leave the setting out for TensorBoard"
            ) from error

    def _open(self) -> "wandb.Run":
        try:
            return wandb.init(**self._start)
        except (wandb.errors.AuthenticationError, wandb.errors.UsageError):
            raise
        except wandb.errors.Error as error:
            self._warn(
                f"cannot be reached ({one_line(error, limit=160)}): this start is recorded "
                f"offline; `wandb sync {self._workdir}/wandb/offline-run-*` sends it"
            )
        # Its own process still holds the id that it has tried.
        wandb.teardown()
        try:
            return wandb.init(mode="offline", **self._start)
        except Exception as error:
            raise InputError(
                f"config.train.tracker=wandb: {one_line(error, limit=200)}; leave the setting out "
                "for TensorBoard"
            ) from error

    def write_scalars(self, step: int, values: dict[str, float]) -> None:
        if self._is_lost:
            return
        try:
            self._run.log(values, step=step)
        except Exception as error:
            self._give_up(error)

    def close(self) -> None:
        if self._is_lost:
            return
        try:
            self._run.finish()
        except Exception as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        """What becomes of a tracker is no reason to stop a run, whatever its package raises."""
        self._is_lost = True
        self._warn(
            f"has failed ({one_line(error, limit=160)}), and is not told more of this start; "
            "metrics.jsonl has all"
        )

    @staticmethod
    def _warn(message: str) -> None:
        print(f"warning: Weights & Biases {message}", file=sys.stderr, flush=True)


def _timeouts() -> dict[str, float]:
    seconds = {}
    for name, default in _SECONDS.items():
        if f"WANDB_{name.upper()}" not in os.environ:
            seconds[name] = default
    return seconds
