"""A checkpoint of a run that embeds images: what exporting and comparing embeddings start from.

The net is built and the checkpoint read only when something is to be embedded. The run may be
training meanwhile (`ChosenCheckpoint`). Runs that learn labels are a `Predictor`'s.
"""

import dataclasses
from functools import cached_property
from pathlib import Path

from hpa_jax.config import Config
from hpa_jax.data import pipeline
from hpa_jax.evaluation.acquisition import trained_preparations
from hpa_jax.evaluation.chosen_checkpoint import ChosenCheckpoint
from hpa_jax.parallel import memory
from hpa_jax.training import components, parts
from hpa_jax.training.state import eval_variables
from hpa_jax.training.tasks import check_task
from hpa_jax.workdir import read_record


class EmbeddingRun:
    """A checkpoint of a run of the task `metric`.

    Attributes:
      config: of the run, with the datasets' versions chosen.
      workdir: the run's folder.
      mesh: of the devices.
      record: what the run knows of itself.

    Args:
      config: of the run, resolved. Its section `evaluate` names the checkpoint.
      workdir: the run's folder, which is only read.

    Raises:
      InputError: the run has learnt something else, there is no such checkpoint, or the devices
        cannot share the batches.
    """

    def __init__(self, config: Config, workdir: Path):
        check_task(config, "metric", str(workdir))
        self.record = read_record(workdir)
        data = pipeline.choose_versions(config.data, self.record.datasets, self.record.images)
        self.config = dataclasses.replace(config, data=data)
        self.workdir = workdir
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

    @property
    def metrics(self) -> dict:
        """What was saved with it as metrics; empty without an evaluation."""
        return self._checkpoint.metrics

    @cached_property
    def variables(self) -> dict:
        """`{'params', 'batch_stats'}` on the devices; the averaged ones if the run has them."""
        # What is None is not read: Adam's state is twice as large as the net.
        state = components.Setup(self.config, self.mesh).abstract_state().replace(opt_state=None)
        memory.rooms(self.mesh.devices.flat).check(
            "the net", memory.bytes_of(state), advice="it needs a machine with more memory"
        )
        return eval_variables(self._checkpoint.restore(state))

    def preparations(self) -> dict[str, dict]:
        """How the images were made that the run learns from (`trained_preparations`)."""
        return trained_preparations(self.workdir, self.config.data)
