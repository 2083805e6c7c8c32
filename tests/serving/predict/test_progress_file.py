"""What a prediction keeps on the disk: whole rows, or none."""

import os
import sqlite3
import subprocess
import sys

import numpy as np
import pytest

from hpa_jax.errors import InputError
from hpa_jax.serving.predict.progress_file import ProgressFile
from hpa_jax.serving.predict.rows import Row

SETTINGS = {"net": "a"}


def row(number):
    rng = np.random.default_rng(number)
    return Row(
        id=f"image {number}",
        stamp=f"{number:016x}",
        probabilities=rng.random(28, np.float32),
        embedding=rng.random(16, np.float32),
        pixel_size=0.08,
        means=(0.1, 0.2, 0.3, 0.4),
    )


REFUSED = Row("bad", "stamp", file="a/b.png", reason="is empty (0 bytes); download it again")


def assert_equal(found, right):
    assert (found.id, found.stamp, found.pixel_size) == (right.id, right.stamp, right.pixel_size)
    assert (found.means, found.file, found.reason) == (right.means, right.file, right.reason)
    for name in ("probabilities", "embedding"):
        np.testing.assert_array_equal(getattr(found, name), getattr(right, name))


def test_rows_are_as_they_were_also_after_it_was_closed(tmp_path):
    path = tmp_path / "scores.csv.progress"
    with ProgressFile(path, SETTINGS) as progress:
        progress.put(0, row(0))
        progress.put(1, REFUSED)
    with ProgressFile(path, SETTINGS) as progress:
        assert_equal(progress.get(0), row(0))
        assert_equal(progress.get(1), REFUSED)
        assert not progress.get(1).is_scored
        assert progress.get(2) is None
        assert [one.id for one in progress.rows(2)] == ["image 0", "bad"]
        with pytest.raises(InputError, match="image 2 is gone"):
            list(progress.rows(3))
        progress.remove()
    assert os.listdir(tmp_path) == []


def test_rows_of_other_settings_are_forgotten_and_that_is_said(tmp_path, capsys):
    path = tmp_path / "scores.csv.progress"
    with ProgressFile(path, SETTINGS) as progress:
        progress.put(0, row(0))
    with ProgressFile(path, {"net": "b"}) as progress:
        assert progress.get(0) is None
    assert "1 images of another call" in capsys.readouterr().out


def test_a_row_of_which_a_byte_was_changed_is_none(tmp_path):
    path = tmp_path / "scores.csv.progress"
    with ProgressFile(path, SETTINGS) as progress:
        progress.put(0, row(0))
        progress.put(1, row(1))
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE images SET probabilities = zeroblob(112) WHERE number = 0")
    connection.close()
    with ProgressFile(path, SETTINGS) as progress:
        assert progress.get(0) is None
        assert_equal(progress.get(1), row(1))


@pytest.mark.parametrize("content", [b"id,a\n1,2\n", b"SQLite format 3\0" + bytes(100)])
def test_a_file_of_somebody_else_is_left_alone(tmp_path, content):
    path = tmp_path / "scores.csv.progress"
    path.write_bytes(content)
    with pytest.raises(InputError, match="progress"):
        ProgressFile(path, SETTINGS)
    assert path.read_bytes() == content


def test_another_programs_database_is_left_alone(tmp_path):
    path = tmp_path / "scores.csv.progress"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE mine (a)")
    connection.close()
    with pytest.raises(InputError, match="not of this program"):
        ProgressFile(path, SETTINGS)


def test_a_kill_in_a_transaction_loses_that_one_alone(tmp_path):
    program = """
import os, signal, sys
from pathlib import Path
from serving.predict.test_progress_file import SETTINGS, row
from hpa_jax.serving.predict.progress_file import ProgressFile
progress = ProgressFile(Path(sys.argv[1]), SETTINGS)
for number in range(3):
    progress.put(number, row(number))
progress.flush(now=True)
# More than the cache holds, so that some of it is in the file already.
for number in range(3, 6000):
    progress.put(number, row(number))
os.kill(os.getpid(), signal.SIGKILL)
"""
    path = tmp_path / "scores.csv.progress"
    tests = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    repository = os.path.dirname(tests)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((repository, tests))}
    done = subprocess.run([sys.executable, "-c", program, path], env=environment)
    assert done.returncode == -9
    with ProgressFile(path, SETTINGS) as progress:
        assert [one.id for one in progress.rows(3)] == ["image 0", "image 1", "image 2"]
        assert progress.get(3) is None
