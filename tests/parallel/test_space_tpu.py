"""Images sharded by rows over a TPU v5e slice: what crosses between chips, and what each holds.

Read off programs compiled for it.
"""

import json
import platform
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

# A global batch of one image; as many chips as asked for share its height.
COMPILE = """
import json, re, sys
from hpa_jax.recipes import load_recipe, override
from hpa_jax.plan.steps import mesh_of, training_step
from hpa_jax.plan.topologies import devices_of

chips, *flags = sys.argv[1:]
config = override(load_recipe("configs/highres.py"), ["--config.data.batch_size=1", *flags])
config.data.mean, config.data.std = (0.1,) * 4, (0.2,) * 4
mesh = mesh_of(config, devices_of("v5e:2x4")[: int(chips)])
step = training_step(config, mesh)
lowered = step.function.trace(*step.arguments).lower(lowering_platforms=("tpu",))
program = lowered.compile(compiler_options={"exec_time_optimization_effort": -1.0})
text, memory = program.as_text(), program.memory_analysis()
kinds = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter")
print(json.dumps({
    "space": mesh.shape["space"],
    "collectives": {kind: len(re.findall(rf" {kind}(?:-start)?\\(", text)) for kind in kinds},
    "peak_gib": memory.peak_memory_in_bytes / 2**30,
    "temporary_gib": memory.temp_size_in_bytes / 2**30,
    "argument_gib": memory.argument_size_in_bytes / 2**30,
    "flops": program.cost_analysis()["flops"],
}))
"""


def compiled(chips, *flags):
    command = [
        sys.executable,
        "-c",
        COMPILE,
        str(chips),
        "--config.model.head=pooled",
        "--config.model.block=plain",
        *flags,
    ]
    environment = environment_of(find_libtpu())
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=3600
    )
    assert done.returncode == 0, done.stderr[-3000:]
    program = json.loads(done.stdout.splitlines()[-1])
    print(json.dumps(program))
    return program


def check_sharded(program, chips):
    assert program["space"] == chips
    counts = program["collectives"]
    assert counts.pop("all-reduce") > 0 and counts.pop("collective-permute") > 0
    # Nothing else, not even of the image, whose rows come from anywhere when it is rotated.
    assert not any(counts.values()), counts


def test_rows_at_the_borders_and_sums_are_all_that_crosses():
    check_sharded(
        compiled(8, "--config.model.name=densenet_tiny", "--config.data.image_size=512"), 8
    )


@pytest.mark.slow
def test_a_native_image_over_eight_chips_needs_a_quarter_of_the_memory_and_an_eighth_of_work():
    flags = ("--config.data.image_size=3072", "--config.augment.rotate_degrees=0")
    sharded = compiled(8, *flags)
    complete = compiled(1, *flags)
    check_sharded(sharded, 8)
    assert sharded["peak_gib"] <= complete["peak_gib"] / 4
    assert sharded["flops"] == pytest.approx(complete["flops"] / 8, rel=0.15)
