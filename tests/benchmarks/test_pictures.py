"""The pictures of the docs, drawn by docs/draw_*.py."""

from pathlib import Path

import cv2
import draw_cell_scores
import draw_cells
import draw_channels
import draw_mixes
import draw_neighbours
import draw_votes
import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


def test_mixes_are_drawn(tmp_path, capsys):
    out = tmp_path / "mixes.png"
    assert draw_mixes.main([f"--out={out}", "--size=64"]) == 0
    page = cv2.imread(str(out))[..., ::-1]
    np.testing.assert_array_equal(page, draw_mixes.picture(1, 64, 7))
    assert draw_mixes.main([f"--out={out}", "--size=8"]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_what_is_drawn_is_the_mix():
    image = np.array([[[200, 100, 40, 80]]], np.uint8)
    assert draw_mixes.shown(image, "rgb", ()).ravel().tolist() == [200, 100, 40]
    assert draw_mixes.shown(image, "rgb", ("red",)).ravel().tolist() == [0, 100, 40]
    assert draw_mixes.shown(image, "green", ()).ravel().tolist() == [100, 100, 100]
    assert draw_mixes.shown(image, "hpa_densenet_i", ()).ravel().tolist() == [120, 220, 120]
    assert draw_mixes.shown(image, "rgby", ()).ravel().tolist() == [240, 140, 40]


def test_the_picture_in_the_docs_is_the_one_that_the_script_draws(tmp_path):
    committed = REPOSITORY / "docs" / "images" / "mixes.png"
    assert draw_mixes.main([f"--out={tmp_path}/mixes.png"]) == 0
    drawn = cv2.imread(f"{tmp_path}/mixes.png")
    difference = np.abs(cv2.imread(str(committed)).astype(int) - drawn)
    assert difference.mean() < 1  # captions may be drawn otherwise by another OpenCV


def test_cells_are_drawn(tmp_path, capsys):
    assert draw_cells.main([f"--out={tmp_path}/cells.png", "--size=64"]) == 0
    assert cv2.imread(f"{tmp_path}/cells.png").shape == (64, 134, 3)
    assert draw_cells.main([f"--out={tmp_path}/cells.png", "--size=8"]) == 2
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize(
    ("program", "flag"),
    [
        (draw_channels, "--run"),
        (draw_neighbours, "--run"),
        (draw_votes, "--run"),
        (draw_cell_scores, "--export"),
    ],
)
def test_a_picture_of_a_net_wants_that(program, flag, tmp_path, capsys):
    assert program.main([f"{flag}={tmp_path}", f"--out={tmp_path}/made.png"]) == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path}")
    assert not (tmp_path / "made.png").exists()


@pytest.mark.parametrize("name", ["mixes", "cells"])
def test_pictures_in_the_docs_are_small(name):
    assert (REPOSITORY / "docs" / "images" / f"{name}.png").stat().st_size < 300_000
