"""Runs that are killed, stopped, started twice and poisoned, as real processes."""

import json
import os
import random
import shutil
import signal
import time

import jax
import numpy as np
import pytest
from support.made_runs import restored_state

from hpa_jax.data.catalog import load_dataset
from hpa_jax.data.sampler import Order, repeat_factors
from hpa_jax.training.checkpoint import Checkpoints

STEPS = 60
LOGGED = [10, 20, 30, 40, 50, 60]
SAVING = (
    "--config.checkpoint.every=4",
    "--config.train.eval_every=20",
    f"--config.train.steps={STEPS}",
    "--config.data.sampling=repeat_factor",
    "--config.data.repeat_threshold=0.3",
    "--config.optim.schedule=cosine_onecycle",
)


@pytest.fixture(scope="module")
def start(start_recorded):
    return start_recorded


@pytest.fixture(scope="module")
def run(run_recorded):
    return run_recorded


def final_state(workdir):
    """All arrays of the last checkpoint, by name."""
    checkpoints = Checkpoints(workdir / "checkpoints", metric="macro_f1")
    assert checkpoints.latest() == STEPS
    checkpoints.close()
    leaves = jax.tree.leaves_with_path(restored_state(workdir, STEPS))
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def records(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def logged(workdir):
    """The records of metrics.jsonl without what the clock says, and without their checksums."""
    kept = []
    for record in records(workdir / "metrics.jsonl"):
        for name in ("images_per_sec", "data_wait", "goodput", "crc"):
            record.pop(name, None)
        kept.append(record)
    assert [record["step"] for record in kept if record["split"] == "train"] == LOGGED
    return kept


def wait_until(process, condition):
    while process.poll() is None and not condition():
        time.sleep(0.0005)


def stop_while(process, condition):
    """Suspends a process so that the condition holds and stays."""
    while process.poll() is None:
        wait_until(process, condition)
        process.send_signal(signal.SIGSTOP)
        if condition():
            return
        # It was over before the signal came.
        process.send_signal(signal.SIGCONT)


@pytest.fixture(scope="module")
def uninterrupted(run, small_run, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("uninterrupted")
    done = run(*small_run, *SAVING, f"--workdir={workdir}")
    assert done.returncode == 0, done.stderr
    return workdir


def test_a_run_killed_at_random_moments_ends_as_one_that_was_not(
    start, run, small_run, uninterrupted, tmp_path
):
    rng = random.Random(time.time_ns())
    flags = (*small_run, *SAVING, f"--workdir={tmp_path}")
    checkpoints, ids = tmp_path / "checkpoints", tmp_path / "ids.jsonl"
    killed_in_a_save = 0

    def saving():
        return checkpoints.exists() and any("tmp" in entry.name for entry in checkpoints.iterdir())

    for attempt in range(3):
        process = start(*flags)
        if attempt % 2:
            stop_while(process, saving)
        else:
            goal = len(records(ids)) + rng.randrange(1, 12)
            wait_until(process, lambda goal=goal: len(records(ids)) >= goal)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close(), process.stderr.close()
        assert process.returncode == -signal.SIGKILL, (
            "the run ended before it could be killed: give it more steps"
        )
        killed_in_a_save += saving()
    assert killed_in_a_save
    done = run(*flags)
    assert done.returncode == 0, done.stderr

    expected, found = final_state(uninterrupted), final_state(tmp_path)
    assert expected.keys() == found.keys()
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
    assert ids.read_text() == (uninterrupted / "ids.jsonl").read_text()
    assert logged(tmp_path) == logged(uninterrupted)


def test_images_come_as_the_sampling_says(uninterrupted, small_data):
    """Repeat factors are drawn: some images once an epoch, rare ones more often."""
    seen = [i for record in records(uninterrupted / "ids.jsonl") for i in record["ids"]]
    dataset = load_dataset(small_data, "synthetic_32", split="train")
    order = Order(repeat_factors(dataset.targets(), 0.3), seed=0)
    assert order.epoch_length > len(dataset) * 1.2 and len(seen) == STEPS * 8 > order.epoch_length
    assert seen == [dataset.ids()[order[position]] for position in range(len(seen))]


def test_a_finished_run_says_so_and_changes_nothing(run, small_run, uninterrupted):
    before = (uninterrupted / "ids.jsonl").read_text()
    again = run(*small_run, *SAVING, f"--workdir={uninterrupted}")
    assert again.returncode == 0 and "finished" in again.stdout
    assert (uninterrupted / "ids.jsonl").read_text() == before


def test_sigterm_saves_says_where_and_exits_75(start, run, small_run, uninterrupted, tmp_path):
    flags = (*small_run, *SAVING, f"--workdir={tmp_path}")
    process = start(*flags)
    wait_until(process, lambda: len(records(tmp_path / "ids.jsonl")) >= 7)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 75, err
    step = len(records(tmp_path / "ids.jsonl"))
    assert f"after saving step {step} of {STEPS}" in out
    assert (tmp_path / "checkpoints" / str(step)).is_dir()
    assert run(*flags).returncode == 0
    expected, found = final_state(uninterrupted), final_state(tmp_path)
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
    # A line averages the steps before the stop too, wherever between two lines that was.
    assert logged(tmp_path) == logged(uninterrupted)


def test_sigterm_before_the_first_step_exits_75_as_well(start, run, small_run, tmp_path):
    for seconds in (0.3, 2.5):  # while modules are loaded, while the net is built
        workdir = tmp_path / str(seconds)
        flags = (*small_run, f"--workdir={workdir}")
        # So many that the fastest machine is not done before the signal.
        process = start(*flags, "--config.train.steps=100000")
        wait_until(process, (workdir / ".lock").exists)
        time.sleep(seconds)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=300)
        assert process.returncode == 75, err
        assert "stopped by SIGTERM" in out and "Traceback" not in err
    assert run(*flags, "--config.train.steps=4").returncode == 0


def test_a_second_start_in_the_same_folder_is_refused(start, run, small_run, tmp_path):
    flags = (*small_run, f"--workdir={tmp_path}", "--config.train.steps=100000")
    first = start(*flags)
    wait_until(first, lambda: len(records(tmp_path / "ids.jsonl")) >= 1)
    second = run(*flags)
    first.kill()
    first.communicate()
    assert (
        second.returncode == 2
        and str(first.pid) in second.stderr
        and len(second.stderr.splitlines()) == 1
    )


def test_a_run_resumes_from_the_newest_checkpoint_that_is_not_damaged(run, uninterrupted, tmp_path):
    """The last one has all its files, and the arrays of the one before it."""
    workdir = shutil.copytree(uninterrupted, tmp_path / "run")
    checkpoints = workdir / "checkpoints"
    before = max(int(entry.name) for entry in checkpoints.iterdir() if entry.name != str(STEPS))
    shutil.rmtree(checkpoints / str(STEPS) / "state")
    shutil.copytree(checkpoints / str(before) / "state", checkpoints / str(STEPS) / "state")
    flags = (f"--workdir={workdir}", "--config.evaluate.checkpoint=latest")
    evaluated = run("--mode=evaluate", *flags)
    assert evaluated.returncode == 0, evaluated.stderr
    [warning] = evaluated.stderr.splitlines()
    assert f"{STEPS} (" in warning and "has other values than were saved" in warning
    assert json.loads((workdir / "evaluation.json").read_text())["checkpoint"] == before
    by_number = run(
        "--mode=export", f"--workdir={workdir}", f"--config.evaluate.checkpoint={STEPS}"
    )
    assert by_number.returncode == 2 and len(by_number.stderr.splitlines()) == 1
    assert f"checkpoints/{STEPS} is damaged" in by_number.stderr

    resumed = run(f"--workdir={workdir}")
    assert resumed.returncode == 0, resumed.stderr
    [warning] = [line for line in resumed.stderr.splitlines() if line.startswith("warning")]
    assert "the run resumes from step" in warning and f"{STEPS}.damaged" in warning
    assert (checkpoints / f"{STEPS}.damaged").is_dir()
    expected, found = final_state(uninterrupted), final_state(workdir)
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_another_configuration_in_the_same_folder_is_refused(run, small_run, uninterrupted):
    changed = run(*small_run, *SAVING, f"--workdir={uninterrupted}", "--config.optim.lr=0.5")
    assert changed.returncode == 2 and "config.optim.lr=0.004, now 0.5" in changed.stderr
    assert len(changed.stderr.splitlines()) == 1


def test_a_loss_that_is_not_finite_between_log_lines_stops_the_run_before_the_save(
    run, small_run, tmp_path, monkeypatch
):
    """The error names the images of the batch: those that the step that failed was given."""
    # For seven steps it is not worth it.
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    # Adam's first step at this learning rate moves every weight by about 1e30: the next forward
    # pass overflows.
    flags = (
        *small_run,
        f"--workdir={tmp_path}",
        "--config.optim.lr=1e30",
        "--config.optim.schedule=piecewise_constant",
    )
    options = '--config.optim.schedule_options={"boundaries_and_scales": {0: 1e-30, 6: 1e30}}'
    pace = ("--config.train.log_every=50", "--config.checkpoint.every=4", "--config.train.steps=60")
    stopped = run(*flags, options, *pace, "--config.train.eval_every=50")
    assert stopped.returncode == 1, stopped.stderr
    line = stopped.stderr.splitlines()[-1]
    assert (
        line.startswith("stopped: ")
        and "not finite in step 7" in line
        and "checkpoint is step 4" in line
    )
    assert sorted(os.listdir(tmp_path / "checkpoints")) == ["4"]
    ids = {record["step"]: record["ids"] for record in records(tmp_path / "ids.jsonl")}
    assert line.endswith(f"the images of that batch: {', '.join(ids[7])}") and len(ids[7]) == 8
