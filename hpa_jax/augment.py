"""From stored bytes to what the net sees, on the device, inside the jitted step.

Every draw is an array with one value an image, so a batch that is cut over a mesh is augmented as if it were whole.
Unusual: a window without free rotation is resampled by two matrix products an image, which a TPU runs at full rate,
where the gathers of a general warp would not; both give the same bilinear samples.
"""

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates


def prepare(images: jax.Array, channels: tuple[int, ...], mean: tuple[float, ...], std: tuple[float, ...]) -> jax.Array:
    """Selects and normalises channels: `(x / 255 - mean) / std`.

    Args:
      images: `[B, H, W, 4]`, uint8 or float, 0 to 255.
      channels: stored channels to keep, in the net's order.
      mean, std: of each stored channel, shares of 255.

    Returns:
      `float32 [B, H, W, len(channels)]`.
    """
    picked = jnp.stack([images[..., c] for c in channels], axis=-1).astype(jnp.float32)
    mean = jnp.array([mean[c] for c in channels], jnp.float32)
    std = jnp.array([std[c] for c in channels], jnp.float32)
    return (picked / 255 - mean) / std


def augment(
    images: jax.Array,
    key: jax.Array,
    *,
    flips: bool,
    rotate_degrees: float = 0.0,
    scale: tuple[float, float] = (1.0, 1.0),
    shift: float = 0.0,
) -> jax.Array:
    """Draws, for each image, a symmetry of the square, then a window that is zoomed to the full image.

    Args:
      images: `[B, H, W, C]`, uint8 or float.
      key: of the draws.
      flips: one of the eight symmetries (four where H and W differ).
      rotate_degrees: the window is turned by up to so much either way.
      scale: low and high end of the window's side, as a share of the image's, drawn evenly in the logarithm.
      shift: the window's centre moves by up to this share of the side, in both directions.

    Returns:
      `float32 [B, H, W, C]` in the range of `images`; black (0) where the window leaves the image.
    """
    flip_key, turn_key, scale_key, shift_key = jax.random.split(key, 4)
    batch = images.shape[0]
    images = images.astype(jnp.float32)
    if flips:
        images = _symmetry(images, jax.random.randint(flip_key, (batch,), 0, 8))
    if rotate_degrees == 0 and scale == (1.0, 1.0) and shift == 0:
        return images
    low, high = jnp.log(scale[0]), jnp.log(scale[1])
    side = jnp.exp(jax.random.uniform(scale_key, (batch,), minval=low, maxval=high))
    centre = jax.random.uniform(shift_key, (batch, 2), minval=-shift, maxval=shift)
    if rotate_degrees == 0:
        return warp_upright(images, side, centre)
    limit = jnp.deg2rad(rotate_degrees)
    return warp_turned(images, side, centre, jax.random.uniform(turn_key, (batch,), minval=-limit, maxval=limit))


def warp_upright(images: jax.Array, side: jax.Array, centre: jax.Array) -> jax.Array:
    """Bilinear samples of an upright window: `[B, H, W, C]`, `side [B]`, `centre [B, 2]` (y, x; shares of the side)."""

    def weights(size: int, offset: jax.Array) -> jax.Array:
        middle = (size - 1) / 2
        at = (jnp.arange(size) - middle) * side[:, None] + middle + offset[:, None] * size  # [B, size]
        return jnp.maximum(0, 1 - jnp.abs(at[:, :, None] - jnp.arange(size)))  # [B, out, in]

    rows, columns = weights(images.shape[1], centre[:, 0]), weights(images.shape[2], centre[:, 1])
    # The default precision of a TPU would round the weights to eight bits.
    images = jnp.einsum("bij,bjxc->bixc", rows, images, precision="high")
    return jnp.einsum("bij,byjc->byic", columns, images, precision="high")


def warp_turned(images: jax.Array, side: jax.Array, centre: jax.Array, angle: jax.Array) -> jax.Array:
    """Bilinear samples of a window turned by `angle [B]` radians; the rest as in `warp_upright`."""
    height, width = images.shape[1:3]
    middle_y, middle_x = (height - 1) / 2, (width - 1) / 2
    y, x = jnp.meshgrid(jnp.arange(height) - middle_y, jnp.arange(width) - middle_x, indexing="ij")

    def one(image, side, centre, angle):
        sin, cos = jnp.sin(angle) * side, jnp.cos(angle) * side
        at = (cos * y - sin * x + middle_y + centre[0] * height, sin * y + cos * x + middle_x + centre[1] * width)
        sample = lambda plane: map_coordinates(plane, at, order=1, mode="constant", cval=0.0)  # noqa: E731
        return jax.vmap(sample, in_axes=-1, out_axes=-1)(image)

    return jax.vmap(one)(images, side, centre, angle)


def _symmetry(images: jax.Array, which: jax.Array) -> jax.Array:
    """The symmetry of the square with number `which [B]`, 0 to 7."""

    def where(bit: int, changed: jax.Array, images: jax.Array) -> jax.Array:
        return jnp.where(((which >> bit) & 1 == 1)[:, None, None, None], changed, images)

    images = where(0, images[:, ::-1], images)
    images = where(1, images[:, :, ::-1], images)
    if images.shape[1] == images.shape[2]:
        images = where(2, images.swapaxes(1, 2), images)
    return images
