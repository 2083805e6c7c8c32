"""What the Pallas kernels share: sizes of registers and blocks, block specs, and sums over pixels.

Every kernel walks over the pixels in blocks, `[channels, pixels]`, and sums over all of them what
the next norm needs. Arrays without pixels (weights, factors, sums) are one constant block.
"""

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

LANES = 128
"""Pixels in a register of a TPU: blocks hold a multiple of it."""
SUBLANES = 16
"""Channels in a register, of bfloat16: blocks begin and end at a multiple of it."""
MAX_BLOCK_VALUES = 2**19
"""In the largest block of a kernel. With its gradient, both double-buffered, and what is computed
it stays under the 16 MiB of a core's memory."""
MAX_BLOCK_PIXELS = 4096
"""In a block, however few its channels."""
MEMORY_LIMIT = 64 * 2**20
"""Of a core's memory, for kernels that need more than they have unasked."""


def pixels_per_block(pixels: int, channels: int) -> int:
    """The largest block that divides `pixels` and fits, for a matrix product over `channels`."""
    most = max(LANES, MAX_BLOCK_VALUES // channels)
    most = min(most, pixels, MAX_BLOCK_PIXELS)
    fitting = [size for size in range(LANES, most + 1, LANES) if pixels % size == 0]
    return max(fitting)


def pixel_block(rows: int, pixels: int) -> pl.BlockSpec:
    """The first `rows` channels, `pixels` at a time along a grid of one axis."""
    return pl.BlockSpec((rows, pixels), lambda step: (0, step))


def constant_block(*shape: int) -> pl.BlockSpec:
    """The same block in every grid step: read once, or written once."""
    return pl.BlockSpec(shape, lambda *_: (0,) * len(shape))


def compiler_params(interpret: bool) -> pltpu.CompilerParams | None:
    """Of a kernel that needs more of a core's memory than it has unasked, 16 MiB."""
    if interpret:
        return None
    return pltpu.CompilerParams(vmem_limit_bytes=MEMORY_LIMIT)


def as_column(values: jax.Array) -> jax.Array:
    """`[C]` to `[C, 1]`, which broadcasts over the pixels of a block."""
    return values[:, None]


def zero_at_first_step(*refs, axes: tuple[int, ...]) -> None:
    """Zeros `refs`, into which a kernel sums, at the first step of a grid with these axes."""
    # An output block stays on the chip while its index does not change, so it holds the sum so far.
    is_first = pl.program_id(axes[0]) == 0
    for axis in axes[1:]:
        is_first = is_first & (pl.program_id(axis) == 0)

    @pl.when(is_first)
    def _():
        for ref in refs:
            ref[...] = jnp.zeros_like(ref)


def two_sums(a: jax.Array, b: jax.Array) -> jax.Array:
    """Sums of `a` and of `b` over the pixels of a block: `[C, 2]`."""
    sum_a = jnp.sum(a, axis=1, keepdims=True)
    sum_b = jnp.sum(b, axis=1, keepdims=True)
    return jnp.concatenate([sum_a, sum_b], axis=1)


def cost_estimate(flops: int, *, values: int, dtype, float32_values: int) -> pl.CostEstimate:
    """What a kernel declares to XLA.

    Args:
      flops: of all grid steps.
      values: read and written, of `dtype`.
      dtype: of the buffers and the kernels.
      float32_values: read and written.
    """
    bytes_accessed = values * jnp.dtype(dtype).itemsize + float32_values * 4
    return pl.CostEstimate(flops=flops, bytes_accessed=bytes_accessed, transcendentals=0)
