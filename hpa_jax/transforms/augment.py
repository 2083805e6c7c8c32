"""From stored pixels to the input of a net, on the device, inside the jitted step.

Every random draw is an array with one value an image, so that a batch that is sharded over a mesh
is augmented just as on one device. To add an augmentation, draw from a new `jax.random.fold_in` of
the key, as channel dropout does: then all other draws stay as they were.
"""

import math

import jax
import jax.numpy as jnp

from hpa_jax.labels import CHANNELS
from hpa_jax.transforms.channel_mix import ChannelMix, mixed_statistics
from hpa_jax.transforms.geometry import Placer, as_is, symmetry, warp_upright
from hpa_jax.transforms.intensity import jitter
from hpa_jax.transforms.lines import LineMover, move_lines
from hpa_jax.transforms.rotation import warp_rotated

# The key is split into numbers 0 to 3 for the first draws that there were. A number far from them
# leaves those as they are.
_DROPOUT_DRAWS = 1 << 16
_INTENSITY_DRAWS = 1 << 17


def prepare(
    images: jax.Array,
    channel_mix: ChannelMix,
    mean: tuple[float, ...] | jax.Array,
    std: tuple[float, ...] | jax.Array,
    input_statistics: tuple[tuple[float, ...], tuple[float, ...]] | None = None,
) -> jax.Array:
    """Mixes and normalizes channels: `(M x / 255 - mean') / std'`.

    The sums are written out, element by element: a TPU rounds the factors of a matrix product to
    eight bits unless told otherwise, and so narrow a product would leave its multipliers idle in
    any case. A row that selects one channel does no arithmetic on it, so a selection is exact.

    Args:
      images: `[B, H, W, 4]`, uint8 or float, 0 to 255.
      channel_mix: M, a row of four coefficients for each of the net's channels
        (`hpa_jax.transforms.channel_mix`).
      mean: of each stored channel, as fractions of 255: four numbers, or `[B, 4]` if each image
        has statistics of its own.
      std: likewise.
      input_statistics: (mean', std'), one number a row of `channel_mix` each. None: they follow
        from `mean` and `std` (`mixed_statistics`).

    Returns:
      `float32 [B, H, W, len(channel_mix)]`.
    """
    channels = [_weighted_sum(images, row) for row in channel_mix]
    mixed = jnp.stack(channels, axis=-1).astype(jnp.float32)
    if input_statistics is not None:
        mean, std = input_statistics
    else:
        mean, std = mixed_statistics(channel_mix, _by_channel(mean), _by_channel(std))
    return (mixed / 255 - _broadcastable(mean)) / _broadcastable(std)


def _weighted_sum(images: jax.Array, row: tuple[float, ...]) -> jax.Array:
    """The sum of the channels of `[B, H, W, C]` with the weights `row`.

    A row that selects one channel returns it as it is.
    """
    channels = []
    weights = []
    for number, weight in enumerate(row):
        if weight:
            channels.append(images[..., number])
            weights.append(weight)
    if weights == [1]:
        return channels[0]
    terms = zip(weights, channels, strict=True)
    return sum(weight * channel.astype(jnp.float32) for weight, channel in terms)


def _by_channel(statistics: tuple[float, ...] | jax.Array) -> tuple | jax.Array:
    """Four numbers as they are; `[B, 4]` as four arrays `[B]`."""
    if getattr(statistics, "ndim", 1) == 2:
        return jnp.asarray(statistics, jnp.float32).T
    return tuple(map(float, statistics))


def _broadcastable(statistics: tuple) -> jax.Array:
    """One value a channel, numbers or arrays `[B]`, in a shape that goes with `[B, H, W, C]`."""
    if all(isinstance(value, int | float) for value in statistics):
        # A constant: XLA multiplies by its inverse.
        return jnp.array(statistics, jnp.float32)
    return jnp.stack(statistics, axis=-1)[:, None, None, :]


