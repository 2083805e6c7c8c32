"""Complete lines of images, moved by distances of their own.

A line is read further on by a number of pixels that is no whole number: pixels are moved by powers
of two, each line by those that its distance is made of, and interpolated by a cubic.

Between two such moves a pixel value is kept in steps of 1/256, as 16 bits, two channels to a 32-bit
word. What moves lines takes words, and gives words or, after the last move, channels
(`LineMover`). This one is XLA's; `line_kernels.py` has one for a TPU.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

# Pixels by which a place, computed in float32, may lie beyond the farthest one; with a margin.
_ROUNDING = 0.01

_STEPS = 256
_VALUE_BITS = 16
_VALUE_MASK = 0xFFFF

TAPS = 4
"""Samples that the cubic interpolation reads."""

LineMover = Callable[..., list[jax.Array]]
"""`move_lines`, or what does the same."""


class LineReads(NamedTuple):
    """From where each pixel of the middle of a line is read.

    Pixel i is interpolated of the samples `i + first + steps` and the three behind it, of which
    those beyond the line are 0.

    Attributes:
      first: of all lines.
      bits: of `steps`.
      steps: int32, one a line, 0 or more.
      weights: of the four samples; float32, one a line each.
    """

    first: int
    bits: int
    steps: jax.Array
    weights: tuple[jax.Array, ...]


def plan_reads(shift: jax.Array, limit: float, length: int, size: int) -> LineReads:
    """Where lines are read.

    Args:
      shift: px by which each line is read further on.
      limit: largest absolute value of `shift`.
      length: pixels of a line.
      size: pixels of the result, its middle.
    """
    middle = (length - size) / 2  # the first one of the middle pixels; a half lies between two
    lowest = math.floor(middle - limit - _ROUNDING)
    highest = math.floor(middle + limit + _ROUNDING)
    start = jnp.floor(middle + shift)
    return LineReads(
        first=lowest - 1,
        bits=(highest - lowest).bit_length(),
        steps=start.astype(jnp.int32) - lowest,
        weights=keys_cubic(middle + shift - start),
    )


def move_lines(
    words: Sequence[jax.Array],
    shift: jax.Array,
    limit: float,
    size: int,
    axis: int,
    *,
    as_words: bool,
) -> list[jax.Array]:
    """Moves lines and returns their middle `size` pixels, black beyond the ends of a line.

    Args:
      words: `uint32 [B, H, W]` each, `pack`ed.
      shift: px by which each line is read further on, in a shape that goes with a word.
      limit: largest absolute value of `shift`.
      size: pixels of the result along `axis`.
      axis: of a word along which lines move.
      as_words: whether the result is words again.

    Returns:
      Words, or two channels a word: `float32 [B, H, W]` each, 0 to 255, H or W being `size`.
    """
    length = words[0].shape[axis]
    reads = plan_reads(shift, limit, length, size)
    # The taps of a line that all bits move reach this far.
    padded_length = size + (1 << reads.bits) - 1 + TAPS - 1
    before = -reads.first
    padding = [(0, 0, 0)] * 3
    padding[axis] = (before, padded_length - before - length, 0)

    def read_taps(word: jax.Array) -> list[jax.Array]:
        """For each pixel of the result the sample before its place, that at it, and two after."""
        word = jax.lax.pad(word, jnp.uint32(0), padding)
        remaining = padded_length
        for bit in reversed(range(reads.bits)):
            distance = 1 << bit
            remaining -= distance
            near = jax.lax.slice_in_dim(word, 0, remaining, axis=axis)
            far = jax.lax.slice_in_dim(word, distance, distance + remaining, axis=axis)
            word = jnp.where(reads.steps >> bit & 1 == 1, far, near)
        taps = []
        for tap in range(TAPS):
            taps.append(jax.lax.slice_in_dim(word, tap, tap + size, axis=axis))
        return taps

    channels = []
    for word in words:
        taps = read_taps(word)
        channels += [interpolate(taps, reads.weights, place) for place in range(2)]
    return pack(channels) if as_words else channels


def interpolate(taps: Sequence[jax.Array], weights: Sequence[jax.Array], place: int) -> jax.Array:
    """The channel at `place` (0 or 1) of words, of four samples: float32, 0 to 255."""
    values = [unpack(tap, place) for tap in taps]
    total = sum(weight * value for weight, value in zip(weights, values, strict=True))
    return jnp.clip(total, 0, 255)


def keys_cubic(fraction: jax.Array) -> tuple[jax.Array, ...]:
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


def pack(channels: Sequence[jax.Array]) -> list[jax.Array]:
    """Packs up to four channels of values from 0 to 255, two to a word: `uint32` of their shape.

    A third channel has a word for itself.
    """
    values = [jnp.round(channel * _STEPS).astype(jnp.int32) for channel in channels]
    words = []
    for pair in (values[:2], values[2:]):
        if pair:
            word = sum(value << _VALUE_BITS * place for place, value in enumerate(pair))
            words.append(jax.lax.bitcast_convert_type(word, jnp.uint32))
    return words


def unpack(word: jax.Array, place: int) -> jax.Array:
    """The values at `place` (0 or 1) of words: float32, 0 to 255."""
    value = word >> _VALUE_BITS * place & _VALUE_MASK
    # A TPU has no conversion of unsigned numbers.
    return jax.lax.bitcast_convert_type(value, jnp.int32).astype(jnp.float32) / _STEPS
