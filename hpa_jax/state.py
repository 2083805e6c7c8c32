"""What a training step takes and gives back: one pytree, replicated over the mesh and donated to each step."""

import jax
import numpy as np
import optax
from flax import struct

HEALTHY = -1


@struct.dataclass
class TrainState:
    """
    Attributes:
      step: int32, steps done.
      params: nested dict of float32 arrays.
      batch_stats: nested dict of float32 arrays, the batch norms' running mean and variance.
      opt_state: Optax's.
      failed_at: int32, the first step whose loss or gradient was not finite, or HEALTHY. It sticks.
    """

    step: jax.Array
    params: dict
    batch_stats: dict
    opt_state: optax.OptState
    failed_at: jax.Array


def new_state(variables: dict, optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first step, from a net's `{'params', 'batch_stats'}`. On the host and one device."""
    return TrainState(
        step=np.zeros((), np.int32),
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        # Jitted: eagerly, Optax would compile one small program for each of several hundred shapes.
        opt_state=jax.jit(optimizer.init)(variables["params"]),
        failed_at=np.full((), HEALTHY, np.int32),
    )
