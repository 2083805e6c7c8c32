"""Moving lines of images on a TPU, as Pallas kernels.

XLA moves all lines by one power of two at a time, and writes what it has moved to memory each time.
Here a block of lines is read once, moved by all powers of two on the chip, interpolated, and
written once.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from hpa_jax.transforms.lines import (
    TAPS,
    LineMover,
    interpolate,
    move_lines,
    pack,
    plan_reads,
)

_LANES = 128
_SUBLANES = 8
_BLOCK_VALUES = 2**17
"""In a block of lines, at most, unless the fewest lines that fill registers have more."""
_MEMORY_LIMIT = 64 * 2**20
"""Of a core's memory, of which a kernel has 16 MiB unasked."""


def line_mover(mesh: Mesh | None) -> LineMover:
    """The kernels where each device of the mesh is a TPU that has complete images; else XLA's."""
    if mesh is None or mesh.shape["space"] != 1:
        return move_lines
    if mesh.devices.flat[0].platform != "tpu":
        return move_lines
    return partial(move_lines_of_shards, mesh)


def move_lines_of_shards(
    mesh: Mesh,
    words: Sequence[jax.Array],
    shift: jax.Array,
    limit: float,
    size: int,
    axis: int,
    *,
    as_words: bool,
    interpret: bool = False,
) -> list[jax.Array]:
    """`move_lines` of batches that are sharded over a mesh, whose devices have complete images."""
    move = partial(
        move_lines_by_kernel,
        limit=limit,
        size=size,
        axis=axis,
        as_words=as_words,
        interpret=interpret,
    )
    sharded = P("data")
    # A `pallas_call` does not declare over which axes its results vary.
    return jax.shard_map(
        move, mesh=mesh, in_specs=(sharded, sharded), out_specs=sharded, check_vma=False
    )(list(words), shift)


def move_lines_by_kernel(
    words: Sequence[jax.Array],
    shift: jax.Array,
    limit: float,
    size: int,
    axis: int,
    *,
    as_words: bool,
    interpret: bool = False,
) -> list[jax.Array]:
    """`move_lines` of the images of one device.

    Args:
      words, shift, limit, size, axis, as_words: as of `move_lines`.
      interpret: run the kernel as JAX operations, on any device.
    """
    batch, height, width = words[0].shape
    length = words[0].shape[axis]
    across = 3 - axis
    lines = words[0].shape[across]
    reads = plan_reads(shift, limit, length, size)
    # So long that what wraps around its ends is black.
    reach = size + reads.first + (1 << reads.bits) + TAPS
    unit = _SUBLANES if axis == 1 else _LANES
    padded_length = -(-(max(length, reach) + max(0, -reads.first)) // unit) * unit

    lines_per_block = _LANES
    if axis == 2:
        fitting = _BLOCK_VALUES // padded_length // _SUBLANES
        lines_per_block = _SUBLANES * max(1, min(fitting, _SUBLANES))

    def by_line(pixels: int) -> pl.BlockSpec:
        """Of so many pixels, or values, of each line of a block."""
        if axis == 1:
            return pl.BlockSpec(
                (1, pixels, lines_per_block), lambda image, block: (image, 0, block)
            )
        return pl.BlockSpec((1, lines_per_block, pixels), lambda image, block: (image, block, 0))

    result_shape = [batch, height, width]
    result_shape[axis] = size
    dtype = jnp.uint32 if as_words else jnp.float32
    count = len(words) if as_words else 2 * len(words)
    result = jax.ShapeDtypeStruct(result_shape, dtype)
    values_moved = batch * lines * (length * len(words) + size * count + 1 + TAPS)
    padded_shape = [lines_per_block] * 2
    padded_shape[axis - 1] = padded_length
    return pl.pallas_call(
        partial(_kernel, reads.first, reads.bits, axis - 1, as_words),
        grid=(batch, pl.cdiv(lines, lines_per_block)),
        in_specs=[by_line(1), by_line(TAPS), *[by_line(length)] * len(words)],
        out_specs=[by_line(size)] * count,
        out_shape=[result] * count,
        scratch_shapes=[pltpu.VMEM(padded_shape, jnp.uint32)],
        cost_estimate=pl.CostEstimate(
            flops=2 * TAPS * result.size * 2 * len(words),
            bytes_accessed=4 * values_moved,
            transcendentals=0,
        ),
        compiler_params=(
            None if interpret else pltpu.CompilerParams(vmem_limit_bytes=_MEMORY_LIMIT)
        ),
        interpret=interpret,
        name="move_lines",
    )(reads.steps, jnp.concatenate(reads.weights, axis=axis), *words)


def _kernel(first: int, bits: int, axis: int, as_words: bool, steps_ref, weights_ref, *refs):
    *refs, padded_ref = refs
    count = len(refs) // 2 if as_words else len(refs) // 3
    word_refs, result_refs = refs[:count], refs[count:]
    steps = steps_ref[0]
    weights = [jax.lax.slice_in_dim(weights_ref[0], n, n + 1, axis=axis) for n in range(TAPS)]
    channels = []
    for word_ref, result_ref in zip(word_refs, result_refs, strict=False):
        word = word_ref[0]
        length = word.shape[axis]
        padded_ref[...] = jnp.zeros_like(padded_ref)
        padded_ref[_first_of(length, axis)] = word
        taps = _read_taps(padded_ref[...], steps, first, bits, axis)
        size = result_ref.shape[axis + 1]
        taps = [jax.lax.slice_in_dim(tap, 0, size, axis=axis) for tap in taps]
        channels += [interpolate(taps, weights, place) for place in range(2)]
    results = pack(channels) if as_words else channels
    for result_ref, result in zip(result_refs, results, strict=True):
        result_ref[0] = result


def _first_of(length: int, axis: int) -> tuple[slice, slice]:
    """The first pixels of the lines of a block."""
    if axis == 0:
        return slice(length), slice(None)
    return slice(None), slice(length)


def _read_taps(
    word: jax.Array, steps: jax.Array, first: int, bits: int, axis: int
) -> list[jax.Array]:
    """Of each pixel the samples at `first + steps` and the three behind that."""

    def further(word: jax.Array, distance: int) -> jax.Array:
        length = word.shape[axis]
        return pltpu.roll(word, -distance % length, axis=axis)

    word = further(word, first)
    for bit in range(bits):
        word = jnp.where(steps >> bit & 1 == 1, further(word, 1 << bit), word)
    return [further(word, tap) for tap in range(TAPS)]
