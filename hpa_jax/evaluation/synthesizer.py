"""A checkpoint of a run that fills in channels (`config.train.task='channels'`).

The net is built and the checkpoint read only when an image is to be filled in. The run may be
training meanwhile (`ChosenCheckpoint`).
"""

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import jax
import numpy as np

from hpa_jax.config import Config
from hpa_jax.data import pipeline
from hpa_jax.environment.paths import local_path
from hpa_jax.errors import InputError
from hpa_jax.evaluation.acquisition import trained_preparations
from hpa_jax.evaluation.chosen_checkpoint import ChosenCheckpoint
from hpa_jax.labels import CHANNELS
from hpa_jax.parallel import memory
from hpa_jax.parallel.mesh import batch_sharding, put_batch
from hpa_jax.training import components, parts
from hpa_jax.training.state import eval_variables
from hpa_jax.training.tasks import channels, check_task
from hpa_jax.training.tasks.channel_steps import make_fill_step
from hpa_jax.workdir import read_config, read_record


def load_synthesizer(workdir: Path | str, checkpoint: str | int = "best") -> "Synthesizer":
    """A run that fills in channels.

        synthesizer = load_synthesizer("runs/channels")
        filled = synthesizer.fill(images, ("red", "blue"))

    Args:
      workdir: the run's folder.
      checkpoint: `best`, `latest` or a step.

    Raises:
      InputError: the folder holds no such run, or no such checkpoint.
    """
    workdir = local_path(workdir, "workdir")
    config = read_config(workdir)
    settings = dataclasses.replace(config.evaluate, checkpoint=str(checkpoint))
    return Synthesizer(dataclasses.replace(config, evaluate=settings), workdir)


class Synthesizer:
    """A checkpoint of a run, ready to fill in channels.

    Attributes:
      name: of the run, for messages.
      targets: names of the channels that it can make, T.
      sources: names of those that it may be shown.
      size: side in px of the images that it takes.
      mesh: of the devices.
      config: of the run, with the datasets' versions chosen.
      workdir: the run's folder.

    Args:
      config: of the run, resolved. Its section `evaluate` names the checkpoint.
      workdir: the run's folder, which is only read.

    Raises:
      InputError: the run has learnt something else; no such checkpoint, or devices that cannot
        share the batches.
    """

    def __init__(self, config: Config, workdir: Path):
        check_task(config, "channels", str(workdir))
        record = read_record(workdir)
        data = pipeline.choose_versions(config.data, record.datasets, record.images)
        self.config = dataclasses.replace(config, data=data)
        self.name = str(workdir)
        self.workdir = workdir
        self.targets = channels.targets_of(config)
        self.sources = channels.sources_of(config)
        self.size = data.image_size
        self.mesh = parts.make_mesh(data, config.model, config.devices.space)
        self._checkpoint = ChosenCheckpoint(self.config, workdir)

    @property
    def step(self) -> int:
        """Of the checkpoint."""
        return self._checkpoint.step

    @property
    def written(self) -> str | int | None:
        """Tells the checkpoint from another one of that step; None if that cannot be told."""
        return self._checkpoint.written

    def fill(self, images: np.ndarray, shown: Sequence[str]) -> np.ndarray:
        """Makes all targets of images, in batches of the run's size.

        Args:
          images: uint8 `[N, S, S, 4]`, S = `size`.
          shown: names of the sources that the net is to see; all else is black to it.

        Returns:
          uint8 `[N, S, S, T]`.

        Raises:
          InputError: the checkpoint gives values that are no numbers.
        """
        batch_size = self.config.data.batch_size
        named = np.array([name in shown for name in CHANNELS])
        filled = []
        for start in range(0, len(images), batch_size):
            chosen = images[start : start + batch_size]
            # One shape of batch means one compilation: the last one is filled up with black images.
            batch = np.zeros((batch_size, *images.shape[1:]), np.uint8)
            batch[: len(chosen)] = chosen
            found = self._fill_batch(batch, np.tile(named, (batch_size, 1)))[: len(chosen)]
            if not np.isfinite(found).all():
                raise InputError(
                    f"{self.workdir}: checkpoint {self.step} gives values that are not finite; "
                    "choose another --config.evaluate.checkpoint"
                )
            filled.append(np.rint(255 * found).astype(np.uint8))
        return np.concatenate(filled)

    def preparations(self) -> dict[str, dict]:
        """How the images were made that the run learns from (`trained_preparations`)."""
        return trained_preparations(self.workdir, self.config.data)

    @cached_property
    def variables(self) -> dict:
        """`{'params', 'batch_stats'}` on the devices; the averaged ones if the run has them."""
        # What is None is not read: Adam's state is twice as large as the net.
        state = components.Setup(self.config, self.mesh).abstract_state().replace(opt_state=None)
        memory.rooms(self.mesh.devices.flat).check(
            "the net", memory.bytes_of(state), advice="it needs a machine with more memory"
        )
        return eval_variables(self._checkpoint.restore(state))

    def _fill_batch(self, images: np.ndarray, shown: np.ndarray) -> np.ndarray:
        batch = put_batch({"image": images, "shown": shown}, self.mesh)
        return np.asarray(self._program(self.variables, batch["image"], batch["shown"]))

    @cached_property
    def _program(self) -> jax.stages.Compiled:
        model = channels.make_net(self.config)
        step = make_fill_step(model, channels.channel_forms(self.config), self.mesh)
        jitted = jax.jit(step, out_shardings=batch_sharding(self.mesh))
        shape = (self.config.data.batch_size, self.size, self.size, len(CHANNELS))
        batch = {"image": np.zeros(shape, np.uint8), "shown": np.zeros((shape[0], 4), bool)}
        placed = put_batch(batch, self.mesh)
        return memory.compile_within(
            "filling in a batch",
            jitted,
            self.variables,
            placed["image"],
            placed["shown"],
            devices=self.mesh.devices.flat,
            advice=memory.advice(self.config, "predict"),
        )
