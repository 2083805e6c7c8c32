"""Crops of single cells in one channel, which look alike in outline: built with every flag."""

import csv
import io
import json
import os
import zipfile
from collections import Counter

import cv2
import numpy as np
import pytest

from hpa_jax.labels import CHANNELS
from tfds_builder.hpa.__main__ import main
from tfds_builder.hpa.prepare import version_dir
from tfds_builder.hpa.split import duplicates, perceptual
from tfds_builder.hpa.split.evenness import FACTOR, SLACK

HEP2 = pytest.mark.skipif("HPA_HEP2_DIR" not in os.environ, reason="HPA_HEP2_DIR is not set")
CELLS = 120
COPIES = 4  # the last cells are the first ones again, darker
SIDE = 64


def draw_cell(rng):
    """A bright ellipse in the middle, with a texture of its own; uint8 [64, 64]."""
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    radii = rng.uniform(0.55, 0.75, 2)
    inside = 1 / (1 + np.exp(12 * (np.hypot(x / radii[0], y / radii[1]) - 1)))
    texture = cv2.GaussianBlur(rng.normal(size=(SIDE, SIDE)), None, 3)
    texture *= 0.12 / texture.std()
    return np.clip(255 * inside * (0.6 + texture), 0, 255).astype(np.uint8)


def in_green(plane):
    return plane[..., None] * np.array([0, 1, 0, 0], np.uint8)


def find_duplicates(planes, rule):
    images = [in_green(plane) for plane in planes]
    hashes = b"".join(map(perceptual.perceptual_hash, images))
    return duplicates.near_duplicates(
        np.frombuffer(hashes, np.uint8),
        lambda a, b: perceptual.same_pixels(images[a], images[b], rule.correlation),
        bits=rule.bits,
    )


@pytest.fixture(scope="module")
def cells():
    rng = np.random.default_rng(0)
    planes = [draw_cell(rng) for _ in range(CELLS - COPIES)]
    darker = [np.round(plane * 0.9).astype(np.uint8) for plane in planes[:COPIES]]
    return planes + darker


