"""One training step of any task: gradients of its objective, and what they change in the state.

Notes:
- a step whose loss or gradient is not finite changes nothing but `failed_at`, without asking the
  host; the loop reads that flag before it saves and when it logs;
- where gradients are accumulated over several steps, each step is a batch of its own to batch
  norm: it normalizes by its own moments, and the running ones move at every step. Two
  accumulated batches of 16 are not a batch of 32;
- a frozen backbone runs in training mode: its batch norms use the batch's moments, and the
  running ones move.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from hpa_jax.optim.ema import update_ema
from hpa_jax.optim.optimizer import completes_update
from hpa_jax.optim.packing import pack, unpack
from hpa_jax.training.state import HEALTHY, TrainState

Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]


class Objective(NamedTuple):
    """What a step makes smaller.

    Attributes:
      prepare: a batch and a key to what `loss` takes of it: augmented, normalized. It has no
        parameters, and no gradient goes through it.
      loss: variables `{'params', 'batch_stats'}`, what `prepare` returned, the number of the step
        and a key to the loss, a float32 scalar, and a pair: further metrics of the batch, float32
        scalars by name, and the moved batch statistics.
    """

    prepare: Callable[[Batch, jax.Array], Any]
    loss: Callable[[dict, Any, jax.Array, jax.Array], tuple[jax.Array, tuple[Metrics, dict]]]


def make_update_step(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    *,
    seed: int,
    average_decay: float = 0.0,
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """One training step, to be jitted with the state donated.

    Args:
      objective: of the task.
      optimizer: Optax's, for parameters as `pack` arranges them.
      seed: of augmentation and dropout; the key of step `s` is `fold_in(key(seed), s)`.
      average_decay: of the averaged weights, where the state has them. They move when the
        weights do.

    Returns:
      A function of a state and a batch to the next state and the metrics of this step, float32
      scalars: `loss`, `grad_norm` (before any clipping), and those of the objective.
    """

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        step_key = jax.random.fold_in(jax.random.key(seed), state.step)
        augment_key, dropout_key = jax.random.split(step_key)
        inputs = objective.prepare(batch, augment_key)

        def mean_loss(params):
            variables = {"params": params, "batch_stats": state.batch_stats}
            return objective.loss(variables, inputs, state.step, dropout_key)

        loss_and_gradients = jax.value_and_grad(mean_loss, has_aux=True)
        (value, (metrics, batch_stats)), gradients = loss_and_gradients(state.params)
        gradients = pack(gradients)
        grad_norm = optax.tree.norm(gradients)
        updates, opt_state = optimizer.update(gradients, state.opt_state, pack(state.params))
        if state.progress is not None:
            updates = jax.tree.map(lambda update: state.progress.rate_scale * update, updates)

        finite = jnp.isfinite(value) & jnp.isfinite(grad_norm)
        keep_if_finite = partial(jax.tree.map, partial(jnp.where, finite))
        updates = jax.tree.map(lambda update: jnp.where(finite, update, 0), updates)
        params = optax.apply_updates(state.params, unpack(updates, state.params))
        average = state.average
        if average is not None:
            moved = update_ema(average, params, batch_stats, decay=average_decay)
            updated = finite & completes_update(opt_state)
            average = jax.tree.map(partial(jnp.where, updated), moved, average)
        failed_now = jnp.where(finite, HEALTHY, state.step)
        next_state = TrainState(
            step=state.step + 1,
            params=params,
            batch_stats=keep_if_finite(batch_stats, state.batch_stats),
            opt_state=keep_if_finite(opt_state, state.opt_state),
            failed_at=jnp.where(state.failed_at == HEALTHY, failed_now, state.failed_at),
            average=average,
            progress=state.progress,
        )
        return next_state, {"loss": value, "grad_norm": grad_norm} | metrics

    return train_step
