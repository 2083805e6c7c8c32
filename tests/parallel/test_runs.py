"""Several real processes on loopback: they learn what one learns, and stop and end together."""

import shutil
import signal
import socket
import time

import jax
import numpy as np
import pytest
from support.made_runs import restored_state
from support.process_jobs import Job, losses, records, stopped_line

from hpa_jax.verify.run import verify

STEPS = 14  # two epochs of 54 images
EVERY_STEP = "--config.train.log_every=1"
MODEST = (
    "--config.optim.lr=1e-4",
    "--config.optim.schedule=cosine_onecycle",
    EVERY_STEP,
    f"--config.train.steps={STEPS}",
)
ENDLESS = (
    "--config.train.steps=100000",
    "--config.train.eval_every=30",
    "--config.devices.timeout_s=15",
    EVERY_STEP,
)

# A process that stops reading, as from a file system that hangs.
HANGING = """
import sys, threading
from hpa_jax.data.dataset import ConcatDataset

read, seen = ConcatDataset.__getitem__, []

def stuck(self, i):
    seen.append(i)
    if len(seen) > 60:
        threading.Event().wait()
    return read(self, i)

ConcatDataset.__getitem__ = stuck
from hpa_jax.main import main
sys.exit(main(sys.argv[1:]))
"""

# A process whose steps take half a second at least, so that no machine is done before a signal.
SLOW_STEPS = """
import sys, time
from hpa_jax.training.run import Run

next_batch = Run.next_batch

def next_batch_later(self, step):
    time.sleep(0.5)
    return next_batch(self, step)

Run.next_batch = next_batch_later
from hpa_jax.main import main
sys.exit(main(sys.argv[1:]))
"""


def check_same_run(workdir, reference):
    """The same loss at each step, up to rounding, so the same images in each batch.

    What each process reads of a batch, and that an epoch has each image once, is tested with the
    loader and the sampler.
    """
    expected = losses(reference)
    found = losses(workdir)
    steps = list(range(1, STEPS + 1))
    assert sorted(expected) == sorted(found) == steps
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-5)
    found = np.array([found[step] for step in steps])
    expected = np.array([expected[step] for step in steps])
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    # One batch in the place of the next would be noticed.
    assert (np.abs(np.diff(expected)) / expected[1:]).min() > 2e-4


@pytest.fixture
def slow_steps(tmp_path):
    """The program of a process whose steps are slow."""
    program = tmp_path.with_suffix(".py")
    program.write_text(SLOW_STEPS)
    return [str(program)]


@pytest.fixture(scope="module")
def reference(compilation_cache, small_run, tmp_path_factory):
    """One process with all the devices."""
    folder = tmp_path_factory.mktemp("single")
    single = Job(compilation_cache, folder, 1, *small_run, *MODEST)
    ((status, _, err),) = single.end()
    assert status == 0, err
    return folder


def test_two_learn_what_one_learns_stop_when_the_second_is_asked_to_and_one_resumes(
    job, reference, slow_steps, tmp_path
):
    two = job(tmp_path, 2, *MODEST, programs=dict.fromkeys(range(2), slow_steps))
    two.until_step(3)
    two.signal(1, signal.SIGTERM)
    (first, out, err), (second, silent_out, silent_err) = two.end()
    assert (first, second) == (75, 75), err + silent_err
    (saved,) = [int(entry.name) for entry in (tmp_path / "checkpoints").iterdir()]
    assert f"stopped by SIGTERM to process 1 after saving step {saved} of {STEPS}" in out
    assert 3 <= saved < STEPS and len(losses(tmp_path)) == saved
    assert silent_err == ""
    verify(tmp_path)  # its manifest is of what two processes wrote
    # Its threads write into each other's lines.
    others = [line for line in silent_out.splitlines() if "peer ranks" not in line]
    assert not others, silent_out
    ((status, _, err),) = job(tmp_path, 1, *MODEST).end()
    assert status == 0, err
    check_same_run(tmp_path, reference)


@pytest.mark.slow
def test_four_learn_what_one_learns(job, reference, tmp_path):
    ended = job(tmp_path, 4, *MODEST).end()
    assert [status for status, _, _ in ended] == [0] * 4, ended
    check_same_run(tmp_path, reference)
    found = state_of(tmp_path)
    for name, leaf in state_of(reference).items():
        np.testing.assert_allclose(found[name], leaf, rtol=1e-3, atol=2e-4, err_msg=name)
    metrics = records(tmp_path, "validation")[-1]
    expected = records(reference, "validation")[-1]
    assert metrics.pop("split") == expected.pop("split")
    assert metrics == pytest.approx(expected, abs=0.02)
    assert (tmp_path / "thresholds.json").exists()


def state_of(workdir):
    """All arrays of the last checkpoint, by name."""
    leaves = jax.tree.leaves_with_path(restored_state(workdir, STEPS))
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


