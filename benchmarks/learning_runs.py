"""Many runs, as many at a time as there are cores to pin them to, each a process of its own; what is done is kept.

Unusual: a run gets one core. A net this small leaves half of a second core idle, so two runs side by side finish sooner
than one after the other on both.

FOLDER/data            the dataset, built where it is missing
FOLDER/runs/NAME       a run: what hpa_jax.main keeps, log.txt, and result.json once it is trained and scored
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

from learning_recipes import Run, Scale
from tqdm import tqdm

from hpa_jax.errors import EXIT_START_AGAIN, InputError, RunStopped

REPOSITORY = Path(__file__).resolve().parents[1]
FIGURES = (
    "macro_f1",
    "micro_f1",
    "accuracy",
    "macro_f1_crossfit",
    "micro_f1_crossfit",
    "macro_average_precision",
)
"""Of evaluation.json; those that it lacks are left out."""


def build(scale: Scale, folder: Path) -> Path:
    """The dataset below `folder`, drawn unless it is there; returns the --data_dir."""
    data_dir = folder / "data"
    command = [
        sys.executable,
        "-m",
        "tfds_builder.hpa",
        *scale.build_flags(),
        f"--data_dir={data_dir}",
    ]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=_environment(), stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        raise InputError(f"{data_dir}: the dataset cannot be drawn, as said above")
    print(done.stdout.splitlines()[0], file=sys.stderr)
    return data_dir


def run_all(runs: Sequence[Run], data_dir: Path, folder: Path, jobs: int) -> dict[str, dict]:
    """Trains and scores what is not done yet.

    Args:
      runs: names are distinct.
      data_dir: of `build`.
      folder: their folders go to `folder/runs`.
      jobs: runs at a time; the cores that this process may use are dealt out to them.

    Returns:
      By name `{"figures": {views: {figure: value}}, "seconds": of all its processes}`.

    Raises:
      RunStopped: a run failed; those that were under way are stopped, and go on the next time.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [None]
    jobs = max(1, min(jobs, len(cores)))
    free = [cores[place::jobs] for place in range(jobs)]
    stop = Event()

    def one(run: Run) -> dict:
        own = free.pop()
        try:
            return _result(run, data_dir, folder / "runs" / run.name, own, stop)
        finally:
            free.append(own)

    with ThreadPoolExecutor(jobs) as pool:
        found = {run.name: pool.submit(one, run) for run in runs}
        try:
            _watch(runs, found, folder)
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    return {name: future.result() for name, future in found.items()}


def _watch(runs: Sequence[Run], found: dict[str, Future], folder: Path) -> None:
    """Shows how far all of them are until they are done; raises what the first one to fail has raised."""
    begun, told = time.monotonic(), set()
    kept = sum(_steps(folder, run) for run in runs)
    total = sum(run.steps for run in runs)
    with tqdm(
        total=total, initial=kept, unit="step", desc="all runs", dynamic_ncols=True, disable=None
    ) as bar:
        while True:
            done, rest = wait(found.values(), timeout=2.0, return_when=FIRST_EXCEPTION)
            for name, future in found.items():
                if future in done and name not in told:
                    told.add(name)
                    minutes = (time.monotonic() - begun) / 60
                    figure = future.result()["figures"]
                    tqdm.write(
                        f"{len(told)} of {len(runs)} after {minutes:.1f} min: {name} {_short(figure)}",
                        sys.stderr,
                    )
            bar.update(sum(_steps(folder, run) for run in runs) - bar.n)
            if not rest:
                return


def _short(figures: dict[str, dict]) -> str:
    return ", ".join(
        f"macro F1 {found['macro_f1']:.3f} (views: {views})" for views, found in figures.items()
    )


