"""GPUs that are not there: their descriptions, and a step compiled for them."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from hpa_jax.errors import InputError
from hpa_jax.main import main
from hpa_jax.parallel.chips import CHIPS
from hpa_jax.plan import compiler, gpus, hlo, instruction_cost

REPOSITORY = Path(__file__).resolve().parents[2]
SMALL = (
    "--config=configs/lowres.py",
    "--config.model.name=densenet_tiny",
    "--config.data.image_size=64",
    "--config.data.batch_size=32",
    "--config.data.data_dir=nowhere",
)


def test_every_gpu_has_peaks_and_a_description():
    for name, gpu in gpus.GPUS.items():
        assert gpu.device_kind in CHIPS, name
        text = gpus.target_config(gpu)
        assert text.count("{") == text.count("}")
        assert f"core_count: {gpu.multiprocessors}\n" in text
        assert f"device_memory_size: {gpu.memory_bytes}\n" in text
        assert 0.9 * CHIPS[gpu.device_kind].hbm_bytes < gpu.memory_bytes


def test_names_have_a_number():
    assert gpus.parse("H100:8") == (gpus.GPUS["h100"], 8)
    assert gpus.parse("a100:16")[1] == 16
    for name in ("h100", "h100:", "h100:0", "h100:-1", "h100:2x4", "h100:12"):
        assert gpus.is_gpu(name)
        with pytest.raises(ValueError, match="GPUs"):
            gpus.parse(name)
    assert not gpus.is_gpu("v5e:2x4")
    assert not gpus.is_gpu("here")


def test_jax_takes_a_fraction_of_the_memory(monkeypatch):
    monkeypatch.delenv("XLA_PYTHON_CLIENT_MEM_FRACTION", raising=False)
    complete = gpus.GPUS["t4"].memory_bytes
    assert gpus.available_bytes("t4:1") == int(0.75 * complete)
    monkeypatch.setenv("XLA_PYTHON_CLIENT_MEM_FRACTION", ".9")
    assert gpus.available_bytes("t4:4") == int(0.9 * complete)


def test_the_compiler_is_asked_for_by_platform(monkeypatch, tmp_path):
    monkeypatch.setattr(compiler.sys, "prefix", str(tmp_path))
    monkeypatch.setattr(compiler.importlib.util, "find_spec", lambda name: None)
    for names, missing in ((["h100:1"], "GPU"), (["v5e:2x4", "h100:1"], "TPU")):
        with pytest.raises(InputError, match=missing):
            compiler.find_compilers(names)
    (tmp_path / "cuda" / "jax_plugins" / "xla_cuda13").mkdir(parents=True)
    (tmp_path / "tpu" / "libtpu").mkdir(parents=True)
    both = [str(tmp_path / "tpu"), str(tmp_path / "cuda")]
    assert compiler.find_compilers(["v5e:2x4", "h100:1", "a100:8"]) == both


# What cuDNN is asked to do in place of a convolution, and of its gradients.
LIBRARY_CALLS = """
  %y = (f32[4,15,15,16]{3,2,1,0}, u8[0]{0}) custom-call(%x, %k), WINDOW, custom_call_target="__cudnn$convForward"
  %gx = (f32[4,32,32,8]{3,2,1,0}, u8[0]{0}) custom-call(%gy, %k), WINDOW, custom_call_target="__cudnn$convBackwardInput"
  %gk = (f32[3,3,8,16]{3,2,1,0}, u8[0]{0}) custom-call(%x, %gy), WINDOW, custom_call_target="__cudnn$convBackwardFilter"
  %m = (f32[64,128]{1,0}, s8[1]{0}) custom-call(%a, %b), custom_call_target="__cublas$gemm", backend_config={"gemm_backend_config":{"dot_dimension_numbers":{"lhs_contracting_dimensions":["1"],"rhs_contracting_dimensions":["0"]}}}
"""  # noqa: E501
LIBRARY_PROGRAM = """
ENTRY %main (x: f32[4,32,32,8]) -> f32[64,128] {
  %x = f32[4,32,32,8]{3,2,1,0} parameter(0)
  %k = f32[3,3,8,16]{3,2,1,0} parameter(1)
  %gy = f32[4,15,15,16]{3,2,1,0} parameter(2)
  %a = f32[64,32]{1,0} parameter(3)
  %b = f32[32,128]{1,0} parameter(4)CALLS}
