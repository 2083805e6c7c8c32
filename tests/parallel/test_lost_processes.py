"""One of several real processes is killed or suspended: the others say so and end.

The launch scripts' own patterns say whether they start a run again.
"""

import signal
import socket
import time

import pytest
from support.dying_run import PHASES
from support.process_jobs import starts_again, stopped_line
from support.stepping_run import REASON

STEPPING = ["tests/support/stepping_run.py"]
DYING = "tests/support/dying_run.py"
NEEDS_CHECKPOINT = ("restore",)
TIMEOUT = "--config.devices.timeout_s=30"
STEPS = 20


@pytest.mark.parametrize("victim, number", [(1, signal.SIGKILL), (0, signal.SIGSTOP)])
def test_one_that_is_killed_or_suspended_is_named_and_all_are_started_again(
    job, tmp_path, victim, number
):
    two = job(tmp_path, 2, TIMEOUT, programs=dict.fromkeys(range(2), STEPPING))
    two.until((tmp_path / "step").exists)
    two.signal(victim, number)
    ((status, _, err),) = two.end(1 - victim)
    assert status == 1, err
    line = stopped_line(err)
    assert f"process {victim} ({socket.gethostname()})" in line
    assert starts_again(err), line
    assert [path for path in tmp_path.iterdir() if ".shared" in path.name] == []


def test_what_fails_in_the_background_of_one_ends_all_with_that_reason(job, tmp_path):
    two = job(tmp_path, 2, TIMEOUT, programs={0: STEPPING, 1: [*STEPPING, "--failing"]})
    (first, _, err), (second, _, own) = two.end()
    assert (first, second) == (1, 1), err + own
    assert stopped_line(own) == f"process 1: stopped: {REASON}"
    assert stopped_line(err) == (
        f"stopped: process 1 ({socket.gethostname()}) has ended: stopped: {REASON}"
    )
    assert not starts_again(err + own)


@pytest.mark.slow
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("victim", [0, 1])
def test_one_that_is_killed_in_any_phase_is_named_and_the_run_goes_on(job, tmp_path, phase, victim):
    saving = (
        "--config.checkpoint.every=2",
        "--config.train.eval_every=9",
        f"--config.train.steps={STEPS}",
    )
    if phase in NEEDS_CHECKPOINT:
        several = job(tmp_path, 2, *saving, TIMEOUT, programs={0: [DYING, "evaluation"]})
        several.end()
    two = job(tmp_path, 2, *saving, TIMEOUT, programs={victim: [DYING, phase]})
    (killed,) = two.end(victim)
    assert killed[0] == -signal.SIGKILL, killed
    begin = time.monotonic()
    ((status, _, err),) = two.end(1 - victim)
    print(f"{phase}, process {victim} killed: ended after {time.monotonic() - begin:.0f} s")
    assert status == 1, err
    assert starts_again(err), err
    line = stopped_line(err)
    if phase == "meeting":
        assert "not all processes met at" in line
    else:
        assert f"process {victim} ({socket.gethostname()})" in line
    ((status, _, err),) = job(tmp_path, 1, *saving).end()
    assert status == 0, err
