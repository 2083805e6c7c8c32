"""--mode=plan on the command line: steps compiled for slices that are not there, and measured."""

import json
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hpa_jax.config import to_dict
from hpa_jax.environment.cores import available_cores
from hpa_jax.errors import InputError
from hpa_jax.main import main
from hpa_jax.parallel.chips import CHIPS
from hpa_jax.parallel.compile import devices_for
from hpa_jax.plan import compiler
from hpa_jax.plan.run import CHALLENGE_IMAGES
from hpa_jax.plan.table import table
from hpa_jax.recipes import load_recipe, override

REPOSITORY = Path(__file__).resolve().parents[2]
for_tpu = pytest.mark.skipif(
    (platform.system(), platform.machine()) != ("Linux", "x86_64"),
    reason="libtpu is made for x86-64 Linux alone",
)
SMALL = (
    "--config.model.name=densenet_tiny",
    "--config.data.image_size=64",
    "--config.data.batch_size=32",
)
# The quickest to compile: nothing is resampled, one small head.
BARE = (
    *(
        "--config.augment.flips=False",
        "--config.augment.rotate_degrees=0",
        "--config.augment.scale=(1.0,1.0)",
    ),
    *("--config.model.head=linear", "--config.data.data_dir=nowhere"),
)


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    monkeypatch.chdir(REPOSITORY)


def plan(workdir, *flags, recipe="configs/lowres.py", status=0, **environment):
    """Runs a plan: its rows, and what it printed."""
    command = [
        sys.executable,
        "-m",
        "hpa_jax.main",
        "--mode=plan",
        f"--config={recipe}",
        f"--workdir={workdir}",
    ]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"} | environment
    done = subprocess.run(
        [*command, *flags], env=environment, capture_output=True, text=True, timeout=1500
    )
    assert done.returncode == status, done.stdout[-2000:] + done.stderr[-3000:]
    return json.loads((workdir / "plan.json").read_text()), done.stdout + done.stderr


def check(row, bound="memory"):
    """What holds of every training step for a slice, whatever its size."""
    assert row["fits"] and row["over_gb"] < 0 and row["measured"] is False
    assert row["peak_hbm_gb"] - row["over_gb"] == pytest.approx(0, abs=2 * row["hbm_available_gb"])
    assert set(row["collectives"]) == {"all-reduce"}, row[
        "collectives"
    ]  # nothing but sums crosses the chips
    assert row["alias_bytes"] >= 0.95 * row["state_bytes"]  # the state is donated
    assert row["products"]["bf16"] > 5 * row["products"].get("f32", 0)
    chip, share = CHIPS[row["device_kind"]], row["devices"] / row["batch_size"]
    per_device = row["hbm_gb_per_image"] * 1e9 / share
    assert row["limits_ms"]["memory"] == pytest.approx(
        1e3 * per_device / chip.hbm_bytes_per_s * share
    )
    assert row["ms_per_image"] == max(row["limits_ms"].values()) and row["binds"] == bound
    assert row["hours_per_epoch"] == pytest.approx(
        row["ms_per_image"] * row["images"] / row["devices"] / 3.6e6
    )
    assert (
        0 < row["eval_ms_per_image"] < row["ms_per_image"]
        and row["eval_peak_hbm_gb"] < row["peak_hbm_gb"]
    )


@for_tpu
def test_steps_of_a_small_net_with_every_augmentation(tmp_path):
    flags = (*SMALL, "--config.data.data_dir=nowhere", "--config.plan.topologies=v5e:16x16,v5e:2x4")
    (refused, row), output = plan(tmp_path, *flags)
    assert (
        "config.devices.space=8" in refused["error"] and "fits" not in refused
    )  # and the other one goes on
    check(row)
    assert (row["topology"], row["devices"], row["batch_per_chip"], row["space"]) == (
        "v5e:2x4",
        8,
        4,
        1,
    )
    assert (
        row["images"] == CHALLENGE_IMAGES
        and "the challenge's: nowhere holds no kaggle_512" in output
    )
    assert row["hbm_available_gb"] == pytest.approx(15.75 * 2**30 / 1e9)
    assert all(
        stage in output
        for stage in ("compiling the training step", "compiling the evaluation step", "GB/img")
    )
    again, output = plan(tmp_path, *flags[:-1], "--config.plan.images=1000")
    assert "the same configuration and code" in output and "compiling" not in output
    assert again[0]["hours_per_epoch"] == pytest.approx(
        row["hours_per_epoch"] * 1000 / CHALLENGE_IMAGES
    )


def test_the_devices_at_hand_are_measured(tmp_path, small_data):
    flags = (
        f"--config.data.data_dir={small_data}",
        "--config.data.name=synthetic_32",
        "--config.data.batch_size=4",
    )
    flags += ("--config.model.name=densenet_tiny", "--config.plan.topologies=here")
    quick = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    (row,), output = plan(tmp_path, *flags, recipe="configs/quickstart.py", **quick)
    assert (
        row["measured"] and row["fits"] and row["devices"] == devices_for(available_cores(), 4)
    )  # as training has them
    assert row["ms_per_image"] > 0 and row["eval_ms_per_image"] > 0
    assert row["binds"] is None  # no peaks are known of a CPU
    assert row["peak_hbm_gb"] > 0 and row["flops_per_image"] > 0
    assert (
        f"an epoch: {row['images']} images (an epoch of train of synthetic_32" in output
        and row["images"] < 80
    )


