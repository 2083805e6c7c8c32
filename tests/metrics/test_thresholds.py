"""Fitted thresholds against a plain slow version that knows no histograms."""

from fractions import Fraction

import jax
import numpy as np
import pytest
from sklearn.metrics import f1_score
from support.score_cases import counts_of, skilled_case

from hpa_jax.metrics import histogram, thresholds

BINS = 20


def slow_fit(scores, targets, bins=BINS):
    """Label by label, threshold by threshold, with scikit-learn; the lower median of the best
    ones.
    """
    grid = [k / bins for k in range(bins + 1)]
    fitted = []
    for label in range(scores.shape[1]):
        f1 = [
            f1_score(targets[:, label], scores[:, label] > np.float32(t), zero_division=0)
            for t in grid
        ]
        best = [t for t, value in zip(grid, f1, strict=True) if value == max(f1)]
        fitted.append(best[(len(best) - 1) // 2] if max(f1) > 0 else 0.5)
    return np.array(fitted)


def test_fractions_that_are_one_float32_are_told_apart():
    a, b = 2_000_000_001, 4_000_000_001
    index, fitted = thresholds._best_index(np.array([a, a + 1, a]), np.array([b, b + 1, b]))
    assert index == 1 and fitted
    index, _ = thresholds._best_index(np.array([a + 1, a, 1]), np.array([b + 1, b, 2]))
    assert index == 0
    index, fitted = thresholds._best_index(np.array([0, 0]), np.array([1, 5]))
    assert not fitted


@pytest.mark.parametrize("seed", range(3))
def test_fit_equals_the_slow_search(seed):
    scores, targets = skilled_case(60, 5, seed)
    targets[:, 4] = 0
    np.testing.assert_array_equal(
        thresholds.fit(counts_of(scores, targets, bins=BINS)), slow_fit(scores, targets)
    )


def test_fit_takes_the_middle_of_equally_good_thresholds():
    scores = np.array([[0.11], [0.19], [0.81], [0.89]], np.float32)
    targets = np.array([[0], [0], [1], [1]])
    # the 620 thresholds from 0.190 (0.19 is not above it) to 0.809 are perfect; the 310th of them
    assert thresholds.fit(counts_of(scores, targets, bins=1000)) == 0.499


def test_labels_that_cannot_be_fitted_keep_one_half():
    scores = np.array([[0.9, 0.0, 0.7], [0.8, 0.0, 0.6]], np.float32)
    targets = np.array(
        [[0, 1, 0], [0, 1, 0]]
    )  # no positives; positives that no threshold predicts; no positives
    np.testing.assert_array_equal(
        thresholds.fit(counts_of(scores, targets, bins=BINS)), [0.5, 0.5, 0.5]
    )


def test_large_counts_are_searched_exactly():
    """Counts of 2**30 images, whose F1 differ in the tenth digit, against Python's fractions."""
    positives, negatives = np.zeros((2, 1, 12), np.int32)
    rng = np.random.default_rng(3)
    for _ in range(20):
        positives[0] = 10**7 + rng.integers(0, 5, 12)
        negatives[0] = 5 * 10**6 + rng.integers(0, 5, 12)
        total = int(positives.sum())
        f1 = [
            Fraction(
                int(positives[0, k + 1 :].sum()),
                int((positives + negatives)[0, k + 1 :].sum()) + total,
            )
            for k in range(11)
        ]
        best = [k for k in range(11) if f1[k] == max(f1)]
        found = thresholds.fit_index(histogram.ScoreCounts(positives, negatives))
        assert found[0] == best[(len(best) - 1) // 2]


def test_fits_several_tables_at_once():
    counts = counts_of(*skilled_case(300, 28, 1), bins=1000)
    stacked = jax.tree.map(lambda a: np.stack([a, a]), counts)
    for few_positives in (0, 5):
        one = thresholds.fit(counts, few_positives=few_positives)
        both = thresholds.fit(stacked, few_positives=few_positives)
        np.testing.assert_array_equal(both, [one, one])


def slow_shrinkage(own, positives, few):
    """The rule of `fit` in NumPy, for labels that all can be fitted."""
    logit, x, trusted = np.log(own / (1 - own)), np.log(np.maximum(positives, 1)), positives >= few
    line = np.polyval(np.polyfit(x[trusted], logit[trusted], 1), x)
    line = np.clip(line, logit[trusted].min(), logit[trusted].max())
    own_weight = np.where(positives > 0, np.minimum(positives / few, 1), 0)
    return np.where(trusted, own, 1 / (1 + np.exp(-own_weight * logit - (1 - own_weight) * line)))


def test_labels_of_a_handful_of_positives_are_shrunk():
    scores, targets = skilled_case(2000, 8, 2)
    targets[:, 0] = 0
    for label, kept in ((1, 1), (2, 4), (3, 5)):
        targets[np.flatnonzero(targets[:, label])[kept:], label] = 0
    counts = counts_of(scores, targets, bins=1000)
    own, found = thresholds.fit(counts), thresholds.fit(counts, few_positives=5)
    expected = slow_shrinkage(own, targets.sum(0), 5)
    np.testing.assert_array_equal(found[3:], own[3:])  # five positives are enough
    np.testing.assert_allclose(found, expected, atol=0.000501)
    assert (found[:3] != own[:3]).all()


def test_no_threshold_is_0_or_1_by_accident():
    rng = np.random.default_rng(0)
    scores = np.full(
        (400, 4), 1e-30, np.float32
    )  # a net that is sure of nothing: all scores in the lowest bin
    scores[:, 1] = rng.random(400) ** 0.1
    scores[:, 3] = rng.random(400)
    targets = np.zeros((400, 4), np.uint8)
    targets[::9, 0], targets[:, 1], targets[::3, 3] = 1, 1, 1
    counts = counts_of(scores, targets, bins=1000)
    assert (
        thresholds.fit(counts)[0] == 0
    )  # every image gets the label: the search's best, and never meant
    found = thresholds.fit(counts, few_positives=5)
    assert ((found >= 0.001) & (found <= 0.999)).all()
    assert (
        found[1] == thresholds.fit(counts)[1] and (scores[:, 1] > found[1]).all()
    )  # always positive, always predicted
    nobody = thresholds.fit(counts_of(scores, np.zeros_like(targets), bins=1000), few_positives=5)
    np.testing.assert_array_equal(nobody, 0.5)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_decide_compares_in_the_scores_own_type(dtype):
    scores = np.array([[0.3, np.nextafter(dtype(0.3), dtype(1)), 0.0]], dtype)
    np.testing.assert_array_equal(
        thresholds.decide(scores, np.full(3, 0.3)), [[False, True, False]]
    )


def test_empty_images_get_the_label_that_comes_nearest():
    limits = np.array([0.5, 0.1, 0.8])
    scores = np.array([[0.4, 0.05, 0.1], [0.2, 0.09, 0.7], [0.6, 0.0, 0.9], [0, 0, 0]], np.float32)
    plain = thresholds.decide(scores, limits)
    np.testing.assert_array_equal(plain.sum(1), [0, 0, 2, 0])
    filled = thresholds.decide(scores, limits, fill_empty=True)
    np.testing.assert_array_equal(filled, [[1, 0, 0], [0, 1, 0], [1, 0, 1], [1, 0, 0]])
    tiny = np.array([[0, 1e-42, 0]], np.float32)  # subnormal, and still more than nothing
    np.testing.assert_array_equal(thresholds.decide(tiny, limits, fill_empty=True), [[0, 1, 0]])
