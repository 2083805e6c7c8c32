"""Writes the run of tests/golden/version_0_3, and what this version makes of it.

    PYTHONPATH=.:tests python -m support.golden_run tests/golden/version_0_3

The folder holds the dataset already (support/golden_dataset.py). `run` has a checkpoint between two
log lines, an average of the weights, and an export; `expected` has what the modes wrote, and the
log of the run when it went on.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

# The path of the data is relative: the run is in a repository.
TRAIN = (
    f"--config={REPOSITORY / 'configs' / 'quickstart.py'}",
    "--config.data.data_dir=data",
    "--config.data.name=kept",
    "--config.data.batch_size=8",
    "--config.data.sampling=repeat_factor",
    "--config.data.repeat_threshold=0.3",
    "--config.model.name=densenet_tiny",
    "--config.augment.rotate_degrees=20",
    "--config.optim.plateau_patience=3",
    "--config.train.ema=0.5",
    "--config.train.ema_batches=2",
    "--config.train.log_every=3",
    "--config.train.eval_every=4",
    "--config.train.steps=8",
    "--config.checkpoint.keep=1",
)
RESUMED = ("--config.train.steps=12",)
ALL = ("--config.data.eval_split=all",)
RESULTS = ("evaluation.json", "predictions.csv")


def main(folder: Path) -> None:
    """Trains in FOLDER/run, exports, and keeps in FOLDER/expected what follows from the run."""
    run = folder / "run"
    expected = folder / "expected"
    for old in (run, expected):
        shutil.rmtree(old, ignore_errors=True)
    expected.mkdir()
    _call(folder, run, "train", *TRAIN)
    _call(folder, run, "export")
    with tempfile.TemporaryDirectory() as temporary:
        copy = shutil.copytree(run, Path(temporary) / "run")
        _call(folder, copy, "evaluate", *ALL)
        _call(folder, copy, "predict", *ALL)
        for name in RESULTS:
            shutil.copy(copy / name, expected / name)
        _call(folder, copy, "train", *RESUMED)
        shutil.copy(copy / "metrics.jsonl", expected / "metrics_resumed.jsonl")
    # Events are written, never read back.
    shutil.rmtree(run / "tensorboard")
    (run / ".lock").unlink(missing_ok=True)
    _forget_where(run, folder)


def _forget_where(run: Path, folder: Path) -> None:
    """Takes the path of this folder out of Orbax's notes, and refuses it anywhere else."""
    for note in run.rglob("commit_success.txt"):
        note.write_text(note.read_text().replace(f"{folder}/", ""))
    for path in folder.rglob("*"):
        for place in (REPOSITORY, folder):
            if path.is_file() and str(place).encode() in path.read_bytes():
                raise SystemExit(f"error: {path} names {place}")


def _call(folder: Path, workdir: Path, mode: str, *flags: str) -> None:
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": "1",
        "PYTHONPATH": str(REPOSITORY),
    }
    # Its name, where it lies in the folder: no path of this machine gets into a file.
    name = os.path.relpath(workdir, folder) if workdir.is_relative_to(folder) else str(workdir)
    command = [sys.executable, "-m", "hpa_jax.main", f"--mode={mode}", f"--workdir={name}", *flags]
    subprocess.run(command, cwd=folder, env=environment, check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
