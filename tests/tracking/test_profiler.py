"""Traces of some steps of real runs: the files that TensorBoard and Perfetto open, read back."""

import gzip
import json
import signal
import time

import jax
import pytest

from hpa_jax.config import profile_window
from hpa_jax.main import main
from hpa_jax.tracking.profiler import StepProfiler


def perfetto_steps(folder):
    """The numbers of the steps in a trace for Perfetto, and the names of all its events."""
    (path,) = folder.glob("plugins/profile/*/perfetto_trace.json.gz")
    events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    steps = [
        int(e["args"]["step_num"])
        for e in events
        if e.get("name") == "train" and "step_num" in e.get("args", {})
    ]
    return steps, {e.get("name") for e in events}


def tensorboard_steps(folder):
    """The numbers of the steps in the trace that TensorBoard's profile page reads."""
    (path,) = folder.glob("plugins/profile/*/*.xplane.pb")
    planes = jax.profiler.ProfileData.from_file(str(path)).planes
    events = [event for plane in planes for line in plane.lines for event in line.events]
    return [dict(event.stats)["step_num"] for event in events if event.name == "train"]


def stopped(start, small_run, workdir, window):
    """The output of a run that traces `window` and is asked to stop after some steps."""
    flags = (
        "--config.train.steps=100000",
        "--config.train.log_every=1",
        "--config.train.eval_every=100000",
    )
    process = start(*small_run, *flags, f"--workdir={workdir}", f"--config.train.profile={window}")
    until, metrics = time.monotonic() + 300, workdir / "metrics.jsonl"
    while not metrics.exists() or len(metrics.read_text().splitlines()) < 6:
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 75, err
    return out


def test_a_run_traces_the_steps_that_were_asked_for(start, small_run, tmp_path):
    out = stopped(start, small_run, tmp_path, "1:4")
    steps, names = perfetto_steps(tmp_path / "profile")
    assert steps == tensorboard_steps(tmp_path / "profile") == [1, 2, 3]
    assert {"wait for a batch", "ThunkExecutor::Execute"} <= names  # of the host, and of the device
    assert f"tensorboard --logdir={tmp_path / 'profile'}" in out and "ui.perfetto.dev" in out
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert all(0 <= line["data_wait"] <= 1 for line in lines) and "waiting for data" in out
    # No peak is known of a CPU, and none is invented.
    assert not {"mfu", "hbm_fraction"} & lines[0].keys()


def test_a_signal_inside_the_window_closes_the_trace(start, small_run, tmp_path):
    out = stopped(start, small_run, tmp_path, "1:100000")
    steps, _ = perfetto_steps(tmp_path / "profile")
    names = [entry.name for entry in (tmp_path / "checkpoints").iterdir()]
    saved = max(int(name) for name in names if name.isdigit())
    assert steps == list(range(1, saved)) and f"steps 1 to {saved - 1} (from 0) are traced" in out


@pytest.mark.parametrize("window", ["5", "5:", ":5", "a:b", "-1:3", "8:5", "5:5", "1:2:3", "1.5:3"])
def test_a_wrong_window_is_refused_before_anything_is_built(capsys, small_run, tmp_path, window):
    workdir = tmp_path / "run"
    assert main([*small_run, f"--workdir={workdir}", f"--config.train.profile={window}"]) == 2
    error = capsys.readouterr().err
    assert (
        f"config.train.profile='{window}'" in error
        and "START:STOP" in error
        and len(error.splitlines()) == 1
    )
    assert not workdir.exists()


@pytest.mark.parametrize(
    "window, first_step, expected",
    [
        ("20:30", 0, ["config.train.profile=20:30: nothing is traced, the run ends with step 9"]),
        (
            "2:5",
            5,
            ["config.train.profile=2:5: nothing is traced, the run resumes at step 5"],
        ),
        ("2:6", 4, ["config.train.profile=2:6: steps 4 to 5 are left of it to trace"]),
        ("8:20", 4, ["config.train.profile=8:20: steps 8 to 9 are left of it to trace"]),
        ("4:6", 4, []),
        ("", 4, []),
    ],
)
def test_a_window_that_lies_partly_outside_is_reported(tmp_path, window, first_step, expected):
    lines = []
    StepProfiler(
        profile_window(window),
        tmp_path,
        first_step=first_step,
        total_steps=10,
        log=lines.append,
    )
    assert lines == expected


def test_a_trace_waits_at_its_borders_and_ends_no_run_if_it_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("no folder")
    lines = []
    folder = tmp_path / "file" / "profile"
    profiler = StepProfiler((1, 2), folder, first_step=0, total_steps=3, log=lines.append)
    slow = jax.jit(lambda x: jax.lax.fori_loop(0, 40, lambda _, y: y @ y / 512, x))
    value = slow(jax.numpy.ones((512, 512)))
    profiler.before_step(0, value)
    assert not value.is_ready()  # outside the window nothing is waited for
    profiler.before_step(1, value)
    assert value.is_ready()
    value = slow(value)
    profiler.after_step(1, value)
    assert value.is_ready()
    assert len(lines) == 1 and "the trace of steps 1 to 1 is not in" in lines[0]
    profiler.after_step(2, value)
    profiler.close(3)
    assert len(lines) == 1
