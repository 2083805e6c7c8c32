"""benchmarks/label_balance.py and docs/draw_mixes.py: the figures they print, the pictures they write."""

import importlib.util
import json
import os
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from hpa_jax.labels import LABELS, TRAIN_COUNTS

REPOSITORY = Path(__file__).resolve().parents[2]


def program(path):
    spec = importlib.util.spec_from_file_location(Path(path).stem, REPOSITORY / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


label_balance = program("benchmarks/label_balance.py")
draw_mixes = program("docs/draw_mixes.py")


@pytest.mark.skipif("HPA_SAMPLE_DIR" not in os.environ, reason="HPA_SAMPLE_DIR is not set")
def test_on_the_challenge_s_labels(tmp_path):
    csv = Path(os.environ["HPA_SAMPLE_DIR"]) / "csv" / "kaggle_train.csv"
    assert label_balance.main([f"--csv={csv}", f"--json={tmp_path}/rows.json"]) == 0
    rows = {row["name"]: row for row in json.loads((tmp_path / "rows.json").read_text())}
    counts = [rows[f"label_balance_uniform_label_{label}"]["value"] for label in range(len(LABELS))]
    assert counts == list(TRAIN_COUNTS)
    # The default settings: at a few per cent more fields an epoch, the rarest label at least four times as often.
    for name, longest, most in (("hpa_densenet", 1.13, 320), ("repeat_factor", 1.07, 140)):
        assert 1 < rows[f"label_balance_{name}_epoch_length"]["ratio_to_peer"] < longest
        assert rows[f"label_balance_{name}_imbalance"]["value"] < most
        assert rows[f"label_balance_{name}_label_27"]["ratio_to_peer"] >= 4


def test_a_small_csv_and_its_plot(tmp_path, capsys):
    rows = (
        ["Id,Target"]
        + [f"a{i},0" for i in range(90)]
        + [f"b{i},27 0" for i in range(2)]
        + ["c,1|2"]
    )
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    arguments = [
        f"--csv={tmp_path}/labels.csv",
        "--rare_below=3",
        "--rare_copies=5",
        f"--svg={tmp_path}/plot.svg",
    ]
    assert label_balance.main([*arguments, "--settings"]) == 0
    table = {
        line.split()[0]: line.split()[-3:]
        for line in capsys.readouterr().out.splitlines()
        if line.strip()
    }
    assert (
        table["0"][:2] == ["92", "100"]
        and table["27"][:2] == ["2", "10"]
        and table["1"][:2] == ["1", "5"]
    )
    bars = (
        ElementTree.parse(tmp_path / "plot.svg").getroot().iter("{http://www.w3.org/2000/svg}title")
    )
    titles = [bar.text for bar in bars]
    assert len(titles) == 3 * len(LABELS) and "Rods & rings, hpa_densenet: 10" in titles


@pytest.mark.parametrize("content", [None, "Id,Target\na,99\n"])
def test_a_csv_at_fault_is_one_line(tmp_path, capsys, content):
    if content:
        (tmp_path / "labels.csv").write_text(content)
    assert label_balance.main([f"--csv={tmp_path}/labels.csv"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and "labels.csv" in error


def test_mixes_are_drawn(tmp_path, capsys):
    out = tmp_path / "mixes.png"
    assert draw_mixes.main([f"--out={out}", "--size=64"]) == 0
    page = cv2.imread(str(out))[..., ::-1]
    np.testing.assert_array_equal(page, draw_mixes.picture(1, 64, 7))
    assert draw_mixes.main([f"--out={out}", "--size=8"]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_what_is_drawn_is_the_mix():
    field = np.array([[[200, 100, 40, 80]]], np.uint8)
    assert draw_mixes.shown(field, "rgb", ()).ravel().tolist() == [200, 100, 40]
    assert draw_mixes.shown(field, "rgb", ("red",)).ravel().tolist() == [0, 100, 40]
    assert draw_mixes.shown(field, "green", ()).ravel().tolist() == [100, 100, 100]
    assert draw_mixes.shown(field, "hpa_densenet_i", ()).ravel().tolist() == [120, 220, 120]
    assert draw_mixes.shown(field, "rgby", ()).ravel().tolist() == [240, 140, 40]


def test_the_picture_in_the_docs_is_the_one_that_the_script_draws(tmp_path):
    committed = REPOSITORY / "docs" / "images" / "mixes.png"
    assert committed.stat().st_size < 300_000
    assert draw_mixes.main([f"--out={tmp_path}/mixes.png"]) == 0
    difference = np.abs(
        cv2.imread(str(committed)).astype(int) - cv2.imread(f"{tmp_path}/mixes.png")
    )
    assert difference.mean() < 1  # captions may be drawn otherwise by another OpenCV
