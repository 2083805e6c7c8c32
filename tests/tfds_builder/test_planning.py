"""What a build finds out before it writes: faults, near-duplicates, statistics, groups."""

import csv
import json
import shutil
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from hpa_jax.data.catalog import load_dataset, read_channel_statistics
from hpa_jax.labels import CHANNELS
from tfds_builder.hpa.__main__ import main
from tfds_builder.hpa.synthetic import render

IMAGES = 12


def save(folder, name, image, scale=1.0):
    for number, channel in enumerate(CHANNELS):
        plane = np.round(image[..., number] * scale).astype(np.uint8)
        assert cv2.imwrite(str(folder / "train" / f"{name}_{channel}.png"), plane)


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def drawn():
    """Twelve synthetic images of 64 px: {Id: (image, labels)}."""
    return {f"image-{i:02d}": (render.render(5, i, [i % 3], 64), [i % 3]) for i in range(IMAGES)}


@pytest.fixture
def manual_dir(tmp_path, drawn):
    folder = tmp_path / "manual"
    (folder / "train").mkdir(parents=True)
    for name, (image, _) in drawn.items():
        save(folder, name, image)
    lines = [f"{name},{' '.join(map(str, labels))}" for name, (_, labels) in drawn.items()]
    (folder / "train.csv").write_text("\n".join(["Id,Target", *lines]) + "\n")
    return folder


def build(manual_dir, data_dir, *flags):
    return main(
        [
            "--config=kaggle_512",
            f"--manual_dir={manual_dir}",
            f"--data_dir={data_dir}",
            "--workers=1",
            *flags,
        ]
    )


def version(data_dir, name="kaggle_512"):
    return Path(data_dir) / "hpa" / name / "3.0.0"


def add_row(manual_dir, line):
    with open(manual_dir / "train.csv", "a") as file:
        file.write(line + "\n")


