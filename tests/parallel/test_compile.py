"""CPU cores as devices, and the garbage collector while a step is traced."""

import gc
import json
import os
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest

from hpa_jax.environment.cores import available_cores
from hpa_jax.errors import InputError
from hpa_jax.parallel.compile import (
    CPU_TIMEOUTS_S,
    MOST_CPU_DEVICES,
    compile_for,
    devices_for,
    kernels_explained,
    with_cpu_timeouts,
)

# Two CPU devices add up two numbers, and one of them is late.
LATE_DEVICE = """
import sys
import time
from hpa_jax.parallel.compile import wait_for_busy_cpus
wait_for_busy_cpus()
import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec as P

def late(x):
    time.sleep(float(x[0]) * float(sys.argv[1]))
    return x

def total(x):
    x = jax.pure_callback(late, jax.ShapeDtypeStruct(x.shape, x.dtype), x)
    return jax.lax.psum(x, "all")

mesh = Mesh(jax.devices(), "all")
total = jax.shard_map(total, mesh=mesh, in_specs=P("all"), out_specs=P(), check_vma=False)
print(jax.jit(total)(np.arange(2, dtype=np.float32)))
"""


@pytest.mark.parametrize(
    ("cores", "batch_size", "space", "devices"),
    [
        (1, 16, 0, 1),
        (2, 16, 0, 2),
        (2, 15, 0, 1),
        (6, 16, 0, 4),
        (6, 15, 0, 5),
        (64, 128, 0, MOST_CPU_DEVICES),
        (4, 2, 2, 4),  # two groups of two
        (4, 1, 2, 2),
        (2, 8, 4, 1),  # there are not that many: the mesh says so
        (4, 8, 1, 4),
    ],
)
def test_as_many_devices_as_cores_that_divide_a_batch(cores, batch_size, space, devices):
    assert devices_for(cores, batch_size, space) == devices


@pytest.mark.parametrize(
    ("environment", "before", "expected"),
    [
        ({}, "", devices_for(available_cores(), 48)),
        ({"JAX_NUM_CPU_DEVICES": "3"}, "", 3),
        ({"XLA_FLAGS": "--xla_force_host_platform_device_count=3"}, "", 3),
        ({}, "jax.devices()", 1),  # too late, and no error
    ],
)
def test_a_number_of_devices_that_was_set_is_kept(environment, before, expected):
    code = f"""
import jax
{before}
from hpa_jax.parallel.compile import use_cpu_cores
use_cpu_cores(48)
print(jax.device_count())
"""
    clean = dict(os.environ)
    for name in ("JAX_NUM_CPU_DEVICES", "XLA_FLAGS"):
        clean.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=clean | {"JAX_PLATFORMS": "cpu"} | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) == expected


def sum_with_a_device_that_is_late(seconds, flags=""):
    devices = {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "2"}
    return subprocess.run(
        [sys.executable, "-c", LATE_DEVICE, str(seconds)],
        env=os.environ | devices | {"XLA_FLAGS": flags},
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_a_cpu_device_that_is_a_minute_late_is_waited_for():
    done = sum_with_a_device_that_is_late(60)  # XLA itself gives it 40 s
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[1.]\n" and done.stderr == ""


def test_timeouts_of_cpu_devices_that_were_set_are_kept():
    own = "--xla_cpu_collective_call_terminate_timeout_seconds=2"
    flags = with_cpu_timeouts(f"--a=b {own}").split()
    assert flags[:2] == ["--a=b", own] and len(flags) == 1 + len(CPU_TIMEOUTS_S)
    assert with_cpu_timeouts(" ".join(flags)).split() == flags
    # XLA looks at this one after it has warned.
    warning = "--xla_cpu_collective_call_warn_stuck_timeout_seconds=1"
    done = sum_with_a_device_that_is_late(9, f"{own} {warning}")
    assert done.returncode == -signal.SIGABRT and "of 2 seconds exceeded" in done.stderr


def test_garbage_is_collected_again_after_tracing_also_if_it_fails():
    seen = []

    def step(x, fail):
        seen.append(gc.isenabled())
        if fail:
            raise ValueError("in the trace")
        return x + 1

    step = jax.jit(step, static_argnums=1)
    assert compile_for("cpu", step, np.float32(1), False)(np.float32(1)) == 2
    with pytest.raises(ValueError, match="in the trace"):
        compile_for("cpu", step, np.float32(1), True)
    assert seen == [False, False] and gc.isenabled()


@pytest.mark.skipif(available_cores() < 2, reason="one core is one device in any case")
def test_training_on_each_core_is_training_on_one_device(small_run, run, tmp_path, monkeypatch):
    lines = []
    for devices in "1", "-1":  # -1: not set
        monkeypatch.setenv("JAX_NUM_CPU_DEVICES", devices)
        flags = [
            *small_run,
            "--config.train.steps=3",
            # Starts slowly: later losses depend little on rounding.
            "--config.optim.schedule=cosine_onecycle",
            "--config.train.log_every=1",
            f"--workdir={tmp_path / devices}",
        ]
        result = run(*flags)
        assert result.returncode == 0, result.stderr
        number = 1 if devices == "1" else devices_for(available_cores(), 8)
        assert f"batches of 8 on {number} x cpu" in result.stdout
        text = (tmp_path / devices / "metrics.jsonl").read_text(encoding="utf-8")
        lines.append([row["loss"] for row in map(json.loads, text.splitlines()) if "loss" in row])
    assert len(lines[0]) == 3
    np.testing.assert_allclose(lines[0], lines[1], rtol=1e-4)


def test_kernels_that_a_gpu_does_not_take_are_one_line():
    device = jax.devices()[0]
    for text in ("a kernel\nis wrong", "RESOURCE_EXHAUSTED: Shared memory size limit exceeded"):
        with pytest.raises(InputError, match="--config.model.kernels=False") as caught:
            with kernels_explained(device):
                raise jax.errors.JaxRuntimeError(text)
        assert len(str(caught.value).splitlines()) == 1
    out_of_memory = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: allocating 1 byte")
    for error in (out_of_memory, TypeError("a defect")):
        with pytest.raises(type(error)):
            with kernels_explained(device):
                raise error


def test_on_a_cpu_what_is_behind_a_barrier_is_computed_once():
    def shifted_sum(a, b):
        total = jax.lax.optimization_barrier(2 * a + b)
        return total[1:] * total[:-1]

    ones = np.ones((64, 64), np.float32)
    program = compile_for("cpu", jax.jit(shifted_sum), ones, ones)
    text = program.as_text()
    # Without the barrier there is one fusion, which adds twice.
    assert text.count(" fusion(") == 2, text
    assert text.count(" add(") == 1, text
    np.testing.assert_array_equal(program(ones, ones), np.full((63, 64), 9, np.float32))
