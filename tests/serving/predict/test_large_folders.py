"""Thousands of files: memory stays what it is, and a killed process goes on where it was."""

import contextlib
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.exports import tiny_export

from benchmarks.predict_folder import draw, predict

REPOSITORY = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.slow

MOST_MEGABYTES = 100
"""By which the resident memory may grow with 100,000 files."""


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    return tiny_export(tmp_path_factory.mktemp("exports") / "export")


@pytest.mark.parametrize("suffix", ["csv", "h5ad"])
def test_memory_grows_by_less_than_100_mb_with_100_000_files(export, tmp_path, suffix):
    megabytes = []
    counts = (500, 5500)
    for count in counts:
        draw(tmp_path / str(count), count)
        out = tmp_path / f"{count}.{suffix}"
        megabytes.append(predict(export, tmp_path / str(count), out, "onnx").megabytes)
    files = 4 * (counts[1] - counts[0])
    assert (megabytes[1] - megabytes[0]) * 100_000 / files < MOST_MEGABYTES


@pytest.mark.parametrize("suffix", ["csv", "npy", "parquet"])
def test_a_kill_is_gone_on_from_with_the_same_bytes(export, tmp_path, suffix):
    images = tmp_path / "images"
    draw(images, 4000)
    right = tmp_path / f"right.{suffix}"
    predict(export, images, right, "onnx")

    out = tmp_path / f"killed.{suffix}"
    command = [sys.executable, "-m", "hpa_jax.serving", "predict", export, images, f"--out={out}"]
    process = subprocess.Popen(list(map(str, command)), cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    progress = tmp_path / f"killed.{suffix}.progress"
    while process.poll() is None and not rows_in(progress):
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it was over before there was anything to kill"
    done = rows_in(progress)
    assert 0 < done < 4000 and not out.exists()

    predict(export, images, out, "onnx")
    assert out.read_bytes() == right.read_bytes()
    assert not progress.exists()


def rows_in(path: Path) -> int:
    """How many images are in a progress file, which another process may be writing."""
    if not path.exists():
        return 0
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        try:
            return connection.execute("SELECT count(*) FROM images").fetchone()[0]
        except sqlite3.OperationalError:
            # Nothing is in it yet, or it is being written.
            return 0
