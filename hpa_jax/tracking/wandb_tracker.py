"""Weights & Biases: a run's metrics and settings, under the id that the run has of its own.

What its own variables say holds, such as WANDB_MODE=offline, WANDB_PROJECT and WANDB_ENTITY. Its
files lie in WORKDIR/wandb; `wandb sync` sends those of an offline run.

Notes:
- Each start goes on with the same id. A run that resumes repeats the steps since its last save with
  the same numbers; Weights & Biases keeps the first of two rows of one step.
- Neither what the program prints nor the state of a git checkout is sent.
"""

import os
from pathlib import Path
from typing import Any

from hpa_jax.errors import InputError, one_line

PROJECT = "hpa_jax"
"""Where WANDB_PROJECT names none."""


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
        # An extra, and importing it costs two seconds.
        import wandb

        try:
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", PROJECT),
                id=run_id or None,
                resume="allow",
                name=workdir.absolute().name,
                dir=workdir,
                config=settings,
                settings=wandb.Settings(console="off", disable_git=True, save_code=False),
            )
        except (wandb.errors.Error, ValueError) as error:
            raise InputError(
                f"config.train.tracker=wandb: {one_line(error, limit=200)}; log in (wandb login), "
                "set WANDB_MODE=offline, or leave the setting out for TensorBoard"
            ) from error

    def write_scalars(self, step: int, values: dict[str, float]) -> None:
        self._run.log(values, step=step)

    def close(self) -> None:
        self._run.finish()
