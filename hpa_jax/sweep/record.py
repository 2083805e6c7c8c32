"""A trial as everybody but Optuna sees it."""

from collections.abc import Mapping
from dataclasses import dataclass

from hpa_jax.sweep.space import Value

TRIALS = "trials"


@dataclass(frozen=True)
class TrialRecord:
    """A trial as the database has it.

    Attributes:
      number: from 0.
      state: running, complete, pruned or failed.
      values: of the settings that are searched.
      evaluations: the metric by the step of each evaluation.
      seconds: that its processes ran.
      reason: why it failed.
    """

    number: int
    state: str
    values: Mapping[str, Value]
    evaluations: Mapping[int, float]
    seconds: float
    reason: str

    def best(self) -> float | None:
        """The largest metric of its evaluations: that of the run's best checkpoint."""
        return max(self.evaluations.values(), default=None)

    @staticmethod
    def folder_of(number: int) -> str:
        """The run's folder, below that of the sweep."""
        return f"{TRIALS}/{number:04d}"