@pytest.fixture(scope="module")
def manual_dir(cells, tmp_path_factory):
    """Cells of which half are of one specimen, by a column of the csv."""
    folder = tmp_path_factory.mktemp("cells")
    lines = ["Id,Target,Specimen,Well"]
    for number, plane in enumerate(cells):
        cv2.imwrite(str(folder / f"c{number:03d}_green.png"), plane)
        specimen = "big" if number < CELLS * 0.6 else f"s{number // 3}"
        lines.append(f"c{number:03d},{number % 3},{specimen},w{number // 3}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def build(manual_dir, tmp_path):
    def build(*flags):
        channel = CHANNELS[1]
        return main(
            [
                "--config=folder",
                f"--manual_dir={manual_dir}",
                f"--data_dir={tmp_path}",
                "--pattern={id}_{channel}.png",
                f"--channels={channel}={channel}",
                "--workers=1",
                *flags,
            ]
        )

    return build


def table(data_dir, name="folder"):
    with open(version_dir(data_dir, name) / "images.csv", newline="") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


def settings(data_dir):
    return json.loads((version_dir(data_dir, "folder") / "metadata.json").read_text())["build"]


def test_cells_of_one_outline_are_not_the_same_and_their_copies_are(cells, build, tmp_path, capsys):
    """By the rule that counted blank channels they all were."""
    words = perceptual.channel_words(
        np.frombuffer(b"".join(perceptual.perceptual_hash(in_green(c)) for c in cells), np.uint8)
    )
    apart = np.bitwise_count(words[:, None] ^ words[None]).sum(-1)
    assert np.mean(apart <= 32) > 0.5
    assert build() == 0
    assert "near-duplicate pairs are kept in one split" in capsys.readouterr().out
    rows = table(tmp_path)
    sizes = Counter(row["group"] for row in rows.values())
    # Distinct cells that come as near are few: one pair of seven thousand.
    assert CELLS - COPIES - 3 < len(sizes) <= CELLS - COPIES
    assert max(sizes.values()) == 2
    for number in range(COPIES):
        copy = f"c{CELLS - COPIES + number:03d}"
        assert rows[f"c{number:03d}"]["group"] == rows[copy]["group"]
    folds = Counter(row["fold"] for row in rows.values())
    assert folds["-1"] in range(10, 15)
    assert all(folds[str(fold)] in range(20, 24) for fold in range(5))
    stored = settings(tmp_path)
    assert stored["near_duplicates"] == "on"
    assert (stored["duplicate_bits"], stored["duplicate_correlation"]) == (8, 0.8)


def test_a_rule_that_takes_all_cells_for_the_same_is_refused(build, tmp_path, capsys):
    loose = ("--duplicate_bits=16", "--duplicate_correlation=0.5")
    assert build(*loose) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert f"of {CELLS} images" in err and "near-duplicate pairs join its images, such as c" in err
    assert "--duplicate_bits=8 or --duplicate_correlation=0.9" in err
    assert not (tmp_path / "hpa").exists()
    assert build(*loose, "--allow_uneven_splits") == 0
    # The same dataset, however it was come by.
    assert build(*loose) == 0
    assert "is there already" in capsys.readouterr().out


def test_a_group_column_of_one_large_group_is_refused(build, tmp_path, capsys):
    assert build("--group_column=Specimen") == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "have the group key big" in err
    assert build("--group_column=Specimen", "--allow_uneven_splits") == 0
    folds = {row["fold"] for id, row in table(tmp_path).items() if id < "c072"}
    assert len(folds) == 1


def test_without_near_duplicates_the_group_column_still_groups(build, tmp_path, capsys):
    assert build("--near_duplicates=off", "--group_column=Well") == 0
    assert "near-duplicate" not in capsys.readouterr().out
    rows = table(tmp_path)
    for number in range(CELLS):
        first = f"c{number // 3 * 3:03d}"
        assert rows[f"c{number:03d}"]["group"] == rows[first]["group"]
    assert len({row["group"] for row in rows.values()}) == CELLS // 3
    # The hashes are there all the same, for builds that are to follow this one.
    assert len({row["hash"] for row in rows.values()}) > CELLS - 3 * COPIES
    assert "duplicate_bits" not in settings(tmp_path)
    assert not (version_dir(tmp_path, "folder") / "duplicates.csv").exists()
    # Rebuilt with other flags it is another dataset.
    assert build("--group_column=Well", "--duplicate_bits=4") == 2
    err = capsys.readouterr().err
    assert "near_duplicates off, not on" in err and "duplicate_bits None, not 4" in err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--duplicate_bits=17"], "--duplicate_bits=17 is out of range; take 0 to 16"),
        (["--duplicate_bits=-1"], "--duplicate_bits=-1 is out of range"),
        (["--duplicate_correlation=1"], "--duplicate_correlation=1 is out of range"),
        (["--duplicate_correlation=nan"], "--duplicate_correlation=nan is out of range"),
        (["--near_duplicates=off", "--duplicate_bits=8"], "leave one out"),
        (["--near_duplicates=off", "--match_splits_of=other"], "leave --near_duplicates=off out"),
        (["--near_duplicates=maybe"], "invalid choice"),
    ],
)
def test_flags_that_make_no_rule(flags, message, build, tmp_path, capsys):
    assert build(*flags) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert message in err
    assert not any(tmp_path.iterdir())


@HEP2
def test_real_cells():
    """Of 1,200 training cells few are the same; altered ones are found."""
    with zipfile.ZipFile(os.path.join(os.environ["HPA_HEP2_DIR"], "hep2.zip")) as archive:
        rows = csv.DictReader(io.TextIOWrapper(archive.open("labels.csv"), "utf-8"))
        ids = [row["Id"] for row in rows if row["split"] == "train"][:8400:7]
        planes = []
        for id in ids:
            data = np.frombuffer(archive.read(f"images/{id}_green.png"), np.uint8)
            planes.append(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE))
    assert len(planes) == 1200
    rule = perceptual.Rule()
    copies = [np.round(plane * 0.7).astype(np.uint8) for plane in planes[::40]]
    pairs = find_duplicates(planes + copies, rule)
    groups = duplicates.group_numbers(len(planes) + len(copies), pairs, [""] * 1230)
    assert len(pairs) < 30 + 40
    assert all(groups[1200 + number] == groups[40 * number] for number in range(30))
    assert np.bincount(groups).max() < max(SLACK, 1200 * 0.1 * FACTOR)
