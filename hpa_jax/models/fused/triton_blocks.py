"""What the kernels for NVIDIA GPUs share: how pixels are divided over programs, and access by mask.

All arrays of a kernel are whole: `[P, C]`, the pixels of all images in rows, channels last. A
program takes the rows and columns that it needs. Programs run side by side in no order, so each
writes its own sums, which XLA adds up: the result is the same each time.

XLA compiles kernels that differ in nothing once, and a net has hundreds. So what only tells one
layer of a block from the next, as how many channels there are so far, is not part of the kernel: it
is an operand, the `sizes`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plt

MAX_BLOCK_PIXELS = 128
"""Rows of a block of values. With 128 channels and float32 it fills half of the registers of 128
threads."""
MIN_BLOCK_PIXELS = 32
"""Fewer leave the tensor cores idle."""
PROGRAMS = 128
"""For which a GPU has multiprocessors: about as many as the largest has."""
LEAST_PIXELS = 512
"""Of a program that writes a kernel's gradient: fewer write more of it than they read."""
WARPS = 8

EVERYTHING = pl.BlockSpec(memory_space=pl.ANY)
"""An array in the GPU's memory, of which the kernel loads what it needs."""


class Tiles(NamedTuple):
    """What a program of a backward pass holds in registers.

    Attributes:
      block_bytes: a block's pixels times the bytes of a value.
      channels: of x, in the 1x1 convolution.
      features: of h, in the 3x3 one, which has nine sums of them by the growth.
    """

    block_bytes: int
    channels: int
    features: int


LARGE_TILES = Tiles(128, 128, 64)
"""Where tensor cores take factors from shared memory: compute capabilities 9.0 and 10.x. Twice as
many channels do not fit (ptxas has to spill registers)."""
SMALL_TILES = Tiles(64, 64, 32)
"""Where they take them from registers: on all others."""


class Span(NamedTuple):
    """How the pixels are divided: each program takes `steps` blocks, one after the other.

    Attributes:
      programs: that there are.
      steps: blocks of a program.
      block: pixels.
    """

    programs: int
    steps: int
    block: int

    @property
    def pixels(self) -> int:
        """Of a program."""
        return self.steps * self.block


def block_pixels(pixels: int, most: int = MAX_BLOCK_PIXELS) -> int:
    """The largest power of two, at most `most`, that divides a number of pixels."""
    block = most
    while pixels % block:
        block //= 2
    return block


def plan_span(pixels: int, *, most_programs: int, least_pixels: int = 0, block: int) -> Span:
    """Divides pixels over programs.

    Args:
      pixels: in all.
      most_programs: that they are divided over.
      least_pixels: of a program, where there are as many.
      block: the most pixels of a block.
    """
    block = block_pixels(pixels, block)
    blocks = pixels // block
    most_programs = min(most_programs, max(1, pixels // max(1, least_pixels)))
    fitting = [programs for programs in range(1, most_programs + 1) if blocks % programs == 0]
    return Span(max(fitting), blocks // max(fitting), block)


def load(ref, rows: jax.Array, columns: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """Values of an array at some rows and columns, 0 where `mask` is False."""
    other = None if mask is None else 0
    return plt.load(ref.at[rows[:, None], columns[None, :]], mask=mask, other=other)


def store(ref, rows, columns, values, mask: jax.Array | None = None) -> None:
    """Writes values at some rows and columns, but not where `mask` is False."""
    plt.store(ref.at[rows[:, None], columns[None, :]], values.astype(ref.dtype), mask=mask)


def indices(start, count: int) -> jax.Array:
    """`int32 [count]`, from `start` on: rows or columns."""
    return start + jnp.arange(count, dtype=jnp.int32)


def as_sizes(*sizes: int) -> jax.Array:
    """An operand of numbers that a kernel reads: `int32 [n]`."""
    return jnp.array(sizes, jnp.int32)


def compiler_params(*, stages: int, warps: int = WARPS) -> plt.CompilerParams:
    """Of a kernel whose loops have `stages` steps of loads under way."""
    return plt.CompilerParams(num_warps=warps, num_stages=stages)


def as_rows(images: jax.Array) -> jax.Array:
    """`[B, H, W, C]` as `[P, C]`."""
    return images.reshape(-1, images.shape[-1])
