"""Several real processes on loopback, with CPU collectives: they learn what one learns, stop and end together."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from hpa_jax.data.catalog import open_dataset
from hpa_jax.parallel.mesh import make_mesh
from hpa_jax.training import experiment
from hpa_jax.training.checkpoint import Checkpoints
from hpa_jax.workdir import read_config

DEVICES = 4  # in all
STEPS = 14  # two epochs of 54 fields
MODEST = ("--config.optim.lr=1e-4", "--config.train.log_every=1", f"--config.train.steps={STEPS}")
ENDLESS = (
    "--config.train.steps=100000",
    "--config.train.eval_every=30",
    "--config.devices.timeout_s=15",
)

# One process stops reading, as from a file system that hangs.
HANGING = """
import sys, threading, hpa_jax.fields as fields
read, seen = fields.Joined.__getitem__, []
def stuck(self, i):
    seen.append(i)
    if len(seen) > 60: threading.Event().wait()
    return read(self, i)
fields.Joined.__getitem__ = stuck
from hpa_jax.main import main
sys.exit(main(sys.argv[1:]))
"""


class Job:
    """The processes of one run, each with its part of the devices."""

    def __init__(self, cache, folder: Path, count: int, *flags, programs=None, each=None):
        self.workdir, self.processes = folder, []
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        for p in range(count):
            environment = os.environ | {
                "JAX_PLATFORMS": "cpu",
                "JAX_NUM_CPU_DEVICES": str(DEVICES // count),
                "JAX_COMPILATION_CACHE_DIR": str(cache),
                "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # compiles in a third of the time
            }
            where = (f"--config.devices.processes={count}", f"--config.devices.process={p}")
            if count > 1:
                where += (f"--config.devices.coordinator={address}",)
            program = (programs or {}).get(p, ["-m", "hpa_jax.main"])
            command = [
                sys.executable,
                *program,
                *flags,
                *where,
                *(each or {}).get(p, ()),
                f"--workdir={folder}",
            ]
            self.processes.append(
                subprocess.Popen(
                    command,
                    cwd=Path(__file__).resolve().parents[2],
                    env=environment,
                    text=True,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                )
            )

    def until_step(self, step: int) -> None:
        self.until(lambda: len(records(self.workdir / "ids.jsonl")) >= step)

    def until(self, condition, seconds: float = 280) -> None:
        """Waits for that, or for the end of the first process."""
        deadline = time.monotonic() + seconds
        while self.processes[0].poll() is None and not condition():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def signal(self, process: int, number: int) -> None:
        self.processes[process].send_signal(number)

    def end(self, *processes) -> list[tuple[int, str, str]]:
        """Statuses, outputs and errors of those processes, or all, once they have ended."""
        found = []
        for p in processes or range(len(self.processes)):
            out, err = self.processes[p].communicate(timeout=280)
            found.append((self.processes[p].returncode, out, err))
        return found

    def kill(self) -> None:
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.communicate()


@pytest.fixture
def job(compilation_cache, small_run):
    jobs = []

    def make(folder, count, *flags, **options):
        jobs.append(Job(compilation_cache, folder, count, *small_run, *flags, **options))
        return jobs[-1]

    yield make
    for one in jobs:
        one.kill()


def records(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def losses(workdir):
    return {
        r["step"]: r["loss"] for r in records(workdir / "metrics.jsonl") if r["split"] == "train"
    }


def ids_by_step(workdir):
    """Ids of each step, of all processes in their order."""
    found = {}
    for path in [workdir / "ids.jsonl", *(workdir / f"ids.{p}.jsonl" for p in range(1, 8))]:
        for record in records(path):
            found.setdefault(record["step"], []).extend(record["ids"])
    return found


def check_same_run(workdir, reference, small_data):
    """The same fields in the same rows, each once an epoch; the same losses, as near as devices get them."""
    assert ids_by_step(workdir) == ids_by_step(reference)
    seen = [i for step in range(STEPS) for i in ids_by_step(workdir)[step]]
    fields = sorted(open_dataset(small_data, "synthetic_32", "train").ids())
    for epoch in range(len(seen) // len(fields)):
        assert sorted(seen[epoch * len(fields) : (epoch + 1) * len(fields)]) == fields
    expected, found = losses(reference), losses(workdir)
    assert expected.keys() == found.keys() == set(range(1, STEPS + 1))
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-5)
    np.testing.assert_allclose(
        [found[s] for s in expected], [expected[s] for s in expected], rtol=1e-4
    )


@pytest.fixture(scope="module")
def reference(compilation_cache, small_run, tmp_path_factory):
    """One process with all the devices."""
    alone = Job(compilation_cache, tmp_path_factory.mktemp("alone"), 1, *small_run, *MODEST)
    ((status, _, err),) = alone.end()
    assert status == 0, err
    return alone.workdir


def test_two_learn_what_one_learns_stop_when_the_second_is_asked_to_and_one_goes_on(
    job, reference, small_data, tmp_path
):
    two = job(tmp_path, 2, *MODEST)
    two.until_step(3)
    two.signal(1, signal.SIGTERM)
    (first, out, err), (second, _, silent) = two.end()
    assert (first, second) == (75, 75), err + silent
    (saved,) = [int(entry.name) for entry in (tmp_path / "checkpoints").iterdir()]
    assert (
        f"stopped by SIGTERM to process 1 after saving step {saved} of {STEPS}" in out
        and 3 <= saved < STEPS
    )
    assert silent == ""
    assert len(records(tmp_path / "ids.jsonl")) == len(records(tmp_path / "ids.1.jsonl")) == saved
    ((status, _, err),) = job(tmp_path, 1, *MODEST).end()
    assert status == 0, err
    check_same_run(tmp_path, reference, small_data)


@pytest.mark.slow
def test_four_learn_what_one_learns(job, reference, small_data, tmp_path):
    ended = job(tmp_path, 4, *MODEST).end()
    assert [status for status, _, _ in ended] == [0] * 4, ended
    check_same_run(tmp_path, reference, small_data)
    found, expected = (state_of(workdir) for workdir in (tmp_path, reference))
    for name, leaf in expected.items():
        np.testing.assert_allclose(found[name], leaf, rtol=1e-3, atol=2e-4, err_msg=name)
    figures = [
        [r for r in records(w / "metrics.jsonl") if r["split"] == "validation"]
        for w in (tmp_path, reference)
    ]
    assert figures[0][0].keys() == figures[1][0].keys()
    np.testing.assert_allclose(
        list(figures[0][-1].values())[2:], list(figures[1][-1].values())[2:], atol=0.02
    )
    assert (tmp_path / "thresholds.json").exists()


def state_of(workdir):
    """All arrays of the last checkpoint, by name."""
    config = read_config(workdir)
    checkpoints = Checkpoints(workdir / "checkpoints", metric="macro_f1")
    state, _ = experiment.initial_state(config, make_mesh(), STEPS)
    restored = checkpoints.restore(STEPS, state)
    checkpoints.close()
    return {
        jax.tree_util.keystr(path): np.asarray(leaf)
        for path, leaf in jax.tree.leaves_with_path(restored)
    }


@pytest.mark.slow
def test_two_then_four_then_one_see_each_field_once_an_epoch(job, reference, small_data, tmp_path):
    for count, victim in ((2, 0), (4, 3)):
        some = job(tmp_path, count, *MODEST)
        last = tmp_path / f"ids.{count - 1}.jsonl"
        some.until(lambda last=last, steps=2 + count: len(records(last)) >= steps)
        some.signal(victim, signal.SIGTERM)
        assert [status for status, _, _ in some.end()] == [75] * count
    ((status, _, err),) = job(tmp_path, 1, *MODEST).end()
    assert status == 0, err
    check_same_run(tmp_path, reference, small_data)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_one_that_is_dead_or_suspended_is_named_and_the_others_end(job, tmp_path, victim, number):
    two = job(tmp_path, 2, *ENDLESS)
    two.until_step(5)
    begun = time.monotonic()
    two.signal(victim, number)
    ((status, _, err),) = two.end(1 - victim)
    assert status == 1 and time.monotonic() - begun < 60, err
    line = [line for line in err.splitlines() if "stopped: " in line][-1]
    assert (
        f"process {victim} ({socket.gethostname()})" in line and "start all processes again" in line
    )
    assert line.startswith("stopped: " if victim == 1 else "process 1: stopped: ")


@pytest.mark.slow
def test_one_whose_data_hang_is_named_and_ends_as_well(job, tmp_path):
    program = tmp_path / "hanging.py"
    program.write_text(HANGING)
    two = job(tmp_path / "run", 2, *ENDLESS, programs={1: [str(program)]})
    (first, _, err), (second, _, own) = two.end()
    assert (first, second) == (1, 1), err + own
    for text in (err, own):
        line = [line for line in text.splitlines() if "stopped: " in line][-1]
        assert (
            f"process 1 ({socket.gethostname()}) did not get on for" in line
            and "reading the batch of step" in line
        )


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
    often = ("--config.train.eval_every=1", "--config.train.steps=100000", "--config.train.ema=0.9")
    two = job(tmp_path, 2, *often, "--config.train.ema_batches=6")
    if seconds:
        two.until_step(4)
        time.sleep(seconds)
    else:
        two.until((tmp_path / "config.json").exists)  # the net is there, and nothing compiled
    two.signal(0, signal.SIGTERM)
    ended = two.end()
    assert [status for status, _, _ in ended] == [75, 75], ended
    saved = max(int(entry.name) for entry in (tmp_path / "checkpoints").iterdir())
    assert f"after saving step {saved} of" in ended[0][1]
