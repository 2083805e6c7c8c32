"""Metrics from counts and from decisions are those of scikit-learn."""

import os
from pathlib import Path

import jax
import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    precision_recall_fscore_support,
    precision_score,
    recall_score,
)
from support.score_cases import counts_of, edge_case

from hpa_jax import metrics
from hpa_jax.metrics import classification, histogram
from hpa_jax.parallel.mesh import make_mesh, put_batch

GRID = histogram.threshold_grid()


def assert_equals_sklearn(found, scores, targets):
    predicted = (scores > 0.5).astype(int)
    precision, recall, f1, support = precision_recall_fscore_support(
        targets, predicted, average=None, zero_division=0
    )
    expected = {"precision": precision, "recall": recall, "f1": f1, "support": support}
    for name, value in expected.items():
        np.testing.assert_allclose(found["per_label"][name], value, atol=1e-12, err_msg=name)
    for average in ("macro", "micro"):
        for name, score in (
            ("f1", f1_score),
            ("precision", precision_score),
            ("recall", recall_score),
        ):
            value = score(targets, predicted, average=average, zero_division=0)
            assert found[f"{average}_{name}"] == pytest.approx(value, abs=1e-12), (average, name)
    assert found["accuracy"] == pytest.approx(
        accuracy_score(targets.ravel(), predicted.ravel()), abs=1e-12
    )
    assert found["macro_f1_present"] == pytest.approx(
        f1[support > 0].mean() if support.any() else 0, abs=1e-12
    )


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(("images", "labels", "seed"), [(1, 5, 0), (64, 28, 1), (5000, 9, 2)])
def test_metrics_equal_scikit_learn(images, labels, seed, dtype):
    scores, targets = edge_case(images, labels, seed, dtype)
    assert_equals_sklearn(
        classification.metrics_from_counts(counts_of(scores, targets)), scores, targets
    )


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_average_precision_equals_scikit_learn_on_scores_in_steps(dtype):
    scores, targets = edge_case(3000, 7, 11, dtype)
    counts = counts_of(scores, targets)
    stepped = histogram.bin_scores(scores, GRID)  # the scores of a bin are ties
    expected = [
        average_precision_score(targets[:, i], stepped[:, i])
        for i in range(7)
        if targets[:, i].any()
    ]
    found = classification.average_precision_from_counts(counts)
    np.testing.assert_array_equal(np.isnan(found), ~targets.any(0))
    np.testing.assert_allclose(found[~np.isnan(found)], expected, atol=1e-12)
    assert classification.metrics_from_counts(counts)["macro_average_precision"] == pytest.approx(
        np.mean(expected), abs=1e-12
    )
    assert set(classification.metrics_from_counts(counts)) == {*classification.METRICS, "per_label"}
    assert (
        classification.metrics_from_counts(counts_of(scores, 0 * targets))[
            "macro_average_precision"
        ]
        == 0
    )


def test_f1_of_decisions_equals_scikit_learn():
    scores, targets = edge_case(500, 5, 12)
    targets[:100] = 0  # images without a label
    scores[:50] = 0.1  # images without a prediction
    predicted = scores > 0.5
    for average, function in (
        ("macro", metrics.macro_f1),
        ("micro", metrics.micro_f1),
        ("samples", metrics.mean_image_f1),
        (None, metrics.label_f1),
    ):
        expected = f1_score(targets, predicted, average=average, zero_division=0)
        found = function(predicted, targets > 0)
        np.testing.assert_allclose(found, expected, atol=1e-12, err_msg=str(average))
    assert metrics.image_f1(predicted, targets > 0)[:50].max() == 0


@pytest.mark.parametrize("density", [0.02, 0.3])  # of the first, many images have no label at all
def test_image_f1_from_counts_is_scikit_learns_on_any_sharding(density):
    rng = np.random.default_rng(0)
    predicted, targets = rng.random((2, 160, 28)) < density
    mask = np.arange(160) % 5 != 0
    count = jax.jit(classification.agreement_counts)
    mesh = make_mesh()
    total = 0
    for rows in np.split(np.arange(160), 4):
        arrays = {"predicted": predicted[rows], "targets": targets[rows], "mask": mask[rows]}
        total = total + np.asarray(count(**put_batch(arrays, mesh)))
    assert total.sum() == mask.sum() and total.dtype == np.int32
    expected = f1_score(targets[mask], predicted[mask], average="samples", zero_division=0)
    assert classification.mean_image_f1_from_counts(total) == pytest.approx(expected, rel=1e-12)


def test_image_f1_without_images_is_0():
    assert classification.mean_image_f1_from_counts(np.zeros((3, 5), np.int32)) == 0


def test_mean_of_defined_leaves_out_nan():
    values = np.array([[1.0, np.nan, np.nan], [3.0, 4.0, np.nan], [np.nan] * 3])
    np.testing.assert_array_equal(classification.mean_of_defined(values), [2, 4, np.nan])
    assert classification.mean_of_defined(values[:, 0]) == 2
    assert np.isnan(classification.mean_of_defined(np.array([np.nan])))


def test_metrics_without_a_single_prediction_or_positive():
    _, targets = edge_case(50, 6, 3)
    silent = np.full(targets.shape, 0.5, np.float32)  # 0.5 is not above 0.5
    found = classification.metrics_from_counts(counts_of(silent, targets))
    assert found["macro_f1"] == found["micro_f1"] == found["macro_precision"] == 0
    assert_equals_sklearn(found, silent, targets)
    found = classification.metrics_from_counts(counts_of(silent, np.zeros_like(targets)))
    assert found["macro_f1"] == found["macro_f1_present"] == 0 and found["accuracy"] == 1


@pytest.mark.skipif("HPA_SAMPLE_DIR" not in os.environ, reason="HPA_SAMPLE_DIR is not set")
def test_metrics_equal_scikit_learn_on_a_real_models_predictions():
    folder = Path(os.environ["HPA_SAMPLE_DIR"]) / "predictions"
    scores, targets = (
        np.load(folder / "val_scores_inception_224.npy"),
        np.load(folder / "val_targets.npy"),
    )
    found = classification.metrics_from_counts(counts_of(scores, targets))
    assert_equals_sklearn(found, scores, targets)
    assert found["macro_f1"] == pytest.approx(0.3960075698619449, abs=1e-12)
    assert found["micro_f1"] == pytest.approx(0.6039942351245625, abs=1e-12)
