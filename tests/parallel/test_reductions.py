"""Gradients cross devices in float32 though the arithmetic is bfloat16.

Read off programs compiled for a TPU slice.
"""

import json
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hpa_jax.plan.compiler import environment_of, find_libtpu

REPOSITORY = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(
    (platform.system(), platform.machine()) != ("Linux", "x86_64"),
    reason="libtpu exists for x86-64 Linux only",
)

COMPILE = """
import json, sys
import jax, jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec as P
from hpa_jax.recipes import load_recipe, override
from hpa_jax.models.layers import add_bias, convolution, matmul
from hpa_jax.plan.steps import mesh_of, training_step
from hpa_jax.plan.topologies import devices_of

QUICK = {"exec_time_optimization_effort": -1.0}
config = override(load_recipe("configs/lowres.py"), sys.argv[1:])
config.data.mean, config.data.std = (0.1,) * 4, (0.2,) * 4
mesh = mesh_of(config, devices_of("v5e:2x4"))

def text(function, *arguments):
    lowered = function.trace(*arguments).lower(lowering_platforms=("tpu",))
    return lowered.compile(compiler_options=QUICK).as_text()

def alone(layer, shape, kernel):
    replicated = NamedSharding(mesh, P())
    x = jax.ShapeDtypeStruct(shape, jnp.bfloat16, sharding=NamedSharding(mesh, P("data")))
    kernel = jax.ShapeDtypeStruct(kernel, jnp.float32, sharding=replicated)

    def value(kernel, x):
        return jnp.sum(jnp.sin(layer(x, kernel).astype(jnp.float32)))

    return text(jax.jit(jax.grad(value), out_shardings=replicated), kernel, x)

def cast(x, kernel):
    return x @ kernel.astype(x.dtype)

def strided(x, kernel):
    return convolution(x, kernel, 2, ((1, 1), (1, 1)))

step = training_step(config, mesh)
maps = (64, 8, 8, 128)
programs = {
    "step": text(step.function, *step.arguments),
    "cast": alone(cast, maps, (128, 128)),
    "matmul": alone(matmul, maps, (128, 128)),
    "convolution": alone(strided, maps, (3, 3, 128, 128)),
    "bias": alone(add_bias, maps, (128,)),
}
state = step.arguments[0]
parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
print(json.dumps({"programs": programs, "parameters": parameters}))
"""


def reduced(text):
    """How many numbers a program sums over devices, by dtype."""
    counts = {}
    for line in text.splitlines():
        if match := re.search(r" = (.*?) all-reduce(?:-start)?\(", line):
            for dtype, shape in re.findall(r"\b([a-z]+\d+)\[([\d,]*)\]", match[1]):
                size = 1
                for side in filter(None, shape.split(",")):
                    size *= int(side)
                counts[dtype] = counts.get(dtype, 0) + size
    return counts


@pytest.fixture(scope="module")
def compiled():
    small = (
        "--config.model.name=densenet_tiny",
        "--config.data.image_size=64",
        "--config.data.batch_size=32",
    )
    bare = (
        "--config.augment.flips=False",
        "--config.augment.scale=(1.0,1.0)",
        "--config.augment.rotate_degrees=0",
    )
    flags = (*small, *bare, "--config.model.head=pooled", "--config.model.dtype=bfloat16")
    command = [sys.executable, "-c", COMPILE, *flags]
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        env=environment_of(find_libtpu()),
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_a_cast_kernel_s_gradient_would_cross_in_bfloat16(compiled):
    """What the layers avoid; without it, the other tests would prove nothing."""
    assert reduced(compiled["programs"]["cast"]) == {"bf16": 128 * 128}


@pytest.mark.parametrize(
    "layer, size", [("matmul", 128 * 128), ("convolution", 9 * 128 * 128), ("bias", 128)]
)
def test_each_layer_s_gradient_crosses_in_float32(compiled, layer, size):
    assert reduced(compiled["programs"][layer]) == {"f32": size}


def test_all_that_a_training_step_sums_over_chips_is_float32(compiled):
    text = compiled["programs"]["step"]
    assert len(re.findall(r"= bf16\[[^ ]* convolution\(", text)) > 20  # the arithmetic is bfloat16
    counts = reduced(text)
    assert set(counts) == {"f32"}, counts
    assert counts["f32"] > compiled["parameters"]
