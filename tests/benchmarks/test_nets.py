"""The benchmark of the nets runs and gives its rows; how fast anything is, no test says."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "benchmarks"))


def _run(*flags):
    command = [sys.executable, str(REPOSITORY / "benchmarks" / "nets.py"), *flags]
    return subprocess.run(
        command, cwd=REPOSITORY, env=os.environ.copy(), text=True, capture_output=True, timeout=300
    )


def test_rows_beside_the_peer(tmp_path):
    flags = ("--nets=all_cnn", "--size=16", "--batch=2", "--seconds=0.05", "--wide=64")
    done = _run(*flags, f"--json={tmp_path / 'rows.json'}")
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads((tmp_path / "rows.json").read_text())}
    counts = rows["net_all_cnn_parameters"]
    assert counts["value"] == counts["peer_value"] == 1_374_076 and counts["ratio_to_peer"] == 1
    for kind in ("inference", "training"):
        row = rows[f"net_all_cnn_{kind}_16px_batch_2"]
        assert row["value"] > 0 and row["ratio_to_peer"] == pytest.approx(
            row["value"] / row["peer_value"]
        )
    assert rows["net_all_cnn_kept_64px"]["value"] > 0
    assert "all_cnn" in done.stdout and "[1/2] all_cnn, ours" in done.stderr


def test_the_arithmetic_is_the_published_one():
    """ResNet-50 at 224 px: 3.8 billion multiply-adds (arXiv:1512.03385, Table 1); XLA counts none with padding."""
    from nets import sizes

    found = sizes("resnet50", 224)
    assert found["flop"] == pytest.approx(2 * 3.8e9, rel=0.03)
    # Each of the 16 blocks keeps at least what its three convolutions read, in bfloat16.
    read = sum(
        blocks * (side**2 * (4 * width + width) + side**2 * width) * 2
        for blocks, side, width in ((3, 56, 64), (4, 28, 128), (6, 14, 256), (3, 7, 512))
    )
    assert read < found["kept_bytes"] < 12 * read


def test_an_unknown_net_is_refused():
    done = _run("--nets=vgg")
    assert (
        done.returncode == 2 and "'vgg' is unknown; choose of all_cnn, densenet121" in done.stderr
    )
