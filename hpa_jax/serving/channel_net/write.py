"""Writes the export of a net that fills in channels; for the process of `serving.worker`."""

from pathlib import Path

import jax
import numpy as np
from flax.traverse_util import flatten_dict
from safetensors.numpy import save

from hpa_jax.config import Config
from hpa_jax.errors import InputError
from hpa_jax.evaluation.synthesizer import Synthesizer
from hpa_jax.files import write_atomically, write_json
from hpa_jax.folders import export_manifest
from hpa_jax.labels import CHANNELS
from hpa_jax.serving.artifact import load
from hpa_jax.serving.channel_net.description import describe_channel_net
from hpa_jax.serving.channel_net.forward import channel_forward, export_channel_forward
from hpa_jax.serving.kinds import FILLED_CHANNELS
from hpa_jax.workdir import read_config


def write_channel_net(folder: Path, config: Config, workdir: Path) -> tuple[int, float]:
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
    synthesizer = Synthesizer(config, workdir)
    config = synthesizer.config
    variables = {}
    for name, array in flatten_dict(jax.device_get(synthesizer.variables), sep="/").items():
        variables[name] = np.asarray(array)
    exported = export_channel_forward(config, variables)
    images = _golden_images(synthesizer.size, synthesizer.targets[-1])
    found = jax.jit(exported.call)(variables, images)
    outputs = {name: np.asarray(array) for name, array in found.items()}
    if not all(np.isfinite(array).all() for array in outputs.values()):
        raise InputError(
            "the net's channels of random images are not finite, so it is not exported; choose an "
            "earlier --config.evaluate.checkpoint"
        )
    golden = {"images": images, **outputs}
    description = describe_channel_net(synthesizer, read_config(workdir))
    onnx = config.export.onnx
    if onnx != "none":
        # The package is needed here alone.
        from hpa_jax.serving.onnx.build import build_model

        forward = channel_forward(config)
        shape = images.shape[1:]
        built = build_model(lambda images: forward(variables, images), shape, golden, onnx)
        write_atomically(folder / export_manifest.ONNX, built.content)
        description["onnx"] = built.description
    write_atomically(folder / export_manifest.PARAMETERS, save(variables))
    write_atomically(folder / export_manifest.FORWARD, bytes(exported.serialize()))
    write_atomically(folder / export_manifest.GOLDEN, save(golden))
    write_json(folder / export_manifest.DESCRIPTION, description)
    export_manifest.write_manifest(folder, number=export_manifest.KIND_FORMAT)
    difference = load(folder, "jax", kinds=(FILLED_CHANNELS,)).check_golden()
    if onnx != "none":
        load(folder, "onnx", kinds=(FILLED_CHANNELS,)).check_golden()
    return synthesizer.step, difference


def _golden_images(side: int, target: str) -> np.ndarray:
    """Two random images, uint8 [2, side, side, 4], the same ones always; one lacks the target."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, side, side, len(CHANNELS)), np.uint8)
    images[0, ..., CHANNELS.index(target)] = 0
    return images
