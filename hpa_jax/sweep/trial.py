"""One trial: `python -m hpa_jax.main` on a run's folder of its own, watched while it trains.

The folder is that of any other run: it can be resumed, evaluated, exported and reported on by its
path. Beside its own files it has train.log, what the process prints.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import hpa_jax
from hpa_jax.config import Config, differences
from hpa_jax.errors import EXIT_START_AGAIN, InputError, one_line
from hpa_jax.files import exclusive_lock
from hpa_jax.sweep import launch
from hpa_jax.sweep.space import Value
from hpa_jax.sweep.study import Trial
from hpa_jax.tracking.metrics_file import FILE_NAME, read_records

LOG = "train.log"

_POLL_S = 0.2

# Lines of the log in which the last line of the program is looked for.
_LAST_BYTES = 8192

# What begins the one line of a process that ends by itself with an error.
_SAID = ("error: ", "stopped: ")


@dataclass(frozen=True)
class Outcome:
    """How a trial's process has ended.

    Attributes:
      status: the exit status; below 0: minus the number of the signal that killed it.
      pruned: it was stopped since it was worse than others.
      line: its last words, without `error:`; empty if it had none.
    """

    status: int
    pruned: bool
    line: str


def setting_flags(settings: Mapping[str, Any]) -> list[str]:
    """The flags that set `{"section.field": value}`."""
    flags = []
    for name, value in settings.items():
        if isinstance(value, list):
            value = tuple(value)
        text = value if isinstance(value, str) else repr(value)
        flags.append(f"--config.{name}={text}")
    return flags


def changed_settings(recipe: Config, config: Config) -> dict[str, Any]:
    """What the sweep's command line has set in its recipe, without what is of the sweep itself."""
    changed = {}
    for name, (_, value) in differences(recipe, config).items():
        if not name.startswith(("sweep.", "devices.process")):
            changed[name] = value
    return changed


def trial_arguments(
    recipe: str, changed: Mapping[str, Any], values: Mapping[str, Value], folder: Path
) -> list[str]:
    """The command line of a trial, after `python -m hpa_jax.main`."""
    # One process a trial, whatever a cluster says of its workers.
    settings = {**changed, **values, "devices.processes": 1}
    return [f"--config={recipe}", f"--workdir={folder}", *setting_flags(settings)]


def run_trial(
    trial: Trial, arguments: Sequence[str], folder: Path, config: Config, stop: Callable[[], bool]
) -> Outcome:
    """Trains until the run ends, is worse than others, or `stop()`.

    Args:
      trial: to which evaluations are reported.
      arguments: of `trial_arguments`.
      folder: the run's folder.
      config: of the sweep.
      stop: whether this worker was asked to stop; the run then saves.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _wait_for_orphan(folder)
    watch = TrialWatch(trial, folder / FILE_NAME, config)
    watch.look()
    if watch.pruned:
        # Decided before a kill that came before it was recorded.
        return Outcome(EXIT_START_AGAIN, True, "")
    started = time.monotonic()
    with TrialProcess(arguments, folder / LOG) as process:
        while process.status() is None:
            watch.look()
            if watch.pruned or stop():
                process.stop()
            time.sleep(_POLL_S)
    watch.look_at_all()
    trial.add_seconds(time.monotonic() - started)
    return Outcome(process.status(), watch.pruned, last_words(folder / LOG, process.log_start))


def _wait_for_orphan(folder: Path) -> None:
    """The process of a worker that was killed has got its signal, and may still be saving."""
    with exclusive_lock(folder / ".lock", busy=f"{folder} is in use", wait=True):
        pass


class TrialProcess:
    """A trial's process; it has ended when the block has.

    Args:
      arguments: of `hpa_jax.main`.
      log: gets what it prints, after what is there.
    """

    def __init__(self, arguments: Sequence[str], log: Path):
        command = [sys.executable, launch.__file__, str(os.getpid()), *arguments]
        environment = dict(os.environ)
        path = [str(Path(hpa_jax.__file__).resolve().parents[1])]
        if environment.get("PYTHONPATH"):
            path.append(environment["PYTHONPATH"])
        environment["PYTHONPATH"] = os.pathsep.join(path)
        with open(log, "ab") as file:
            self.log_start = file.tell()
            self._process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for the worker, which passes it on once.
                start_new_session=True,
            )
        self._is_asked = False

    def __enter__(self) -> "TrialProcess":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is KeyboardInterrupt:
            # A second Ctrl-C: at once, without saving.
            self._process.kill()
        elif kind is not None:
            self.stop()
        self._process.wait()

    def status(self) -> int | None:
        """The exit status, or minus a signal's number; None while it runs."""
        status = self._process.poll()
        if self._is_asked and status == -signal.SIGTERM:
            # It was asked before it could listen: as if it had nothing to save.
            return EXIT_START_AGAIN
        return status

    def stop(self) -> None:
        """Asks it once to save and end."""
        if not self._is_asked:
            self._is_asked = True
            self._process.send_signal(signal.SIGTERM)


class TrialWatch:
    """Reports the evaluations of a run as they are written, and judges it by each of them.

    What is decided follows from the records alone, not from when they are read: a sweep that was
    killed and resumed decides the same. An evaluation is therefore judged once a later record shows
    that the run has gone on, so that no run is pruned at its end; and nothing is reported after the
    one for which the run is stopped, since how far it comes until then is chance.

    Attributes:
      pruned: whether the run is to be stopped, since it is worse than others.
    """

    def __init__(self, trial: Trial, path: Path, config: Config):
        self._trial = trial
        self._path = path
        self._split = config.data.eval_split
        self._metric = config.checkpoint.metric
        self._size = -1
        self._judged_step = -1
        self.pruned = False

    def look(self) -> None:
        """Reports what is new."""
        size = self._path.stat().st_size if self._path.exists() else -1
        if size == self._size:
            return
        self._size = size
        # A run that resumes moves damaged lines away.
        with contextlib.suppress(InputError):
            self.look_at_all()

    def look_at_all(self) -> None:
        """As `look`, once the run has ended.

        Raises:
          InputError: a line is damaged.
        """
        for record in read_records(self._path):
            self._judge(record["step"])
            if self.pruned:
                return
            if record["split"] == self._split and self._metric in record:
                self._trial.report(record["step"], record[self._metric])

    def _judge(self, step: int) -> None:
        """Judges the latest evaluation, if the run has come to a later `step`."""
        latest = self._trial.latest_step()
        if self._judged_step < latest < step:
            self._judged_step = latest
            self.pruned = self.pruned or self._trial.should_prune()


def last_words(log: Path, start: int = 0) -> str:
    """The line with which a run has said why it ends; else the last line of its log.

    Args:
      log: what its processes have printed.
      start: bytes of earlier ones.
    """
    with open(log, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(start, size - _LAST_BYTES))
        text = file.read().decode(errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for line in reversed(lines):
        for beginning in _SAID:
            if line.startswith(beginning):
                return one_line(line.removeprefix(beginning))
    return one_line(lines[-1], limit=200) if lines else ""
