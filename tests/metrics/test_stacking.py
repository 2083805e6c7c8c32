"""Weights of an ensemble: against SciPy and a grid, and fitted without the images they score."""

import numpy as np
import pytest
from scipy.optimize import minimize
from support.score_cases import several_models

from hpa_jax.metrics import stacking
from hpa_jax.metrics.crossfitting import assign_folds


def likelihoods(scores, targets):
    flat = np.clip(scores.reshape(len(scores), -1).astype(np.float64), 1e-7, 1 - 1e-7)
    return np.where(targets.ravel() > 0, flat, 1 - flat)


def entropy(weights, q):
    return -np.log(weights @ q).mean()


@pytest.mark.parametrize(
    "models, images, labels, seed", [(2, 200, 5, 1), (3, 300, 28, 2), (5, 400, 9, 3), (9, 4, 2, 4)]
)
def test_weights_are_as_good_as_scipys(models, images, labels, seed):
    scores, targets = several_models(models, images, labels, seed)
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
    scores, targets = several_models(2, 300, 6, 5)
    scores[1] = 0.5 * scores[1] + 0.5 * scores[0, ::-1]
    q = likelihoods(scores, targets)
    grid = np.linspace(0, 1, 1001)
    best = grid[np.argmin([entropy(np.array([1 - w, w]), q) for w in grid])]
    assert stacking.fit_weights(scores, targets)[1] == pytest.approx(best, abs=1e-3)


def test_equal_models_weigh_the_same_and_a_useless_one_gets_nothing():
    scores, targets = several_models(1, 300, 6, 6)
    useless = np.random.default_rng(0).random(scores.shape).astype(np.float32)
    np.testing.assert_allclose(stacking.fit_weights(np.concatenate([scores, scores]), targets), 0.5)
    weights = stacking.fit_weights(np.concatenate([scores, useless]), targets)
    assert weights[1] < 0.1 and stacking.fit_weights(scores, targets) == 1


def test_sure_and_wrong_scores_do_not_break_it():
    scores, targets = several_models(2, 50, 3, 7)
    scores[0] = 1 - targets
    np.testing.assert_allclose(stacking.fit_weights(scores, targets), [0, 1], atol=1e-6)
    scores[:] = scores[0]
    np.testing.assert_allclose(stacking.fit_weights(scores, targets), 0.5)


def test_the_weighted_mean_has_the_scores_type():
    scores = np.array([[[0.2, 1.0]], [[0.6, 1.0]]], np.float32)
    np.testing.assert_allclose(stacking.weighted_mean(scores, [0.25, 0.75]), [[0.5, 1]], rtol=1e-6)
    assert stacking.weighted_mean(scores, np.array([0.25, 0.75])).dtype == np.float32
    tenths = np.full(10, 0.1)
    assert stacking.weighted_mean(np.ones((10, 1, 1)), tenths).max() <= 1


def test_an_image_does_not_move_the_weights_it_is_averaged_with():
    scores, targets = several_models(3, 60, 4, 8)
    fold = assign_folds(60, 5, 0)
    averaged, weights = stacking.crossfit_mean(scores, targets)
    for k in range(5):
        np.testing.assert_array_equal(
            weights[k], stacking.fit_weights(scores[:, fold != k], targets[fold != k])
        )
        np.testing.assert_array_equal(
            averaged[fold == k], stacking.weighted_mean(scores[:, fold == k], weights[k])
        )
    targets[fold == 1] = 1 - targets[fold == 1]
    again = stacking.crossfit_mean(scores, targets)[1]
    np.testing.assert_array_equal(again[1], weights[1])
    assert (again != weights).any()


def test_groups_stay_together_and_one_image_weighs_all_alike():
    scores, targets = several_models(2, 40, 3, 9)
    groups = np.arange(40) // 20
    averaged, weights = stacking.crossfit_mean(scores, targets, groups=groups)
    assert weights.shape == (2, 2) and averaged.shape == (40, 3)
    np.testing.assert_array_equal(
        stacking.crossfit_mean(scores[:, :1], targets[:1])[1], [[0.5, 0.5]]
    )
