"""The real training and evaluation steps of a configuration, on arrays without values."""

from typing import NamedTuple

import jax
from jax.sharding import Mesh

from hpa_jax.config import Config
from hpa_jax.models import split_multiple
from hpa_jax.parallel.mesh import make_mesh, space_for
from hpa_jax.training import components
from hpa_jax.training.state import eval_variables

STEPS = 10_000
"""Length of the run that the schedule is made for; the program does not depend on it."""


class Step(NamedTuple):
    """A jitted function and its arguments.

    Attributes:
      name: "training" or "evaluation".
      function: jitted.
      arguments: pytrees of `jax.ShapeDtypeStruct` with shardings.
      state_bytes: size of the donated argument.
    """

    name: str
    function: jax.stages.Wrapped
    arguments: tuple
    state_bytes: int


def mesh_of(config: Config, devices: list) -> Mesh:
    """The mesh that a run of this configuration makes of `devices`.

    Raises:
      InputError: the devices cannot share its batches, or its images.
    """
    data = config.data
    multiple = split_multiple(config.model.name)
    space = space_for(data.batch_size, data.image_size, multiple, devices, config.devices.space)
    return make_mesh(devices, space)


def training_step(config: Config, mesh: Mesh) -> Step:
    """The step that training/loop.py compiles."""
    setup = components.Setup(config, mesh, num_steps=STEPS)
    state = setup.abstract_state()
    arguments = (state, setup.abstract_batch())
    return Step("training", setup.make_train_step(), arguments, _bytes(state))


def evaluation_step(config: Config, mesh: Mesh) -> Step:
    """The step that an evaluation between two steps compiles."""
    setup = components.Setup(config, mesh, num_steps=STEPS)
    variables = eval_variables(setup.abstract_state())
    step = setup.task.evaluation_step(variables)
    return Step("evaluation", step.function, step.arguments, _bytes(step.arguments[0]))


def _bytes(tree) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
