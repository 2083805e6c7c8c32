"""Thousands of files: memory stays what it is, and a killed process goes on where it was."""

import contextlib
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from support.exports import tiny_export

REPOSITORY = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(REPOSITORY / "benchmarks"))

from predict_folder import draw, predict  # noqa: E402

pytestmark = pytest.mark.slow

MOST_MEGABYTES = 100
"""By which the resident memory may grow with 100,000 files."""

DIES = """
import os, signal, sys
from hpa_jax.serving.__main__ import main
from hpa_jax.serving.predict.progress_file import ProgressFile

put = ProgressFile.put

def put_and_die(progress, number, row):
    put(progress, number, row)
    if number == 200:
        progress.flush(now=True)
    if number == 300:
        os.kill(os.getpid(), signal.SIGKILL)

ProgressFile.put = put_and_die
sys.exit(main(sys.argv[1:]))
"""
"""Predicts, and is killed while rows are on their way to the disk."""


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
    draw(images, 400)
    right = tmp_path / f"right.{suffix}"
    predict(export, images, right, "onnx")

    out = tmp_path / f"killed.{suffix}"
    command = [sys.executable, "-c", DIES, "predict", export, images, f"--out={out}"]
    killed = subprocess.run(list(map(str, command)), cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    assert killed.returncode == -signal.SIGKILL
    progress = tmp_path / f"killed.{suffix}.progress"
    # Rows that were not flushed are lost.
    assert 100 < rows_in(progress) < 300 and not out.exists()

    predict(export, images, out, "onnx")
    assert out.read_bytes() == right.read_bytes()
    assert not progress.exists()


def rows_in(path: Path) -> int:
    """How many images are in a progress file."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return connection.execute("SELECT count(*) FROM images").fetchone()[0]