def damage(manual_dir):
    """Makes four rows faulty: csv, header, pixel data, missing file; returns their Ids."""
    add_row(manual_dir, "image-90,-1")
    (manual_dir / "train/image-01_green.png").write_bytes(b"")
    pixels = manual_dir / "train/image-02_blue.png"
    data = bytearray(pixels.read_bytes())
    data[len(data) // 2] ^= 1
    pixels.write_bytes(data)
    (manual_dir / "train/image-03_yellow.png").unlink()
    return ["image-01", "image-02", "image-03", "image-90"]


def test_skip_leaves_faulty_rows_out_and_the_counts_add_up(manual_dir, tmp_path, capsys):
    faulty = damage(manual_dir)
    assert build(manual_dir, tmp_path / "data", "--policy=skip") == 0
    assert "4 of 13 rows were left out" in capsys.readouterr().out
    rejects = rows(version(tmp_path / "data") / "rejects.csv")
    assert sorted(reject["id"] for reject in rejects) == faulty
    assert {reject["id"]: reject["file"] for reject in rejects}[
        "image-02"
    ] == "train/image-02_blue.png"
    assert str(tmp_path) not in str(rejects)  # the same on another machine
    assert all("; " in reject["reason"] for reject in rejects)  # what is wrong, and what to do
    written = load_dataset(tmp_path / "data", "kaggle_512", split="all").ids()
    assert len(written) + len(rejects) == 13 and not set(written) & set(faulty)
    listed = rows(version(tmp_path / "data") / "images.csv")
    assert sorted(row["id"] for row in listed) == sorted(written)


def test_strict_stops_at_the_first_and_leaves_nothing(manual_dir, tmp_path, capsys):
    damage(manual_dir)
    assert build(manual_dir, tmp_path / "data") == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "Id image-90: " in err and "(3 rows of 13 are faulty" in err
    assert not (tmp_path / "data").exists()


def test_a_fault_that_only_decoding_shows(manual_dir, tmp_path, capsys):
    pixels = manual_dir / "train/image-02_blue.png"
    data = bytearray(pixels.read_bytes())
    data[len(data) // 2] ^= 1
    pixels.write_bytes(data)
    assert build(manual_dir, tmp_path / "data") == 2
    assert "Id image-02: " in capsys.readouterr().err and not (tmp_path / "data").exists()


def test_nothing_left_is_an_error(tmp_path, capsys):
    (tmp_path / "manual/train").mkdir(parents=True)
    (tmp_path / "manual/train.csv").write_text("Id,Target\na,0\nb,99\n")
    assert build(tmp_path / "manual", tmp_path / "data", "--policy=skip") == 2
    assert "none of the 2 rows can be used" in capsys.readouterr().err


def test_a_zip_gives_the_bytes_that_its_folder_gives(manual_dir, tmp_path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for path in sorted(manual_dir.rglob("*.*")):
            archive.write(path, path.relative_to(manual_dir))
    assert (
        build(manual_dir, tmp_path / "folder") == build(tmp_path / "all.zip", tmp_path / "zip") == 0
    )
    one, other = version(tmp_path / "folder"), version(tmp_path / "zip")
    names = sorted(path.name for path in one.iterdir())
    assert names == sorted(path.name for path in other.iterdir())
    assert all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


@pytest.mark.parametrize("codec", ["png", "zstd"])
def test_either_codec_gives_the_same_pixels_and_is_recorded(manual_dir, tmp_path, drawn, codec):
    import tensorflow_datasets as tfds

    assert build(manual_dir, tmp_path / "data", f"--codec={codec}") == 0
    dataset = load_dataset(tmp_path / "data", "kaggle_512", split="all")
    for i, name in enumerate(dataset.ids()):
        np.testing.assert_array_equal(dataset[i]["image"], drawn[name][0])
    assert (
        json.loads((version(tmp_path / "data") / "metadata.json").read_text())["build"]["codec"]
        == codec
    )
    builder = tfds.builder_from_directory(
        version(tmp_path / "data")
    )  # TFDS still opens it, with either
    assert {
        example["id"].decode() for example in builder.as_dataset(split="all").as_numpy_iterator()
    } == set(drawn)


def test_channel_statistics_are_of_all_pixels_outside_the_test_split(manual_dir, tmp_path, drawn):
    assert build(manual_dir, tmp_path / "data") == 0
    dataset = load_dataset(tmp_path / "data", "kaggle_512", split="all")
    seen = (
        np.stack(
            [
                drawn[i][0]
                for i, fold in zip(dataset.ids(), dataset.folds(), strict=True)
                if fold >= 0
            ]
        )
        / 255
    )
    statistics = read_channel_statistics(tmp_path / "data", "kaggle_512")
    np.testing.assert_allclose(statistics.mean, seen.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(statistics.std, seen.std((0, 1, 2)), rtol=1e-12)
    metadata = json.loads((version(tmp_path / "data") / "metadata.json").read_text())
    everything = np.stack([image for image, _ in drawn.values()])
    counts = [np.bincount(everything[..., c].ravel(), minlength=256).tolist() for c in range(4)]
    assert metadata["statistics"]["histogram"] == counts
    assert metadata["statistics"]["images"] == IMAGES


def test_near_duplicates_are_in_one_split_and_listed(manual_dir, tmp_path, drawn):
    """Darker copies under other Ids and with another label, as if submitted a second time."""
    for i in range(IMAGES):
        save(manual_dir, f"copy-{i:02d}", drawn[f"image-{i:02d}"][0], scale=0.8)
        add_row(manual_dir, f"copy-{i:02d},{(i + 1) % 3}")
    assert build(manual_dir, tmp_path / "data") == 0
    found = {(row["a"], row["b"]) for row in rows(version(tmp_path / "data") / "duplicates.csv")}
    assert found == {(f"copy-{i:02d}", f"image-{i:02d}") for i in range(IMAGES)}
    place = {
        row["id"]: (row["split"], row["fold"], row["group"])
        for row in rows(version(tmp_path / "data") / "images.csv")
    }
    assert all(place[a] == place[b] for a, b in found)
    assert len({group for _, _, group in place.values()}) == IMAGES
    assert {split for split, _, _ in place.values()} == {"train", "validation", "test"}


def test_another_dataset_goes_where_its_near_duplicates_are(manual_dir, tmp_path, drawn, capsys):
    data_dir = tmp_path / "data"
    assert build(manual_dir, data_dir) == 0
    other = tmp_path / "other"
    (other / "train").mkdir(parents=True)
    lines = ["Id,Target"]
    for i in range(IMAGES):
        image = drawn[f"image-{i:02d}"][0] if i % 2 else render.render(6, i, [i % 3], 64)
        save(other, f"other-{i:02d}", image, scale=0.9)
        lines.append(f"other-{i:02d},{i % 3}")
    (other / "train.csv").write_text("\n".join(lines))
    assert build(other, data_dir, "--name=other", "--match_splits_of=kaggle_512") == 0
    assert "6 images follow their near-duplicates in kaggle_512" in capsys.readouterr().out
    theirs = {row["id"]: row["fold"] for row in rows(version(data_dir) / "images.csv")}
    ours = {row["id"]: row["fold"] for row in rows(version(data_dir, "other") / "images.csv")}
    assert all(ours[f"other-{i:02d}"] == theirs[f"image-{i:02d}"] for i in range(1, IMAGES, 2))
    for flags, message in (
        (("--match_splits_of=nothing",), "--match_splits_of=nothing: "),
        (("--match_splits_of=kaggle_512", "--folds=4"), "give --folds=5"),
        (("--match_splits_of=third",), "the dataset itself"),
    ):
        assert build(other, data_dir, "--name=third", *flags) == 2
        assert message in capsys.readouterr().err


def test_a_group_in_several_splits_of_another_dataset_is_refused_or_left_out(
    manual_dir, tmp_path, drawn, capsys
):
    """Images of one plate, of which `first` has copies in several splits."""
    data_dir = tmp_path / "data"
    assert build(manual_dir, data_dir, "--name=first") == 0
    lines = (manual_dir / "train.csv").read_text().splitlines()
    plates = ["Plate", *("A" if i < 6 else f"own-{i}" for i in range(IMAGES))]
    (manual_dir / "plates.csv").write_text(
        "\n".join(f"{a},{b}" for a, b in zip(lines, plates, strict=True))
    )
    flags = (
        "--config=folder",
        "--csv=plates.csv",
        "--pattern=train/{id}_{channel}.png",
        "--group_column=Plate",
    )
    flags += (f"--manual_dir={manual_dir}", f"--data_dir={data_dir}", "--workers=1")
    capsys.readouterr()
    assert main([*flags, "--name=second", "--match_splits_of=first"]) == 2
    err = capsys.readouterr().err
    assert (
        "Id image-00: first has its near-duplicates" in err
        and "(6 images of 12 do so" in err
        and "build this dataset first" in err
    )
    assert main([*flags, "--name=second", "--match_splits_of=first", "--policy=skip"]) == 0
    folder = version(data_dir, "second")
    assert {row["id"] for row in rows(folder / "rejects.csv")} == {
        f"image-{i:02d}" for i in range(6)
    }
    assert {row["id"] for row in rows(folder / "images.csv")} == {
        f"image-{i:02d}" for i in range(6, IMAGES)
    }
    left = np.stack([drawn[f"image-{i:02d}"][0] for i in range(6, IMAGES)])
    statistics = json.loads((folder / "metadata.json").read_text())["statistics"]
    assert statistics["histogram"][1] == np.bincount(left[..., 1].ravel(), minlength=256).tolist()
    # The other way round nothing is torn: the dataset without group keys follows.
    assert main([*flags, "--name=grouped"]) == 0
    assert build(manual_dir, data_dir, "--name=follows", "--match_splits_of=grouped") == 0
    folds = [
        {row["id"]: row["fold"] for row in rows(version(data_dir, name) / "images.csv")}
        for name in ("grouped", "follows")
    ]
    assert folds[0] == folds[1] and len({folds[1][f"image-{i:02d}"] for i in range(6)}) == 1


def test_a_build_with_another_codec_or_number_of_folds_is_refused(manual_dir, tmp_path, capsys):
    assert build(manual_dir, tmp_path / "data") == 0
    assert build(manual_dir, tmp_path / "data", "--codec=zstd", "--folds=4") == 2
    error = capsys.readouterr().err
    assert "codec png, not zstd" in error and "folds 5, not 4" in error
    shutil.rmtree(tmp_path / "data")
