"""Goodput: where the time goes since a run's first start, over starts that were killed."""

import json

import pytest

from hpa_jax.tracking import goodput
from hpa_jax.tracking.goodput import FILE_NAME, STEPS, Goodput


class Clock:
    def __init__(self):
        self.now = 1000.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(goodput, "time", clock)
    monkeypatch.setattr(goodput, "process_start", clock.time)
    return clock


def start(workdir, clock, *, step: int) -> Goodput:
    found = Goodput(workdir)
    clock.now += 5
    with found.phase("restore"):
        clock.now += 1
    found.resume_from(step)
    with found.phase("compile"):
        clock.now += 4
    found.switch(STEPS)
    return found


def test_steps_that_were_done_for_nothing_and_the_time_between_starts_do_not_count(tmp_path, clock):
    first = start(tmp_path, clock, step=0)
    clock.now += 20
    first.mark_saved(100)
    clock.now += 20
    with first.phase("evaluation"):
        clock.now += 3
    first.mark_saved(200)
    clock.now += 7
    first.write()
    # It goes on for a while, and is killed; the next start finds step 200 damaged.
    clock.now += 9
    clock.now += 31
    second = start(tmp_path, clock, step=100)
    clock.now += 50
    seconds = second.seconds()
    assert seconds == {
        "start": 10,
        "compile": 8,
        "restore": 2,
        STEPS: 20 + 50,
        "evaluation": 3,
        "save": 0,
        "lost": 27,
        "down": 40,
    }
    assert second.fraction() == 70 / 160
    assert second.summary().startswith("goodput 44% of 160.0 s since the first start; the rest: ")
    assert "down 40.0 s, lost 27.0 s" in second.summary()


def test_a_third_start_loses_nothing_twice(tmp_path, clock):
    first = start(tmp_path, clock, step=0)
    clock.now += 20
    first.mark_saved(100)
    clock.now += 10
    first.write()
    for _ in range(2):
        again = start(tmp_path, clock, step=100)
        again.write(at_once=True)
    assert again.seconds()["lost"] == 10
    assert again.seconds()[STEPS] == 20


@pytest.mark.parametrize("text", ["", "{", "[]", '{"first_start": "x"}', '{"first_start": 1}'])
def test_a_damaged_record_is_begun_anew(tmp_path, clock, text):
    (tmp_path / FILE_NAME).write_text(text)
    found = start(tmp_path, clock, step=0)
    clock.now += 10
    assert found.fraction() == 0.5
    found.write()
    assert json.loads((tmp_path / FILE_NAME).read_text())["first_start"] == 1000.0


def test_other_processes_write_nothing(tmp_path, clock):
    start(None, clock, step=0).write(at_once=True)
    assert not list(tmp_path.iterdir())
    assert goodput.process_start() > 0
