"""Rotated windows of images, in operations that a TPU runs at full rate.

Design: no gathers, which a TPU runs pixel by pixel. A window is rotated by three shears, each of
which moves complete lines. Lines move by powers of two, each line by those that its shift is made
of.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from hpa_jax.transforms.geometry import Placer, as_is, from_middle, warp_upright

# Pixels by which a place, computed in float32, may lie beyond the farthest one; with a margin.
_ROUNDING = 0.01

# Between shears a pixel value is kept in steps of 1/256, as 16 bits: two values to a 32-bit word.
_STEPS = 256
_VALUE_BITS = 16
_VALUE_MASK = 0xFFFF

_TAPS = 4  # samples that the cubic interpolation reads


def warp_rotated(
    images: jax.Array,
    side: jax.Array,
    center: jax.Array,
    angle: jax.Array,
    limit: float,
    replicate: Placer = as_is,
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
    channels = jnp.moveaxis(_quantized(window), -1, 0)
    words = [replicate(word) for word in _packed(channels)]
    if limit > sheared_limit:
        quarters = jnp.round(angle / (math.pi / 2)).astype(jnp.int32)
        words = [_rotate_quarters(word, quarters) for word in words]
        angle = angle - quarters * (math.pi / 2)

    slope_x = jnp.tan(angle / 2)[:, None]
    slope_y = -jnp.sin(angle)[:, None]
    limit_x = math.tan(sheared_limit / 2) * (edge - 1) / 2
    limit_y = math.sin(sheared_limit) * (edge - 1) / 2

    def shear(
        words: Sequence[jax.Array], shift: jax.Array, limit: float, size: int, axis: int
    ) -> list[jax.Array]:
        moved = _move_lines(words, replicate(shift), limit, size, axis)
        quantized = [_quantized(channel) for channel in moved]
        return [replicate(word) for word in _packed(quantized)]

    shift_x = (slope_x * from_middle(edge))[:, :, None]
    words = shear(words, shift_x, limit_x, edge, axis=2)
    shift_y = (slope_y * from_middle(edge))[:, None, :]
    words = shear(words, shift_y, limit_y, height, axis=1)
    # Only the rows of the result are left, and the last shear keeps its full precision.
    shift_x = (slope_x * from_middle(height))[:, :, None]
    channels = _move_lines(words, shift_x, limit_x, width, axis=2)
    return jnp.stack(channels[: images.shape[-1]], axis=-1)


def _padded_edge(height: int, width: int, limit: float) -> int:
    """Side in px of a square that holds the window, rotated by up to `limit` radians."""
    reach = max(height, width) * (math.cos(limit) + math.sin(limit))
    # The same whole number of pixels on both sides, so that its rows lie on those of the image.
    return height + 2 * math.ceil((reach - height) / 2)


def _move_lines(
    words: Sequence[jax.Array], shift: jax.Array, limit: float, size: int, axis: int
) -> list[jax.Array]:
    """Moves lines and returns their middle `size` pixels, black beyond the ends of a line.

    Args:
      words: `uint32 [B, H, W]` each, `_packed`.
      shift: px by which each line is read further on, in a shape that goes with a word.
      limit: largest absolute value of `shift`.
      size: pixels of the result along `axis`.
      axis: of a word along which lines move.

    Returns:
      Two channels a word: `float32 [B, H, W]` each, 0 to 255, H or W being `size`.
    """
    length = words[0].shape[axis]
    first = (length - size) / 2  # the first one of the middle pixels; a half lies between two
    lowest = math.floor(first - limit - _ROUNDING)
    highest = math.floor(first + limit + _ROUNDING)
    # A line is read from `lowest + steps`, and between there and the next pixel.
    start = jnp.floor(first + shift)
    steps = start.astype(jnp.int32) - lowest
    weights = _keys_cubic(first + shift - start)
    bits = (highest - lowest).bit_length()
    # The taps of a line that all bits move reach this far.
    padded_length = size + (1 << bits) - 1 + _TAPS - 1
    before = 1 - lowest
    padding = [(0, 0, 0)] * 3
    padding[axis] = (before, padded_length - before - length, 0)

    def read_taps(word: jax.Array) -> list[jax.Array]:
        """For each pixel of the result the sample before its place, that at it, and two after."""
        word = jax.lax.pad(word, jnp.uint32(0), padding)
        remaining = padded_length
        for bit in reversed(range(bits)):
            distance = 1 << bit
            remaining -= distance
            near = jax.lax.slice_in_dim(word, 0, remaining, axis=axis)
            far = jax.lax.slice_in_dim(word, distance, distance + remaining, axis=axis)
            word = jnp.where(steps >> bit & 1 == 1, far, near)
        taps = []
        for tap in range(_TAPS):
            taps.append(jax.lax.slice_in_dim(word, tap, tap + size, axis=axis))
        return taps

    def interpolate(taps: list[jax.Array], place: int) -> jax.Array:
        """The channel that is stored at `place` of the words."""
        values = [_unpacked(tap, place) for tap in taps]
        total = sum(weight * value for weight, value in zip(weights, values, strict=True))
        return jnp.clip(total, 0, 255)

    channels = []
    for word in words:
        taps = read_taps(word)
        for place in range(2):
            channels.append(interpolate(taps, place))
    return channels


def _keys_cubic(fraction: jax.Array) -> tuple[jax.Array, ...]:
    """Weights of the samples at -1, 0, 1 and 2 for a value at `fraction`, 0 to 1.

    References:
      Keys, "Cubic Convolution Interpolation for Digital Image Processing", 1981, with a = -1/2.
    """
    t = fraction
    rest = 1 - fraction
    return (
        -t * rest**2 / 2,
        1 - t**2 * (5 - 3 * t) / 2,
        1 - rest**2 * (5 - 3 * rest) / 2,
        -rest * t**2 / 2,
    )


def _rotate_quarters(pixels: jax.Array, quarters: jax.Array) -> jax.Array:
    """Rotates squares `[B, N, N]` by `quarters [B]` times 90 degrees, as `warp_rotated` does."""
    is_odd = (quarters & 1 == 1)[:, None, None]
    has_half = (quarters & 2 == 2)[:, None, None]
    pixels = jnp.where(is_odd, pixels.swapaxes(1, 2)[:, :, ::-1], pixels)
    return jnp.where(has_half, pixels[:, ::-1, ::-1], pixels)


def _quantized(values: jax.Array) -> jax.Array:
    """0 to 255 in steps of 1/256, as uint16."""
    return jnp.round(values * _STEPS).astype(jnp.uint16)


def _packed(channels: Sequence[jax.Array]) -> list[jax.Array]:
    """Packs up to four channels, `uint16 [B, H, W]` each, two to a word: `uint32 [B, H, W]`.

    A third channel has a word for itself.
    """
    values = [channel.astype(jnp.uint32) for channel in channels]
    words = []
    for pair in (values[:2], values[2:]):
        if pair:
            words.append(sum(value << _VALUE_BITS * place for place, value in enumerate(pair)))
    return words


def _unpacked(word: jax.Array, place: int) -> jax.Array:
    """The values at `place` (0 or 1) of words: float32, 0 to 255."""
    value = word >> _VALUE_BITS * place & _VALUE_MASK
    return value.astype(jnp.float32) / _STEPS
