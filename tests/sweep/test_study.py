"""The trials of a sweep: the same after a kill, never one twice, and what they say."""

import contextlib

import numpy as np
import pytest

from hpa_jax.config import Sweep
from hpa_jax.errors import InputError
from hpa_jax.sweep.space import Choice, Range

pytest.importorskip("optuna", reason="the extra `sweep` is not installed")

from hpa_jax.sweep.storage import DATABASE
from hpa_jax.sweep.study import SweepStudy

SPACE = {"optim.lr": Range(1e-4, 1e-1, log=True), "optim.name": Choice(("adam", "sgd"))}
FIRST = {"optim.lr": 1e-2, "optim.name": "adam"}


def opened(folder, *, trials=5, space=SPACE, first=FIRST, identity=None, **settings):
    folder.mkdir(exist_ok=True)
    settings = Sweep(trials=trials, random=2, **settings)
    return SweepStudy(folder, space, settings, identity or {"config.train.steps": 5}, first)


class Killed(Exception):
    """Ends a worker within a trial, of which nothing more is recorded."""


def metric_of(values):
    """The best learning rate is 0.01; the optimizer hardly matters."""
    distance = abs(np.log10(values["optim.lr"]) + 2)
    return float(1 - 0.3 * distance - 0.01 * (values["optim.name"] == "sgd"))


def run_one(study):
    """Works on the next trial to its end; its number, or None."""
    with study.next_trial() as trial:
        if trial is None:
            return None
        assert trial.report(1, metric_of(trial.values) / 2)
        assert trial.report(2, metric_of(trial.values))
        study.finish(trial)
        return trial.number


def test_a_killed_sweep_tries_what_it_would_have_tried(tmp_path):
    whole = opened(tmp_path / "whole")
    while run_one(whole) is not None:
        pass
    expected = [record.values for record in whole.records()]
    assert expected[0] == FIRST and len(expected) == 5

    with pytest.raises(Killed):
        killed = opened(tmp_path / "killed")
        run_one(killed)
        run_one(killed)
        run_one(killed)
        with killed.next_trial() as trial:
            trial.report(1, 0.25)
            raise Killed
    resumed = opened(tmp_path / "killed")
    left = resumed.records()[3]
    assert left.state == "running" and left.evaluations == {1: 0.25}
    with resumed.next_trial() as trial:
        assert trial.number == 3 and trial.values == left.values == expected[3]
        # It was reported before the kill.
        assert not trial.report(1, 0.25)
        trial.report(2, metric_of(trial.values))
        resumed.finish(trial)
    while run_one(resumed) is not None:
        pass
    assert [record.values for record in resumed.records()] == expected
    assert {record.state for record in resumed.records()} == {"complete"}


@pytest.mark.slow
def test_importances_find_what_the_metric_was_made_of_and_are_the_same_each_time(tmp_path):
    study = opened(tmp_path, trials=12)
    while run_one(study) is not None:
        pass
    importances = study.importances()
    assert importances["optim.lr"] > 0.5 > importances["optim.name"]
    assert importances == opened(tmp_path, trials=12).importances()


def test_two_workers_never_hold_one_trial(tmp_path):
    first = opened(tmp_path, trials=2)
    second = opened(tmp_path, trials=2)
    with first.next_trial() as one, second.next_trial() as other:
        assert (one.number, other.number) == (0, 1) and one.values != other.values
        with opened(tmp_path, trials=2).next_trial() as third:
            assert third is None
        with opened(tmp_path, trials=3).next_trial() as more:
            assert more.number == 2
    # None of them was finished: they are taken up in their order.
    with first.next_trial() as again:
        assert again.number == 0 and again.values == one.values


@pytest.mark.slow
def test_a_trial_that_ends_while_another_worker_looks_is_not_taken_over(tmp_path, monkeypatch):
    first = opened(tmp_path, trials=2)
    second = opened(tmp_path, trials=2)
    held = contextlib.ExitStack()
    trial = held.enter_context(first.next_trial())
    look = second._study.get_trials

    def look_and_wait(**settings):
        found = look(**settings)
        if "states" in settings:
            trial.report(1, 0.5)
            first.finish(trial)
            held.close()
        return found

    monkeypatch.setattr(second._study, "get_trials", look_and_wait)
    with second.next_trial() as other:
        assert (trial.number, other.number) == (0, 1)


@pytest.mark.slow
def test_a_trial_below_the_median_is_pruned_and_a_failed_one_has_its_reason(tmp_path):
    study = opened(tmp_path, prune_after=2, prune_from=2)
    for value in (0.8, 0.6):
        with study.next_trial() as trial:
            for step in (1, 2):
                trial.report(step, value)
            assert not trial.should_prune()
            study.finish(trial)
    with study.next_trial() as trial:
        trial.report(1, 0.1)
        assert not trial.should_prune()
        trial.report(2, 0.69)
        assert trial.should_prune()
        study.prune(trial)
    with study.next_trial() as trial:
        assert not trial.report(1, float("nan"))
        study.finish(trial)
    states = [record.state for record in study.records()]
    assert states == ["complete", "complete", "pruned", "failed"]
    assert study.records()[0].best() == 0.8
    assert study.records()[3].reason == "no evaluation gave a number"
    assert study.importances() == {}


def test_another_sweep_or_file_in_the_folder_is_refused(tmp_path):
    ranges = {"optim.lr": {"low": 0.1}, "optim.name": {"values": ["adam", "sgd"]}}
    identity = {"search_space()": ranges, "config.train.steps": 5}
    opened(tmp_path, identity=identity)
    with pytest.raises(InputError, match="config.train.steps=5, now 6"):
        opened(tmp_path, identity=identity | {"config.train.steps": 6})
    # Only what differs, of many.
    other = ranges | {"optim.lr": {"low": 0.2}, "optim.b1": {}}
    with pytest.raises(
        InputError, match=r"=\{'optim.lr': \{'low': 0.1\}\}, now \{.*'optim.b1': \{"
    ):
        opened(tmp_path, identity=identity | {"search_space()": other})
    other = tmp_path / "other"
    other.mkdir()
    (other / DATABASE).write_text("no database at all, and long enough to be looked at" * 20)
    with pytest.raises(InputError, match="cannot be read"):
        opened(other)
    # For SQLite an empty file is a new database.
    (other / DATABASE).write_bytes(b"")
    opened(other)
    (other / "trials" / "0000").mkdir()
    (other / "trials" / "0000" / "config.json").write_text("{}")
    (other / DATABASE).write_bytes(b"")
    with pytest.raises(InputError, match="is missing or empty, and .*trials has runs"):
        opened(other)
