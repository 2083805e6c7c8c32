"""The lock of a file system without locks: taken, refused, left behind by a killed process."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hpa_jax.environment import owner_file
from hpa_jax.environment.owner_file import OwnerFile

REPOSITORY = Path(__file__).resolve().parents[2]
HOLDS = """
import sys
from pathlib import Path
from environment.no_flock import forbid_flock
from hpa_jax.errors import InputError
from hpa_jax.files import locked
forbid_flock()
try:
    with locked(Path(sys.argv[1])):
        print("held", flush=True)
        sys.stdin.readline()
except InputError as error:
    print(error)
"""


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(owner_file, "RENEW_S", 0.1)
    monkeypatch.setattr(owner_file, "PATIENCE_S", 5.0)


def holder(workdir):
    return subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(workdir)],
        env=os.environ | {"PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests'}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_without_flock_a_run_is_held_with_a_warning_and_a_second_one_refused(tmp_path):
    first = holder(tmp_path)
    assert first.stdout.readline() == "held\n"
    second = holder(tmp_path)
    out, err = second.communicate(timeout=120)
    assert f"is in use by process {first.pid} on " in out
    assert err.startswith("warning: ") and "Function not implemented" in err
    out, _ = first.communicate("\n", timeout=120)
    assert first.returncode == 0 and os.listdir(tmp_path) == []


def test_a_killed_owner_is_followed_at_once(tmp_path):
    first = holder(tmp_path)
    assert first.stdout.readline() == "held\n"
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert os.listdir(tmp_path) == [".lock.owner"]
    second = holder(tmp_path)
    assert second.stdout.readline() == "held\n"
    second.communicate("\n", timeout=120)
    assert os.listdir(tmp_path) == []


def test_an_owner_of_another_host_counts_while_it_renews(tmp_path, quick):
    path = tmp_path / "owner"
    first = OwnerFile(path)
    assert first.acquire()
    second = OwnerFile(path)
    assert not second.acquire()
    assert second.holder().startswith(f"process {os.getpid()} on ")
    first.release()
    assert second.acquire()
    second.release()
    assert not path.exists()


@pytest.mark.parametrize("left", ['{"host": "elsewhere", "process": 1}', "", "{"])
def test_an_owner_that_does_not_renew_is_taken_for_gone(tmp_path, quick, monkeypatch, left):
    monkeypatch.setattr(owner_file, "PATIENCE_S", 0.3)
    path = tmp_path / "owner"
    path.write_text(left)
    ours = OwnerFile(path)
    assert ours.acquire()
    assert json.loads(path.read_text())["process"] == os.getpid()
    ours.release()
    assert os.listdir(tmp_path) == []


def test_a_file_that_was_taken_over_is_not_removed(tmp_path, quick):
    path = tmp_path / "owner"
    first = OwnerFile(path)
    assert first.acquire()
    path.write_text('{"token": "of another"}')
    first.release()
    assert path.read_text() == '{"token": "of another"}'
