"""Where a run's metrics are shown while it trains, besides metrics.jsonl: `config.train.tracker`.

A tracker is a small class with the two methods of `Tracker`; to add one, write it in a file of its
own, name it in the choices of `config.train.tracker`, and open it in `open_tracker`.

Of several processes the first one alone opens a tracker.
"""

import importlib.util
from pathlib import Path
from typing import Any, Protocol

from hpa_jax.errors import InputError
from hpa_jax.tracking.tensorboard import EventWriter


class Tracker(Protocol):
    """Shows the metrics of one start of a run; to be closed."""

    def write_scalars(self, step: int, values: dict[str, float]) -> None:
        """Shows one number under each name, `SPLIT/METRIC`, of the state after `step` steps."""

    def close(self) -> None: ...


class NoTracker:
    """Shows nothing."""

    def write_scalars(self, step: int, values: dict[str, float]) -> None:
        pass

    def close(self) -> None:
        pass


def check_tracker(name: str) -> None:
    """Refuses a tracker whose package is missing, before anything else is done.

    Raises:
      InputError: says how to install it.
    """
    if name == "wandb" and importlib.util.find_spec("wandb") is None:
        raise InputError(
            "config.train.tracker=wandb needs the package wandb, which is not installed: "
            "pip install 'hpa_jax[wandb]', or leave the setting out for TensorBoard"
        )


def open_tracker(
    name: str, workdir: Path, *, first_step: int, run_id: str, settings: dict[str, Any]
) -> Tracker:
    """Opens `config.train.tracker`.

    Args:
      name: tensorboard, wandb or none.
      workdir: the run's folder.
      first_step: at which the run starts or resumes; what was shown of later ones is void.
      run_id: the same at each start of the run; empty for a run that has none.
      settings: the run's configuration, for a tracker that shows it.

    Raises:
      InputError: the tracker cannot be used as it is set up here.
    """
    if name == "none":
        return NoTracker()
    if name == "wandb":
        # An extra, and importing it costs two seconds.
        from hpa_jax.tracking.wandb_tracker import WandbTracker

        return WandbTracker(workdir, run_id, settings)
    writer = EventWriter(workdir / "tensorboard")
    writer.mark_restart(first_step + 1)
    return writer
