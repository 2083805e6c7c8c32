"""The trials of a sweep, in SWEEP/sweep.db: what was tried, what came of it, what to try next.

Design:
- A worker holds the lock SWEEP/trials/NUMBER.lock while it works on a trial. The lock is the
  kernel's and goes with its process, so a trial that is under way and not locked was left behind
  by a killed worker: the next one takes it over, with its number and its values. Optuna's own
  heartbeat would give it a new number, and does not work with trials that are asked for one by one.
- Which values a trial gets follows from the sweep's seed, its number and the trials before it. A
  sweep of one worker that was killed and resumed therefore tries what it would have tried.
- A new trial is drawn by one worker at a time, so that none sees half of another's.
"""

import contextlib
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from hpa_jax.config import Sweep
from hpa_jax.errors import InputError, RunStopped
from hpa_jax.files import exclusive_lock
from hpa_jax.sweep.record import TRIALS, TrialRecord
from hpa_jax.sweep.space import Range, SearchSpace, Value
from hpa_jax.sweep.storage import BUSY_S, DATABASE, SweepStorage

_IDENTITY = "sweep"
_SECONDS = "seconds"
_REASON = "reason"

# Importances of fewer finished trials would be those of chance.
FEWEST_FOR_IMPORTANCES = 4

# Between two looks at a lock that another worker holds for moments.
_RETRY_S = 0.05

RUNNING = optuna.trial.TrialState.RUNNING
WAITING = optuna.trial.TrialState.WAITING
COMPLETE = optuna.trial.TrialState.COMPLETE


class Trial:
    """A trial that this process holds."""

    def __init__(self, trial: optuna.trial.Trial, values: Mapping[str, Value]):
        self._trial = trial
        self.number = trial.number
        self.values = values
        recorded = trial.study.get_trials(deepcopy=False)[trial.number]
        self._reported = set(recorded.intermediate_values)

    def report(self, step: int, value: float) -> bool:
        """Records an evaluation, once for each step; whether it was new."""
        if step in self._reported or not math.isfinite(value):
            return False
        self._trial.report(value, step)
        self._reported.add(step)
        return True

    def latest_step(self) -> int:
        """Of the evaluations that were reported; -1 without one."""
        return max(self._reported, default=-1)

    def should_prune(self) -> bool:
        """Whether it is worse than the complete trials were at its latest evaluation."""
        return bool(self._trial.should_prune())

    def set_reason(self, reason: str) -> None:
        self._trial.set_user_attr(_REASON, reason)

    def add_seconds(self, seconds: float) -> None:
        before = self._trial.user_attrs.get(_SECONDS, 0.0)
        self._trial.set_user_attr(_SECONDS, before + seconds)


