"""Which process a file names, and whether it is gone."""

import os
import subprocess
import sys

import pytest

from hpa_jax import process_owner
from hpa_jax.process_owner import is_gone, this_process


@pytest.fixture(scope="module")
def ended():
    """The number of a process that has ended."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait(timeout=60)
    return child.pid


def test_a_process_of_this_machine_is_gone_when_it_has_ended(ended):
    assert not is_gone(this_process())
    assert is_gone(this_process() | {"process": ended})


@pytest.mark.parametrize(
    "changed", [{"host": "another"}, {"process_space": "pid:[1]"}, {"host": None}]
)
def test_of_other_machines_nothing_is_known(ended, changed):
    assert not is_gone(this_process() | {"process": ended} | changed)


@pytest.mark.parametrize("process", [None, 0, -1, True, "12", 1.5, 2**80, []])
def test_damaged_numbers_are_of_no_harm(process):
    assert not is_gone(this_process() | {"process": process})


def test_a_process_of_another_user_is_alive(monkeypatch):
    def refuse(process, signal):
        raise PermissionError

    monkeypatch.setattr(process_owner.os, "kill", refuse)
    assert not is_gone(this_process() | {"process": os.getpid() + 1})
