"""benchmarks/label_balance.py: the counts it prints, the plot it writes."""

import json
import os
from pathlib import Path
from xml.etree import ElementTree

import label_balance
import pytest

from hpa_jax.labels import LABELS, TRAIN_COUNTS

SVG_TITLE = "{http://www.w3.org/2000/svg}title"


@pytest.mark.skipif("HPA_SAMPLE_DIR" not in os.environ, reason="HPA_SAMPLE_DIR is not set")
def test_on_the_challenge_s_labels(tmp_path):
    csv = Path(os.environ["HPA_SAMPLE_DIR"]) / "csv" / "kaggle_train.csv"
    assert label_balance.main([f"--csv={csv}", f"--json={tmp_path}/rows.json"]) == 0
    rows = {row["name"]: row for row in json.loads((tmp_path / "rows.json").read_text())}
    counts = [rows[f"label_balance_uniform_label_{label}"]["value"] for label in range(len(LABELS))]
    assert counts == list(TRAIN_COUNTS)
    # The default settings: at a few per cent more images an epoch, the rarest label is shown at
    # least four times as often.
    for name, longest, most in (("hpa_densenet", 1.13, 320), ("repeat_factor", 1.07, 140)):
        assert 1 < rows[f"label_balance_{name}_epoch_length"]["ratio_to_peer"] < longest
        assert rows[f"label_balance_{name}_imbalance"]["value"] < most
        assert rows[f"label_balance_{name}_label_27"]["ratio_to_peer"] >= 4
    assert rows["label_balance_class_balanced_epoch_length"]["ratio_to_peer"] == 1
    assert rows["label_balance_class_balanced_imbalance"]["value"] < 12


def test_a_small_csv_and_its_plot(tmp_path, capsys):
    lines = ["Id,Target"]
    lines += [f"a{i},0" for i in range(90)]
    lines += [f"b{i},27 0" for i in range(2)]
    lines.append("c,1|2")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    status = label_balance.main(
        [
            f"--csv={tmp_path}/labels.csv",
            "--rare_below=3",
            "--rare_copies=5",
            f"--svg={tmp_path}/plot.svg",
            "--settings",
        ]
    )
    assert status == 0
    # Of each line the first word, and the last four.
    table = {}
    for line in capsys.readouterr().out.splitlines():
        words = line.split()
        if words:
            table[words[0]] = words[-4:]
    assert table["0"][:2] == ["92", "100"]
    assert table["27"][:2] == ["2", "10"]
    assert table["1"][:2] == ["1", "5"]
    plot = ElementTree.parse(tmp_path / "plot.svg").getroot()
    titles = [bar.text for bar in plot.iter(SVG_TITLE)]
    assert len(titles) == 4 * len(LABELS)
    assert "Rods & rings, hpa_densenet: 10" in titles


@pytest.mark.parametrize("content", [None, "Id,Target\na,99\n"])
def test_a_csv_at_fault_is_one_line(tmp_path, capsys, content):
    if content:
        (tmp_path / "labels.csv").write_text(content)
    assert label_balance.main([f"--csv={tmp_path}/labels.csv"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert "labels.csv" in error
