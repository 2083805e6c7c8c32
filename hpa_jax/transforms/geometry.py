"""Symmetries and upright windows of images, in operations that a TPU runs at full rate.

Design: no gathers, which a TPU runs pixel by pixel. A window is resampled by two matrix products an
image. Rotated windows are in `rotation.py`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

Placer = Callable[[jax.Array], jax.Array]
"""Places an array on devices that share the height of each image (`hpa_jax.parallel.mesh`)."""


def as_is(array: jax.Array) -> jax.Array:
    """The `Placer` of a single device."""
    return array


def symmetry(images: jax.Array, which: jax.Array) -> jax.Array:
    """Applies one of the eight symmetries of the square to each image.

    Args:
      images: `[B, H, W, C]`.
      which: `int [B]`, 0 to 7. Bit 0 flips rows, bit 1 flips columns, and bit 2 transposes, which
        only square images are.

    Returns:
      `[B, H, W, C]`.
    """

    def select(bit: int, changed: jax.Array, images: jax.Array) -> jax.Array:
        is_set = (which >> bit) & 1 == 1
        return jnp.where(is_set[:, None, None, None], changed, images)

    images = select(0, images[:, ::-1], images)
    images = select(1, images[:, :, ::-1], images)
    if images.shape[1] == images.shape[2]:
        images = select(2, images.swapaxes(1, 2), images)
    return images


def warp_upright(
    images: jax.Array,
    side: jax.Array,
    center: jax.Array,
    size: tuple[int, int] | None = None,
    shard_rows: Placer = as_is,
    replicate: Placer = as_is,
) -> jax.Array:
    """Samples an upright window of each image bilinearly.

    Args:
      images: `[B, H, W, C]`, float.
      side: `[B]`, of the window, as a fraction of the image's.
      center: `[B, 2]`, of the window relative to that of the image: y and x, as fractions of the
        image's sides.
      size: height and width of the result in px. H x W px are the window, and more show what lies
        around it. None: H and W.
      shard_rows: shards an array that has a row for each row of the result.
      replicate: replicates an array that such rows are computed from.

    Returns:
      `float32 [B, *size, C]`; black (0) where the window leaves the image.
    """
    height, width = images.shape[1:3]
    rows, columns = size or (height, width)

    def weights(length: int, samples: int, offset: jax.Array, place: Placer) -> jax.Array:
        """Weights of the `length` pixels of a line in `samples` samples: `[B, samples, length]`."""
        middle = (length - 1) / 2
        places = from_middle(samples) * side[:, None] + middle + offset[:, None] * length
        # Replicated for rows as well: rows and columns have terms in common, which are computed
        # once and would then be gathered.
        places = replicate(places)
        distances = jnp.abs(places[:, :, None] - jnp.arange(length))
        return place(jnp.maximum(0, 1 - distances))

    row_weights = weights(height, rows, center[:, 0], shard_rows)
    column_weights = weights(width, columns, center[:, 1], replicate)
    # A TPU's default precision would round the weights to eight bits.
    images = jnp.einsum("bij,bjxc->bixc", row_weights, images, precision="high")
    return jnp.einsum("bij,byjc->byic", column_weights, images, precision="high")


def random_crops(images: jax.Array, key: jax.Array, side: int) -> jax.Array:
    """A square of each image as it is, anywhere in it with equal probability.

    Args:
      images: `[B, H, W, C]`.
      key: of the draws, one of a row and one of a column for each image.
      side: px, H and W at most.

    Returns:
      `[B, side, side, C]`, of the images' dtype.
    """
    batch_size, height, width, channels = images.shape
    highest = jnp.array([height - side + 1, width - side + 1])
    starts = jax.random.randint(key, (batch_size, 2), 0, highest)

    def crop(image: jax.Array, start: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(image, (start[0], start[1], 0), (side, side, channels))

    return jax.vmap(crop)(images, starts)


def from_middle(size: int) -> jax.Array:
    """Places of the pixels of a line, from its middle: `float32 [size]`."""
    return jnp.arange(size) - (size - 1) / 2
