"""One worker of a sweep: takes a trial, trains it, records it, until enough were started.

A second worker is the same command once more, in another terminal, with other devices.
"""

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from hpa_jax.config import Config, differences, to_dict
from hpa_jax.errors import (
    EXIT_BAD_INPUT,
    EXIT_OK,
    EXIT_RUN_STOPPED,
    EXIT_START_AGAIN,
    NOT_FINITE,
    InputError,
    RunStopped,
)
from hpa_jax.files import check_writable, remove_partial_files
from hpa_jax.parallel.preemption import PreemptionSignal
from hpa_jax.recipes.load import load_recipe
from hpa_jax.sweep.record import TrialRecord
from hpa_jax.sweep.space import (
    SearchSpace,
    contains,
    load_search_space,
    recipe_values,
    to_json,
)
from hpa_jax.sweep.study import SweepStudy, Trial
from hpa_jax.sweep.summary import best_of, line_of, write_summary
from hpa_jax.sweep.trial import LOG, Outcome, changed_settings, run_trial, trial_arguments

# What may differ between two starts: it changes neither what a trial learns nor its metric.
_FREE_SECTIONS = ("devices", "evaluate", "export", "plan", "predict", "report", "sweep", "verify")
_FREE = (
    "checkpoint.keep",
    "data.data_dir",
    "data.threads",
    "train.log_every",
    "train.profile",
    "train.tracker",
)


def sweep(config: Config, recipe: str, workdir: Path, write_page: Callable[[Path], None]) -> int:
    """Runs trials until `config.sweep.trials` were started, here and by other workers.

    Args:
      config: of the trials, and in its section `sweep` of the sweep.
      recipe: path of the recipe that declares what is searched.
      workdir: the sweep's folder, new or started.
      write_page: called with `workdir` whenever sweep.json is new.

    Returns:
      EXIT_OK (0), or EXIT_START_AGAIN (75) when it was asked to stop: what was begun is saved,
      and the same call resumes it.

    Raises:
      InputError: the recipe, its search space, the folder, or what a trial was given.
      RunStopped: a trial had to stop for a cause that its values do not explain.
    """
    if (workdir / "config.json").exists():
        raise InputError(f"{workdir} holds a run; choose another --workdir for a sweep")
    space = load_search_space(recipe, config)
    check_writable(workdir, "choose another --workdir")
    first_values = recipe_values(space, config)
    if not contains(space, first_values):
        first_values = None
    study = SweepStudy(workdir, space, config.sweep, _identity(config, space), first_values)
    return _Worker(config, recipe, workdir, space, study, write_page).work()


def _identity(config: Config, space: SearchSpace) -> dict[str, Any]:
    """What makes two starts the same sweep, by the names of a message."""
    identity = {"search_space()": to_json(space)}
    for section, values in to_dict(config).items():
        for field, value in values.items():
            name = f"{section}.{field}"
            if section not in _FREE_SECTIONS and name not in _FREE and name not in space:
                identity[f"config.{name}"] = value
    return identity


