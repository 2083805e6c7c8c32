"""What Pallas kernels move, counted from their grids: by hand, from the traced function, from the compiled program."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from hpa_jax.plan.compiler import environment_of, find_libtpu
from hpa_jax.plan.pallas_traffic import crossing_bytes, pallas_traffic

REPOSITORY = Path(__file__).resolve().parents[2]
DECLARED = pl.CostEstimate(flops=10, bytes_accessed=777_000, transcendentals=0)


def scaled(x, scale):
    """A kernel whose traffic is known by hand: `x` bf16 [512, 256] in blocks of 128 x 128, `scale` [1, 256] in halves.

    The grid runs over halves of the columns, then over rows: each block of x is read once, each half of scale once.
    The sums over all columns are written once for each block of rows, whole, twice in all.
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
    """Blocks of 16 rows of float32 [64, 128], with that before and that after: clamped at the ends, read once there."""

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
    """`x` float32 [64, 128] stays in memory and the kernel copies what it wants; `unread` is written over."""

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


X, SCALE, ROWS = (
    jax.ShapeDtypeStruct(shape, dtype)
    for shape, dtype in (
        ((512, 256), jnp.bfloat16),
        ((1, 256), jnp.bfloat16),
        ((64, 128), jnp.float32),
    )
)
KNOWN = {  # read, written, declared, whole
    "scaled": (512 * 256 * 2 + 256 * 2, 512 * 256 * 2 + 2 * 512 * 128 * 4, 777_000, False),
    "neighbours": ((3 + 4 + 3) * 16 * 128 * 4, 64 * 128 * 4, 0, False),
    "by_hand": (64 * 128 * 4, 64 * 128 * 4, 0, True),
}
CALLS = {
    "scaled": (scaled, (X, SCALE)),
    "neighbours": (neighbours, (ROWS,)),
    "by_hand": (by_hand, (ROWS, ROWS)),
}


@pytest.mark.parametrize("name", CALLS)
def test_counted_from_the_traced_function(name):
    function, arguments = CALLS[name]
    (found,) = pallas_traffic(jax.jit(function).trace(*arguments).jaxpr)
    assert (
        found["read_bytes"],
        found["written_bytes"],
        found["declared_bytes"],
        found["whole"],
    ) == KNOWN[name]
    assert found["name"] == name and found["times"] == 1


def test_a_kernel_in_a_loop_counts_as_often_as_it_turns():
    looped = lambda x: jax.lax.scan(lambda x, _: (neighbours(x), None), x, None, length=5)[0]  # noqa: E731
    (found,) = pallas_traffic(jax.jit(looped).trace(ROWS).jaxpr)
    assert found["times"] == 5 and found["read_bytes"] == KNOWN["neighbours"][0]


def test_a_block_that_sticks_out_counts_with_what_lies_inside():
    whole = crossing_bytes((3,), (100,), (250,), 4, lambda i: (i,))
    assert whole == 250 * 4
    assert crossing_bytes((), (8, 128), (8, 128), 2, lambda: (0, 0)) == 8 * 128 * 2
    back_and_forth = crossing_bytes((4,), (10,), (20,), 1, lambda i: (i % 2,))
    assert back_and_forth == 40
    assert crossing_bytes((3,), (4,), (8,), 1, lambda i: (i * 2,), by_element=(True,)) == 4 + 4 + 4
    assert np.isclose(crossing_bytes((2,), (3,), (6,), 0.5, lambda i: (i,)), 3)


# In a process of its own, as the plan does it: compiles for a v5e, and reads what the program carries.
COMPILED = """
import json, sys
sys.path[:0] = ["tests"]
import jax
from jax.sharding import SingleDeviceSharding
from hpa_jax.plan import hlo, kernels
from hpa_jax.plan.topologies import devices_of
from test_plan_kernels import CALLS
device = SingleDeviceSharding(devices_of("v5e:2x2")[0])
for name, (function, arguments) in CALLS.items():
    arguments = [jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=device) for a in arguments]
    program = jax.jit(function).trace(*arguments).lower(lowering_platforms=("tpu",)).compile()
    text = program.as_text()
    parsed = hlo.instructions(text)
    (found,) = kernels.program_kernels(parsed, hlo.computations(text, parsed))
    figures = (found.read_bytes, found.written_bytes, found.declared_bytes, found.whole)
    print(json.dumps([name, figures, program.cost_analysis().get("bytes accessed")]))
"""


@pytest.mark.skipif(
    sys.platform != "linux" or os.uname().machine != "x86_64", reason="libtpu is for x86-64 Linux"
)
def test_counted_from_the_compiled_program():
    command, environment = [sys.executable, "-c", COMPILED], environment_of(find_libtpu())
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert {name: tuple(figures) for name, figures, _ in answers} == KNOWN
    # What XLA counts of a kernel is what the kernel declares, right or wrong.
    assert {name: accessed for name, _, accessed in answers}["scaled"] == DECLARED.bytes_accessed
