"""Pure functions that run on the devices, where a net learns to fill in channels.

What the net takes of an image are the sources, normalized, with black in the place of those that it
is not shown, and a plane for each source that is 1 where that is so: black may also be what a
channel looks like. What it gives are the targets, in units of their own mean and std.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from hpa_jax.labels import CHANNELS
from hpa_jax.optim.image_losses import ImageLoss, correlations, masked_mean
from hpa_jax.parallel.mesh import image_replicator, row_sharder
from hpa_jax.training.steps import preparation_of
from hpa_jax.training.update import Batch, Objective
from hpa_jax.transforms.augment import augment_images, prepare
from hpa_jax.transforms.channel_subsets import Pair, draw_shown
from hpa_jax.transforms.geometry import random_crops

OUTPUT = "channels"
"""Of the U-Net: one map a target."""

# Beside the draws of `augment_images`, which has the same key.
_SHOWN_DRAWS = 1 << 19
_CROP_DRAWS = 1 << 20


class FilledImages(NamedTuple):
    """What a training step takes of a batch.

    Attributes:
      inputs: float32 `[B, H, W, 2 S]`.
      truth: float32 `[B, H, W, T]`, fractions of white.
      mask: bool `[B, T]`, the targets that are to be predicted.
    """

    inputs: jax.Array
    truth: jax.Array
    mask: jax.Array


class ChannelForms(NamedTuple):
    """Which channels go in and out, and how.

    Attributes:
      targets: names, T.
      sources: names, S.
      preparation: keyword arguments of `prepare` for the sources.
      target_mean: of each target, fractions of white.
      target_std: likewise.
    """

    targets: tuple[str, ...]
    sources: tuple[str, ...]
    preparation: dict
    target_mean: tuple[float, ...]
    target_std: tuple[float, ...]


def net_inputs(
    images: jax.Array, shown: jax.Array, sources: Sequence[str], preparation: dict
) -> jax.Array:
    """What the net takes.

    Args:
      images: `[B, H, W, 4]`, uint8 or float, 0 to 255.
      shown: bool `[B, 4]`, the channels that the net sees.
      sources: names of the S channels that it may see.
      preparation: keyword arguments of `prepare` for these.

    Returns:
      float32 `[B, H, W, 2 S]`: the sources normalized, those not shown black, then the planes that
      say so.
    """
    visible = jnp.where(shown[:, None, None, :], images, 0)
    seen = prepare(visible, **preparation)
    hidden = ~picked(shown, sources)
    planes = jnp.broadcast_to(hidden[:, None, None, :], seen.shape)
    return jnp.concatenate([seen, planes.astype(jnp.float32)], axis=-1)


def predicted_channels(outputs: dict[str, jax.Array], forms: ChannelForms) -> jax.Array:
    """The net's outputs as fractions of white, float32 `[B, H, W, T]`, not clipped."""
    mean = jnp.array(forms.target_mean, jnp.float32)
    std = jnp.array(forms.target_std, jnp.float32)
    return mean + std * outputs[OUTPUT]


def true_channels(images: jax.Array, targets: Sequence[str]) -> jax.Array:
    """The targets of images 0 to 255 `[B, H, W, 4]` as fractions of white."""
    return picked(images, targets).astype(jnp.float32) / 255


def imaged_channels(images: jax.Array) -> jax.Array:
    """Which channels of `[B, H, W, 4]` are not black throughout, bool `[B, 4]`."""
    return jnp.max(images.astype(jnp.float32), axis=(1, 2)) > 0


def picked(array: jax.Array, names: Sequence[str]) -> jax.Array:
    """Of an array `[..., 4]` those of the named channels, in their order: `[..., len(names)]`.

    By slices: ONNX has no rule for every way in which JAX picks by an array of numbers.
    """
    columns = [array[..., place : place + 1] for place in places_of(names)]
    return jnp.concatenate(columns, axis=-1)


def places_of(names: Sequence[str]) -> list[int]:
    """Positions of channels in CHANNELS."""
    return [CHANNELS.index(name) for name in names]


