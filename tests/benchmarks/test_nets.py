"""The benchmark of the nets runs and writes its rows; how fast anything is, no test says."""

import pytest
from nets_sides import sizes


def test_rows_beside_the_peer(run_benchmark):
    flags = ("--nets=all_cnn", "--size=16", "--batch=2", "--seconds=0.05", "--wide=64")
    done = run_benchmark("nets.py", *flags)
    assert done.returncode == 0, done.stderr
    counts = done.rows["net_all_cnn_parameters"]
    assert counts["value"] == counts["peer_value"] == 1_374_076
    assert counts["ratio_to_peer"] == 1
    for kind in ("inference", "training"):
        row = done.rows[f"net_all_cnn_{kind}_16px_batch_2"]
        assert row["value"] > 0
        assert row["ratio_to_peer"] == pytest.approx(row["value"] / row["peer_value"])
    assert done.rows["net_all_cnn_kept_64px"]["value"] > 0
    assert "all_cnn" in done.stdout
    assert "[1/2] all_cnn, ours" in done.stderr


def test_the_arithmetic_is_the_published_one():
    """ResNet-50 at 224 px: 3.8 billion multiply-adds (arXiv:1512.03385, Table 1).

    XLA counts none with padding.
    """
    found = sizes("resnet50", 224)
    assert found["flop"] == pytest.approx(2 * 3.8e9, rel=0.03)
    # Each of the 16 blocks keeps at least what its three convolutions read, in bfloat16.
    read = 0
    for blocks, side, width in ((3, 56, 64), (4, 28, 128), (6, 14, 256), (3, 7, 512)):
        values = side**2 * (4 * width + width + width)
        read += blocks * values * 2
    assert read < found["kept_bytes"] < 12 * read


def test_an_unknown_net_is_refused(run_benchmark):
    done = run_benchmark("nets.py", "--nets=vgg")
    assert done.returncode == 2
    assert "'vgg' is unknown; choose of all_cnn, convnext_tiny" in done.stderr
