"""A run that has learnt to find cells, with the checkpoint that is to be exported."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
from flax.traverse_util import flatten_dict

from hpa_jax.config import Config
from hpa_jax.data import pipeline
from hpa_jax.errors import InputError
from hpa_jax.evaluation.chosen_checkpoint import ChosenCheckpoint
from hpa_jax.training import components, parts
from hpa_jax.training.state import eval_variables
from hpa_jax.training.tasks import check_task
from hpa_jax.workdir import read_record

TASK = "cell_masks"


class CellRun:
    """A checkpoint of a run.

    Attributes:
      config: of the run, with the datasets' versions chosen.
      step: of the checkpoint.
      written: tells the checkpoint from another one of that step; None if that cannot be told.

    Args:
      config: of the run, resolved. Its section `evaluate` names the checkpoint.
      workdir: the run's folder, which is only read.

    Raises:
      InputError: the run has learnt something else, its export cannot be what is asked for, or
        there is no such checkpoint.
    """

    def __init__(self, config: Config, workdir: Path):
        check_task(config, TASK, str(workdir))
        if config.export.onnx == "int8":
            raise InputError(
                "config.export.onnx=int8: weights of 8 bits are for nets that tell labels; "
                "choose float32, fp16 or none"
            )
        record = read_record(workdir)
        data = pipeline.choose_versions(config.data, record.datasets, record.images)
        self.config = dataclasses.replace(config, data=data)
        self._checkpoint = ChosenCheckpoint(self.config, workdir)

    @property
    def step(self) -> int:
        return self._checkpoint.step

    @property
    def written(self) -> str | int | None:
        return self._checkpoint.written

    def variables(self) -> dict[str, np.ndarray]:
        """Parameters and batch statistics, float32 by flat name; the averaged ones if there are."""
        config = self.config
        mesh = parts.make_mesh(config.data, config.model, config.devices.space)
        # What is None is not read: Adam's state is twice as large as the net.
        state = components.Setup(config, mesh).abstract_state().replace(opt_state=None)
        restored = eval_variables(self._checkpoint.restore(state))
        found = {}
        for name, array in flatten_dict(jax.device_get(restored), sep="/").items():
            found[name] = np.asarray(array)
        return found
