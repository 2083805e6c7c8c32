"""The training state: one pytree, replicated over the mesh and donated to each step.

Design: what only some configurations need (averaged weights, progress of the best metric) is
None in all others. None is an empty pytree, so that their steps compile to the same program and
their checkpoints hold the same arrays as if it did not exist.
"""

import jax
import numpy as np
import optax
from flax import struct

from hpa_jax.optim.ema import EmaState, init_ema
from hpa_jax.optim.packing import pack
from hpa_jax.optim.plateau import Progress, init_progress

HEALTHY = -1
"""`failed_at` of a state whose steps were all finite."""


@struct.dataclass
class TrainState:
    """What a training step takes and returns.

    Attributes:
      step: int32 scalar, number of steps done.
      params: nested dict of float32 arrays.
      batch_stats: nested dict of float32 arrays, running mean and variance of the batch norms.
      opt_state: Optax's, for parameters as `pack` arranges them.
      failed_at: int32 scalar, the first step whose loss or gradient was not finite, or HEALTHY.
        Once set, it stays.
      average: moving average of the weights, or None.
      progress: best metric so far and factor on the learning rate, or None.
    """

    step: jax.Array
    params: dict
    batch_stats: dict
    opt_state: optax.OptState
    failed_at: jax.Array
    average: EmaState | None = None
    progress: Progress | None = None


def new_state(
    variables: dict,
    optimizer: optax.GradientTransformation,
    *,
    average: bool = False,
    progress: bool = False,
) -> TrainState:
    """The state before the first step, on the host. Nothing is compiled for it.

    Args:
      variables: `{'params', 'batch_stats'}`, nested dicts of float32 arrays.
      optimizer: for parameters as `pack` arranges them; its state must start from zeros, as
        that of every optimizer of `hpa_jax.optim.optimizer` does.
      average: keep a moving average of the weights.
      progress: keep the progress of the metric that ranks checkpoints.
    """
    return TrainState(
        step=np.zeros((), np.int32),
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        opt_state=_zero_opt_state(optimizer, variables["params"]),
        failed_at=np.full((), HEALTHY, np.int32),
        average=init_ema(variables) if average else None,
        progress=init_progress() if progress else None,
    )


def _zero_opt_state(optimizer: optax.GradientTransformation, params: dict) -> optax.OptState:
    """The optimizer's first state.

    Calling `optimizer.init` eagerly would compile a small program for each of several hundred
    shapes.
    """
    shapes = jax.eval_shape(lambda params: optimizer.init(pack(params)), params)
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)


def eval_variables(state: TrainState) -> dict:
    """`{'params', 'batch_stats'}` to evaluate, predict with and export.

    They are the averaged ones where the run keeps an average.
    """
    source = state if state.average is None else state.average
    return {"params": source.params, "batch_stats": source.batch_stats}
