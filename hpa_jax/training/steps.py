"""The pure functions that run on the devices: one training step, scores of a batch, batch statistics of given weights.

Unusual:
- a step whose loss or gradient is not finite changes nothing but `failed_at` (neither what is gathered nor what is
  averaged), without asking the host; the loop reads that flag before it saves and when it logs;
- where gradients are gathered over several steps, each step is a batch of its own to batch norm: it normalises by its
  own moments, and the running ones move at every step. Two gathered batches of 16 are no batch of 32;
- a frozen backbone runs in training mode: its batch norms use the batch's moments, and the running ones move.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from hpa_jax.optim.ema import update_ema
from hpa_jax.optim.optimizer import completes_update
from hpa_jax.optim.packing import pack, unpack
from hpa_jax.parallel.mesh import image_replicator, row_sharder
from hpa_jax.training.state import HEALTHY, TrainState
from hpa_jax.transforms.augment import augment, prepare

Batch = dict[str, jax.Array]


def make_train_step(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    loss: Callable[[jax.Array, jax.Array], jax.Array],
    *,
    seed: int,
    augmentation: dict,
    preparation: dict,
    only_labels: tuple[int, ...] | None = None,
    average_decay: float = 0.0,
    mesh: Mesh | None = None,
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]:
    """One step of training, to be jitted with the state donated.

    Args:
      model: images to logits.
      optimizer: Optax's, of what `pack` makes of parameters.
      loss: logits and targets `[B, L]` to a scalar.
      seed: of augmentation and dropout; the key of step `s` is `fold_in(key(seed), s)`.
      augmentation: keyword arguments of `augment`.
      preparation: keyword arguments of `prepare`; `mean` and `std` may have a row for each source of the fields.
      only_labels: augment only images of fields that bear one of these (positions in `targets`); None: all.
      average_decay: of the averaged weights, where the state has them: an update moves them, as it does the weights.
      mesh: of the devices; where it has several along `space`, the height of augmented images is cut over those.

    Returns:
      A function of a state and a batch (`image` uint8 `[B, H, W, 4]`, `targets` 0/1 `[B, L]`, and with several sources
      `source` int32 `[B]`) that gives the next
      state and three float32 figures of this step: `loss`, `grad_norm` (before any clipping), and `accuracy`, the share
      of (field, label) pairs that are right at 0.5, as the seed study logs it.
    """

    cut, whole = row_sharder(mesh), image_replicator(mesh)

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, jax.Array]]:
        augment_key, dropout_key = jax.random.split(
            jax.random.fold_in(jax.random.key(seed), state.step)
        )
        rows = None
        if only_labels is not None:
            rows = jnp.any(batch["targets"][:, jnp.array(only_labels, jnp.int32)] > 0, axis=1)
        images = augment(
            batch["image"], augment_key, rows=rows, shard_rows=cut, replicate=whole, **augmentation
        )
        images = cut(prepare(images, **_preparation_of(batch, preparation)))

        def mean_loss(params):
            logits, updates = model.apply(
                {"params": params, "batch_stats": state.batch_stats},
                images,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": dropout_key},
            )
            return loss(logits, batch["targets"]), (logits, updates.get("batch_stats", {}))

        (value, (logits, batch_stats)), gradients = jax.value_and_grad(mean_loss, has_aux=True)(
            state.params
        )
        gradients = pack(gradients)
        grad_norm = optax.tree.norm(gradients)
        updates, opt_state = optimizer.update(gradients, state.opt_state, pack(state.params))
        if state.progress is not None:
            updates = jax.tree.map(lambda update: state.progress.rate_scale * update, updates)

        finite = jnp.isfinite(value) & jnp.isfinite(grad_norm)
        keep = partial(jax.tree.map, partial(jnp.where, finite))
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
            batch_stats=keep(batch_stats, state.batch_stats),
            opt_state=keep(opt_state, state.opt_state),
            failed_at=jnp.where(state.failed_at == HEALTHY, failed_now, state.failed_at),
            average=average,
            progress=state.progress,
        )
        accuracy = jnp.mean((logits > 0) == (batch["targets"] > 0))
        return next_state, {"loss": value, "grad_norm": grad_norm, "accuracy": accuracy}

    return train_step


def _preparation_of(batch: Batch, preparation: dict) -> dict:
    """Keyword arguments of `prepare`: where there is a row of figures for each source, those of each image `[B, 4]`."""
    if np.ndim(preparation["mean"]) < 2:
        return preparation
    return preparation | {
        n: jnp.array(preparation[n], jnp.float32)[batch["source"]] for n in ("mean", "std")
    }


def make_statistics_step(
    model: nn.Module, *, preparation: dict, mesh: Mesh | None = None
) -> Callable[[dict, Batch], dict]:
    """Batch statistics of one batch.

    Args:
      model: with momentum 0, so that it keeps nothing of older statistics, and without dropout, which would widen
        variances that no evaluation sees (Li et al. 2018, arXiv:1801.05134).
      preparation, mesh: as in `make_train_step`. Images are not augmented: the statistics are for those that
        are evaluated.

    Returns:
      A function of `{'params', 'batch_stats'}` (of the statistics the shapes alone matter) and a batch that gives the
      batch's own statistics, in the shape of `batch_stats`.
    """

    def statistics_step(variables: dict, batch: Batch) -> dict:
        images = row_sharder(mesh)(prepare(batch["image"], **_preparation_of(batch, preparation)))
        _, updates = model.apply(variables, images, train=True, mutable=["batch_stats"])
        return updates["batch_stats"]

    return statistics_step


def make_score_step(
    model: nn.Module, *, preparation: dict, mesh: Mesh | None = None
) -> Callable[[dict, jax.Array], jax.Array]:
    """The forward pass: `{'params', 'batch_stats'}` and uint8 `[B, H, W, 4]` to logits `float32 [B, L]`.

    Arguments as in `make_train_step`.
    """

    def score_step(variables: dict, images: jax.Array) -> jax.Array:
        return model.apply(
            variables, row_sharder(mesh)(prepare(images, **preparation)), train=False
        )

    return score_step
