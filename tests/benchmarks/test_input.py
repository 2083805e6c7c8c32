"""The input benchmarks run and write their rows; how fast anything is, no test says."""

import os
from pathlib import Path

import cv2
import numpy as np
from input import TILES, write_mosaics
from kaggle_layout import read_image, red_files, write_image

REPOSITORY = Path(__file__).resolve().parents[2]
LOADERS = ("ours_zstd", "ours_png", "grain_png", "tf_data_png", "dataloader_png")


def without_sample():
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    environment.pop("HPA_SAMPLE_DIR", None)
    return environment


def test_input_table(run_benchmark):
    dummy = REPOSITORY / "tfds_builder" / "hpa" / "dummy_data"
    done = run_benchmark("input.py", "--quick", f"--manual_dir={dummy}")
    assert done.returncode == 0, done.stderr
    for loader in LOADERS:
        row = done.rows[f"input_16_{loader}_workers_1"]
        assert row["value"] > 0
        assert row["unit"] == "images/s/core"
        assert row["images_per_cpu_second"] > 0
        assert row["bytes_an_image"] > 300
        assert row["peak_bytes"] > 50e6
    ours = done.rows["input_16_ours_zstd_workers_1"]["value"]
    for name in ("input_16_vs_dataloader_png", "input_16_vs_tf_data_png"):
        row = done.rows[name]
        assert row["value"] == ours
        assert row["ratio_to_peer"] > 0
        assert row["peer"].endswith("same worker count")
        assert name in done.stdout
    for codec in ("png", "zstd"):
        assert done.rows[f"codec_16_{codec}_bytes"]["value"] > 100
        assert done.rows[f"codec_16_{codec}_encode"]["value"] > 0
    assert "ours, zstd" in done.stdout
    assert "PyTorch DataLoader, four PNGs" in done.stdout


def test_mosaics_are_of_the_images(tmp_path):
    """Four times the side, of 16 images in reading order, in a layout that the builder takes."""
    rng = np.random.default_rng(0)
    images = []
    (tmp_path / "train").mkdir()
    for number in range(20):
        images.append(rng.integers(0, 256, (8, 8, 4), dtype=np.uint8))
        write_image(tmp_path, f"f{number:02d}", images[-1])
    reds = red_files(tmp_path)
    np.testing.assert_array_equal(read_image(reds[3]), images[3])

    write_mosaics(reds, tmp_path / "out", 2)
    csv = (tmp_path / "out" / "train.csv").read_text()
    assert csv == "Id,Target\nmosaic0,0\nmosaic1,1\n"
    second = cv2.imread(str(tmp_path / "out" / "train" / "mosaic1_blue.png"), cv2.IMREAD_UNCHANGED)
    assert second.shape == (8 * TILES, 8 * TILES)
    np.testing.assert_array_equal(second[:8, 8:16], images[18][..., 2])
    np.testing.assert_array_equal(second[8:16, :8], images[1][..., 2])


def test_no_images_is_one_line(tmp_path, run_benchmark):
    done = run_benchmark("input.py", "--quick", f"--manual_dir={tmp_path}")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    unset = run_benchmark("input.py", "--quick", environment=without_sample())
    assert unset.returncode == 2
    assert "HPA_SAMPLE_DIR" in unset.stderr


def test_start_on_many_images(run_benchmark):
    done = run_benchmark("input_million.py", "--images=2000")
    assert done.returncode == 0, done.stderr
    for name in ("open_train_part", "open_another_fold", "order_of_an_epoch", "first_batch_of_256"):
        row = done.rows[f"million_{name}"]
        assert row["value"] >= 0
        assert row["resident_mb"] > 50
    assert done.rows["million_indexes"]["value"] > 0
    assert all(row["images"] == 2000 for row in done.rows.values())
    assert "million_write_indexes" in done.stdout
