"""A run that has learnt to find cells, for a few steps: made once a session."""

from collections.abc import Callable
from pathlib import Path

from support.shared import SHARED

ROOT = Path(__file__).resolve().parents[2]


def cell_run(run: Callable) -> Path:
    """The run's folder: 8 steps and, resumed, 4 more, of a tiny net on drawn fields of 32 px.

    Args:
      run: the fixture `run` or `run_quickly`.
    """

    def make(folder: Path) -> None:
        from tfds_builder.hpa.__main__ import main as build

        data = ["--config=synthetic_32", f"--data_dir={folder}", "--workers=1"]
        assert build([*data, "--images=24", "--vary", "--masks", "--near_duplicates=off"]) == 0
        flags = (
            f"--config={ROOT}/configs/cells_unet.py",
            f"--workdir={folder}/run",
            f"--config.data.data_dir={folder}",
            "--config.data.name=synthetic_32",
            "--config.model.name=densenet_tiny",
            "--config.cell_masks.width=4",
            "--config.cell_masks.tile=64",
            "--config.data.batch_size=4",
            "--config.optim.schedule=constant",
            "--config.train.ema=0.5",
            "--config.train.ema_batches=2",
            "--config.train.log_every=1",
            "--config.train.eval_every=4",
        )
        for steps in (8, 12):
            done = run(*flags, f"--config.train.steps={steps}")
            assert done.returncode == 0, done.stderr

    return SHARED.made_once("cell_run", make) / "run"
