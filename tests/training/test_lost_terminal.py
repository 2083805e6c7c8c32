"""A terminal that is closed, a pipe that nobody reads, signals of all kinds: the run is saved."""

import os
import signal
import subprocess
import sys
import time

import pytest

LONG = ("--config.train.steps=1000000", "--config.train.eval_every=900000")


def saved_steps(workdir):
    folder = workdir / "checkpoints"
    return [int(entry.name) for entry in folder.iterdir()] if folder.is_dir() else []


def until(process, condition):
    """Waits for `condition`, as long as the process runs."""
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def has_trained(workdir):
    path = workdir / "metrics.jsonl"
    return path.is_file() and path.read_bytes().count(b"\n") >= 1


def test_a_run_whose_output_nobody_reads_saves_and_ends_with_75(start, small_run, tmp_path):
    process = start(*small_run, *LONG, "--config.train.log_every=1", f"--workdir={tmp_path}")
    # As `| head -1`.
    assert process.stdout.readline()
    process.stdout.close()
    err = process.stderr.read()
    assert process.wait(timeout=300) == 75, err
    # Other lines come of the machine's own libraries.
    assert err.endswith(
        "stdout was closed (Broken pipe): saved and stopped; start again to resume\n"
    )
    assert "Traceback" not in err
    assert len(saved_steps(tmp_path)) == 1


def test_output_on_a_full_disk_saves_and_ends_with_1(compilation_cache, small_run, tmp_path):
    """Not 75, with which a launcher would start it again for ever."""
    command = [sys.executable, "-m", "hpa_jax.main", *small_run, *LONG]
    command += ["--config.train.log_every=1", f"--workdir={tmp_path}"]
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": "1",
        "JAX_COMPILATION_CACHE_DIR": str(compilation_cache),
    }
    with open("/dev/full", "w") as full:
        found = subprocess.run(
            command, env=environment, stdout=full, stderr=subprocess.PIPE, text=True, timeout=300
        )
    assert found.returncode == 1, found.stderr
    (line,) = [line for line in found.stderr.splitlines() if line.startswith("stopped: ")]
    assert "stdout cannot be written (No space left on device)" in line
    assert f"after saving step {saved_steps(tmp_path)[0]} of" in line and "free some" in line
    assert "Traceback" not in found.stderr


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_signals_save_and_end_with_75(start, small_run, tmp_path, number):
    process = start(*small_run, *LONG, "--config.train.log_every=1", f"--workdir={tmp_path}")
    until(process, lambda: has_trained(tmp_path))
    process.send_signal(number)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 75, err
    (step,) = saved_steps(tmp_path)
    assert f"stopped by {signal.Signals(number).name} after saving step {step} of" in out
    assert "Traceback" not in err


@pytest.mark.slow
def test_nohup_keeps_a_run_from_stopping(start, small_run, tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process = start(*small_run, *LONG, "--config.train.log_every=1", f"--workdir={tmp_path}")
    finally:
        signal.signal(signal.SIGHUP, before)
    until(process, lambda: has_trained(tmp_path))
    process.send_signal(signal.SIGHUP)
    lines = (tmp_path / "metrics.jsonl").read_bytes().count(b"\n")
    until(process, lambda: (tmp_path / "metrics.jsonl").read_bytes().count(b"\n") > lines + 20)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 75 and "stopped by SIGTERM after saving" in out


@pytest.mark.slow
def test_signals_before_the_first_step_end_with_75_in_one_line(start, small_run, tmp_path):
    for number in (signal.SIGHUP, signal.SIGINT):
        workdir = tmp_path / signal.Signals(number).name
        process = start(*small_run, *LONG, f"--workdir={workdir}")
        until(process, (workdir / ".lock").exists)
        process.send_signal(number)
        out, err = process.communicate(timeout=300)
        assert process.returncode == 75, err
        assert "Traceback" not in err and f"stopped by {signal.Signals(number).name}" in out


@pytest.mark.slow
def test_a_second_ctrl_c_ends_at_once_in_one_line(start, small_run, tmp_path):
    process = start(*small_run, *LONG, "--config.train.log_every=1", f"--workdir={tmp_path}")
    until(process, lambda: has_trained(tmp_path))
    process.send_signal(signal.SIGINT)
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        time.sleep(0.002)
    out, err = process.communicate(timeout=300)
    assert process.returncode in (75, 130), err
    assert "Traceback" not in err


def test_reading_modes_end_in_one_line_on_a_signal(start, tmp_path):
    """The file that it is to read is one that is waited for: a pipe."""
    os.mkfifo(tmp_path / "scores.npy")
    process = start(
        "--mode=evaluate",
        f"--workdir={tmp_path}",
        f"--config.evaluate.scores={tmp_path / 'scores.npy'}",
        f"--config.evaluate.targets={tmp_path / 'targets.npy'}",
    )
    # Opens once the program does.
    with open(tmp_path / "scores.npy", "wb"):
        process.send_signal(signal.SIGHUP)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 129 and err == "stopped by SIGHUP\n" and out == ""
