"""What a training step takes and gives back: one pytree, replicated over the mesh and donated to each step.

Unusual: what only some configurations need (averaged weights, the progress of the best figure) is None in all others,
and None takes no room in the tree: their steps compile to the same program and their checkpoints hold the same arrays.
"""

import jax
import numpy as np
import optax
from flax import struct
from jax.extend.core import Literal

from hpa_jax.optim.ema import EmaState, init_ema
from hpa_jax.optim.packing import pack
from hpa_jax.optim.plateau import Progress, init_progress

HEALTHY = -1


@struct.dataclass
class TrainState:
    """
    Attributes:
      step: int32, steps done.
      params: nested dict of float32 arrays.
      batch_stats: nested dict of float32 arrays, the batch norms' running mean and variance.
      opt_state: Optax's, of what `pack` makes of `params`.
      failed_at: int32, the first step whose loss or gradient was not finite, or HEALTHY. It sticks.
      average: the averaged weights, or None.
      progress: of the figure that ranks checkpoints, with the factor on the rate; or None.
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
    """The state before the first step, from a net's `{'params', 'batch_stats'}`. On the host and one device.

    Args:
      variables: nested dicts of float32.
      optimizer: whose state is begun; of what `pack` makes of parameters.
      average: also keep averaged weights.
      progress: also keep the progress of the figure that ranks checkpoints.
    """
    return TrainState(
        step=np.zeros((), np.int32),
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        opt_state=_begun(optimizer, variables["params"]),
        failed_at=np.full((), HEALTHY, np.int32),
        average=init_ema(variables) if average else None,
        progress=init_progress() if progress else None,
    )


def _begun(optimizer: optax.GradientTransformation, params: dict) -> optax.OptState:
    """The optimiser's first state. Optax's begin as constants, for which nothing need be compiled."""

    def begin(params):
        return optimizer.init(pack(params))

    program, shapes = jax.make_jaxpr(begin, return_shape=True)(params)
    values = {}
    for equation in program.eqns:
        if equation.primitive.name == "broadcast_in_dim" and isinstance(
            equation.invars[0], Literal
        ):
            (out,) = equation.outvars
            values[out] = np.full(out.aval.shape, equation.invars[0].val, out.aval.dtype)
    outs = program.jaxpr.outvars
    if not all(isinstance(out, Literal) or out in values for out in outs):
        # Not constants. Jitted: eagerly, it would compile one small program for each of several hundred shapes.
        return jax.jit(begin)(params)
    leaves = [
        np.asarray(out.val, out.aval.dtype) if isinstance(out, Literal) else values[out]
        for out in outs
    ]
    return jax.tree.unflatten(jax.tree.structure(shapes), leaves)


def eval_variables(state: TrainState) -> dict:
    """`{'params', 'batch_stats'}` that are evaluated, predicted with and exported: the averaged ones where they are."""
    shown = state if state.average is None else state.average
    return {"params": shown.params, "batch_stats": shown.batch_stats}