def augment_images(
    images: jax.Array,
    key: jax.Array,
    *,
    flips: bool,
    rotate_degrees: float = 0.0,
    scale: tuple[float, float] = (1.0, 1.0),
    shift: float = 0.0,
    rows: jax.Array | None = None,
    channel_dropout: float = 0.0,
    protein_contrast: float = 0.0,
    contrast: float = 0.0,
    brightness: float = 0.0,
    exposure: float = 0.0,
    shard_rows: Placer = as_is,
    replicate: Placer = as_is,
    move: LineMover = move_lines,
) -> jax.Array:
    """Draws, for each image, a symmetry of the square, then a window that is zoomed to full size.

    Then the intensities of its channels, if they are to vary (`hpa_jax.transforms.intensity`).

    Channel dropout ignores `rows`: a net that has to cope without a reference channel has to do so
    for every image. Each channel is drawn independently, so that all three may be dropped (in a
    fraction `channel_dropout`^3 of the images), as where the protein alone was imaged. The protein,
    green, is never dropped. What is left is not made brighter, since nothing is when a channel is
    missing.

    Args:
      images: `[B, H, W, C]`, uint8 or float, 0 to 255.
      key: of the draws.
      flips: draw one of the eight symmetries (four where H and W differ).
      rotate_degrees: the window is rotated by up to this angle either way.
      scale: lowest and highest side of the window, as fractions of the image's, drawn uniformly in
        the logarithm.
      shift: the window's center moves by up to this fraction of the side, in both directions.
      rows: `bool [B]`; images whose entry is False keep their pixels. None: all are augmented.
      channel_dropout: probability that a reference channel (stored red, blue, yellow; C is 4) of an
        image is black (0), which is what the builder stores for a channel that was not imaged.
      protein_contrast, contrast, brightness, exposure: as of `intensity.jitter`.
      shard_rows: shards an array over the devices that share the height of an image. It is applied
        to whatever has a row for each row of the result (`hpa_jax.parallel.mesh.row_sharder`).
      replicate: replicates an array on those devices. It is applied to whatever such rows are
        computed from (`hpa_jax.parallel.mesh.image_replicator`).
      move: moves the lines of rotated images (`hpa_jax.transforms.line_kernels.line_mover`).

    Returns:
      `float32 [B, H, W, C]`, 0 to 255; black (0) where the window leaves the image.
    """
    moved = _flip_and_zoom(
        images,
        key,
        flips=flips,
        rotate_degrees=rotate_degrees,
        scale=scale,
        shift=shift,
        shard_rows=shard_rows,
        replicate=replicate,
        move=move,
    )
    moved = shard_rows(moved)
    if protein_contrast or contrast or brightness or exposure:
        moved = jitter(
            moved,
            jax.random.fold_in(key, _INTENSITY_DRAWS),
            protein_contrast=protein_contrast,
            contrast=contrast,
            brightness=brightness,
            exposure=exposure,
        )
    if rows is not None:
        moved = jnp.where(rows[:, None, None, None], moved, images.astype(jnp.float32))
    if channel_dropout == 0:
        return moved
    dropout_key = jax.random.fold_in(key, _DROPOUT_DRAWS)
    dropped = jax.random.bernoulli(dropout_key, channel_dropout, (len(images), len(CHANNELS)))
    dropped &= jnp.array([name != "green" for name in CHANNELS])
    return jnp.where(dropped[:, None, None, :], 0, moved)


def _flip_and_zoom(
    images: jax.Array,
    key: jax.Array,
    *,
    flips: bool,
    rotate_degrees: float,
    scale: tuple[float, float],
    shift: float,
    shard_rows: Placer,
    replicate: Placer,
    move: LineMover,
) -> jax.Array:
    """The symmetry and the window of `augment`, for all images."""
    # One key for each draw, whether it is needed or not: settings do not change other draws.
    flip_key, angle_key, scale_key, shift_key = jax.random.split(key, 4)
    batch_size = images.shape[0]
    if flips:
        which = jax.random.randint(flip_key, (batch_size,), 0, 8)
        images = replicate(symmetry(images, which))
    if rotate_degrees == 0 and scale == (1.0, 1.0) and shift == 0:
        return images.astype(jnp.float32)

    lowest = jnp.log(scale[0])
    highest = jnp.log(scale[1])
    side = jnp.exp(jax.random.uniform(scale_key, (batch_size,), minval=lowest, maxval=highest))
    center = jax.random.uniform(shift_key, (batch_size, 2), minval=-shift, maxval=shift)
    if rotate_degrees == 0:
        images = images.astype(jnp.float32)
        return warp_upright(images, side, center, shard_rows=shard_rows, replicate=replicate)
    limit = math.radians(rotate_degrees)
    angle = jax.random.uniform(angle_key, (batch_size,), minval=-limit, maxval=limit)
    return warp_rotated(images, side, center, angle, limit, replicate=replicate, move=move)
