"""Compiles a recipe's training step for a TPU slice that is not there, and prints what the program says of itself.

    python tests/compile_for_tpu.py RECIPE TOPOLOGY [--config.SECTION.FIELD=VALUE ...]

A program of its own: a compiler that crashes must not take the tests with it, and libtpu wants its environment set
before JAX is imported. The figures are the compiler's; nothing runs.
"""

import json
import os
import re
import sys

os.environ.update(
    JAX_PLATFORMS="cpu",
    TPU_SKIP_MDS_QUERY="1",
    ALLOW_MULTIPLE_LIBTPU_LOAD="1",
    TPU_ACCELERATOR_TYPE="v5litepod-8",
    TPU_WORKER_HOSTNAMES="localhost",
    TPU_STDERR_LOG_LEVEL="3",
    TPU_MIN_LOG_LEVEL="3",
)

import jax
import jax.numpy as jnp
from jax.experimental import topologies

from hpa_jax import assembly
from hpa_jax.labels import CHANNELS
from hpa_jax.main import load_recipe, override
from hpa_jax.mesh import by_field, make_mesh, replicated


def main(recipe, topology, *flags):
    config = override(load_recipe(recipe), list(flags))
    if not config.data.mean:  # no dataset is opened here, whose figures they would be
        config.data.mean, config.data.std = (0.1,) * len(CHANNELS), (0.2,) * len(CHANNELS)
    slice_ = topologies.get_topology_desc(platform="tpu", topology_name=topology)
    mesh = topologies.make_mesh(slice_, (len(slice_.devices), 1), ("data", "space"))
    state, optimizer = assembly.start_state(config, make_mesh(), steps=10_000)
    abstract = lambda a, sharding: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding)  # noqa: E731
    state = jax.tree.map(lambda a: abstract(a, replicated(mesh)), state)
    size, fields = config.data.image_size, config.data.batch_size
    image = jax.ShapeDtypeStruct((fields, size, size, len(CHANNELS)), jnp.uint8)
    targets = jax.ShapeDtypeStruct((fields, len(config.label_ids())), jnp.uint8)
    batch = {"image": abstract(image, by_field(mesh)), "targets": abstract(targets, by_field(mesh))}

    out = (replicated(mesh), replicated(mesh))
    step = jax.jit(assembly.make_step(config, optimizer), donate_argnums=0, out_shardings=out)
    lowered = step.trace(state, batch).lower(lowering_platforms=("tpu",))
    # Effort -1: minutes less, the same collectives; its memory figures are not those of a default compilation.
    program = lowered.compile(compiler_options={"exec_time_optimization_effort": -1.0})
    text, memory = program.as_text(), program.memory_analysis()
    count = lambda name: len(re.findall(rf" {name}(?:-start)?\(", text))  # noqa: E731
    print(
        json.dumps(
            {
                "collectives": {n: count(n) for n in ("all-reduce", "all-gather", "all-to-all", "collective-permute")},
                "convolutions": {t: len(re.findall(rf"= {t}\[[^ ]* convolution\(", text)) for t in ("bf16", "f32")},
                "state_bytes": sum(a.size * a.dtype.itemsize for a in jax.tree.leaves(state)),
                "alias_bytes": memory.alias_size_in_bytes,
                "temporary_bytes": memory.temp_size_in_bytes,
                "argument_bytes": memory.argument_size_in_bytes,
                "gflop_per_field": program.cost_analysis()["flops"] * len(slice_.devices) / fields / 1e9,
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
