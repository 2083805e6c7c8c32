"""An exponential moving average of the weights (Polyak & Juditsky 1992; Tarvainen & Valpola 2017, arXiv:1703.01780).

Unusual:
- debiased: after t updates the average is the mean of the weights that those updates left, the one that k updates ago
  left weighing `decay^k`. The weights that training began with count nowhere, so a short run's average is not held
  back by them.
- batch statistics of averaged weights are no average of batch statistics. Between evaluations the running ones are
  averaged along, as a stopgap; each evaluation replaces them by what `with_estimated_statistics` finds on training
  batches (Izmailov et al. 2018, arXiv:1803.05407, section 3.2).
"""

import math
from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct


@struct.dataclass
class EmaState:
    """
    Attributes:
      updates: int32, updates of the weights that it spans.
      params: nested dict of float32, their average; before the first update the weights themselves.
      batch_stats: nested dict of float32, the statistics to go with them.
    """

    updates: jax.Array
    params: dict
    batch_stats: dict


def init_ema(variables: dict) -> EmaState:
    """The average before the first update: copies, since a step donates each array once."""
    copies = (
        jax.tree.map(lambda leaf: leaf.copy(), variables[name])
        for name in ("params", "batch_stats")
    )
    return EmaState(np.zeros((), np.int32), *copies)


def update_ema(average: EmaState, params: dict, batch_stats: dict, *, decay: float) -> EmaState:
    """`a_t = a_(t-1) + (1 - d) / (1 - d^t) (w_t - a_(t-1))`: the debiased average, written without its bias.

    Args:
      average: of t - 1 updates.
      params, batch_stats: those that update t left.
      decay: d, the share of itself that the average keeps in the long run; above 0, below 1.
    """
    updates = average.updates + 1
    # In the form with expm1, d = 0.9999 loses no digits to 1 - d^t.
    share = jnp.minimum(
        (1 - decay) / -jnp.expm1(updates.astype(jnp.float32) * math.log(decay)), 1.0
    )

    def towards(old, new):
        return jax.tree.map(lambda a, w: jnp.where(share == 1.0, w, a + share * (w - a)), old, new)

    return EmaState(
        updates, towards(average.params, params), towards(average.batch_stats, batch_stats)
    )


def with_estimated_statistics(
    average: EmaState, statistics_step: Callable, batches: Iterable
) -> EmaState:
    """The same average with batch statistics of its own: the mean over batches of each batch's mean and variance.

    Args:
      average: of weights.
      statistics_step: of `{'params', 'batch_stats'}` and a batch to that batch's own statistics.
      batches: at least one.
    """
    variables = {"params": average.params, "batch_stats": average.batch_stats}
    total, count = None, 0
    for batch in batches:
        found = statistics_step(variables, batch)
        total = found if total is None else _add(total, found)
        count += 1
    return average.replace(batch_stats=_divide(total, np.float32(count)))


_add = jax.jit(lambda a, b: jax.tree.map(jnp.add, a, b))
_divide = jax.jit(lambda tree, by: jax.tree.map(lambda leaf: leaf / by, tree))
