"""An exponential moving average (EMA) of the weights.

References:
  Polyak & Juditsky 1992, Acceleration of Stochastic Approximation by Averaging.
  Tarvainen & Valpola 2017, Mean teachers are better role models, arXiv:1703.01780.

Design:
- The average is debiased: after t updates it is the mean of the weights that those updates left,
  the one from k updates ago weighted by `decay^k`. The initial weights count nothing, so a short
  run's average is not held back by them.
- Batch statistics of averaged weights are not averages of batch statistics. Between evaluations
  the running statistics are averaged along, as a stopgap; each evaluation replaces them by those
  that `with_estimated_statistics` finds on training batches (Izmailov et al. 2018,
  arXiv:1803.05407, section 3.2).
"""

import math
from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct


@struct.dataclass
class EmaState:
    """Averaged weights, and the batch statistics to go with them.

    Attributes:
      updates: int32, how many updates of the weights the average spans.
      params: nested dict of float32, the averages; before the first update the weights themselves.
      batch_stats: nested dict of float32.
    """

    updates: jax.Array
    params: dict
    batch_stats: dict


def init_ema(variables: dict) -> EmaState:
    """The average before the first update.

    Args:
      variables: `{'params', 'batch_stats'}`, nested dicts of float32. They are copied, since a
        step donates each array only once.
    """
    copies = {}
    for name in ("params", "batch_stats"):
        copies[name] = jax.tree.map(lambda leaf: leaf.copy(), variables[name])
    return EmaState(updates=np.zeros((), np.int32), **copies)


def update_ema(average: EmaState, params: dict, batch_stats: dict, *, decay: float) -> EmaState:
    """Adds the weights that update t left to the average of t - 1 updates.

    `a_t = a_(t-1) + (1 - d) / (1 - d^t) (w_t - a_(t-1))`: the debiased average, without its bias.

    Args:
      average: of t - 1 updates.
      params: nested dict of float32, the weights that update t left.
      batch_stats: nested dict of float32, the running statistics.
      decay: d, the fraction of itself that the average keeps in the long run; above 0, below 1.
    """
    updates = average.updates + 1
    # With expm1, d = 0.9999 loses no digits to 1 - d^t.
    debias = -jnp.expm1(updates.astype(jnp.float32) * math.log(decay))
    step_size = jnp.minimum((1 - decay) / debias, 1.0)

    def move(old, new):
        # The first update replaces the average, exactly.
        return jnp.where(step_size == 1.0, new, old + step_size * (new - old))

    return EmaState(
        updates=updates,
        params=jax.tree.map(move, average.params, params),
        batch_stats=jax.tree.map(move, average.batch_stats, batch_stats),
    )


def with_estimated_statistics(
    average: EmaState, statistics_step: Callable, batches: Iterable
) -> EmaState:
    """Estimates the batch statistics of averaged weights from training batches.

    Args:
      average: of the weights.
      statistics_step: a function of `{'params', 'batch_stats'}` and a batch that returns the
        batch's own statistics.
      batches: at least one.

    Returns:
      The average with new `batch_stats`: the mean over batches of each batch's mean and variance.
    """
    variables = {"params": average.params, "batch_stats": average.batch_stats}
    total = None
    count = 0
    for batch in batches:
        statistics = statistics_step(variables, batch)
        total = statistics if total is None else _add(total, statistics)
        count += 1
    return average.replace(batch_stats=_divide(total, np.float32(count)))


@jax.jit
def _add(first: dict, second: dict) -> dict:
    return jax.tree.map(jnp.add, first, second)


@jax.jit
def _divide(tree: dict, divisor: np.float32) -> dict:
    return jax.tree.map(lambda leaf: leaf / divisor, tree)