class _Worker:
    """Args: as of `sweep`, and the open study."""

    def __init__(
        self,
        config: Config,
        recipe: str,
        workdir: Path,
        space: SearchSpace,
        study: SweepStudy,
        write_page: Callable[[Path], None],
    ):
        self._config = config
        self._recipe = recipe
        self._workdir = workdir
        self._space = space
        self._study = study
        self._write_page = write_page
        self._recipe_config = load_recipe(recipe)
        self._changed = changed_settings(self._recipe_config, config)
        self._last_was_refused = False

    def work(self) -> int:
        """Runs trials; the exit status."""
        with contextlib.ExitStack() as on_exit:
            stop = PreemptionSignal()
            on_exit.callback(stop.restore_handlers)
            self._bar = on_exit.enter_context(
                tqdm(
                    total=self._config.sweep.trials,
                    unit="trial",
                    desc="sweep",
                    dynamic_ncols=True,
                    # Shown on a terminal only.
                    disable=None,
                )
            )
            while not stop:
                self._show_progress()
                with self._study.next_trial() as trial:
                    if trial is None:
                        return self._end()
                    is_over = self._work_on(trial, stop)
                if is_over:
                    self._show(trial)
            self._info(f"stopped by {stop.signal_name}; the same command resumes this sweep")
            return EXIT_START_AGAIN

    def _work_on(self, trial: Trial, stop: PreemptionSignal) -> bool:
        """Trains a trial and records it; False if it is to be resumed."""
        self._refuse_changed_recipe()
        folder = self._workdir / TrialRecord.folder_of(trial.number)
        arguments = trial_arguments(self._recipe, self._changed, trial.values, folder)
        self._bar.set_postfix_str(f"trial {trial.number} in {folder}")
        outcome = run_trial(trial, arguments, folder, self._config, lambda: bool(stop))
        was_refused = outcome.status == EXIT_BAD_INPUT
        if outcome.pruned:
            # However far it came until it heard of it.
            self._study.prune(trial)
        elif outcome.status == EXIT_OK:
            self._study.finish(trial)
        elif outcome.status == EXIT_START_AGAIN:
            if not stop:
                raise RunStopped(f"trial {trial.number} was stopped: {outcome.line}")
            return False
        elif self._is_of_its_values(outcome):
            self._study.fail(trial, outcome.line)
        else:
            raise self._error(trial, outcome, folder)
        self._last_was_refused = was_refused
        return True

    def _is_of_its_values(self, outcome: Outcome) -> bool:
        """Whether a trial failed for the values that it was given, so that others may do."""
        if outcome.status == EXIT_RUN_STOPPED:
            return NOT_FINITE in outcome.line
        # Until a trial has finished, and twice in a row, it is rather something that all share.
        has_worked = best_of(self._study.records()) is not None
        return outcome.status == EXIT_BAD_INPUT and has_worked and not self._last_was_refused

    def _error(self, trial: Trial, outcome: Outcome, folder: Path) -> Exception:
        if outcome.status == EXIT_BAD_INPUT:
            return InputError(f"trial {trial.number}: {outcome.line}")
        how = f"ended with status {outcome.status}"
        if outcome.status < 0:
            how = f"was killed by signal {-outcome.status}"
        return RunStopped(
            f"trial {trial.number} {how}: {outcome.line or 'without a word'}; {folder / LOG} has "
            "what it printed; remove the cause and start the same command again"
        )

    def _refuse_changed_recipe(self) -> None:
        changed = differences(self._recipe_config, load_recipe(self._recipe))
        for name, (before, now) in changed.items():
            if name not in self._space:
                raise InputError(
                    f"--config={self._recipe} was changed while the sweep ran: config.{name} was "
                    f"{before!r} and is {now!r}; set it back to resume this sweep"
                )

    def _write(self) -> list[TrialRecord]:
        """Writes sweep.json and the page; what they are of."""
        with self._study.writing():
            for folder in (self._workdir, self._workdir / "report"):
                if folder.exists():
                    remove_partial_files(folder)
            records = self._study.records()
            write_summary(
                self._workdir,
                self._config,
                self._recipe,
                self._changed,
                self._space,
                records,
                self._study.importances(),
            )
            self._write_page(self._workdir)
        return records

    def _show(self, trial: Trial) -> None:
        records = self._write()
        metric = self._config.checkpoint.metric
        self._info(line_of(records[trial.number], metric, best_of(records)))

    def _show_progress(self) -> None:
        ended = [record for record in self._study.records() if record.state != "running"]
        self._bar.update(len(ended) - self._bar.n)

    def _end(self) -> int:
        records = self._write()
        running = [record.number for record in records if record.state == "running"]
        if running:
            numbers = ", ".join(map(str, running))
            self._info(f"nothing is left to start; other workers are at trials {numbers}")
            return EXIT_OK
        best = best_of(records)
        if best is None:
            raise RunStopped(
                f"none of {len(records)} trials was finished; {self._workdir}/sweep.json says why"
            )
        values = dict(best.values)
        self._info(
            f"finished; the best of {len(records)} trials is {best.number} with "
            f"{self._config.checkpoint.metric} {best.best():.4f}: {_as_text(values)}; "
            f"{self._workdir / 'report.html'} has all, and the command with these values"
        )
        return EXIT_OK

    def _info(self, message: str) -> None:
        """Prints a line above the progress bar."""
        self._bar.clear()
        print(message, flush=True)


def _as_text(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())
