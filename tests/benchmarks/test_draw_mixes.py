"""docs/draw_mixes.py: the picture of the channel mixes."""

import importlib.util
from pathlib import Path

import cv2
import numpy as np

REPOSITORY = Path(__file__).resolve().parents[2]


def load_program(path):
    spec = importlib.util.spec_from_file_location(Path(path).stem, REPOSITORY / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


draw_mixes = load_program("docs/draw_mixes.py")


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
    assert committed.stat().st_size < 300_000
    assert draw_mixes.main([f"--out={tmp_path}/mixes.png"]) == 0
    drawn = cv2.imread(f"{tmp_path}/mixes.png")
    difference = np.abs(cv2.imread(str(committed)).astype(int) - drawn)
    assert difference.mean() < 1  # captions may be drawn otherwise by another OpenCV
