"""What a run's page draws: curves, errors and cases, against other libraries and plain loops."""

import os
from pathlib import Path

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import f1_score, precision_recall_curve

from hpa_jax.metrics import histogram
from hpa_jax.report.run import curves
from hpa_jax.report.run.gallery import (
    MAX_ERRORS_PER_LABEL,
    top_false_negatives,
    top_false_positives,
    top_true_positives,
)
from hpa_jax.report.run.labels import error_cooccurrence, silent_misses
from hpa_jax.report.run.score_curves import metrics_over_thresholds, precision_recall, reliability


@pytest.fixture(scope="module")
def arrays():
    """Scores and targets of a real net where they are at hand, else made ones."""
    if folder := os.environ.get("HPA_SAMPLE_DIR"):
        folder = Path(folder) / "predictions"
        targets = np.load(folder / "val_targets.npy").astype(np.uint8)
        return np.load(folder / "val_scores_inception_224.npy"), targets
    rng = np.random.default_rng(0)
    targets = (rng.random((2000, 28)) < 0.05).astype(np.uint8)
    return rng.beta(1 + 3 * targets, 4 - 3 * targets).astype(np.float32).round(3), targets


def test_precision_and_recall_are_sklearns(arrays):
    scores, targets = arrays
    for label in range(0, 28, 3):
        levels, precision, recall = precision_recall(scores[:, label], targets[:, label])
        theirs = precision_recall_curve(targets[:, label], scores[:, label])
        np.testing.assert_array_equal(levels[::-1], theirs[2])
        np.testing.assert_allclose(precision[::-1], theirs[0][:-1])
        np.testing.assert_allclose(recall[::-1], theirs[1][:-1])


def test_metrics_over_thresholds_are_those_of_a_search(arrays):
    scores, targets = arrays
    found = metrics_over_thresholds(scores, targets)
    grid = histogram.threshold_grid()
    assert found["f1"].shape == (28, 1001)
    for k in (0, 100, 337, 500, 999, 1000):
        predicted = scores > grid[k].astype(scores.dtype)
        f1 = f1_score(targets, predicted, average=None, zero_division=0)
        np.testing.assert_allclose(found["f1"][:, k], f1)
        hits = (predicted & (targets > 0)).sum(0)
        np.testing.assert_allclose(found["precision"][:, k], hits / np.maximum(1, predicted.sum(0)))
        np.testing.assert_allclose(found["recall"][:, k], hits / np.maximum(1, targets.sum(0)))


def test_the_calibration_curve_is_sklearns(arrays):
    scores, targets = arrays
    pairs, score, positive = reliability(scores, targets)
    theirs = calibration_curve(targets.ravel(), scores.ravel().astype(float), n_bins=15)
    assert pairs.sum() == scores.size
    np.testing.assert_allclose(positive[pairs > 0], theirs[0], atol=1e-6)
    np.testing.assert_allclose(score[pairs > 0], theirs[1], atol=1e-6)


def test_points_left_out_of_a_drawn_curve_lie_on_it():
    rng = np.random.default_rng(1)
    positive = rng.random(500) < 0.1
    scores = (positive + rng.normal(size=500)).round(1)
    _, precision, recall = precision_recall(scores, positive)
    kept = curves._corners(recall)
    assert len(kept) < len(recall) and set(recall[kept]) == set(recall)
    for k in range(len(recall)):
        at = precision[kept][recall[kept] == recall[k]]
        assert at.min() <= precision[k] <= at.max()
    many = curves._corners(np.linspace(0, 1, 5000))
    assert len(many) == 60 and many[0] == 0 and many[-1] == 4999


def test_errors_that_occur_together_are_those_counted_one_by_one(arrays):
    scores, targets = (array[:300] for array in arrays)
    predicted = scores > 0.3
    counts = error_cooccurrence(predicted, targets)
    silent = silent_misses(predicted, targets)
    rows = list(zip(targets > 0, predicted, strict=True))
    missed = [set(np.flatnonzero(positive & ~decided)) for positive, decided in rows]
    wrong = [set(np.flatnonzero(~positive & decided)) for positive, decided in rows]
    both = list(zip(missed, wrong, strict=True))
    for i in range(28):
        assert counts[i, i] == sum(i in m for m in missed)
        assert silent[i] == sum(i in m and not w for m, w in both)
        for j in set(range(28)) - {i}:
            assert counts[i, j] == sum(i in m and j in w for m, w in both)


def test_the_top_errors_are_errors_and_no_worse_one_is_left_out(arrays):
    scores, targets = arrays
    predicted = scores > 0.5
    for cases, severity in (
        (
            top_false_positives(scores, targets, predicted),
            scores * (predicted & (targets == 0)),
        ),
        (
            top_false_negatives(scores, targets, predicted),
            (1 - scores) * (~predicted & (targets > 0)),
        ),
    ):
        images = [case.image for case in cases]
        assert len(cases) == 12 and len(set(images)) == 12
        found = [severity[case.image, case.label] for case in cases]
        assert min(found) > 0 and found == sorted(found, reverse=True)
        assert found[0] == severity.max()
        counts = np.bincount([case.label for case in cases])
        assert counts.max() <= MAX_ERRORS_PER_LABEL
        full = np.flatnonzero(counts == MAX_ERRORS_PER_LABEL)
        rest = np.delete(np.delete(severity, images, axis=0), full, axis=1)
        assert rest.max() <= found[-1]


def test_the_top_true_positives_have_the_highest_scores_of_their_label(arrays):
    scores, targets = (array.copy() for array in arrays)
    targets[:, 4] = 0
    hits = top_true_positives(scores, targets, 3)
    assert hits[4] == []
    for label, cases in enumerate(hits):
        positive = scores[targets[:, label] != 0, label]
        assert [case.score for case in cases] == sorted(positive.tolist(), reverse=True)[:3]
        assert all(targets[case.image, label] for case in cases)


def test_no_errors_no_cases():
    targets = np.eye(5, dtype=np.uint8)
    assert top_false_positives(targets * 0.9, targets, targets > 0) == []
    assert top_false_negatives(targets * 0.9, targets, targets > 0) == []
