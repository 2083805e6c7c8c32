"""Files that are written completely or not at all, and locks that one process holds."""

import errno
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from support.small_disk import SmallDisk

from hpa_jax.errors import InputError
from hpa_jax.files import (
    exclusive_lock,
    locked,
    remove_partial_files,
    remove_partial_files_of,
    write_atomically,
    write_csv,
    write_json,
)

ROOT = Path(__file__).resolve().parents[1]
CHECKS_A_FOLDER = """
import sys
from pathlib import Path
from hpa_jax.errors import RunStopped
from hpa_jax.files import check_writable
try:
    check_writable(Path(sys.argv[1]), "give --out=DIR")
except RunStopped as error:
    print(error)
"""
BUSY = {"busy": "the oven is in use", "advice": "eat raw"}


def test_texts_bytes_and_tables(tmp_path):
    write_atomically(tmp_path / "text", "µm\r\n")
    assert (tmp_path / "text").read_bytes() == "µm\r\n".encode()
    write_atomically(tmp_path / "bytes", b"\0\xff")
    assert (tmp_path / "bytes").read_bytes() == b"\0\xff"
    write_csv(tmp_path / "table", ("id", "text"), [(1, 'a "b", c'), (2, "")])
    assert (tmp_path / "table").read_bytes() == b'id,text\n1,"a ""b"", c"\n2,\n'
    assert sorted(os.listdir(tmp_path)) == ["bytes", "table", "text"]


def test_a_value_that_json_does_not_have_leaves_the_old_file(tmp_path):
    write_json(tmp_path / "a.json", {"x": 0.1 + 0.2})
    before = (tmp_path / "a.json").read_bytes()
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert (tmp_path / "a.json").read_bytes() == before


def test_a_full_disk_leaves_the_old_file(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    code = (
        "import sys; from pathlib import Path; from hpa_jax.files import write_atomically; "
        "write_atomically(Path(sys.argv[1]), bytes(1000))"
    )
    # The system refuses to write more, as of a disk that is full.
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (999, 999))  # noqa: E731
    command = [sys.executable, "-c", code, str(path)]
    run = subprocess.run(command, preexec_fn=limit, capture_output=True, text=True, cwd=ROOT)
    assert "File too large" in run.stderr
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["a"]


def test_what_a_killed_writer_left_is_removed(tmp_path):
    ours = (".a.json.123.part", ".a.json.0123456789abcdef.part")
    # A browser's download is half as well, and not ours.
    others = ("b.jpg.part", "c.json", ".hidden.part", "d.123.part")
    for name in (*ours, *others):
        (tmp_path / name).write_bytes(b"")
    remove_partial_files_of(tmp_path / "a")
    assert len(os.listdir(tmp_path)) == 6
    remove_partial_files_of(tmp_path / "a.json")
    assert sorted(os.listdir(tmp_path)) == sorted(others)
    (tmp_path / ours[0]).write_bytes(b"")
    remove_partial_files(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted(others)


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


def test_a_full_disk_is_no_wrong_call(tmp_path):
    """Another folder of the call is no remedy, and the same call may do once there is room."""
    with SmallDisk(tmp_path, megabytes=1) as disk:
        no_more_files = f"mount -o remount,nr_inodes=1 '{tmp_path}'"
        subprocess.run([*disk.prefix, "sh", "-c", no_more_files], check=True)
        command = [sys.executable, "-c", CHECKS_A_FOLDER, str(tmp_path / "results")]
        found = subprocess.run([*disk.prefix, *command], capture_output=True, text=True)
    assert found.stderr == ""
    assert found.stdout.startswith(f"cannot write to {tmp_path}/results: No space left on device")
    assert "free some" in found.stdout and "--out" not in found.stdout


def test_a_lock_that_cannot_be_written_leaves_no_file(tmp_path, monkeypatch):
    def full(descriptor, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space left on device: .*a.lock"):
            with exclusive_lock(tmp_path / "a.lock", busy="it is held"):
                pass
    assert list(tmp_path.iterdir()) == []
