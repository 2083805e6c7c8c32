"""One recipe of `real_fields.py`, from training to its export, each command in a process.

    FOLDER/runs/NAME/log.txt         what the processes said
    FOLDER/runs/NAME/progress.json   the commands that are done, and what they took
    FOLDER/runs/NAME/run             the run; removed when all is done
    FOLDER/runs/NAME/result.json     what was found, written then

Nothing here reads an F1: a few steps on 77 fields have none that means anything.
"""

import contextlib
import dataclasses
import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import checkout  # noqa: F401
import numpy as np
from checkout import REPOSITORY
from real_fields_recipes import FieldsRun
from recipe_settings import settings_digest

from hpa_jax.errors import EXIT_BAD_INPUT, EXIT_START_AGAIN, RunStopped
from hpa_jax.files import write_json

MOST_DIFFERENT = 0.02
"""Largest difference of a score by the run, in the recipe's arithmetic, from one by its export."""

_MAIN = "hpa_jax.main"
# Of getrusage: bytes on macOS, KiB elsewhere.
_PEAK_UNIT = 1 if sys.platform == "darwin" else 1024


class Used(NamedTuple):
    """What a process took.

    Attributes:
      seconds: on the wall, of a machine that others may share.
      cpu: seconds of all cores.
      peak: bytes of resident memory at most.
    """

    seconds: float
    cpu: float
    peak: int


def result_of(run: FieldsRun, data_dir: Path, images: Path, folder: Path) -> dict:
    """The result that is kept, or that of doing the run.

    Args:
      run: to do.
      data_dir: of the built datasets.
      images: folder of fields as files, to predict.
      folder: of the run.

    Raises:
      RunStopped: a command failed, or what it left is not as it should be.
    """
    path = folder / "result.json"
    description = dataclasses.asdict(run) | {"settings": settings_digest(run.path, run.flags)}
    # As JSON has it, where a tuple is a list.
    description = json.loads(json.dumps(description))
    kept = _read(path, description)
    if kept is not None:
        return kept
    folder.mkdir(parents=True, exist_ok=True)
    progress = _read(folder / "progress.json", description)
    if progress is None:
        # Nothing of a run with other flags is to be resumed.
        shutil.rmtree(folder / "run", ignore_errors=True)
        progress = {"run": description, "used": {}}
    result = progress | _done(run, data_dir, images, folder, progress)
    write_json(path, result)
    shutil.rmtree(folder / "run")
    return result


