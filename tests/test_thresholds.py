"""Fitted thresholds and cross-fitting, against a plain slow version that knows no histograms."""

import jax
import numpy as np
import pytest
from sklearn.metrics import f1_score

from hpa_jax import metrics, thresholds

BINS = 20


def case(fields, labels, seed):
    rng = np.random.default_rng(seed)
    targets = (rng.random((fields, labels)) < np.linspace(0.02, 0.5, labels)).astype(np.uint8)
    logits = 2.0 * targets + rng.normal(-1.5, 1.3, targets.shape)
    return (1 / (1 + np.exp(-logits))).astype(np.float32), targets


def counts_of(scores, targets, bins=BINS):
    return jax.tree.map(lambda a: a[0], metrics.count_arrays(scores, targets, bins=bins))


def slow_fit(scores, targets, bins=BINS):
    """Label by label, threshold by threshold, with scikit-learn; the lower median of the best ones."""
    grid = [k / bins for k in range(bins + 1)]
    fitted = []
    for label in range(scores.shape[1]):
        f1 = [f1_score(targets[:, label], scores[:, label] > np.float32(t), zero_division=0) for t in grid]
        best = [t for t, value in zip(grid, f1, strict=True) if value == max(f1)]
        fitted.append(best[(len(best) - 1) // 2] if max(f1) > 0 else 0.5)
    return np.array(fitted)


@pytest.mark.parametrize("seed", range(3))
def test_fit_equals_the_slow_search(seed):
    scores, targets = case(60, 5, seed)
    targets[:, 4] = 0
    np.testing.assert_array_equal(thresholds.fit(counts_of(scores, targets)), slow_fit(scores, targets))


def test_fit_takes_the_middle_of_equally_good_thresholds():
    scores = np.array([[0.11], [0.19], [0.81], [0.89]], np.float32)
    targets = np.array([[0], [0], [1], [1]])
    # the 620 thresholds from 0.190 (0.19 is not above it) to 0.809 are perfect; the 310th of them
    assert thresholds.fit(counts_of(scores, targets, 1000)) == 0.499


def test_labels_that_cannot_be_fitted_keep_one_half():
    scores = np.array([[0.9, 0.0, 0.7], [0.8, 0.0, 0.6]], np.float32)
    targets = np.array([[0, 1, 0], [0, 1, 0]])  # no positives; positives that no threshold predicts; no positives
    np.testing.assert_array_equal(thresholds.fit(counts_of(scores, targets)), [0.5, 0.5, 0.5])


def test_folds_are_seeded_even_and_cover_every_field():
    fold = thresholds.deal_folds(23, 5, seed=1)
    assert sorted(np.bincount(fold)) == [4, 4, 5, 5, 5]
    np.testing.assert_array_equal(fold, thresholds.deal_folds(23, 5, seed=1))
    assert (fold != thresholds.deal_folds(23, 5, seed=2)).any()


@pytest.mark.parametrize("seed", range(2))
def test_crossfit_equals_the_slow_version(seed):
    scores, targets = case(83, 4, seed)
    found = thresholds.crossfit(scores, targets, folds=5, seed=seed, bins=BINS)
    fold = thresholds.deal_folds(83, 5, seed)
    predicted = np.zeros_like(targets)
    for k in range(5):
        fitted = slow_fit(scores[fold != k], targets[fold != k])
        np.testing.assert_array_equal(found["thresholds_by_fold"][k], fitted)
        predicted[fold == k] = scores[fold == k] > fitted.astype(np.float32)
    for average in ("macro", "micro"):
        value = f1_score(targets, predicted, average=average, zero_division=0)
        assert found["crossfit"][f"{average}_f1"] == pytest.approx(value, abs=1e-12)
    per_label = f1_score(targets, predicted, average=None, zero_division=0)
    np.testing.assert_allclose(found["crossfit"]["per_label"]["f1"], per_label, atol=1e-12)

    everything = slow_fit(scores, targets)
    np.testing.assert_array_equal(found["thresholds"], everything)
    value = f1_score(targets, scores > everything.astype(np.float32), average="macro", zero_division=0)
    assert found["in_sample"]["macro_f1"] == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_in_sample_is_never_below_one_half_and_flatters(seed):
    scores, targets = case(200, 8, seed)
    found = thresholds.crossfit(scores, targets)
    assert found["in_sample"]["macro_f1"] >= metrics.figures(found["counts"])["macro_f1"]
    assert found["in_sample"]["macro_f1"] > found["crossfit"]["macro_f1"]


def test_a_field_does_not_move_the_thresholds_it_is_decided_with():
    scores, targets = case(50, 3, 0)
    fold = thresholds.deal_folds(50, 5, 0)
    before = thresholds.crossfit(scores, targets)["thresholds_by_fold"]
    scores[fold == 2] = np.random.default_rng(1).random((10, 3))
    targets[fold == 2] = 1 - targets[fold == 2]
    after = thresholds.crossfit(scores, targets)["thresholds_by_fold"]
    np.testing.assert_array_equal(after[2], before[2])
    assert (after != before).any()
