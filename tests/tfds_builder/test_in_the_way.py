"""A folder in place of a file, or a file in place of a folder: one line, and it is left alone."""

import re
import shutil
from pathlib import Path

import pytest

from hpa_jax.folders.mark import MARK
from tfds_builder.hpa import prepare
from tfds_builder.hpa.__main__ import main

DUMMY = Path(__file__).parents[2] / "tfds_builder/hpa/dummy_data"
INCOMPLETE = "data/.hpa_kaggle_512.incomplete"

# What is in the way, and what is said of it.
FOLDERS = {
    "manual/train.csv": "train.csv is not a file",
    "manual/train/dummy-04_red.png": "Id dummy-04: .*dummy-04_red.png is not a file",
    "data/.hpa_kaggle_512.lock": "cannot use .*: Is a directory",
    "data/hpa/kaggle_512/3.0.0": "3.0.0 is there, but was not written by this program",
    "data/hpa/kaggle_512/3.0.0/metadata.json": "3.0.0 is there, but was not written by",
    INCOMPLETE: "incomplete is in the way and has no mark of this program",
}
FILES = {
    "manual": "manual is no zip file but a text",
    "manual/train": "dummy-00_red.png is missing",
    "data": "cannot use .*: File exists",
    "data/hpa": "data/hpa is no folder; move it away",
    "data/hpa/kaggle_512": "kaggle_512 is no folder; move it away",
    "data/hpa/kaggle_512/3.0.0": "3.0.0 is there, but was not written by this program",
    INCOMPLETE: "incomplete is in the way and has no mark of this program",
}


@pytest.fixture
def here(tmp_path):
    shutil.copytree(DUMMY, tmp_path / "manual")
    return tmp_path


def remove(path):
    if path.is_dir():
        shutil.rmtree(path)
    elif path.exists():
        path.unlink()


def build(here):
    flags = [f"--manual_dir={here / 'manual'}", f"--data_dir={here / 'data'}", "--workers=1"]
    return main(["--config=kaggle_512", *flags])


def assert_one_line(here, capsys, message):
    assert build(here) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith("error: ")
    assert re.search(message, err), err


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_in_place_of_a_file(here, capsys, name):
    remove(here / name)
    (here / name).mkdir(parents=True)
    (here / name / "mine.txt").write_text("mine")
    assert_one_line(here, capsys, FOLDERS[name])
    assert (here / name / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("name", FILES)
def test_a_file_in_place_of_a_folder(here, capsys, name):
    remove(here / name)
    (here / name).parent.mkdir(parents=True, exist_ok=True)
    (here / name).write_text("mine")
    assert_one_line(here, capsys, FILES[name])
    assert (here / name).read_text() == "mine"


def test_what_a_killed_build_left_is_removed_and_what_it_links_to_is_not(tmp_path):
    left = tmp_path / "left"
    prepare._start_folder(left)
    (left / "half").write_text("half a shard")
    prepare._start_folder(left)
    assert [path.name for path in left.iterdir()] == [MARK]
    link = tmp_path / "link"
    link.symlink_to(left)
    with pytest.raises(prepare.InputError, match="link is in the way"):
        prepare._start_folder(link)
    assert left.is_dir() and link.is_symlink()
