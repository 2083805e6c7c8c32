"""The real training and evaluation steps of a configuration, on arrays without values."""

from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from hpa_jax.config import Config
from hpa_jax.labels import CHANNELS
from hpa_jax.metrics import histogram
from hpa_jax.models import split_multiple
from hpa_jax.parallel.mesh import batch_sharding, make_mesh, replicated, space_for
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
    """The step that training/evaluator.py compiles."""
    setup = components.Setup(config, mesh, num_steps=STEPS)
    num_labels = len(config.label_ids())
    if setup.single_label:
        counts = _counts((num_labels, num_labels), mesh)
    else:
        by_label = _counts((num_labels, histogram.BINS + 2), mesh)
        by_image = _counts((num_labels + 1, 2 * num_labels + 1), mesh)
        counts = (histogram.ScoreCounts(by_label, by_label), by_image)

    images = config.data.batch_size
    side = config.data.image_size
    sharding = batch_sharding(mesh)

    def batch_array(shape: tuple[int, ...], dtype) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((images, *shape), dtype, sharding=sharding)

    batch = {
        "image": batch_array((side, side, len(CHANNELS)), np.uint8),
        "targets": batch_array((num_labels,), np.uint8),
        "mask": batch_array((), np.bool_),
    }
    arguments = (counts, eval_variables(setup.abstract_state()), batch)
    return Step("evaluation", setup.make_count_step(), arguments, _bytes(counts))


def _counts(shape: tuple[int, ...], mesh: Mesh) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, np.int32, sharding=replicated(mesh))


def _bytes(tree) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
