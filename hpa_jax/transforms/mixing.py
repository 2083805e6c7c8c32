"""Mixup and cutmix: each image of a batch becomes one of two, and is learnt as both.

Both are one formula, `w x + (1 - w) x'` with weights `w` of places: one number for mixup, 0 within
a box and 1 outside for cutmix. The other image `x'` is the next one of the batch, whose order is
random as it is; over a sharded batch each device then sends a single image.

Where labels exclude each other, targets are mixed along. Images here have several, and some losses
are defined for targets of 0 and 1 only. So the loss is mixed, `r loss(z, t) + (1 - r) loss(z, t')`,
as in the code of both papers: for binary cross entropy this is the loss of the mixed targets. It
takes one fraction `r` for all images of a batch, and both papers draw one.

References:
  Zhang et al. 2018, mixup: Beyond Empirical Risk Minimization, arXiv:1710.09412.
  Yun et al. 2019, CutMix: Regularization Strategy to Train Strong Classifiers, arXiv:1905.04899.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Mix(NamedTuple):
    """How the images of a batch are mixed.

    Attributes:
      weights: float32 `[H, W]`, what an image keeps of itself at each place.
      fraction: float32 scalar, its mean: how much its own targets count.
    """

    weights: jax.Array
    fraction: jax.Array


def draw_mix(
    key: jax.Array,
    height: int,
    width: int,
    *,
    mixup: float = 0.0,
    cutmix: float = 0.0,
    probability: float = 1.0,
) -> Mix:
    """Draws how a batch is mixed; with both, half of the batches each way.

    Args:
      key: of the draws.
      height, width: of the images, px.
      mixup: alpha of the beta distribution of the fraction; 0: no mixup.
      cutmix: the same for cutmix, where it is the area outside of the box.
      probability: that a batch is mixed.
    """
    keys = jax.random.split(key, 5)
    mixup_key, cutmix_key, box_key, kind_key, mixed_key = keys
    weights = jnp.ones((height, width), jnp.float32)
    if mixup:
        weights *= jax.random.beta(mixup_key, mixup, mixup)
    if cutmix:
        outside = jax.random.beta(cutmix_key, cutmix, cutmix)
        center = jax.random.uniform(box_key, (2,))
        box = box_weights(height, width, center, outside)
        is_cutmix = jax.random.bernoulli(kind_key, 0.5) if mixup else True
        weights = jnp.where(is_cutmix, box, weights)
    is_mixed = jax.random.bernoulli(mixed_key, probability)
    weights = jnp.where(is_mixed, weights, 1.0)
    return Mix(weights, jnp.mean(weights))


def box_weights(height: int, width: int, center: jax.Array, outside: jax.Array) -> jax.Array:
    """0 within a box, 1 outside.

    The sides of the box are `sqrt(1 - outside)` of the image's. What lies beyond the image is cut
    off, so that the box may be smaller than it was drawn.

    Args:
      height, width: of the images, px.
      center: float32 `[2]`, of the box, as fractions of height and width.
      outside: float32 scalar, 0 to 1.

    Returns:
      float32 `[H, W]`.
    """
    side = jnp.sqrt(1 - outside)

    def is_within(length: int, middle: jax.Array) -> jax.Array:
        half = jnp.floor(length * side) // 2
        place = jnp.arange(length)
        middle = jnp.floor(length * middle)
        return (place >= middle - half) & (place < middle + half)

    rows = is_within(height, center[0])
    columns = is_within(width, center[1])
    return 1 - (rows[:, None] & columns[None, :]).astype(jnp.float32)


def mix_images(images: jax.Array, mix: Mix) -> jax.Array:
    """Each image mixed with the next: `[B, H, W, C]`, float32."""
    weights = mix.weights[None, :, :, None]
    return weights * images + (1 - weights) * partners(images)


def partners(array: jax.Array) -> jax.Array:
    """Of each row the one that it is mixed with: that of the next image, `[B, ...]`."""
    return jnp.roll(array, -1, axis=0)
