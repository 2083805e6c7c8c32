"""Rotated windows of images, in operations that a TPU runs at full rate.

Design: no gathers, which a TPU runs pixel by pixel. A window is rotated by three shears, each of
which moves complete lines (`lines.py`).
"""

import math

import jax
import jax.numpy as jnp

from hpa_jax.transforms.geometry import Placer, as_is, from_middle, warp_upright
from hpa_jax.transforms.lines import LineMover, move_lines, pack


def warp_rotated(
    images: jax.Array,
    side: jax.Array,
    center: jax.Array,
    angle: jax.Array,
    limit: float,
    replicate: Placer = as_is,
    move: LineMover = move_lines,
) -> jax.Array:
    """Samples a rotated window of each image.

    The window is zoomed upright, with what a rotation brings into it from around, and then rotated
    by three shears. They interpolate with a cubic, since linear interpolation three times over
    would blur the image. Angles beyond 45 degrees start with rotations by 90 degrees, which are
    exact.

    Args:
      images: `[B, H, W, C]`, uint8 or float, 0 to 255; C up to 4.
      side: as of `warp_upright`.
      center: as of `warp_upright`.
      angle: `[B]`, of the window, in radians.
      limit: largest absolute value that an angle may have.
      replicate: as of `warp_upright`.
      move: moves the lines of a shear.

    Returns:
      `float32 [B, H, W, C]`, 0 to 255; black (0) where the window leaves the image.

    References:
      Paeth, "A Fast Algorithm for General Raster Rotation", 1986 (three shears).
      Keys, "Cubic Convolution Interpolation for Digital Image Processing", 1981.
      Unser, Thevenaz and Yaroslavsky, "Convolution-Based Interpolation for Fast, High-Quality
      Rotation of Images", 1995.
    """
    height, width = images.shape[1:3]
    sheared_limit = min(limit, math.pi / 4)
    edge = _padded_edge(height, width, sheared_limit)

    window = warp_upright(
        images.astype(jnp.float32), side, center, (edge, edge), replicate=replicate
    )
    words = [replicate(word) for word in pack(jnp.moveaxis(window, -1, 0))]
    if limit > sheared_limit:
        quarters = jnp.round(angle / (math.pi / 2)).astype(jnp.int32)
        words = [_rotate_quarters(word, quarters) for word in words]
        angle = angle - quarters * (math.pi / 2)

    slope_x = jnp.tan(angle / 2)[:, None]
    slope_y = -jnp.sin(angle)[:, None]
    limit_x = math.tan(sheared_limit / 2) * (edge - 1) / 2
    limit_y = math.sin(sheared_limit) * (edge - 1) / 2

    def shear(shift: jax.Array, limit: float, size: int, axis: int) -> list[jax.Array]:
        moved = move(words, replicate(shift), limit, size, axis, as_words=True)
        return [replicate(word) for word in moved]

    words = shear((slope_x * from_middle(edge))[:, :, None], limit_x, edge, axis=2)
    words = shear((slope_y * from_middle(edge))[:, None, :], limit_y, height, axis=1)
    # Only the rows of the result are left, and the last shear keeps its full precision.
    shift_x = (slope_x * from_middle(height))[:, :, None]
    channels = move(words, shift_x, limit_x, width, axis=2, as_words=False)
    return jnp.stack(channels[: images.shape[-1]], axis=-1)


def _padded_edge(height: int, width: int, limit: float) -> int:
    """Side in px of a square that holds the window, rotated by up to `limit` radians."""
    reach = max(height, width) * (math.cos(limit) + math.sin(limit))
    # The same whole number of pixels on both sides, so that its rows lie on those of the image.
    return height + 2 * math.ceil((reach - height) / 2)


def _rotate_quarters(pixels: jax.Array, quarters: jax.Array) -> jax.Array:
    """Rotates squares `[B, N, N]` by `quarters [B]` times 90 degrees, as `warp_rotated` does."""
    is_odd = (quarters & 1 == 1)[:, None, None]
    has_half = (quarters & 2 == 2)[:, None, None]
    pixels = jnp.where(is_odd, pixels.swapaxes(1, 2)[:, :, ::-1], pixels)
    return jnp.where(has_half, pixels[:, ::-1, ::-1], pixels)