class SweepStudy:
    """All trials of a sweep; any number of processes may have it open.

    Args:
      folder: of the sweep; it exists.
      space: what is searched.
      settings: `config.sweep`.
      identity: what the sweep is, JSON values by name; a later start must have the same.
      first_values: tried first; None: the first ones are drawn as all others.

    Raises:
      InputError: the folder holds another sweep, or its database cannot be read.
    """

    def __init__(
        self,
        folder: Path,
        space: SearchSpace,
        settings: Sweep,
        identity: Mapping[str, Any],
        first_values: Mapping[str, Value] | None,
    ):
        self._folder = folder
        self._space = space
        self._settings = settings
        self._first_values = first_values
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        (folder / TRIALS).mkdir(exist_ok=True)
        with self._lock():
            self._storage = SweepStorage(folder, self._pruner())
            self._study = self._storage.study
            with self._storage.explained():
                self._check_identity(identity)

    def _pruner(self) -> optuna.pruners.BasePruner:
        if not self._settings.prune_after:
            return optuna.pruners.NopPruner()
        return optuna.pruners.MedianPruner(
            n_startup_trials=self._settings.prune_after,
            n_warmup_steps=self._settings.prune_from,
        )

    def _check_identity(self, identity: Mapping[str, Any]) -> None:
        recorded = self._study.user_attrs.get(_IDENTITY)
        if recorded is None:
            self._study.set_user_attr(_IDENTITY, dict(identity))
            return
        for name, value in identity.items():
            # A setting that the version of then did not have is none that differs.
            before = recorded.get(name, value)
            if before != value:
                before, value = _differing(before, value)
                raise InputError(
                    f"{self._folder} holds a sweep with {name}={before!r}, now {value!r}; set it "
                    "back to resume that sweep, or choose another --workdir"
                )

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """Held for moments, by one worker at a time."""
        path = self._folder / ".sweep.lock"
        give_up_at = time.monotonic() + BUSY_S
        with contextlib.ExitStack() as held:
            while not _try_lock(held, path):
                if time.monotonic() > give_up_at:
                    raise RunStopped(
                        f"{path} is held for {BUSY_S} s by another process: does one hang?"
                    )
                time.sleep(_RETRY_S)
            yield

    @contextlib.contextmanager
    def next_trial(self) -> Iterator[Trial | None]:
        """The trial to work on, held until the block ends; None if nothing is left to start."""
        with contextlib.ExitStack() as held:
            held.enter_context(self._storage.explained())
            with self._lock():
                trial = self._take_over(held) or self._draw(held)
            yield trial

    def _take_over(self, held: contextlib.ExitStack) -> Trial | None:
        """A trial that a killed worker has left behind."""
        for frozen in self._study.get_trials(deepcopy=False, states=(RUNNING,)):
            with contextlib.ExitStack() as tried:
                if not _try_lock(tried, self._lock_of(frozen.number)):
                    continue
                # Its worker may have ended it, and let go of it, since the look above.
                now = self._study.get_trials(deepcopy=False)[frozen.number]
                if now.state == RUNNING:
                    held.enter_context(tried.pop_all())
                    return self._trial(frozen.number)
        return None

    def _draw(self, held: contextlib.ExitStack) -> Trial | None:
        trials = self._study.get_trials(deepcopy=False)
        if not trials and self._first_values is not None:
            self._study.enqueue_trial(dict(self._first_values))
        started = [trial for trial in trials if trial.state != WAITING]
        if len(started) >= self._settings.trials:
            return None
        number = len(started)
        if not _try_lock(held, self._lock_of(number)):
            raise RunStopped(
                f"{self._lock_of(number)} is held by another process, and the trial is not in "
                f"{self._folder / DATABASE}: is that file a copy?"
            )
        self._study.sampler = self._sampler(number)
        return self._completed(self._study.ask())

    def _trial(self, number: int) -> Trial:
        self._study.sampler = self._sampler(number)
        return self._completed(self._storage.trial(number))

    def _completed(self, trial: optuna.trial.Trial) -> Trial:
        """Draws the values that the trial does not have yet."""
        values = {}
        for place, (name, allowed) in enumerate(self._space.items()):
            # Of its own for each value: a worker may be killed between two of them.
            self._study.sampler = self._sampler(trial.number, place)
            if not isinstance(allowed, Range):
                values[name] = trial.suggest_categorical(name, allowed.values)
            elif type(allowed.low) is int:
                values[name] = trial.suggest_int(name, allowed.low, allowed.high, log=allowed.log)
            else:
                values[name] = trial.suggest_float(name, allowed.low, allowed.high, log=allowed.log)
        return Trial(trial, values)

    def _sampler(self, *number: int) -> optuna.samplers.BaseSampler:
        words = np.random.SeedSequence([self._settings.seed, *number]).generate_state(1)
        return optuna.samplers.TPESampler(
            n_startup_trials=self._settings.random,
            # Trials of other workers that are under way count as poor, so that none is repeated.
            constant_liar=True,
            seed=int(words[0]),
        )

    def _lock_of(self, number: int) -> Path:
        return self._folder / TRIALS / f"{number:04d}.lock"

    def finish(self, trial: Trial) -> None:
        """Records that a run has ended by itself."""
        best = self.record(trial.number).best()
        if best is None:
            self.fail(trial, "no evaluation gave a number")
            return
        self._study.tell(trial.number, best)

    def prune(self, trial: Trial) -> None:
        """Records that a run was stopped, for good."""
        self._study.tell(trial.number, state=optuna.trial.TrialState.PRUNED)

    def fail(self, trial: Trial, reason: str) -> None:
        """Records that the values were no good: the run could not be trained with them."""
        trial.set_reason(reason)
        self._study.tell(trial.number, state=optuna.trial.TrialState.FAIL)

    def record(self, number: int) -> TrialRecord:
        return _record(self._study.get_trials(deepcopy=False)[number])

    def records(self) -> list[TrialRecord]:
        """All trials that were started, by number."""
        with self._storage.explained():
            trials = self._study.get_trials(deepcopy=False)
        return [_record(trial) for trial in trials if trial.state != WAITING]

    def importances(self) -> dict[str, float]:
        """The fraction of the metric's variance that each setting explains by itself, by fANOVA.

        Of trials that are complete; empty where they are too few, or do not differ.
        """
        complete = self._study.get_trials(deepcopy=False, states=(COMPLETE,))
        if len(complete) < FEWEST_FOR_IMPORTANCES or len({t.value for t in complete}) < 2:
            return {}
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        found = optuna.importance.get_param_importances(self._study, evaluator=evaluator)
        return {name: float(found[name]) for name in found}

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """For what is written of all trials: no other worker writes meanwhile."""
        with self._storage.explained(), self._lock():
            yield


def _differing(before: Any, now: Any) -> tuple[Any, Any]:
    """Two values without what they have in common, for a message."""
    if not isinstance(before, dict) or not isinstance(now, dict):
        return before, now
    other = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    left = []
    for values in (before, now):
        left.append({name: values[name] for name in other if name in values})
    return left[0], left[1]


def _try_lock(held: contextlib.ExitStack, path: Path) -> bool:
    """Takes a lock into `held`, unless another process has it."""
    try:
        held.enter_context(exclusive_lock(path, busy=f"{path} is in use"))
    except InputError:
        return False
    return True


def _record(trial: optuna.trial.FrozenTrial) -> TrialRecord:
    state = trial.state.name.lower()
    return TrialRecord(
        number=trial.number,
        state="failed" if state == "fail" else state,
        values=dict(trial.params),
        evaluations=dict(sorted(trial.intermediate_values.items())),
        seconds=trial.user_attrs.get(_SECONDS, 0.0),
        reason=trial.user_attrs.get(_REASON, ""),
    )
