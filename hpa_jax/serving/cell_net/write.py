"""Writes the export of a net that finds cells; for the process of `serving.worker`."""

from pathlib import Path

import numpy as np

from hpa_jax.config import Config
from hpa_jax.labels import CHANNELS
from hpa_jax.serving.cell_net.description import describe_cell_net
from hpa_jax.serving.cell_net.forward import cell_forward
from hpa_jax.serving.cell_net.run import CellRun
from hpa_jax.serving.net_files import write_net
from hpa_jax.training.tasks.cell_masks import OUTPUT
from hpa_jax.workdir import read_config

TOLERANCES = {"float32": {OUTPUT: 1e-3}, "fp16": {OUTPUT: 5e-2}}
"""Largest differences from the golden output that are no fault, as fractions of its largest value.
Sums over many channels are rounded in another order by each runtime; a map that is off by a
thousandth makes no other mask."""


def write_cell_net(folder: Path, config: Config, workdir: Path) -> tuple[int, float]:
    """Writes the files of an export, and runs it once.

    Args:
      folder: to write to.
      config: of the run, resolved.
      workdir: the run's folder.

    Returns:
      The step of the checkpoint, and the largest difference from the golden output, as a fraction
      of its largest value.

    Raises:
      InputError: the checkpoint cannot be read, or the net does not give numbers.
      OSError: the folder cannot be written.
    """
    run = CellRun(config, workdir)
    difference = write_net(
        folder,
        forward=cell_forward(run.config),
        variables=run.variables(),
        images=_golden_images(run.config.cell_masks.tile),
        description=describe_cell_net(run, read_config(workdir)),
        onnx=run.config.export.onnx,
        tolerances=TOLERANCES,
    )
    return run.step, difference


def _golden_images(side: int) -> np.ndarray:
    """Random images, uint8 [1, side, side, 4], the same ones always."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (1, side, side, len(CHANNELS)), np.uint8)
