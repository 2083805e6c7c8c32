"""Several processes of one run: which one is blamed, and where all stop."""

import dataclasses

import pytest

from hpa_jax.parallel.group_health import RESTART_HINT, SLOW_FACTOR, GroupHealth, Report

TIMEOUT = 30


def report(host, milestones, where="its start", **fields):
    return Report(host, heartbeat=1, milestones=milestones, where=where, **fields)


def health_of(*reports, index=0):
    health = GroupHealth(index, len(reports), TIMEOUT)
    health.update(dict(enumerate(reports)), 0.0)
    return health


def verdict_after(health, *reports, seconds):
    """The verdict when for so many seconds heartbeats are all that changes."""
    for second in range(1, seconds + 1):
        alive = {}
        for process, each in enumerate(reports):
            alive[process] = dataclasses.replace(each, heartbeat=second)
        health.update(alive, float(second))
    return health.verdict(float(seconds))


def test_a_process_that_is_not_heard_of_is_named():
    silent = report("b", 7, "step 7")
    health = health_of(report("a", 7, "step 7"), silent)
    for second in range(1, TIMEOUT + 2):
        alive = Report("a", heartbeat=1 + second, milestones=7, where="step 7")
        health.update({0: alive, 1: silent}, float(second))
        assert bool(health.verdict(float(second))) == (second > TIMEOUT)
    expected = f"process 1 (b) gave no sign of life for 31 s, last at step 7{RESTART_HINT}"
    assert health.verdict(31.0) == expected


def test_a_process_behind_the_others_is_named_and_not_those_that_wait_for_it():
    reports = [
        report("a", 9, "step 8"),
        report("b", 8, "reading the batch of step 8"),
        report("c", 9),
    ]
    assert verdict_after(health_of(*reports), *reports, seconds=TIMEOUT) == ""
    found = verdict_after(health_of(*reports), *reports, seconds=TIMEOUT + 1)
    assert found.startswith("process 1 (b) did not get on for 31 s at reading the batch of step 8")


def test_of_many_processes_behind_three_are_named():
    reports = [report("a", 9), *(report(host, 8) for host in "bcde")]
    found = verdict_after(health_of(*reports), *reports, seconds=TIMEOUT + 1)
    assert found.startswith("process 1 (b) and process 2 (c) and process 3 (d) and more did not")


def test_time_counts_from_the_last_progress_of_any_process():
    reports = [report("a", 9, "step 9"), report("b", 8, "step 8")]
    health = health_of(*reports)
    assert verdict_after(health, *reports, seconds=TIMEOUT) == ""
    ahead = Report("a", heartbeat=50, milestones=10, where="step 10")
    health.update({0: ahead}, 30.5)
    assert verdict_after(health, ahead, reports[1], seconds=TIMEOUT + 20) == ""


@pytest.mark.parametrize("milestones", [(3, 3), (4, 3)])
def test_slow_milestones_and_those_at_which_all_stand_are_bounded_too(milestones):
    first, second = milestones
    reports = [
        report("a", first, "compiling", slow=True),
        report("b", second, "compiling", slow=True),
    ]
    patience = SLOW_FACTOR * TIMEOUT
    assert verdict_after(health_of(*reports), *reports, seconds=patience) == ""
    assert "compiling" in verdict_after(health_of(*reports), *reports, seconds=patience + 1)


def test_a_process_that_has_done_its_part_is_not_missed():
    health = health_of(report("a", 9, ended=""), report("b", 3, "step 3"))
    health.update({1: Report("b", heartbeat=2, milestones=3, where="step 3")}, 90.0)
    assert health.verdict(90.0) == ""


def test_a_process_that_ends_badly_is_named_with_its_reason():
    reports = [report("a", 3), report("b", 3, ended="error: shard 3 is damaged")]
    expected = "process 1 (b) has ended: error: shard 3 is damaged"
    assert health_of(*reports).verdict(0.0) == expected
    assert health_of(*reports, index=1).verdict(0.0) == ""  # that process knows


def test_a_verdict_of_another_process_is_taken_over():
    reports = [report("a", 3, verdict="process 2 (c) is late"), report("b", 3), report("c", 3)]
    assert health_of(*reports, index=1).verdict(0.0) == "process 2 (c) is late"


def test_all_stop_at_the_first_milestone_that_none_has_passed():
    health = health_of(report("a", 7, paused_at=7), report("b", 9))
    assert health.stop_at() is None
    health.update({1: report("b", 9, paused_at=9)}, 1.0)
    assert health.stop_at() == 10
