"""The training step compiled for a TPU v5e slice that is not there: collectives, dtypes, donation, memory."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
# In a folder of its own: where libtpu can be imported, JAX looks for a TPU at every start.
LIBTPU = Path(sys.prefix) / "tpu"

pytestmark = pytest.mark.skipif(
    (platform.system(), platform.machine()) != ("Linux", "x86_64"), reason="libtpu is made for x86-64 Linux alone"
)


def compiled(*arguments):
    assert LIBTPU.is_dir(), "libtpu is missing: launch/local.sh test installs it"
    environment = os.environ | {"PYTHONPATH": str(LIBTPU)}
    command = [sys.executable, "tests/compile_for_tpu.py", *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def check(program):
    collectives = program["collectives"]
    assert collectives.pop("all-reduce") > 0
    assert not any(collectives.values()), collectives  # nothing but sums crosses the chips
    assert program["alias_bytes"] >= 0.95 * program["state_bytes"]  # the state is donated
    assert program["convolutions"]["bf16"] > 5 * program["convolutions"]["f32"]


def test_a_small_net_s_step_with_every_augmentation():
    small = ("--config.model.name=densenet_tiny", "--config.data.image_size=64", "--config.data.batch_size=32")
    check(compiled("configs/lowres.py", "v5e:2x4", *small))


@pytest.mark.slow
def test_the_low_resolution_recipe_fits_a_v5e_slice():
    program = compiled("configs/lowres.py", "v5e:2x4", "--config.data.batch_size=128")
    check(program)
    used = program["temporary_bytes"] + program["argument_bytes"]
    assert used < 15.75 * 2**30, f"{used / 2**30:.2f} GiB of 15.75"
    print(json.dumps(program))
