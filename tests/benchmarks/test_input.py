"""The input benchmarks run and give their rows; how fast anything is, no test says."""

import json
import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def _run(program, *flags):
    command = [sys.executable, str(REPOSITORY / "benchmarks" / program), *map(str, flags)]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    environment.pop("HPA_SAMPLE_DIR", None)
    return subprocess.run(
        command, cwd=REPOSITORY, env=environment, text=True, capture_output=True, timeout=300
    )


def test_input_table(tmp_path):
    dummy = REPOSITORY / "tfds_builder" / "hpa" / "dummy_data"
    done = _run("input.py", "--quick", f"--manual_dir={dummy}", f"--json={tmp_path / 'rows.json'}")
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads((tmp_path / "rows.json").read_text())}
    loaders = ("ours_zstd", "ours_png", "grain_png", "tf_data_png", "dataloader_png")
    for name in loaders:
        row = rows[f"input_16_{name}_workers_1"]
        assert row["value"] > 0 and row["images_per_cpu_second"] > 0 and row["bytes_an_image"] > 300
        assert row["peak_bytes"] > 50e6 and row["unit"] == "images/s/core"
    for name in ("input_16_vs_dataloader_png", "input_16_vs_tf_data_png"):
        assert rows[name]["ratio_to_peer"] > 0 and rows[name]["peer"].endswith("same worker count")
        assert (
            rows[name]["value"] == rows["input_16_ours_zstd_workers_1"]["value"]
            and name in done.stdout
        )
    for name in ("png", "zstd"):
        assert (
            rows[f"codec_16_{name}_bytes"]["value"] > 100
            and rows[f"codec_16_{name}_encode"]["value"] > 0
        )
    assert "ours, zstd" in done.stdout and "PyTorch DataLoader, four PNGs" in done.stdout


def test_mosaics_are_the_fields(tmp_path, monkeypatch):
    """Four times the side, of 16 fields in reading order, in a layout that the builder takes."""
    import cv2
    import numpy as np

    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    from input import TILES, write_mosaics

    rng, fields = np.random.default_rng(0), []
    (tmp_path / "train").mkdir()
    for number in range(20):
        fields.append(rng.integers(0, 256, (8, 8, 4), dtype=np.uint8))
        for place, channel in enumerate(("red", "green", "blue", "yellow")):
            cv2.imwrite(
                str(tmp_path / "train" / f"f{number:02d}_{channel}.png"), fields[-1][..., place]
            )
    write_mosaics(sorted((tmp_path / "train").glob("*_red.png")), tmp_path / "out", 2)
    assert (tmp_path / "out" / "train.csv").read_text() == "Id,Target\nmosaic0,0\nmosaic1,1\n"
    second = cv2.imread(str(tmp_path / "out" / "train" / "mosaic1_blue.png"), cv2.IMREAD_UNCHANGED)
    assert second.shape == (8 * TILES, 8 * TILES)
    np.testing.assert_array_equal(second[:8, 8:16], fields[18][..., 2])
    np.testing.assert_array_equal(second[8:16, :8], fields[1][..., 2])


def test_no_fields_is_one_line(tmp_path):
    done = _run("input.py", "--quick", f"--manual_dir={tmp_path}")
    assert (
        done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    )
    assert _run("input.py", "--quick").returncode == 2


def test_start_on_many_fields(tmp_path):
    done = _run("input_million.py", "--fields=2000", f"--json={tmp_path / 'rows.json'}")
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads((tmp_path / "rows.json").read_text())}
    for name in ("open_train_part", "open_another_fold", "order_of_an_epoch", "first_batch_of_256"):
        assert rows[f"million_{name}"]["value"] >= 0 and rows[f"million_{name}"]["resident_mb"] > 50
    assert rows["million_indexes"]["value"] > 0 and all(
        row["fields"] == 2000 for row in rows.values()
    )