def _steps(folder: Path, run: Run) -> int:
    """How many a run has done, as it last told."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return json.loads(
            (folder / "runs" / run.name / "metrics.jsonl").read_text().splitlines()[-1]
        )["step"]
    return 0


def _result(run: Run, data_dir: Path, workdir: Path, cores: list, stop: Event) -> dict:
    path, asked = workdir / "result.json", json.loads(json.dumps(dataclasses.asdict(run)))
    with contextlib.suppress(OSError, ValueError):
        kept = json.loads(path.read_text())
        if kept["run"] == asked:
            return kept
    workdir.mkdir(parents=True, exist_ok=True)
    begun, before = time.monotonic(), _spent(workdir)
    common = (f"--workdir={workdir}", f"--config.data.data_dir={data_dir}")
    recipe = (f"--config={run.recipe}", *run.flags)
    try:
        _call(run.program, (*recipe, *common), workdir, cores, stop)
        figures = {views: _scored(run, common, workdir, views, cores, stop) for views in run.views}
    finally:
        seconds = before + time.monotonic() - begun
        (workdir / "seconds.json").write_text(json.dumps(seconds))
    result = {"run": asked, "figures": figures, "seconds": seconds}
    path.write_text(json.dumps(result, indent=1) + "\n")
    return result


def _spent(workdir: Path) -> float:
    """Seconds that earlier, unfinished starts took."""
    with contextlib.suppress(OSError, ValueError):
        return float(json.loads((workdir / "seconds.json").read_text()))
    return 0.0


def _scored(
    run: Run, common: tuple[str, ...], workdir: Path, views: str, cores: list, stop: Event
) -> dict:
    """Figures of the test part, by the one evaluator: of a checkpoint, or of the arrays that the peer has written."""
    shared = (
        "--config.evaluate.replicates=0",
        *run.scoring,
    )  # intervals over seeds are what is wanted
    if run.program == "hpa_jax.main":
        where = common
        asked = ("--config.data.eval_split=test", f"--config.evaluate.tta={views}")
        asked += (f"--config.evaluate.checkpoint={run.checkpoint}",)
    else:
        where = (f"--workdir={workdir / views}",)
        asked = tuple(
            f"--config.evaluate.{what}={workdir / views / what}.npy"
            for what in ("scores", "targets")
        )
    _call("hpa_jax.main", ("--mode=evaluate", *where, *asked, *shared), workdir, cores, stop)
    folder = Path(where[0].partition("=")[2])
    evaluation = json.loads((folder / "evaluation.json").read_text())
    return {name: evaluation[name] for name in FIGURES if name in evaluation}


def _call(program: str, flags: Sequence[str], workdir: Path, cores: list, stop: Event) -> None:
    """One process on its own cores, its output to log.txt; told to stop, it saves and goes on the next time."""
    command = (
        [sys.executable, "-m", program]
        if program == "hpa_jax.main"
        else [sys.executable, _program(program)]
    )
    with open(workdir / "log.txt", "a", encoding="utf-8") as log:
        print("$", *command, *flags, file=log, flush=True)
        child = subprocess.Popen(
            [*command, *flags], cwd=REPOSITORY, env=_environment(), stdout=log, stderr=log
        )
        if cores[0] is not None:
            os.sched_setaffinity(child.pid, cores)  # before it has threads, which inherit it
        while child.poll() is None:
            if stop.wait(0.2):
                child.terminate()
                child.wait()
    if child.returncode == EXIT_START_AGAIN or stop.is_set():
        raise RunStopped(f"{workdir.name} was stopped; the same command goes on")
    if child.returncode:
        last = (
            (workdir / "log.txt")
            .read_text(encoding="utf-8", errors="replace")
            .strip()
            .splitlines()[-1]
        )
        raise RunStopped(
            f"{workdir.name} ended with status {child.returncode}: {last} ({workdir / 'log.txt'})"
        )


def _program(name: str) -> str:
    return str(Path(__file__).with_name(f"{name}.py"))


def _environment() -> dict[str, str]:
    return os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONUNBUFFERED": "1"}
