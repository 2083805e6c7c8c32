"""What Pallas kernels move, counted from the grids of a traced function, against counts by hand.

tests/models/fused compares the same counts with what our own kernels declare.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jax.experimental.pallas import triton as plt

from hpa_jax.plan.pallas_traffic import Kernel, crossing_bytes, pallas_kernels

DECLARED = pl.CostEstimate(flops=10, bytes_accessed=777_000, transcendentals=0)


def scaled(x, scale):
    """A kernel whose traffic is known by hand.

    `x` is bf16 [512, 256] in blocks of 128 x 128, `scale` [1, 256] in halves. The grid runs over
    halves of the columns, then over rows: each block of x and each half of scale is read once. The
    sums over the columns are written for each block of rows and each half, so twice.
    """

    def kernel(x, scale, out, sums):
        out[...] = x[...] * scale[...]
        sums[...] = jnp.sum(out[...].astype(jnp.float32), axis=1, keepdims=True) + jnp.zeros(
            (128, 128)
        )

    return pl.pallas_call(
        kernel,
        grid=(2, 4),
        in_specs=[
            pl.BlockSpec((128, 128), lambda j, i: (i, j)),
            pl.BlockSpec((1, 128), lambda j, i: (0, j)),
        ],
        out_specs=[
            pl.BlockSpec((128, 128), lambda j, i: (i, j)),
            pl.BlockSpec((128, 128), lambda j, i: (i, 0)),
        ],
        out_shape=[
            jax.ShapeDtypeStruct((512, 256), x.dtype),
            jax.ShapeDtypeStruct((512, 128), jnp.float32),
        ],
        cost_estimate=DECLARED,
        name="scaled",
    )(x, scale)


def neighbours(x):
    """Blocks of 16 rows of float32 [64, 128], with the ones before and after, clamped."""

    def kernel(before, here, after, out):
        out[...] = before[...] + here[...] + after[...]

    shifted = lambda by: pl.BlockSpec((16, 128), lambda i: (jnp.clip(i + by, 0, 3), 0))  # noqa: E731
    return pl.pallas_call(
        kernel,
        grid=(4,),
        in_specs=[shifted(-1), shifted(0), shifted(1)],
        out_specs=shifted(0),
        out_shape=jax.ShapeDtypeStruct(x.shape, x.dtype),
        name="neighbours",
    )(x, x, x)


def by_hand(x, unread):
    """`x` float32 [64, 128] stays in memory and the kernel copies it; `unread` is overwritten."""

    def kernel(x, unread, out, held, semaphore):
        copy = pltpu.make_async_copy(x, held, semaphore)
        copy.start()
        copy.wait()
        out[...] = held[...]

    return pl.pallas_call(
        kernel,
        grid=(1,),
        in_specs=[pl.BlockSpec(memory_space=pl.ANY), pl.BlockSpec(memory_space=pl.ANY)],
        out_specs=pl.BlockSpec((64, 128), lambda i: (0, 0)),
        out_shape=jax.ShapeDtypeStruct(x.shape, x.dtype),
        scratch_shapes=[pltpu.VMEM((64, 128), jnp.float32), pltpu.SemaphoreType.DMA],
        input_output_aliases={1: 0},
        name="by_hand",
    )(x, unread)


def of_gpu(x):
    """`x` float32 [64, 128], of whose first columns a GPU's kernel takes half."""

    def kernel(x, out):
        out[:, :64] = x[:, :64]

    return pl.pallas_call(
        kernel,
        grid=(2,),
        out_shape=jax.ShapeDtypeStruct(x.shape, x.dtype),
        compiler_params=plt.CompilerParams(num_warps=4),
        cost_estimate=pl.CostEstimate(flops=17, bytes_accessed=4_000, transcendentals=0),
        name="of_gpu",
    )(x)


X = jax.ShapeDtypeStruct((512, 256), jnp.bfloat16)
SCALE = jax.ShapeDtypeStruct((1, 256), jnp.bfloat16)
ROWS = jax.ShapeDtypeStruct((64, 128), jnp.float32)

SCALED = Kernel(
    "scaled",
    read_bytes=512 * 256 * 2 + 256 * 2,
    written_bytes=512 * 256 * 2 + 2 * 512 * 128 * 4,
    declared_bytes=777_000,
    times=1,
    is_upper_bound=False,
    declared_flops=10,
)
NEIGHBOURS = Kernel(
    "neighbours",
    read_bytes=(3 + 4 + 3) * 16 * 128 * 4,
    written_bytes=64 * 128 * 4,
    declared_bytes=0,
    times=1,
    is_upper_bound=False,
)
BY_HAND = Kernel(
    "by_hand",
    read_bytes=64 * 128 * 4,
    written_bytes=64 * 128 * 4,
    declared_bytes=0,
    times=1,
    is_upper_bound=True,
)
OF_GPU = Kernel(
    "of_gpu",
    read_bytes=4_000,
    written_bytes=0,
    declared_bytes=4_000,
    times=1,
    is_upper_bound=False,
    declared_flops=17,
)


@pytest.mark.parametrize(
    "function, arguments, expected",
    [
        (of_gpu, (ROWS,), OF_GPU),
        (scaled, (X, SCALE), SCALED),
        (neighbours, (ROWS,), NEIGHBOURS),
        (by_hand, (ROWS, ROWS), BY_HAND),
    ],
    ids=["of_gpu", "scaled", "neighbours", "by_hand"],
)
def test_counted_from_the_traced_function(function, arguments, expected):
    assert pallas_kernels(jax.jit(function).trace(*arguments).jaxpr) == [expected]


def test_what_was_not_declared_is_added():
    moved = SCALED.read_bytes + SCALED.written_bytes
    assert SCALED._replace(times=3).undeclared_bytes == 3 * (moved - 777_000)


def test_a_kernel_in_a_loop_counts_once_per_iteration():
    def looped(x):
        return jax.lax.scan(lambda x, _: (neighbours(x), None), x, None, length=5)[0]

    assert pallas_kernels(jax.jit(looped).trace(ROWS).jaxpr) == [NEIGHBOURS._replace(times=5)]


def test_a_block_that_extends_beyond_its_array_counts_with_what_lies_inside():
    assert crossing_bytes((3,), (100,), (250,), 4, lambda i: (i,)) == 250 * 4
    assert crossing_bytes((), (8, 128), (8, 128), 2, lambda: (0, 0)) == 8 * 128 * 2
    back_and_forth = crossing_bytes((4,), (10,), (20,), 1, lambda i: (i % 2,))
    assert back_and_forth == 40
    assert (
        crossing_bytes((3,), (4,), (8,), 1, lambda i: (i * 2,), counts_elements=(True,))
        == 4 + 4 + 4
    )
    assert np.isclose(crossing_bytes((2,), (3,), (6,), 0.5, lambda i: (i,)), 3)
