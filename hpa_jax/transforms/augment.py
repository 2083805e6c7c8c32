"""From stored bytes to what the net sees, on the device, inside the jitted step.

Every draw is an array with one value an image, so a batch that is cut over a mesh is augmented as if it were whole.
"""

import math

import jax
import jax.numpy as jnp

from hpa_jax.labels import CHANNELS
from hpa_jax.transforms.channel_mix import mixed_statistics
from hpa_jax.transforms.geometry import Placer, as_is, symmetry, warp_rotated, warp_upright

# Keys are split into numbers 0 to 3 for the draws that came first; a number far from them leaves those as they were.
_DROPOUT_DRAWS = 1 << 16


def prepare(
    images: jax.Array,
    mix: tuple[tuple[float, ...], ...],
    mean: tuple[float, ...] | jax.Array,
    std: tuple[float, ...] | jax.Array,
    shown: tuple[tuple[float, ...], tuple[float, ...]] | None = None,
) -> jax.Array:
    """Mixes and normalises channels: `(M x / 255 - mean') / std'`.

    The sums are written out, element by element: a TPU rounds the factors of a matrix product to eight bits unless told
    otherwise, and so narrow a product would leave its multipliers idle in any case. A row that picks a channel does no
    arithmetic on it, so that selections are, bit for bit, what they were before there were mixes.

    Args:
      images: `[B, H, W, 4]`, uint8 or float, 0 to 255.
      mix: `hpa_jax.transforms.channel_mix`: a row of four coefficients for each of the net's channels.
      mean, std: of each stored channel, shares of 255: four numbers, or `[B, 4]` where each image has figures of its
        own. mean' and std' follow from them (`mixed_statistics`).
      shown: mean' and std' themselves, where they are not to follow: one number a row of `mix` each.

    Returns:
      `float32 [B, H, W, len(mix)]`.
    """
    mixed = jnp.stack([_weighted(images, row) for row in mix], axis=-1).astype(jnp.float32)
    mean, std = (
        shown if shown is not None else mixed_statistics(mix, _by_channel(mean), _by_channel(std))
    )
    return (mixed / 255 - _over_images(mean)) / _over_images(std)


def _weighted(images: jax.Array, row: tuple[float, ...]) -> jax.Array:
    """The sum of the channels of `[B, H, W, C]` with the weights `row`; where it picks one, that one as it is."""
    terms = [(m, images[..., c]) for c, m in enumerate(row) if m]
    if [m for m, _ in terms] == [1]:
        return terms[0][1]
    return sum(m * channel.astype(jnp.float32) for m, channel in terms)


def _by_channel(figures: tuple[float, ...] | jax.Array) -> tuple | jax.Array:
    """Four numbers as they are; `[B, 4]` as four arrays `[B]`."""
    return (
        jnp.asarray(figures, jnp.float32).T
        if getattr(figures, "ndim", 1) == 2
        else tuple(map(float, figures))
    )


def _over_images(figures: tuple) -> jax.Array:
    """One figure a channel, numbers or arrays `[B]`, in a shape that goes with `[B, H, W, C]`."""
    if all(isinstance(figure, int | float) for figure in figures):
        return jnp.array(figures, jnp.float32)  # a constant, by whose inverse XLA multiplies
    return jnp.stack(figures, axis=-1)[:, None, None, :]


def augment(
    images: jax.Array,
    key: jax.Array,
    *,
    flips: bool,
    rotate_degrees: float = 0.0,
    scale: tuple[float, float] = (1.0, 1.0),
    shift: float = 0.0,
    rows: jax.Array | None = None,
    channel_dropout: float = 0.0,
    cut: Placer = as_is,
    whole: Placer = as_is,
) -> jax.Array:
    """Draws, for each image, a symmetry of the square, then a window that is zoomed to the full image.

    Channel dropout does not ask `rows`: a net that must cope without a reference channel must do so for every field.
    Each channel is drawn for itself, so all three may go (a share of `channel_dropout`^3 of the images), as where the
    protein alone was imaged; green, the protein, never goes. What is left is not made brighter, since nothing is when
    a channel is missing.

    Args:
      images: `[B, H, W, C]`, uint8 or float, 0 to 255.
      key: of the draws.
      flips: one of the eight symmetries (four where H and W differ).
      rotate_degrees: the window is turned by up to so much either way.
      scale: low and high end of the window's side, as a share of the image's, drawn evenly in the logarithm.
      shift: the window's centre moves by up to this share of the side, in both directions.
      rows: `bool [B]`; images whose entry is False keep their pixels. None: all are augmented.
      channel_dropout: chance of each reference channel (stored red, blue, yellow; C is 4) of each image to be shown
        black (0), which is what the builder stores for a channel that was not imaged.
      cut, whole: place arrays on devices that share the height of each image (hpa_jax.parallel.mesh): what has a row for each
        row of the result is cut, what such rows are made from is whole.

    Returns:
      `float32 [B, H, W, C]`, 0 to 255; black (0) where the window leaves the image.
    """
    window = {"rotate_degrees": rotate_degrees, "scale": scale, "shift": shift}
    moved = cut(_moved(images, key, flips=flips, **window, cut=cut, whole=whole))
    if rows is not None:
        moved = jnp.where(rows[:, None, None, None], moved, images.astype(jnp.float32))
    if channel_dropout == 0:
        return moved
    dropped = jax.random.bernoulli(
        jax.random.fold_in(key, _DROPOUT_DRAWS), channel_dropout, (len(images), 4)
    )
    dropped &= jnp.array([name != "green" for name in CHANNELS])
    return jnp.where(dropped[:, None, None, :], 0, moved)


def _moved(
    images: jax.Array,
    key: jax.Array,
    *,
    flips: bool,
    rotate_degrees: float,
    scale: tuple[float, float],
    shift: float,
    cut: Placer,
    whole: Placer,
) -> jax.Array:
    """The symmetry and the window of `augment`, for all images."""
    flip_key, turn_key, scale_key, shift_key = jax.random.split(key, 4)
    batch = images.shape[0]
    if flips:
        images = whole(symmetry(images, jax.random.randint(flip_key, (batch,), 0, 8)))
    if rotate_degrees == 0 and scale == (1.0, 1.0) and shift == 0:
        return images.astype(jnp.float32)
    low, high = jnp.log(scale[0]), jnp.log(scale[1])
    side = jnp.exp(jax.random.uniform(scale_key, (batch,), minval=low, maxval=high))
    centre = jax.random.uniform(shift_key, (batch, 2), minval=-shift, maxval=shift)
    if rotate_degrees == 0:
        return warp_upright(images.astype(jnp.float32), side, centre, cut=cut, whole=whole)
    limit = math.radians(rotate_degrees)
    angle = jax.random.uniform(turn_key, (batch,), minval=-limit, maxval=limit)
    return warp_rotated(images, side, centre, angle, limit, whole=whole)
