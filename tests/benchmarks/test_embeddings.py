"""The benchmarks of embeddings: rows and tables, other pictures of a field, and that both run."""

import os

import numpy as np
import pytest
import retrieval
import same_place
from same_place_images import batches, other_picture

from hpa_jax.metrics.retrieval import METRICS, RELEVANCE


def test_rows_of_retrieval_stand_beside_histograms():
    rng = np.random.default_rng(0)
    targets = (rng.random((40, 3)) < 0.4).astype(np.uint8)
    embeddings = {name: [rng.normal(size=(40, 5))] for name in retrieval.TITLES}
    # One that knows all labels, and for which seeds agree.
    embeddings["contrastive"] = [targets @ np.diag([1.0, 3.0, 9.0])] * 2
    images = retrieval.TestImages(targets, np.arange(40), embeddings)
    rows = retrieval.compare_embeddings(images)
    assert len(rows) == len(RELEVANCE) * len(retrieval.TITLES) * len(METRICS)
    by_name = {row["name"]: row for row in rows}
    best = by_name["retrieval_contrastive_same_set_retrieval_map"]
    assert best["value"] == 1 and best["above_histogram_interval"][0] > 0
    alike = by_name["retrieval_histogram_same_set_retrieval_map"]
    assert best["peer_value"] == alike["value"] and alike["above_histogram"] == 0
    table = retrieval.markdown(rows)
    assert "\n| metric net, contrastive over label sets | 1.000 [1.000, 1.000]" in table
    assert "a hit has exactly the same labels" in table


def test_another_picture_is_a_crop_that_was_turned_and_is_darker():
    field = np.zeros((100, 100, 4), np.uint8)
    field[..., 0] = 200
    seen = other_picture(field, np.random.default_rng(3))
    assert seen.shape == (60, 60, 4) and seen.dtype == np.uint8
    assert (seen[..., 0] == 140).all() and not seen[..., 1:].any()
    # All that moves is told apart by a field that no symmetry leaves as it is.
    ramp = np.repeat((np.arange(100) * 2)[:, None], 100, axis=1).astype(np.uint8)
    unlike = np.stack([ramp, ramp.T] * 2, axis=-1)
    crops = {other_picture(unlike, np.random.default_rng(seed)).tobytes() for seed in range(12)}
    assert len(crops) == 12
    found = list(batches([seen, seen, seen], size=32, batch=2))
    assert [count for _, count in found] == [2, 1]
    assert not found[1][0][1].any()


def test_each_crop_has_one_right_answer():
    searched = np.eye(3)
    crops = np.array([[1, 0.1, 0], [0.2, 0.1, 1], [1, 1, 1]])
    recall = same_place.recalls(crops, searched, np.array([0, 1, 2]))
    np.testing.assert_allclose(recall[:, 0], [1, 0, 1 / 3])
    np.testing.assert_allclose(recall[:, 1], 1)


@pytest.mark.slow
@pytest.mark.skipif("HPA_SAMPLE_DIR" not in os.environ, reason="HPA_SAMPLE_DIR is not set")
def test_fields_are_looked_for(run_benchmark):
    flags = ("--fields=3", "--crops=2", "--distractors=5", "--net=densenet_tiny", "--size=32")
    done = run_benchmark("same_place.py", *flags)
    assert done.returncode == 0, done.stderr
    assert set(done.rows) == {"same_place_histograms", "same_place_densenet_tiny, untrained"}
    assert "6 crops of 3 real fields, among these and 5 drawn ones" in done.stdout


@pytest.mark.slow
def test_nets_are_trained_and_compared(run_benchmark, tmp_path):
    done = run_benchmark("retrieval.py", "--quick", "--jobs=1", f"--folder={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert 0 < done.rows["retrieval_contrastive_any_label_retrieval_map"]["value"] < 1
    again = run_benchmark("retrieval.py", "--quick", "--jobs=1", f"--folder={tmp_path}")
    assert again.rows == done.rows
