"""Whether training fits into memory: the compiled step, and the batches that the loop keeps."""

import math
import socket

import jax

from hpa_jax.data.loader import images_held
from hpa_jax.parallel import memory
from hpa_jax.parallel.process_group import ProcessGroup, SingleProcess
from hpa_jax.training.experiment import Experiment
from hpa_jax.training.state import TrainState


class StepMemory:
    """Compares what a training needs with what is left; made before the first batch is read.

    An evaluation runs between two steps, in what the step leaves: a forward pass without gradients
    takes a fraction of it (docs/results.md). Its own program is compared when it is compiled.

    Args:
      experiment: of the run.
      state: on the devices already. A save copies it to the host.
      steps_ahead: batches that wait on the devices.
      group: the processes of the run; those on one host share its memory.

    Raises:
      NoRoom: not even the batches fit.
    """

    def __init__(
        self,
        experiment: Experiment,
        state: TrainState,
        steps_ahead: int,
        group: SingleProcess | ProcessGroup,
    ):
        mesh = experiment.mesh
        data = experiment.config.data
        image_bytes = math.prod(experiment.dataset.image_shape)
        # An image is complete on each device along `space`.
        on_device = data.batch_size // mesh.shape["data"]
        local_batch = data.batch_size // jax.process_count()
        # Besides those that wait, the one that a step reads.
        self._device_bytes = (steps_ahead + 1) * on_device * image_bytes
        self._host_bytes = images_held(local_batch, data.threads) * image_bytes
        # Each process saves its part.
        self._host_bytes += memory.bytes_of(state) // jax.process_count()
        self._advice = memory.advice(experiment.config)
        self._devices = mesh.devices.flat
        self._group = group
        # Batches are read while the step is compiled: how many, nobody knows.
        self._before = memory.rooms(self._devices)
        self._before.check(
            "keeping batches ahead", self._device_bytes, self._host_bytes, advice=self._advice
        )

    def check(self, program: jax.stages.Compiled) -> str:
        """Refuses a training step that cannot run. All processes of the group call it.

        Returns:
          A warning where it fits, but narrowly; else "".

        Raises:
          NoRoom: it needs more than is left, or more than was left with the batches.
        """
        step_bytes = memory.program_bytes(program)
        alone = memory.rooms(self._devices).check(
            "a training step", step_bytes, advice=self._advice
        )
        with_batches = self._before.check(
            "a training step with its batches",
            step_bytes + self._device_bytes,
            self._host_bytes,
            advice=self._advice,
        )
        # In any case: the others wait for this process's answer.
        together = self._check_together(step_bytes)
        return alone or with_batches or together

    def _check_together(self, step_bytes: int) -> str:
        """The same for the processes of this host."""
        own = self._before.on_host(step_bytes + self._device_bytes, self._host_bytes)
        host = socket.gethostname()
        answers = self._group.gather([host, own])
        sizes = [size for other, size in answers if other == host]
        if len(sizes) == 1:
            return ""
        what = f"training in {len(sizes)} processes on {host}"
        return self._before.check(what, 0, sum(sizes), advice=self._advice)
