"""Files that are written completely or not at all."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from support.small_disk import SmallDisk

from hpa_jax.files import (
    remove_partial_files,
    remove_partial_files_of,
    write_atomically,
    write_csv,
    write_json,
)

ROOT = Path(__file__).resolve().parents[2]

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
