"""The checkpoint of a run that is to be read, also while the run trains.

Training keeps the best checkpoint and the latest ones, so that one may be removed while it is
read. Then the choice is made again, by the same rule.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from hpa_jax.config import Config
from hpa_jax.errors import InputError, one_line
from hpa_jax.training.checkpoint import Checkpoints
from hpa_jax.training.state import TrainState
from hpa_jax.workdir import read_record

Result = TypeVar("Result")

_TRIES = 5
"""Of reading what is removed meanwhile."""


class ChosenCheckpoint:
    """What `config.evaluate.checkpoint` means in a run's folder.

    Attributes:
      step: of the checkpoint. `restore` may choose another one.
      metrics: what was saved with it as metrics; empty without an evaluation.
      written: tells it from another checkpoint of the same step; None if that cannot be told.

    Args:
      config: of the run.
      workdir: the run's folder.

    Raises:
      InputError: there is no such checkpoint, or it is damaged.
    """

    step: int | None = None

    def __init__(self, config: Config, workdir: Path):
        self._which = config.evaluate.checkpoint
        self._metric = config.checkpoint.metric
        self._workdir = workdir
        self._folder = workdir / "checkpoints"
        self._while_it_trains(self._choose)

    def restore(self, state: TrainState) -> TrainState:
        """Reads it into the shapes and shardings of `state`, as `Checkpoints.restore` does.

        Raises:
          InputError: it is damaged, of another net, or was removed each time that it was read.
        """
        return self._while_it_trains(lambda: self._restore(state))

    def _choose(self) -> None:
        checkpoints = self._open()
        self.step = checkpoints.choose(self._which)
        self.metrics: dict[str, Any] = checkpoints.metrics(self.step)
        self.written = checkpoints.written(self.step)
        checkpoints.close()

    def _restore(self, state: TrainState) -> TrainState:
        if not self._is_there():
            removed = self.step
            self._choose()
            print(f"checkpoint {removed} was removed meanwhile; checkpoint {self.step} is read")
        checkpoints = self._open()
        restored = checkpoints.restore(self.step, state)
        checkpoints.close()
        if not self._is_there():
            raise InputError(f"checkpoint {self.step} was removed while it was read")
        return restored

    def _while_it_trains(self, read: Callable[[], Result]) -> Result:
        """`read()`, again where it fails since checkpoints came and went.

        Raises:
          InputError: it failed for another reason, or too often.
        """
        for _ in range(_TRIES):
            before = self._names()
            try:
                return read()
            except (InputError, OSError, ValueError, KeyError) as error:
                nothing_changed = self._names() == before
                has_what_it_needs = self.step is not None and self._is_there()
                if nothing_changed or has_what_it_needs:
                    raise
                failure = error
        if self.step is None:
            raise failure
        raise InputError(
            f"{self._folder}: checkpoints were removed faster than they could be read "
            f"({one_line(failure)}); start again, or have the training keep more of them: "
            "--config.checkpoint.keep"
        )

    def _is_there(self) -> bool:
        return str(self.step) in self._names()

    def _names(self) -> set[str]:
        """Of what is in the folder of checkpoints now."""
        if not self._folder.is_dir():
            return set()
        return {entry.name for entry in self._folder.iterdir()}

    def _open(self) -> Checkpoints:
        run_id = read_record(self._workdir).id
        return Checkpoints(self._folder, metric=self._metric, run_id=run_id)
