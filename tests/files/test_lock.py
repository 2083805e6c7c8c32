"""Locks that one process holds at a time."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from hpa_jax.errors import InputError
from hpa_jax.files import exclusive_lock, locked

ROOT = Path(__file__).resolve().parents[2]

BUSY = {"busy": "the oven is in use", "advice": "eat raw"}


def test_a_lock_names_its_owner_and_leaves_no_file(tmp_path):
    path = tmp_path / "lock"
    with exclusive_lock(path, **BUSY):
        message = f"the oven is in use by process {os.getpid()}; eat raw"
        with pytest.raises(InputError, match=message):
            with exclusive_lock(path, **BUSY):
                pass
    assert not path.exists()
    with exclusive_lock(path, **BUSY):
        pass


@pytest.mark.parametrize("content", ["mine", "12 34", "9" * 100, "# Poetry lock file"])
def test_a_file_that_only_has_the_name_of_a_lock_is_left_alone(tmp_path, content):
    path = tmp_path / ".lock"
    path.write_text(content)
    with pytest.raises(InputError, match="is no lock of this program; move it away"):
        with exclusive_lock(path, **BUSY):
            pass
    assert path.read_text() == content
    path.write_text("123")  # of a process that was killed
    with exclusive_lock(path, **BUSY):
        pass


def test_a_lock_goes_with_its_process(tmp_path):
    path = tmp_path / "lock"
    code = (
        "import sys, time; from pathlib import Path; from hpa_jax.files import exclusive_lock\n"
        "with exclusive_lock(Path(sys.argv[1]), busy='it is held'):\n"
        "    print('held', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as owner:
        assert owner.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=f"by process {owner.pid}; "):
            with exclusive_lock(path, **BUSY):
                pass
        owner.send_signal(signal.SIGKILL)
    assert path.exists()
    with exclusive_lock(path, **BUSY):
        pass


def test_one_holds_a_lock_at_a_time_however_many_wait(tmp_path, capsys):
    path = tmp_path / "lock"
    inside = []
    most = []

    together = threading.Barrier(6)

    def work():
        together.wait()
        for _ in range(5):
            with exclusive_lock(path, busy="it is held", wait=True):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.002)
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert most == [1] * 30 and not path.exists()
    assert "it is held by process" in capsys.readouterr().out


def test_a_workdir_is_made_and_locked(tmp_path):
    with locked(tmp_path / "new" / "run"):
        with pytest.raises(InputError, match=f"in use by process {os.getpid()}; wait for it"):
            with locked(tmp_path / "new" / "run"):
                pass
    with locked(tmp_path / "new" / "run"):
        pass


def test_a_workdir_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="Not a directory; check the path"):
        with locked(tmp_path / "file" / "run"):
            pass


def test_errors_of_the_work_are_not_those_of_the_lock(tmp_path):
    with pytest.raises(OSError, match="of the work"):
        with locked(tmp_path):
            raise OSError("of the work")


def test_a_lock_that_cannot_be_written_leaves_no_file(tmp_path, monkeypatch):
    def full(descriptor, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space left on device: .*a.lock"):
            with exclusive_lock(tmp_path / "a.lock", busy="it is held"):
                pass
    assert list(tmp_path.iterdir()) == []
