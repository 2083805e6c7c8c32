"""The real training and evaluation steps of a configuration, with arrays that have shapes and places but no numbers."""

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
    """A jitted function and what it is called with.

    Attributes:
      name: "training" or "evaluation".
      function: jitted.
      arguments: pytrees of `jax.ShapeDtypeStruct` with shardings.
      state_bytes: of what is donated.
    """

    name: str
    function: jax.stages.Wrapped
    arguments: tuple
    state_bytes: int


def mesh_of(config: Config, devices: list) -> Mesh:
    """The mesh that a run of this configuration makes of such devices.

    Raises:
      InputError: they cannot share its batches, or its images.
    """
    data, multiple = config.data, split_multiple(config.model.name)
    return make_mesh(
        devices,
        space_for(data.batch_size, data.image_size, multiple, devices, config.devices.space),
    )


def training_step(config: Config, mesh: Mesh) -> Step:
    """As training/loop.py compiles it."""
    setup = components.Setup(config, mesh, num_steps=STEPS)
    state = setup.abstract_state()
    arguments = (state, setup.abstract_batch())
    return Step("training", setup.make_train_step(), arguments, _bytes(state))


def evaluation_step(config: Config, mesh: Mesh) -> Step:
    """As training/evaluator.py compiles it."""
    setup = components.Setup(config, mesh, num_steps=STEPS)
    state = setup.abstract_state()
    labels, fields, size = len(config.label_ids()), config.data.batch_size, config.data.image_size
    by_label = (labels, histogram.BINS + 2)
    shapes = (histogram.ScoreCounts(by_label, by_label), (labels + 1, 2 * labels + 1))
    whole, cut = replicated(mesh), batch_sharding(mesh)
    is_shape = lambda leaf: type(leaf) is tuple and all(type(n) is int for n in leaf)  # noqa: E731
    counts = jax.tree.map(
        lambda s: jax.ShapeDtypeStruct(s, np.int32, sharding=whole), shapes, is_leaf=is_shape
    )
    arrays = {
        "image": ((size, size, len(CHANNELS)), np.uint8),
        "targets": ((labels,), np.uint8),
        "mask": ((), np.bool_),
    }
    batch = {
        n: jax.ShapeDtypeStruct((fields, *s), dtype, sharding=cut)
        for n, (s, dtype) in arrays.items()
    }
    return Step(
        "evaluation",
        setup.make_count_step(),
        (counts, eval_variables(state), batch),
        _bytes(counts),
    )


def _bytes(tree) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
