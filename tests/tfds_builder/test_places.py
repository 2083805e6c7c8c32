"""Where the csv is: in the folder or zip of the images, or anywhere else."""

import os

import pytest
from support.image_files import FOLDER, gray_png, write, zipped

from hpa_jax.errors import InputError
from tfds_builder.hpa.files import layouts
from tfds_builder.hpa.files.places import csv_elsewhere


@pytest.fixture
def images(tmp_path):
    """A folder of images, with the csv outside."""
    write(tmp_path / "images of mine", FOLDER, gray_png)
    (tmp_path / "images of mine/labels.csv").rename(tmp_path / "mine.csv")
    return tmp_path / "images of mine"


def test_a_csv_outside(images, tmp_path, monkeypatch):
    source = layouts.folder(images, csv=str(tmp_path / "mine.csv"))
    listing = source.examples()
    assert [example.id for example in listing.examples] == ["a_1", "b_2"]
    note = f"the csv is {tmp_path}/mine.csv; its images are sought in {images}."
    assert note in listing.notes
    assert source.image(listing.examples[0]).any()
    monkeypatch.chdir(tmp_path)
    for csv in ("mine.csv", "./mine.csv", "../" + tmp_path.name + "/mine.csv"):
        other = layouts.folder(images, csv=csv)
        assert other.settings() == source.settings()
        assert other.csv == str(tmp_path / "mine.csv")
    # A csv that nobody named is not taken from wherever one happens to be.
    with pytest.raises(InputError, match=f"{tmp_path}/none.csv is missing, and mine.csv lies"):
        layouts.folder(images, csv=f"{tmp_path}/none.csv").examples()
    os.rename("mine.csv", "labels.csv")
    with pytest.raises(InputError, match="mine/labels.csv is missing; give the path of the csv"):
        layouts.folder(images).examples()


def test_a_name_in_the_folder_comes_first(images, tmp_path, monkeypatch):
    (images / "mine.csv").write_text("Id,Target\na_1,3\n")
    monkeypatch.chdir(tmp_path)
    assert csv_elsewhere("mine.csv", images) == "mine.csv"
    assert len(layouts.folder(images, csv="mine.csv").examples().examples) == 1


def test_a_zip_with_a_folder_around_everything(images, tmp_path):
    packed = zipped(images, tmp_path / "all.zip", under="top/")
    source = layouts.folder(packed, csv=str(tmp_path / "mine.csv"))
    listing = source.examples()
    assert len(listing.examples) == 2 and source.image(listing.examples[0]).any()


def test_one_file_for_two(tmp_path):
    write(tmp_path, FOLDER, gray_png)
    paths = {"path_columns": {"red": "R", "green": "G"}, "labels": "hpa2018"}
    rows = "Id,R,G,Target\na,images/a_1_red.png,images/a_1_green.png,0\n"
    (tmp_path / "labels.csv").write_text(f"{rows}b,images/a_1_red.png,images/a_1_green.png,1\n")
    (fault,) = layouts.folder(tmp_path, **paths).examples().faults
    assert str(fault).endswith(
        "a_1_green.png is the file of Id a already; put one of the two paths right"
    )
    (tmp_path / "labels.csv").write_text(f"{rows}b,images/b_2_red.png,images/b_2_red.png,1\n")
    (fault,) = layouts.folder(tmp_path, **paths).examples().faults
    assert fault.reason == "has one path in the columns R and G; each channel has a file of its own"
