"""Weights of an ensemble: against SciPy's optimiser and a grid, and fitted without the fields they are judged on."""

import numpy as np
import pytest
from scipy.optimize import minimize

from hpa_jax.metrics import stacking, thresholds


def case(models, fields, labels, seed):
    """Models of unequal strength, each with errors of its own."""
    rng = np.random.default_rng(seed)
    targets = (rng.random((fields, labels)) < rng.uniform(0.02, 0.4, labels)).astype(np.uint8)
    strength = rng.uniform(0.5, 4, (models, 1, 1))
    logits = (
        rng.normal(-1.5, rng.uniform(0.5, 2, (models, 1, 1)), (models, fields, labels))
        + strength * targets
    )
    return (1 / (1 + np.exp(-logits))).astype(np.float32), targets


def likelihoods(scores, targets):
    flat = np.clip(scores.reshape(len(scores), -1).astype(np.float64), 1e-7, 1 - 1e-7)
    return np.where(targets.ravel() > 0, flat, 1 - flat)


def entropy(weights, q):
    return -np.log(weights @ q).mean()


@pytest.mark.parametrize(
    "models, fields, labels, seed", [(2, 200, 5, 1), (3, 300, 28, 2), (5, 400, 9, 3), (9, 4, 2, 4)]
)
def test_weights_are_as_good_as_scipys(models, fields, labels, seed):
    scores, targets = case(models, fields, labels, seed)
    weights, q = stacking.fit_weights(scores, targets), likelihoods(scores, targets)
    assert weights.min() >= 0 and weights.sum() == pytest.approx(1, abs=1e-12)
    assert (q / (weights @ q)).mean(1).max() <= 1 + stacking.TOLERANCE  # the certificate
    best = minimize(
        lambda w: entropy(np.abs(w) / np.abs(w).sum(), q),
        np.full(models, 1 / models),
        method="SLSQP",
        tol=1e-12,
    )
    assert entropy(weights, q) <= best.fun + 1e-9
    np.testing.assert_array_equal(weights, stacking.fit_weights(scores, targets))


def test_two_models_against_a_grid():
    scores, targets = case(2, 300, 6, 5)
    scores[1] = 0.5 * scores[1] + 0.5 * scores[0, ::-1]
    q = likelihoods(scores, targets)
    grid = np.linspace(0, 1, 1001)
    best = grid[np.argmin([entropy(np.array([1 - w, w]), q) for w in grid])]
    assert stacking.fit_weights(scores, targets)[1] == pytest.approx(best, abs=1e-3)


def test_equal_models_share_and_a_useless_one_gets_nothing():
    scores, targets = case(1, 300, 6, 6)
    useless = np.random.default_rng(0).random(scores.shape).astype(np.float32)
    np.testing.assert_allclose(stacking.fit_weights(np.concatenate([scores, scores]), targets), 0.5)
    weights = stacking.fit_weights(np.concatenate([scores, useless]), targets)
    assert weights[1] < 0.1 and stacking.fit_weights(scores, targets) == 1


def test_sure_and_wrong_scores_do_not_break_it():
    scores, targets = case(2, 50, 3, 7)
    scores[0] = 1 - targets
    np.testing.assert_allclose(stacking.fit_weights(scores, targets), [0, 1], atol=1e-6)
    scores[:] = scores[0]
    np.testing.assert_allclose(stacking.fit_weights(scores, targets), 0.5)


def test_mix_is_the_weighted_mean_in_the_scores_type():
    scores = np.array([[[0.2, 1.0]], [[0.6, 1.0]]], np.float32)
    np.testing.assert_allclose(stacking.mix(scores, [0.25, 0.75]), [[0.5, 1]], rtol=1e-6)
    assert stacking.mix(scores, np.array([0.25, 0.75])).dtype == np.float32
    tenths = np.full(10, 0.1)
    assert stacking.mix(np.ones((10, 1, 1)), tenths).max() <= 1


def test_a_field_does_not_move_the_weights_it_is_mixed_with():
    scores, targets = case(3, 60, 4, 8)
    fold = thresholds.assign_folds(60, 5, 0)
    mixed, weights = stacking.crossfit_mix(scores, targets)
    for k in range(5):
        np.testing.assert_array_equal(
            weights[k], stacking.fit_weights(scores[:, fold != k], targets[fold != k])
        )
        np.testing.assert_array_equal(
            mixed[fold == k], stacking.mix(scores[:, fold == k], weights[k])
        )
    targets[fold == 1] = 1 - targets[fold == 1]
    again = stacking.crossfit_mix(scores, targets)[1]
    np.testing.assert_array_equal(again[1], weights[1])
    assert (again != weights).any()


def test_groups_are_not_parted_and_one_field_weighs_all_alike():
    scores, targets = case(2, 40, 3, 9)
    groups = np.arange(40) // 20
    mixed, weights = stacking.crossfit_mix(scores, targets, groups=groups)
    assert weights.shape == (2, 2) and mixed.shape == (40, 3)
    np.testing.assert_array_equal(
        stacking.crossfit_mix(scores[:, :1], targets[:1])[1], [[0.5, 0.5]]
    )