""".replace("CALLS", LIBRARY_CALLS).replace(
    "WINDOW", "window={size=3x3 stride=2x2}, dim_labels=b01f_01io->b01f"
)


def test_calls_of_a_library_count_with_their_shapes():
    def convolved(x, kernel):
        layout = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, kernel, (2, 2), "VALID", dimension_numbers=layout)

    x = jax.ShapeDtypeStruct((4, 32, 32, 8), jnp.float32)
    kernel = jax.ShapeDtypeStruct((3, 3, 8, 16), jnp.float32)
    of_compiler = jax.jit(convolved).lower(x, kernel).compile().cost_analysis()["flops"]

    instructions = hlo.parse_instructions(LIBRARY_PROGRAM)
    runs = hlo.count_runs(LIBRARY_PROGRAM, instructions)
    counted = instruction_cost.program_cost(instructions, runs)
    assert counted.flops == pytest.approx(3 * of_compiler + 2 * 64 * 32 * 128)
    assert sum(map(instruction_cost.is_product, instructions)) == 4


def test_kernels_are_not_counted_as_reading_their_arrays():
    call = """
  %kernel = f32[64,128]{1,0} custom-call(%a, %b), custom_call_target="__gpu$xla.gpu.triton"
"""
    text = LIBRARY_PROGRAM.partition("  %y =")[0] + call + "}\n"
    instructions = hlo.parse_instructions(text)
    runs = hlo.count_runs(text, instructions)
    assert instruction_cost.program_cost(instructions, runs) == (0, 0)


def test_a_wrong_number_of_gpus_is_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(compiler, "find_cuda", list)
    flags = (*SMALL, "--config.plan.topologies=h100:12", f"--workdir={tmp_path}")
    assert main(["--mode=plan", *flags]) == 2
    error = capsys.readouterr().err
    assert "'h100:12'" in error
    assert "multiple" in error
    assert len(error.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.skipif(
    (platform.system(), platform.machine()) != ("Linux", "x86_64"),
    reason="the compiler is made for x86-64 Linux alone",
)
def test_a_step_is_compiled_for_gpus_that_are_not_there(tmp_path):
    command = [sys.executable, "-m", "hpa_jax.main", "--mode=plan", f"--workdir={tmp_path}"]
    topologies = "--config.plan.topologies=h100:1,h100:8"
    done = subprocess.run(
        [*command, *SMALL, topologies],
        cwd=REPOSITORY,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    one, eight = json.loads((tmp_path / "plan.json").read_text())
    for row in (one, eight):
        assert row["fits"]
        assert row["over_gb"] < 0
        assert row["device_kind"] == "NVIDIA H100 80GB HBM3"
        assert row["alias_bytes"] >= 0.95 * row["state_bytes"]  # the state is donated
        assert row["products"]["bf16"] > 5 * row["products"].get("f32", 0)
        assert row["limits_ms"]["memory"] > 0
    assert one["flops_per_image"] == pytest.approx(eight["flops_per_image"], rel=0.1)
    assert not one["collectives"]
    assert set(eight["collectives"]) == {"all-reduce"}
    assert set(eight["collectives"]["all-reduce"]["dtypes"]) == {"f32"}


# A whole step of a net whose growth the kernels take, as the plan compiles it.
COMPILED = """
import re
from functools import partial
from hpa_jax.models import densenet
from hpa_jax.models.classifier import BACKBONES
from hpa_jax.plan import steps
from hpa_jax.plan.program import read_program
from hpa_jax.plan.topologies import devices_of
from hpa_jax.recipes import load_recipe, override

BACKBONES["densenet_test"] = partial(
    densenet.DenseNet, depths=(2, 1), growth=32, stem=64
)
flags = ["--config.model.name=densenet_test", "--config.model.block=fused"]
config = override(load_recipe("configs/lowres.py"), [*flags, *OPTIONS])
config.data.mean = config.data.std = (0.1,) * 4
devices = devices_of("h100:1")
step = steps.training_step(config, steps.mesh_of(config, devices))
traced = step.function.trace(*step.arguments)
compiled = traced.lower(lowering_platforms=("cuda",)).compile()
text = compiled.as_text()
calls = re.findall(r"custom_call_target=.__gpu.xla.gpu.triton.*", text)
in_place = sum("output_to_operand_aliasing" in call for call in calls)
copies = len(re.findall(r"= bf16.64,16,16,128.\\S* copy\\(", text))
kernels = read_program(compiled, traced.jaxpr, 1).kernels
print(len(calls), in_place, copies, kernels["calls"], kernels["declared_bytes"] > 0)
"""


@pytest.mark.slow
@pytest.mark.skipif(
    (platform.system(), platform.machine()) != ("Linux", "x86_64"),
    reason="the compiler is made for x86-64 Linux alone",
)
def test_fused_blocks_are_kernels_on_a_gpu():
    found = compiler.find_compilers(["h100:1"])
    options = [flag for flag in SMALL[2:] if "batch" not in flag]
    options.append("--config.data.batch_size=64")
    script = COMPILED.replace("OPTIONS", repr(options))
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=REPOSITORY,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join(found)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    # Four kernels of each of three layers; those that write into a buffer do so in place.
    assert done.stdout.split() == ["12", "6", "0", "12", "True"]