@for_tpu
def test_a_step_that_does_not_fit_reports_what_is_missing():
    config = override(
        load_recipe("configs/lowres.py"), [*SMALL[:2], *BARE, "--config.data.batch_size=8388608"]
    )
    config.data.mean, config.data.std = (0.1,) * 4, (0.2,) * 4
    request = {
        "config": to_dict(config),
        "topology": "v5e:2x4",
        "steps": ["training"],
        "search": True,
    }
    row = compiler.run_worker(request, "too large", compiler.find_libtpu())
    assert row["fits"] is False and row["over_gb"] == pytest.approx(
        row["peak_hbm_gb"] - row["hbm_available_gb"]
    )
    assert row["over_gb"] > 1 and "RESOURCE_EXHAUSTED" in row["reason"]
    assert table([row]).splitlines()[1].split()[:5] == [
        "v5e:2x4",
        "8",
        "8388608",
        "1.04858e+06",
        "no",
    ]


@for_tpu
@pytest.mark.parametrize(
    "how", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)]
)
def test_a_plan_that_is_stopped_leaves_nothing_running(tmp_path, how):
    command = [sys.executable, "-m", "hpa_jax.main", "--mode=plan", "--config=configs/lowres.py"]
    command += [f"--workdir={tmp_path}", *SMALL, "--config.data.data_dir=nowhere"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in process.stdout:
        if "compiling the training step" in line:
            break
    child = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])
    process.send_signal(how)
    _, errors = process.communicate(timeout=300)
    if how == signal.SIGINT:
        assert process.returncode == 1 and errors.startswith("stopped: stopped by Ctrl-C"), errors
    end = time.monotonic() + 120
    while _runs(child) and time.monotonic() < end:
        time.sleep(0.1)
    assert not _runs(child)


def _runs(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_a_compiler_that_crashes_is_reported_with_its_last_words(monkeypatch, tmp_path):
    crashing = tmp_path / "hpa_jax" / "plan" / "worker.py"
    crashing.parent.mkdir(parents=True)
    crashing.write_text(
        "import os, sys\n"
        "print('STACK OVERFLOW', file=sys.stderr, flush=True)\n"
        "os.kill(os.getpid(), 11)\n"
    )
    for folder in (crashing.parent, crashing.parents[1]):
        (folder / "__init__.py").write_text("")
    monkeypatch.setattr(compiler.hpa_jax, "__file__", str(tmp_path / "hpa_jax" / "__init__.py"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(compiler.CompilerFailed, match="signal SIGSEGV: STACK OVERFLOW"):
        compiler.run_worker({}, "crashing", [])


@for_tpu
def test_an_unknown_topology_is_refused_with_those_that_are_known(tmp_path, capsys):
    flags = (*SMALL, "--config.data.data_dir=nowhere", "--config.plan.topologies=v5e:2x4,v9:2x2")
    assert main(["--mode=plan", "--config=configs/lowres.py", f"--workdir={tmp_path}", *flags]) == 2
    error = capsys.readouterr().err
    assert "'v9:2x2'" in error and "v5p:2x2x2" in error and len(error.splitlines()) == 1


def test_without_a_compiler_the_plan_says_how_to_get_one(monkeypatch, tmp_path):
    monkeypatch.setattr(compiler.sys, "prefix", str(tmp_path))
    monkeypatch.setattr(compiler.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="hpa_jax\\[plan\\]|Linux"):
        compiler.find_libtpu()


def test_an_unknown_image_size_is_asked_for(tmp_path, capsys):
    flags = [
        "--config.data.data_dir=nowhere",
        "--config.data.name=kaggle_full",
        "--config.data.image_size=0",
    ]
    assert main(["--mode=plan", "--config=configs/lowres.py", f"--workdir={tmp_path}", *flags]) == 2
    assert "config.data.image_size" in capsys.readouterr().err


@for_tpu
@pytest.mark.slow
def test_other_generations(tmp_path):
    rows, _ = plan(
        tmp_path, *SMALL, *BARE, "--config.plan.topologies=v6e:2x4,v4:2x2x1,v5p:2x2x2,tpu7x:2x2x1"
    )
    assert [row["devices"] for row in rows] == [8, 4, 8, 8] and all(row["fits"] for row in rows)
    assert all(row["limits_ms"] and row["device_kind"] in CHIPS for row in rows)


@for_tpu
@pytest.mark.slow
def test_the_largest_batch_that_fits_one_chip(tmp_path):
    flags = (
        *BARE,
        "--config.model.name=densenet_tiny",
        "--config.data.image_size=512",
        "--config.data.batch_size=12",
    )
    (row,), output = plan(
        tmp_path, *flags, "--config.plan.topologies=v5e:1x1", "--config.plan.search=True"
    )
    tried = {attempt["batch_size"]: attempt["fits"] for attempt in row["search"]}
    best = row["largest_batch_size"]
    assert tried[best] is True and tried[2 * best] is False and best & (best - 1) == 0
    assert row["largest_batch_per_chip"] == best and output.index("minutes)") < output.index(
        f"{best} images fit"
    )


@for_tpu
@pytest.mark.slow
def test_the_low_resolution_recipe_fits_a_v5e_slice(tmp_path):
    (row,), _ = plan(tmp_path, "--config.data.batch_size=128", "--config.data.data_dir=nowhere")
    check(row)


@for_tpu
@pytest.mark.slow
def test_what_fills_the_memory_and_what_would_help(tmp_path):
    flags = (*SMALL[:2], *BARE, "--config.data.batch_size=1048576", "--config.model.dtype=float32")
    (row,), output = plan(tmp_path, *flags)
    assert row["fits"] is False and row["largest"] and "images" in row["largest_of"]
    fitting = next(way for way in row["advice"] if "batch_size=" in way)
    smaller = fitting.split("batch_size=")[1].split()[0]
    assert "compiled" in fitting and "what would help" in output
    (row,), _ = plan(
        tmp_path, *flags[:-2], f"--config.data.batch_size={smaller}", "--config.model.dtype=float32"
    )
    assert row["fits"]  # the advice holds
