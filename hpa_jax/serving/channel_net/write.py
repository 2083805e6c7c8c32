"""Writes the export of a net that fills in channels; for the process of `serving.worker`."""

from pathlib import Path

import jax
import numpy as np
from flax.traverse_util import flatten_dict

from hpa_jax.config import Config
from hpa_jax.evaluation.synthesizer import Synthesizer
from hpa_jax.labels import CHANNELS
from hpa_jax.serving.channel_net.description import describe_channel_net
from hpa_jax.serving.channel_net.forward import channel_forward
from hpa_jax.serving.net_files import write_net
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
    variables = {}
    for name, array in flatten_dict(jax.device_get(synthesizer.variables), sep="/").items():
        variables[name] = np.asarray(array)
    difference = write_net(
        folder,
        forward=channel_forward(synthesizer.config),
        variables=variables,
        images=_golden_images(synthesizer.size, synthesizer.targets[-1]),
        description=describe_channel_net(synthesizer, read_config(workdir)),
        onnx=synthesizer.config.export.onnx,
    )
    return synthesizer.step, difference


def _golden_images(side: int, target: str) -> np.ndarray:
    """Two random images, uint8 [2, side, side, 4], the same ones always; one lacks the target."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, side, side, len(CHANNELS)), np.uint8)
    images[0, ..., CHANNELS.index(target)] = 0
    return images
