"""Temperatures against scikit-learn's logistic regression, and what they do to scores."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from hpa_jax.metrics.calibration import calibration_error, reliability
from hpa_jax.metrics.temperature import apply_temperature, crossfit_temperature, fit_temperature


def drawn(images=600, labels=5, sureness=2.5, seed=0):
    """Scores that are too sure by a factor, and targets."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-1, 1.5, (images, labels))
    targets = (rng.random(logits.shape) < expit(logits)).astype(np.uint8)
    return expit(sureness * logits).astype(np.float32), targets


def error_of(scores, targets):
    return float(calibration_error(reliability(scores, targets).pooled()))


@pytest.mark.parametrize("sureness", [0.4, 1.0, 2.5])
def test_it_is_the_slope_of_a_logistic_regression_without_intercept(sureness):
    scores, targets = drawn(sureness=sureness)
    found = fit_temperature(scores, targets)
    logits = np.log(scores / (1 - scores.astype(np.float64))).reshape(-1, 1)
    regression = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10)
    regression.fit(logits, targets.ravel())
    assert found == pytest.approx(1 / regression.coef_[0, 0], rel=1e-3)
    assert found == pytest.approx(sureness, rel=0.1)
    # No temperature near by is more likely.
    losses = []
    for factor in (0.98, 1.0, 1.02):
        tempered = apply_temperature(scores.astype(np.float64), factor * found)
        losses.append(log_loss(targets.ravel(), tempered.ravel()))
    assert losses[1] == min(losses)


def test_scores_become_calibrated_and_keep_their_order_and_decisions():
    scores, targets = drawn()
    temperature = fit_temperature(scores, targets)
    tempered = apply_temperature(scores, temperature)
    assert tempered.dtype == np.float32
    assert error_of(tempered, targets) < error_of(scores, targets) / 3
    np.testing.assert_array_equal(np.argsort(tempered, axis=0), np.argsort(scores, axis=0))
    thresholds = np.array([0.1, 0.3, 0.5, 0.7, 0.9])
    moved = apply_temperature(thresholds, temperature)
    assert moved[2] == 0.5
    np.testing.assert_array_equal(tempered > moved, scores > thresholds)


def test_out_of_fold_no_image_takes_part_in_its_own_temperature():
    scores, targets = drawn(images=90)
    fold = np.arange(90) % 3
    found = crossfit_temperature(scores, targets, fold)
    for number in range(3):
        others = fold != number
        temperature = fit_temperature(scores[others], targets[others])
        np.testing.assert_array_equal(
            found[~others], apply_temperature(scores[~others], temperature)
        )
    np.testing.assert_array_equal(crossfit_temperature(scores, targets, 0 * fold), scores)


def test_scores_of_0_and_1_and_those_that_separate_all_are_finite():
    edge = np.array([[0.0, 1.0, 0.5, 0.25]], np.float32)
    np.testing.assert_array_equal(apply_temperature(edge, 3.0)[0, :3], [0, 1, 0.5])
    right = np.array([[0, 1, 1, 0]], np.uint8)
    assert fit_temperature(edge, right) == pytest.approx(0.01)
    assert fit_temperature(edge, 1 - right) == pytest.approx(100)
    assert fit_temperature(np.zeros((0, 3)), np.zeros((0, 3))) == 1
