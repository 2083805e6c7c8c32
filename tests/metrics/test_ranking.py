"""Ranking metrics against scikit-learn: ties, subnormal scores, float types, absent labels."""

import numpy as np
import pytest
from sklearn.metrics import (
    average_precision_score,
    coverage_error,
    label_ranking_average_precision_score,
    precision_recall_curve,
    roc_auc_score,
)

from hpa_jax.metrics import ranking


def case(images, labels, seed, dtype=np.float32):
    """Scores in steps (ties), saturated ones, and a label whose scores are subnormal."""
    rng = np.random.default_rng(seed)
    targets = (rng.random((images, labels)) < np.linspace(0.03, 0.9, labels)).astype(np.uint8)
    scores = np.clip(rng.normal(0.3, 0.3, targets.shape) + 0.2 * targets, 0, 1)
    scores[:, 0] = np.round(scores[:, 0] * 8) / 8
    scores = scores.astype(dtype)
    scores[:, 1] = (rng.integers(0, 50, images) + 5 * targets[:, 1]) * np.finfo(
        dtype
    ).smallest_subnormal
    return scores, targets


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_metrics_equal_scikit_learn(dtype):
    scores, targets = case(700, 6, 1, np.dtype(dtype).newbyteorder("="))
    scores = scores.astype(dtype)
    found = ranking.ranking_metrics(scores, targets)
    for name, of in (("average_precision", average_precision_score), ("auc", roc_auc_score)):
        native = scores.astype(
            np.float64
        )  # exact; scikit-learn subtracts scores, and float16 has few subnormals
        expected = [of(targets[:, i], native[:, i]) for i in range(6)]
        np.testing.assert_allclose(found["per_label"][name], expected, atol=1e-12)
        assert found[f"macro_{name}"] == pytest.approx(np.mean(expected), abs=1e-12)
        assert found[f"micro_{name}"] == pytest.approx(
            of(targets.ravel(), native.ravel()), abs=1e-12
        )


def test_curve_holds_the_points_of_scikit_learn():
    scores, targets = case(300, 3, 2)
    levels, tp, fp = ranking.ranking_curve(scores[:, 0], targets[:, 0])
    precision, recall, thresholds = precision_recall_curve(targets[:, 0], scores[:, 0])
    np.testing.assert_array_equal(levels[::-1], thresholds)
    np.testing.assert_allclose((tp / (tp + fp))[::-1], precision[:-1])
    np.testing.assert_allclose((tp / tp[-1])[::-1], recall[:-1])


def test_labels_of_an_image_are_ranked_as_by_scikit_learn():
    scores, targets = case(400, 6, 5)
    scores[:, :4] = np.round(scores[:, :4] * 4) / 4  # ties within images
    targets[:5] = 0
    targets[5:9] = 1
    precision, coverage = ranking.label_rankings(scores, targets)
    has_labels = targets.any(axis=1)
    np.testing.assert_array_equal(np.isnan(precision), ~has_labels)
    np.testing.assert_array_equal(np.isnan(coverage), ~has_labels)
    rows = scores[has_labels], targets[has_labels]
    expected = label_ranking_average_precision_score(rows[1], rows[0])
    assert np.nanmean(precision) == pytest.approx(expected, abs=1e-12)
    assert np.nanmean(coverage) == pytest.approx(coverage_error(rows[1], rows[0]), abs=1e-12)


def test_undefined_metrics_are_left_out():
    scores, targets = case(100, 4, 3)
    targets[:, 1], targets[:, 2] = 0, 1  # no positives; only positives
    found = ranking.ranking_metrics(scores, targets)
    np.testing.assert_array_equal(
        np.isnan(found["per_label"]["average_precision"]), [False, True, False, False]
    )
    np.testing.assert_array_equal(np.isnan(found["per_label"]["auc"]), [False, True, True, False])
    assert found["per_label"]["average_precision"][2] == 1
    assert found["macro_auc"] == np.mean(found["per_label"]["auc"][[0, 3]])
    assert np.isnan(
        ranking.ranking_metrics(scores, np.zeros_like(targets))["macro_average_precision"]
    )
    assert np.isnan(ranking.ranking_metrics(scores[:1], targets[:1])["macro_auc"])


def test_all_scores_alike_rank_nothing():
    targets = np.array([1, 0, 0, 1, 0])
    assert ranking.auc(np.full(5, 0.3), targets) == 0.5
    assert ranking.average_precision(np.full(5, 0.3), targets) == 0.4
