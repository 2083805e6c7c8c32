"""Writes the export of a net that finds cells; for the process of `serving.worker`."""

from pathlib import Path

import jax
import numpy as np
from safetensors.numpy import save

from hpa_jax.config import Config
from hpa_jax.errors import InputError
from hpa_jax.files import write_atomically, write_json
from hpa_jax.folders import export_manifest
from hpa_jax.labels import CHANNELS
from hpa_jax.serving.artifact import load
from hpa_jax.serving.cell_net.description import describe_cell_net
from hpa_jax.serving.cell_net.forward import cell_forward, export_cell_forward
from hpa_jax.serving.cell_net.run import CellRun
from hpa_jax.serving.kinds import CELL_MASKS
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
    variables = run.variables()
    exported = export_cell_forward(run.config, variables)
    images = _golden_images(run.config.cell_masks.tile)
    found = jax.jit(exported.call)(variables, images)
    outputs = {name: np.asarray(array) for name, array in found.items()}
    if not all(np.isfinite(array).all() for array in outputs.values()):
        raise InputError(
            "the net's maps of random images are not finite, so it is not exported; choose an "
            "earlier --config.evaluate.checkpoint"
        )
    golden = {"images": images, **outputs}
    description = describe_cell_net(run, read_config(workdir))
    description["tolerances"] = TOLERANCES["float32"]
    onnx = run.config.export.onnx
    if onnx != "none":
        # The package is needed here alone.
        from hpa_jax.serving.onnx.build import build_model

        forward = cell_forward(run.config)
        shape = images.shape[1:]
        built = build_model(
            lambda tiles: forward(variables, tiles), shape, golden, onnx, tolerances=TOLERANCES
        )
        write_atomically(folder / export_manifest.ONNX, built.content)
        description["onnx"] = built.description
    write_atomically(folder / export_manifest.PARAMETERS, save(variables))
    write_atomically(folder / export_manifest.FORWARD, bytes(exported.serialize()))
    write_atomically(folder / export_manifest.GOLDEN, save(golden))
    write_json(folder / export_manifest.DESCRIPTION, description)
    export_manifest.write_manifest(folder, number=export_manifest.KIND_FORMAT)
    difference = load(folder, "jax", kinds=(CELL_MASKS,)).check_golden()
    if onnx != "none":
        load(folder, "onnx", kinds=(CELL_MASKS,)).check_golden()
    return run.step, difference


def _golden_images(side: int) -> np.ndarray:
    """Random images, uint8 [1, side, side, 4], the same ones always."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (1, side, side, len(CHANNELS)), np.uint8)