@pytest.mark.slow
def test_two_then_four_then_one_see_the_images_that_one_sees(job, reference, slow_steps, tmp_path):
    for count, victim in ((2, 0), (4, 3)):
        resumed_at = len(losses(tmp_path))
        programs = dict.fromkeys(range(count), slow_steps)
        several = job(tmp_path, count, *MODEST, programs=programs)
        several.until_step(resumed_at + 3)
        several.signal(victim, signal.SIGTERM)
        assert [status for status, _, _ in several.end()] == [75] * count
    ((status, _, err),) = job(tmp_path, 1, *MODEST).end()
    assert status == 0, err
    check_same_run(tmp_path, reference)


@pytest.mark.slow
def test_two_resume_from_the_newest_checkpoint_that_is_not_damaged(
    job, reference, slow_steps, tmp_path
):
    often = (*MODEST, "--config.checkpoint.every=2", "--config.checkpoint.keep=3")
    two = job(tmp_path, 2, *often, programs=dict.fromkeys(range(2), slow_steps))
    two.until_step(5)
    two.signal(0, signal.SIGTERM)
    assert [status for status, _, _ in two.end()] == [75, 75]
    checkpoints = tmp_path / "checkpoints"
    *_, before, newest = sorted(int(entry.name) for entry in checkpoints.iterdir())
    # Other values: what the files say is whole, and only who reads the arrays can tell.
    shutil.rmtree(checkpoints / str(newest) / "state")
    shutil.copytree(checkpoints / str(before) / "state", checkpoints / str(newest) / "state")
    (first, _, err), (second, _, silent) = job(tmp_path, 2, *often).end()
    assert (first, second) == (0, 0), err + silent
    [warning] = [line for line in err.splitlines() if line.startswith("warning")]
    assert f"{newest} (" in warning and f"resumes from step {before}" in warning
    assert silent == "" and (checkpoints / f"{newest}.damaged").is_dir()
    check_same_run(tmp_path, reference)
    verify(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_one_that_is_dead_or_suspended_is_named_and_the_others_end(job, tmp_path, victim, number):
    two = job(tmp_path, 2, *ENDLESS)
    two.until_step(5)
    sent = time.monotonic()
    two.signal(victim, number)
    ((status, _, err),) = two.end(1 - victim)
    assert status == 1 and time.monotonic() - sent < 60, err
    line = stopped_line(err)
    assert f"process {victim} ({socket.gethostname()})" in line
    assert "start all processes again" in line
    assert line.startswith("stopped: " if victim == 1 else "process 1: stopped: ")


@pytest.mark.slow
def test_one_whose_data_hang_is_named_and_ends_as_well(job, tmp_path):
    program = tmp_path / "hanging.py"
    program.write_text(HANGING)
    two = job(tmp_path / "run", 2, *ENDLESS, programs={1: [str(program)]})
    (first, _, err), (second, _, own) = two.end()
    assert (first, second) == (1, 1), err + own
    for line in (stopped_line(err), stopped_line(own)):
        assert f"process 1 ({socket.gethostname()}) did not get on for" in line, err + own
        assert "reading the batch of step" in line


@pytest.mark.slow
def test_one_that_ends_for_a_reason_of_its_own_takes_the_others_with_it(job, tmp_path):
    two = job(tmp_path, 2, *ENDLESS, each={1: ("--config.data.data_dir=/nowhere",)})
    (first, _, err), (second, _, own) = two.end()
    assert (first, second) == (1, 2) and own.startswith("process 1: error: ")
    assert "has ended: error: " in err and "/nowhere" in err


@pytest.mark.slow
def test_processes_with_different_configurations_are_refused(job, tmp_path):
    two = job(tmp_path, 2, *ENDLESS, each={1: ("--config.optim.lr=0.5",)})
    (first, _, err), (second, _, own) = two.end()
    assert (first, second) == (1, 2)
    assert "config.optim.lr is 0.5 in process 1 and 0.004 in process 0" in own and "optim.lr" in err


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.0, 1.0])
def test_sigterm_in_evaluations_and_while_compiling(job, tmp_path, seconds):
    often = (
        "--config.train.eval_every=1",
        "--config.train.steps=100000",
        "--config.train.ema=0.9",
        "--config.train.ema_batches=6",
    )
    two = job(tmp_path, 2, *often, EVERY_STEP)
    if seconds:
        two.until_step(4)
        time.sleep(seconds)
    else:
        # The net is there, and nothing is compiled.
        two.until((tmp_path / "config.json").exists)
    two.signal(0, signal.SIGTERM)
    ended = two.end()
    assert [status for status, _, _ in ended] == [75, 75], ended
    saved = max(int(entry.name) for entry in (tmp_path / "checkpoints").iterdir())
    assert f"after saving step {saved} of" in ended[0][1]
