"""What the kernels share: sizes of registers and blocks, and the small parts that all are made of."""

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl

LANES = 128
"""Pixels in a register of a TPU: blocks hold a multiple of it."""
SUBLANES = 16
"""Channels in a register, of bfloat16: blocks begin and end at a multiple of it."""
BLOCK = 2**19
"""Values in the largest block of a kernel: with its gradient, both twice, and what is computed, under 16 MiB."""
MOST_PIXELS = 4096
"""In a block, however few its channels."""


def block_lanes(pixels: int, channels: int) -> int:
    """Pixels in a block of a product over so many channels."""
    most = max(LANES, BLOCK // channels)
    return max(
        n for n in range(LANES, min(most, pixels, MOST_PIXELS) + 1, LANES) if pixels % n == 0
    )


def column(values: jax.Array) -> jax.Array:
    return values[:, None]


def whole(*shape: int) -> pl.BlockSpec:
    """The same block at every place of the grid: read once, or written once."""
    return pl.BlockSpec(shape, lambda *_: (0,) * len(shape))


def cost(flops: int, *arrays: tuple[int, jnp.dtype]) -> pl.CostEstimate:
    moved = sum(size * jnp.dtype(dtype).itemsize for size, dtype in arrays)
    return pl.CostEstimate(flops=flops, bytes_accessed=moved, transcendentals=0)


def at_first(*axes: int) -> jax.Array:
    at = [pl.program_id(axis) == 0 for axis in axes]
    return at[0] if len(at) == 1 else at[0] & at[1]


def two_sums(a: jax.Array, b: jax.Array) -> jax.Array:
    """Sums over the pixels of a and of b: two columns."""
    return jnp.concatenate(
        [jnp.sum(a, axis=1, keepdims=True), jnp.sum(b, axis=1, keepdims=True)], axis=1
    )
