"""Records on a disk that is nearly full: complete, or not there."""

import subprocess
import sys

from support.small_disk import REPOSITORY, SmallDisk

# Appends records of a kilobyte until the disk is full, then once more when there is room again.
FILLING = """
import errno, os, sys
from pathlib import Path
from hpa_jax.tracking.append_file import AppendFile

folder = Path(sys.argv[1])
records = AppendFile(folder / "records")
room = folder / "room"
room.write_bytes(bytes(100_000))
number = 0
try:
    while True:
        records.append(f"{number:<1022}|\\n".encode())
        number += 1
except OSError as error:
    assert error.errno == errno.ENOSPC and error.filename.endswith("records")
room.unlink()
records.append(f"{number:<1022}|\\n".encode())
records.close()
print(number)
"""


def test_a_record_that_does_not_fit_leaves_nothing_and_the_next_one_that_does_is_complete(tmp_path):
    with SmallDisk(tmp_path, megabytes=1) as disk:
        # Not a multiple of a record, so that a part of one would fit.
        disk.fill(but=500_000)
        done = subprocess.run(
            [*disk.prefix, sys.executable, "-c", FILLING, str(tmp_path)],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        lines = (disk.seen_from_here / "records").read_text().splitlines()
    assert [int(line[:-1]) for line in lines] == list(range(int(done.stdout) + 1))
    assert {len(line) for line in lines} == {1023}
