"""Many runs, as many at a time as there are cores for them, each in a process; results are kept.

    FOLDER/data            the dataset, built if it is missing
    FOLDER/runs/NAME       a run: what hpa_jax.main keeps, log.txt, and result.json when it is done

Design: a run gets one core. A net this small leaves half of a second core idle, so two runs side by
side finish sooner than one after the other on both.
"""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from pathlib import Path
from threading import Event

from checkout import BENCHMARKS, REPOSITORY
from learning_recipes import Run, Scale
from recipe_settings import settings_digest
from tqdm import tqdm

from hpa_jax.errors import EXIT_START_AGAIN, InputError, RunStopped

METRICS = (
    "macro_f1",
    "micro_f1",
    "accuracy",
    "mean_class_accuracy",
    "macro_f1_crossfit",
    "micro_f1_crossfit",
    "macro_average_precision",
)
"""Of evaluation.json; those that it lacks are left out."""

Cores = list[int] | None


def build(scale: Scale, folder: Path) -> Path:
    """Draws the dataset below `folder` unless it is there; returns the --data_dir."""
    data_dir = folder / "data"
    builder = [sys.executable, "-m", "tfds_builder.hpa"]
    done = subprocess.run(
        [*builder, *scale.build_flags(), f"--data_dir={data_dir}"],
        cwd=REPOSITORY,
        env=_environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        raise InputError(f"{data_dir}: the dataset cannot be drawn, see above")
    print(done.stdout.splitlines()[0], file=sys.stderr)
    return data_dir


def run_all(runs: Sequence[Run], data_dir: Path, folder: Path, jobs: int) -> dict[str, dict]:
    """Trains and scores what is not done yet.

    Args:
      runs: names are distinct.
      data_dir: of `build`.
      folder: their folders go to `folder/runs`.
      jobs: runs at a time; the cores that this process may use are divided among them.

    Returns:
      By name `{"metrics": {tta: {metric: value}}, "seconds": of all its processes}`.

    Raises:
      RunStopped: a run failed; those under way are stopped, and resume the next time.
    """
    free = _divide_cores(jobs)
    stop = Event()

    def finish(run: Run) -> dict:
        cores = free.pop()
        try:
            return _Process(run, data_dir, folder / "runs" / run.name, cores, stop).result()
        finally:
            free.append(cores)

    with ThreadPoolExecutor(len(free)) as pool:
        futures = {run.name: pool.submit(finish, run) for run in runs}
        try:
            _show_progress(runs, futures, folder)
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    return {name: future.result() for name, future in futures.items()}


def _divide_cores(jobs: int) -> list[Cores]:
    """The cores of each job; None on systems that cannot pin a process to some."""
    if not hasattr(os, "sched_getaffinity"):
        return [None]
    cores = sorted(os.sched_getaffinity(0))
    jobs = max(1, min(jobs, len(cores)))
    return [cores[first::jobs] for first in range(jobs)]


def _show_progress(runs: Sequence[Run], futures: dict[str, Future], folder: Path) -> None:
    """Shows a bar over all runs until they are done; raises what the first to fail has raised."""
    start = time.monotonic()
    reported = set()
    with tqdm(
        total=sum(run.steps for run in runs),
        initial=_steps_done(runs, folder),
        unit="step",
        desc="all runs",
        dynamic_ncols=True,
        disable=None,
    ) as bar:
        while True:
            done, pending = wait(futures.values(), timeout=2.0, return_when=FIRST_EXCEPTION)
            for name, future in futures.items():
                if future not in done or name in reported:
                    continue
                reported.add(name)
                minutes = (time.monotonic() - start) / 60
                metrics = _shorten(future.result()["metrics"])
                line = f"{len(reported)} of {len(runs)} after {minutes:.1f} min: {name} {metrics}"
                tqdm.write(line, sys.stderr)
            bar.update(_steps_done(runs, folder) - bar.n)
            if not pending:
                return


def _shorten(metrics: dict[str, dict]) -> str:
    parts = []
    for tta, found in metrics.items():
        parts.append(f"macro F1 {found['macro_f1']:.3f} (TTA: {tta})")
    return ", ".join(parts)


def _steps_done(runs: Sequence[Run], folder: Path) -> int:
    """Steps of all runs, as far as their logs have come."""
    total = 0
    for run in runs:
        with contextlib.suppress(OSError, ValueError, IndexError):
            log = (folder / "runs" / run.name / "metrics.jsonl").read_text()
            total += json.loads(log.splitlines()[-1])["step"]
    return total


class _Process:
    """A run in its folder: trained, then scored, each by a process on its own cores."""

    def __init__(self, run: Run, data_dir: Path, workdir: Path, cores: Cores, stop: Event):
        self._run = run
        self._data_dir = data_dir
        self._workdir = workdir
        self._cores = cores
        self._stop = stop

    def result(self) -> dict:
        """The result that is kept, or that of doing the run."""
        path = self._workdir / "result.json"
        description = dataclasses.asdict(self._run)
        description["settings"] = settings_digest(self._run.recipe, self._run.flags)
        # As JSON has it, where a tuple is a list.
        description = json.loads(json.dumps(description))
        with contextlib.suppress(OSError, ValueError):
            kept = json.loads(path.read_text())
            if kept["run"] == description:
                return kept
        self._workdir.mkdir(parents=True, exist_ok=True)
        seconds_before = self._read_seconds()
        start = time.monotonic()
        try:
            self._train()
            metrics = {tta: self._evaluate(tta) for tta in self._run.tta}
        finally:
            seconds = seconds_before + time.monotonic() - start
            (self._workdir / "seconds.json").write_text(json.dumps(seconds))
        result = {"run": description, "metrics": metrics, "seconds": seconds}
        path.write_text(json.dumps(result, indent=1) + "\n")
        return result

    def _read_seconds(self) -> float:
        """What earlier, unfinished starts took."""
        with contextlib.suppress(OSError, ValueError):
            return float(json.loads((self._workdir / "seconds.json").read_text()))
        return 0.0

    def _train(self) -> None:
        recipe = f"--config={self._run.recipe}"
        self._call(self._run.program, [recipe, *self._run.flags, *self._folders()])

    def _folders(self) -> tuple[str, str]:
        return f"--workdir={self._workdir}", f"--config.data.data_dir={self._data_dir}"

    def _evaluate(self, tta: str) -> dict[str, float]:
        """Metrics of the split that is scored, by the same evaluator for ours and for the peer.

        Scores are kept in the subfolder TTA. Ours is evaluated from a checkpoint, the peer from the
        arrays that it has written there.
        """
        folder = self._workdir / tta
        if self._run.program == "hpa_jax.main":
            where = [
                *self._folders(),
                f"--out={folder}",
                f"--config.data.eval_split={self._run.eval_split}",
                f"--config.evaluate.tta={tta}",
                f"--config.evaluate.checkpoint={self._run.checkpoint}",
            ]
        else:
            where = [
                f"--workdir={folder}",
                f"--config.evaluate.scores={folder / 'scores.npy'}",
                f"--config.evaluate.targets={folder / 'targets.npy'}",
            ]
        # Without intervals by bootstrap: those over seeds are what is wanted.
        flags = ["--mode=evaluate", *where, "--config.evaluate.replicates=0", *self._run.scoring]
        self._call("hpa_jax.main", flags)
        evaluation = json.loads((folder / "evaluation.json").read_text())
        return {name: evaluation[name] for name in METRICS if name in evaluation}

    def _call(self, program: str, flags: Sequence[str]) -> None:
        """One process, its output in log.txt. Stopped, it saves, and resumes the next time."""
        command = [sys.executable, "-m", program]
        if program != "hpa_jax.main":
            command = [sys.executable, str(BENCHMARKS / f"{program}.py")]
        log_path = self._workdir / "log.txt"
        with open(log_path, "a", encoding="utf-8") as log:
            print("$", *command, *flags, file=log, flush=True)
            child = subprocess.Popen(
                [*command, *flags], cwd=REPOSITORY, env=_environment(), stdout=log, stderr=log
            )
            if self._cores is not None:
                # Before it has threads, which inherit it.
                os.sched_setaffinity(child.pid, self._cores)
            while child.poll() is None:
                if self._stop.wait(0.2):
                    child.terminate()
                    child.wait()
        name = self._workdir.name
        if child.returncode == EXIT_START_AGAIN or self._stop.is_set():
            raise RunStopped(f"{name} was stopped; the same command resumes")
        if child.returncode:
            log_text = log_path.read_text(encoding="utf-8", errors="replace")
            last = log_text.strip().splitlines()[-1]
            raise RunStopped(f"{name} ended with status {child.returncode}: {last} ({log_path})")


def _environment() -> dict[str, str]:
    return os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONUNBUFFERED": "1"}
