"""Pure functions that run on the devices, where a net learns labels: a training step, scores of a
batch, batch statistics."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from hpa_jax.optim.losses import LossFunction
from hpa_jax.parallel.mesh import image_replicator, row_sharder
from hpa_jax.training.state import TrainState
from hpa_jax.training.update import Batch, Objective, make_update_step
from hpa_jax.transforms.augment import augment_images, prepare
from hpa_jax.transforms.mixing import Mix, draw_mix, mix_images, partners

# Beside the draws of `augment_images`, which has the same key.
_MIXING_DRAWS = 1 << 18


def make_train_step(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    loss: LossFunction,
    *,
    seed: int,
    average_decay: float = 0.0,
    **options,
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]:
    """One training step of a classifier, to be jitted with the state donated.

    Args:
      model, loss: as of `label_objective`.
      optimizer, seed, average_decay: as of `update.make_update_step`.
      **options: of `label_objective`.

    Returns:
      A function of a state and a batch to the next state and three float32 metrics of this
      step: `loss`, `grad_norm` and `accuracy`.
    """
    objective = label_objective(model, loss, **options)
    return make_update_step(objective, optimizer, seed=seed, average_decay=average_decay)


def label_objective(
    model: nn.Module,
    loss: LossFunction,
    *,
    augmentation: dict,
    preparation: dict,
    only_labels: tuple[int, ...] | None = None,
    mixing: dict | None = None,
    single_label: bool = False,
    mesh: Mesh | None = None,
) -> Objective:
    """The loss of logits against an image's labels.

    Args:
      model: images to logits.
      loss: of `make_loss`: logits and targets `[B, L]` and the step to a scalar.
      augmentation: keyword arguments of `augment`.
      preparation: keyword arguments of `prepare`; `mean` and `std` may have a row for each
        source.
      only_labels: augment only images that have one of these labels (positions in `targets`);
        None: all images.
      mixing: keyword arguments of `draw_mix`; None: images are not mixed.
      single_label: every image has exactly one label, which decides what `accuracy` is.
      mesh: of the devices; where it has several along `space`, the height of augmented images is
        sharded over those.

    Returns:
      Of batches with `image` uint8 `[B, H, W, 4]`, `targets` 0/1 `[B, L]`, and with several
      sources `source` int32 `[B]`. The metric is `accuracy`: the fraction of (image, label) pairs
      that are right at 0.5, as the baseline logs it; where images have one label each, of the
      images whose label has the largest logit. Of a mixed batch it is against both images' labels,
      as the loss weights them.
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

    def prepare_batch(batch: Batch, key: jax.Array) -> LabelledImages:
        images = augmented(batch, key)
        images = shard_rows(prepare(images, **preparation_of(batch, preparation)))
        mix = None
        if mixing is not None:
            # After normalization, which may differ between the two images.
            mix_key = jax.random.fold_in(key, _MIXING_DRAWS)
            mix = draw_mix(mix_key, *images.shape[1:3], **mixing)
            images = shard_rows(mix_images(images, mix))
        return LabelledImages(images, batch["targets"], mix)

    def batch_loss(variables: dict, inputs: LabelledImages, step: jax.Array, key: jax.Array):
        images, targets, mix = inputs

        def against_targets(of_targets: Callable[[jax.Array], jax.Array]) -> jax.Array:
            """A scalar that depends on targets, against those of both images of a mix."""
            own = of_targets(targets)
            if mix is None:
                return own
            return mix.fraction * own + (1 - mix.fraction) * of_targets(partners(targets))

        logits, updates = model.apply(
            variables, images, train=True, mutable=["batch_stats"], rngs={"dropout": key}
        )
        value = against_targets(lambda targets: loss(logits, targets, step))
        if single_label:
            accuracy = against_targets(partial(_argmax_accuracy, logits))
        else:
            accuracy = against_targets(lambda targets: jnp.mean((logits > 0) == (targets > 0)))
        return value, ({"accuracy": accuracy}, updates.get("batch_stats", {}))

    return Objective(prepare_batch, batch_loss)


class LabelledImages(NamedTuple):
    """Prepared images `float32 [B, H, W, C]`, targets `[B, L]`, and how images were mixed."""

    images: jax.Array
    targets: jax.Array
    mix: Mix | None


def _argmax_accuracy(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """The fraction of images `[B, L]` whose label has the largest logit."""
    return jnp.mean(jnp.argmax(logits, axis=1) == jnp.argmax(targets, axis=1))


def preparation_of(batch: Batch, preparation: dict) -> dict:
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
        images = prepare(batch["image"], **preparation_of(batch, preparation))
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
