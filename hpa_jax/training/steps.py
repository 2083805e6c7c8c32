"""Pure functions that run on the devices: a training step, scores of a batch, batch statistics.

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

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from hpa_jax.optim.ema import update_ema
from hpa_jax.optim.losses import LossFunction
from hpa_jax.optim.optimizer import completes_update
from hpa_jax.optim.packing import pack, unpack
from hpa_jax.parallel.mesh import image_replicator, row_sharder
from hpa_jax.training.state import HEALTHY, TrainState
from hpa_jax.transforms.augment import augment_images, prepare
from hpa_jax.transforms.mixing import draw_mix, mix_images, partners

Batch = dict[str, jax.Array]

# Beside the draws of `augment_images`, which has the same key.
_MIXING_DRAWS = 1 << 18


def make_train_step(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    loss: LossFunction,
    *,
    seed: int,
    augmentation: dict,
    preparation: dict,
    only_labels: tuple[int, ...] | None = None,
    mixing: dict | None = None,
    average_decay: float = 0.0,
    single_label: bool = False,
    mesh: Mesh | None = None,
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]:
    """One training step, to be jitted with the state donated.

    Args:
      model: images to logits.
      optimizer: Optax's, for parameters as `pack` arranges them.
      loss: of `make_loss`: logits and targets `[B, L]` and the step to a scalar.
      seed: of augmentation and dropout; the key of step `s` is `fold_in(key(seed), s)`.
      augmentation: keyword arguments of `augment`.
      preparation: keyword arguments of `prepare`; `mean` and `std` may have a row for each
        source.
      only_labels: augment only images that have one of these labels (positions in `targets`);
        None: all images.
      mixing: keyword arguments of `draw_mix`; None: images are not mixed.
      average_decay: of the averaged weights, where the state has them. They move when the
        weights do.
      single_label: every image has exactly one label, which decides what `accuracy` is.
      mesh: of the devices; where it has several along `space`, the height of augmented images is
        sharded over those.

    Returns:
      A function of a state and a batch to the next state and three float32 metrics of this
      step. The batch has `image` uint8 `[B, H, W, 4]`, `targets` 0/1 `[B, L]`, and with several
      sources `source` int32 `[B]`. The metrics are `loss`, `grad_norm` (before any clipping),
      and `accuracy`: the fraction of (image, label) pairs that are right at 0.5, as the
      baseline logs it; where images have one label each, of the images whose label has the
      largest logit. Of a mixed batch it is against both images' labels, as the loss weights them.
    """
    shard_rows = row_sharder(mesh)
    replicate_images = image_replicator(mesh)

    def augmented(batch: Batch, key: jax.Array) -> jax.Array:
        rows = None
        if only_labels is not None:
            chosen = batch["targets"][:, jnp.array(only_labels, jnp.int32)]
            rows = jnp.any(chosen > 0, axis=1)
        return augment_images(
            batch["image"],
            key,
            rows=rows,
            shard_rows=shard_rows,
            replicate=replicate_images,
            **augmentation,
        )

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, jax.Array]]:
        step_key = jax.random.fold_in(jax.random.key(seed), state.step)
        augment_key, dropout_key = jax.random.split(step_key)
        images = augmented(batch, augment_key)
        images = shard_rows(prepare(images, **_preparation_of(batch, preparation)))
        mix = None
        if mixing is not None:
            # After normalization, which may differ between the two images.
            mix_key = jax.random.fold_in(augment_key, _MIXING_DRAWS)
            mix = draw_mix(mix_key, *images.shape[1:3], **mixing)
            images = shard_rows(mix_images(images, mix))

        def against_targets(of_targets: Callable[[jax.Array], jax.Array]) -> jax.Array:
            """A scalar that depends on targets, against those of both images of a mix."""
            targets = batch["targets"]
            own = of_targets(targets)
            if mix is None:
                return own
            return mix.fraction * own + (1 - mix.fraction) * of_targets(partners(targets))

        def mean_loss(params):
            logits, updates = model.apply(
                {"params": params, "batch_stats": state.batch_stats},
                images,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": dropout_key},
            )
            value = against_targets(lambda targets: loss(logits, targets, state.step))
            return value, (logits, updates.get("batch_stats", {}))

        loss_and_gradients = jax.value_and_grad(mean_loss, has_aux=True)
        (value, (logits, batch_stats)), gradients = loss_and_gradients(state.params)
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
        if single_label:
            accuracy = against_targets(partial(_argmax_accuracy, logits))
        else:
            accuracy = against_targets(lambda targets: jnp.mean((logits > 0) == (targets > 0)))
        return next_state, {"loss": value, "grad_norm": grad_norm, "accuracy": accuracy}

    return train_step


def _argmax_accuracy(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """The fraction of images `[B, L]` whose label has the largest logit."""
    return jnp.mean(jnp.argmax(logits, axis=1) == jnp.argmax(targets, axis=1))


def _preparation_of(batch: Batch, preparation: dict) -> dict:
    """Keyword arguments of `prepare`; with statistics per source, those of each image."""
    if np.ndim(preparation["mean"]) < 2:
        return preparation
    mean = jnp.array(preparation["mean"], jnp.float32)
    std = jnp.array(preparation["std"], jnp.float32)
    return preparation | {"mean": mean[batch["source"]], "std": std[batch["source"]]}


def make_statistics_step(
    model: nn.Module, *, preparation: dict, mesh: Mesh | None = None
) -> Callable[[dict, Batch], dict]:
    """Batch statistics of one batch under given weights.

    Args:
      model: with momentum 0, so that it keeps nothing of older statistics, and without dropout,
        which would widen variances that no evaluation sees (Li et al. 2018, arXiv:1801.05134).
      preparation, mesh: as in `make_train_step`. Images are not augmented: the statistics are for
        images as they are evaluated.

    Returns:
      A function of `{'params', 'batch_stats'}` (only the shapes of the latter matter) and a
      batch to the batch's own statistics, in the structure of `batch_stats`.
    """
    shard_rows = row_sharder(mesh)

    def statistics_step(variables: dict, batch: Batch) -> dict:
        images = prepare(batch["image"], **_preparation_of(batch, preparation))
        images = shard_rows(images)
        _, updates = model.apply(variables, images, train=True, mutable=["batch_stats"])
        return updates["batch_stats"]

    return statistics_step


def make_score_step(
    model: nn.Module, *, preparation: dict, mesh: Mesh | None = None
) -> Callable[[dict, jax.Array], jax.Array]:
    """The forward pass: `{'params', 'batch_stats'}` and uint8 `[B, H, W, 4]` to logits.

    Args:
      model, preparation, mesh: as in `make_train_step`; `mean` and `std` of one source.

    Returns:
      A function of variables and images to logits, float32 `[B, L]`.
    """
    shard_rows = row_sharder(mesh)

    def score_step(variables: dict, images: jax.Array) -> jax.Array:
        images = shard_rows(prepare(images, **preparation))
        return model.apply(variables, images, train=False)

    return score_step