def _read(path: Path, description: dict) -> dict | None:
    """What a file holds of the run of that description; None: nothing."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        content = json.loads(path.read_text())
        if content["run"] == description:
            return content
    return None


def _done(run: FieldsRun, data_dir: Path, images: Path, folder: Path, progress: dict) -> dict:
    """Does what is not done yet, a command at a time; returns what was found."""

    def call(name: str, module: str, *flags: str) -> None:
        if name in progress["used"]:
            return
        progress["used"][name] = _call(module, flags, folder)._asdict()
        write_json(folder / "progress.json", progress)

    workdir = folder / "run"
    where = f"--workdir={workdir}"
    recipe = f"--config={run.path}"
    call("train", _MAIN, recipe, where, f"--config.data.data_dir={data_dir}", *run.flags)
    found = check_training(workdir, run)
    # Test-time augmentation and intervals have tests of their own, and would cost most of the time.
    plain = ("--config.evaluate.tta=none", "--config.evaluate.replicates=0")
    call("evaluate", _MAIN, "--mode=evaluate", where, *plain)

    by_run = workdir / "by_run.npy"
    predict = (f"--config.predict.images={images}", f"--config.predict.out={by_run}")
    call("predict", _MAIN, "--mode=predict", where, *plain, *predict)
    formats = () if run.has_onnx else ("--config.export.onnx=none",)
    call("export", _MAIN, "--mode=export", where, *formats)
    export = workdir / "export"
    by_export = workdir / "by_export.npy"
    out = f"--out={by_export}"
    call("predict by export", "hpa_jax.serving", "predict", str(export), str(images), out)
    found["difference"] = check_scores(np.load(by_run), np.load(by_export), run)
    found["onnx"] = (export / "model.onnx").exists()
    if found["onnx"] != run.has_onnx:
        raise RunStopped(f"{run.name}: model.onnx is in the export: {found['onnx']}")
    return found


def check_training(workdir: Path, run: FieldsRun) -> dict:
    """What the run's log and its last two states say.

    Returns:
      `losses` and `grad_norms` of each step, `parameters` (how many arrays) and `moved` (how many
      of them the last step changed).

    Raises:
      RunStopped: a step is missing, a value is not finite, or no weight moved.
    """
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    steps = [record for record in records if record["split"] == "train"]
    if [record["step"] for record in steps] != list(range(1, run.steps + 1)):
        raise RunStopped(f"{run.name}: metrics.jsonl lacks steps of {run.steps}")
    for record in records:
        for name, value in record.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise RunStopped(f"{run.name}: {name} is {value} at step {record['step']}")
    before = _digests(workdir, run.steps - 1)
    after = _digests(workdir, run.steps)
    moved = [name for name, digest in after.items() if digest != before[name]]
    if len(moved) < len(after) / 2:
        raise RunStopped(f"{run.name}: only {len(moved)} of {len(after)} arrays moved")
    return {
        "losses": [record["loss"] for record in steps],
        "grad_norms": [record["grad_norm"] for record in steps],
        "parameters": len(after),
        "moved": len(moved),
    }


def _digests(workdir: Path, step: int) -> dict[str, list]:
    """The digests of each array of parameters in a checkpoint, by its name."""
    manifest = json.loads((workdir / "checkpoints" / str(step) / "manifest.json").read_text())
    digests = {}
    for name, entry in manifest["arrays"].items():
        if name.startswith("params/"):
            digests[name] = [piece["sha256"] for piece in entry["pieces"]]
    return digests


def check_scores(by_run: np.ndarray, by_export: np.ndarray, run: FieldsRun) -> float:
    """The largest difference of the scores `[N, L]` of the same fields.

    Raises:
      RunStopped: it is too large, or scores are no probabilities.
    """
    if by_run.shape != by_export.shape or not by_run.size:
        raise RunStopped(f"{run.name}: scores are {by_run.shape}, the export's {by_export.shape}")
    for scores in (by_run, by_export):
        if not ((scores >= 0) & (scores <= 1)).all():
            raise RunStopped(f"{run.name}: scores are not all from 0 to 1")
    difference = float(np.abs(by_run - by_export).max())
    if difference > MOST_DIFFERENT:
        raise RunStopped(f"{run.name}: the export's scores differ by up to {difference:.3f}")
    return difference


def _call(module: str, flags: Sequence[str], folder: Path) -> Used:
    """One process, its output in log.txt."""
    command = [sys.executable, "-m", module, *flags]
    log_path = folder / "log.txt"
    start = time.monotonic()
    with open(log_path, "a", encoding="utf-8") as log:
        print("$", *command, file=log, flush=True)
        child = subprocess.Popen(command, cwd=REPOSITORY, stdout=log, stderr=log)
        try:
            _, status, usage = os.wait4(child.pid, 0)
        except BaseException:
            # Training saves where it is, and resumes the next time.
            child.terminate()
            child.wait()
            raise
    code = os.waitstatus_to_exitcode(status)
    child.returncode = code
    seconds = time.monotonic() - start
    if code == EXIT_START_AGAIN:
        raise RunStopped(f"{folder.name} was stopped; the same command resumes")
    if code:
        text = log_path.read_text(encoding="utf-8", errors="replace")
        last = text.strip().splitlines()[-1]
        what = "refused" if code == EXIT_BAD_INPUT else f"ended with status {code}"
        raise RunStopped(f"{folder.name}: {module} {flags[0]} {what}: {last} ({log_path})")
    return Used(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * _PEAK_UNIT)
