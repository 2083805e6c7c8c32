"""Variables of the environment that JAX fails on: one line that names the variable."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

# What `hpa_jax.main` does before it uses a device.
LOOKS = """
import sys
from hpa_jax.environment.jax_variables import check_devices, check_xla_flags, import_jax
from hpa_jax.environment.program import run_program
def main(arguments):
    import_jax()
    check_xla_flags()
    check_devices()
    return 0
run_program(main)
"""


def look(**variables):
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)} | variables
    found = subprocess.run(
        [sys.executable, "-c", LOOKS], env=environment, capture_output=True, text=True
    )
    return found.returncode, found.stderr


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    "variable, value, named",
    [
        slow("JAX_PLATFORMS", "gpu", "JAX_PLATFORMS=gpu asks for what is not there"),
        slow("JAX_PLATFORMS", "moon", "'moon' is not in the list of known backends"),
        slow("JAX_NUM_CPU_DEVICES", "many", "jax_num_cpu_devices"),
        slow("JAX_ENABLE_X64", "maybe", "JAX_ENABLE_X64"),
        ("XLA_FLAGS", "--xla_no_such_flag=1", "XLA_FLAGS: --xla_no_such_flag=1"),
        slow("XLA_FLAGS", "no_file", "no_file"),
        slow("XLA_FLAGS", "--xla_force_host_platform_device_count=x", "Flag parsing failed"),
    ],
)
def test_a_wrong_variable_is_one_line(variable, value, named):
    status, err = look(**{variable: value})
    assert status == 2, err
    assert err.startswith("error: ") and len(err.splitlines()) == 1, err
    assert named in err and variable in err.upper()


@pytest.mark.skipif(
    any(Path("/dev").glob("nvidia[0-9]*")), reason="this machine has what is asked for"
)
def test_a_gpu_that_is_not_there_is_one_line():
    status, err = look(JAX_PLATFORMS="cuda")
    assert status == 2 and len(err.splitlines()) == 1, err
    assert "JAX_PLATFORMS=cuda asks for what is not there" in err and "unset JAX_PLATFORMS" in err


@pytest.mark.slow
def test_what_is_right_passes():
    flags = "--xla_force_host_platform_device_count=2 --xla_cpu_enable_fast_math=false"
    assert look(JAX_PLATFORMS="cpu", XLA_FLAGS=flags) == (0, "")