def channel_objective(
    model: nn.Module,
    loss: ImageLoss,
    forms: ChannelForms,
    *,
    augmentation: dict,
    mesh,
    crop: int = 0,
) -> Objective:
    """What a training step makes smaller: the loss of the targets that the net was not shown.

    Args:
      model: a U-Net with the output OUTPUT.
      loss: of `make_image_loss`.
      forms: of the channels.
      augmentation: keyword arguments of `augment_images`.
      mesh: of the devices.
      crop: px a side of the random square of each image that a step sees; 0: the whole image.
    """
    shard_rows = row_sharder(mesh)
    replicate_images = image_replicator(mesh)

    def prepare_batch(batch: Batch, key: jax.Array) -> FilledImages:
        stored = batch["image"]
        if crop:
            stored = random_crops(stored, jax.random.fold_in(key, _CROP_DRAWS), crop)
        images = augment_images(
            stored,
            key,
            shard_rows=shard_rows,
            replicate=replicate_images,
            **augmentation,
        )
        draws = jax.random.fold_in(key, _SHOWN_DRAWS)
        # A channel that was not imaged is neither shown nor to be predicted.
        imaged = imaged_channels(batch["image"])
        shown = draw_shown(draws, len(images), forms.targets, forms.sources) & imaged
        preparation = preparation_of(batch, forms.preparation)
        inputs = net_inputs(images, shown, forms.sources, preparation)
        truth = true_channels(images, forms.targets)
        mask = picked(imaged & ~shown, forms.targets)
        return FilledImages(shard_rows(inputs), shard_rows(truth), mask)

    def batch_loss(variables: dict, batch: FilledImages, step: jax.Array, key: jax.Array):
        del step
        outputs, updates = model.apply(
            variables, batch.inputs, train=True, mutable=["batch_stats"], rngs={"dropout": key}
        )
        predicted = predicted_channels(outputs, forms)
        value = loss(predicted, batch.truth, batch.mask)
        pearson = masked_mean(correlations(predicted, batch.truth), batch.mask)
        return value, ({"pearson": pearson}, updates.get("batch_stats", {}))

    return Objective(prepare_batch, batch_loss)


def make_fill_step(model: nn.Module, forms: ChannelForms, mesh=None) -> Callable:
    """The forward pass.

    Args:
      model: a U-Net with the output OUTPUT.
      forms: of the channels; `preparation` of one source of images.
      mesh: of the devices.

    Returns:
      A function of variables, images uint8 `[B, H, W, 4]` and the channels that are shown, bool
      `[B, 4]` (None: all), to all targets, float32 `[B, H, W, T]`, 0 to 1. What is black throughout
      is not shown, whatever is said of it.
    """
    shard_rows = row_sharder(mesh)

    def fill_step(variables: dict, images: jax.Array, shown: jax.Array | None = None) -> jax.Array:
        imaged = imaged_channels(images)
        shown = imaged if shown is None else shown & imaged
        inputs = net_inputs(images, shown, forms.sources, forms.preparation)
        outputs = model.apply(variables, shard_rows(inputs), train=False)
        return jnp.clip(predicted_channels(outputs, forms), 0, 1)

    return fill_step


def make_sum_step(
    model: nn.Module, forms: ChannelForms, pairs: Sequence[Pair], mesh=None
) -> Callable:
    """The step of an evaluation: sums of Pearson's coefficients over images.

    Args:
      model, forms, mesh: as of `make_fill_step`.
      pairs: that are evaluated, P.

    Returns:
      A function of the sums and counts so far, float32 `[P]` each, variables, and a batch (`image`
      uint8 `[B, H, W, 4]`, `mask` bool `[B]`) to the sums and counts with that batch. An image
      whose target is constant, as one that was not imaged, does not count.
    """
    fill_step = make_fill_step(model, forms, mesh)

    def sum_step(sums: tuple, variables: dict, batch: Batch) -> tuple[jax.Array, jax.Array]:
        images = batch["image"]
        totals = []
        counts = []
        for pair in pairs:
            place = forms.targets.index(pair.target)
            named = jnp.array([name in pair.sources for name in CHANNELS])
            shown = jnp.broadcast_to(named, (len(images), len(CHANNELS)))
            predicted = fill_step(variables, images, shown)[..., place, None]
            truth = true_channels(images, (pair.target,))
            found = correlations(predicted, truth)[:, 0]
            varies = jnp.max(truth, axis=(1, 2, 3)) > jnp.min(truth, axis=(1, 2, 3))
            counted = batch["mask"] & varies
            totals.append(jnp.sum(jnp.where(counted, found, 0)))
            counts.append(jnp.sum(counted.astype(jnp.float32)))
        return sums[0] + jnp.stack(totals), sums[1] + jnp.stack(counts)

    return sum_step


def make_statistics_step(
    model: nn.Module, forms: ChannelForms, *, seed: int, mesh=None
) -> Callable[[dict, Batch], dict]:
    """Batch statistics of one batch under given weights, as of `steps.make_statistics_step`.

    Args:
      model: with momentum 0.
      forms, mesh: as of `channel_objective`.
      seed: of the draws of what is shown, which also depend on the images.
    """
    shard_rows = row_sharder(mesh)

    def statistics_step(variables: dict, batch: Batch) -> dict:
        images = batch["image"]
        number = jnp.sum(images, dtype=jnp.uint32)
        key = jax.random.fold_in(jax.random.key(seed), number)
        shown = draw_shown(key, len(images), forms.targets, forms.sources)
        shown &= imaged_channels(images)
        preparation = preparation_of(batch, forms.preparation)
        inputs = net_inputs(images, shown, forms.sources, preparation)
        _, updates = model.apply(variables, shard_rows(inputs), train=True, mutable=["batch_stats"])
        return updates["batch_stats"]

    return statistics_step
