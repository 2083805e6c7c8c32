"""The pure functions that run on the devices: one training step, and scores of a batch.

Unusual: a step whose loss or gradient is not finite changes nothing but `failed_at`, without asking the host; the loop
reads that flag before it saves and when it logs.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from hpa_jax.augment import augment, prepare
from hpa_jax.state import HEALTHY, TrainState

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
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]:
    """One step of training, to be jitted with the state donated.

    Args:
      model: images to logits.
      optimizer: Optax's.
      loss: logits and targets `[B, L]` to `[B]`.
      seed: of augmentation and dropout; the key of step `s` is `fold_in(key(seed), s)`.
      augmentation: keyword arguments of `augment`.
      preparation: keyword arguments of `prepare`; `mean` and `std` may have a row for each source of the fields.
      only_labels: augment only images of fields that bear one of these (positions in `targets`); None: all.

    Returns:
      A function of a state and a batch (`image` uint8 `[B, H, W, 4]`, `targets` 0/1 `[B, L]`, and with several sources
      `source` int32 `[B]`) that gives the next
      state and three float32 figures of this step: `loss`, `grad_norm` (before any clipping), and `accuracy`, the share
      of (field, label) pairs that are right at 0.5, as the seed study logs it.
    """

    several = np.ndim(preparation["mean"]) == 2

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, jax.Array]]:
        augment_key, dropout_key = jax.random.split(jax.random.fold_in(jax.random.key(seed), state.step))
        rows = None
        if only_labels is not None:
            rows = jnp.any(batch["targets"][:, jnp.array(only_labels, jnp.int32)] > 0, axis=1)
        images = augment(batch["image"], augment_key, rows=rows, **augmentation)
        images = prepare(images, **(_for_sources(preparation, batch["source"]) if several else preparation))

        def mean_loss(params):
            logits, updates = model.apply(
                {"params": params, "batch_stats": state.batch_stats},
                images,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": dropout_key},
            )
            return jnp.mean(loss(logits, batch["targets"])), (logits, updates["batch_stats"])

        (value, (logits, batch_stats)), gradients = jax.value_and_grad(mean_loss, has_aux=True)(state.params)
        grad_norm = optax.tree.norm(gradients)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)

        finite = jnp.isfinite(value) & jnp.isfinite(grad_norm)
        keep = partial(jax.tree.map, partial(jnp.where, finite))
        failed_now = jnp.where(finite, HEALTHY, state.step)
        next_state = TrainState(
            step=state.step + 1,
            params=keep(params, state.params),
            batch_stats=keep(batch_stats, state.batch_stats),
            opt_state=keep(opt_state, state.opt_state),
            failed_at=jnp.where(state.failed_at == HEALTHY, failed_now, state.failed_at),
        )
        accuracy = jnp.mean((logits > 0) == (batch["targets"] > 0))
        return next_state, {"loss": value, "grad_norm": grad_norm, "accuracy": accuracy}

    return train_step


def _for_sources(preparation: dict, source: jax.Array) -> dict:
    """Keyword arguments of `prepare` with the figures of each image's source, `[B, 4]`."""
    return preparation | {name: jnp.array(preparation[name], jnp.float32)[source] for name in ("mean", "std")}


def make_score_step(model: nn.Module, *, preparation: dict) -> Callable[[dict, jax.Array], jax.Array]:
    """The forward pass: `{'params', 'batch_stats'}` and uint8 `[B, H, W, 4]` to logits `float32 [B, L]`."""

    def score_step(variables: dict, images: jax.Array) -> jax.Array:
        return model.apply(variables, prepare(images, **preparation), train=False)

    return score_step
