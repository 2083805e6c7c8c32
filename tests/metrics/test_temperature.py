"""Temperatures against other ways to fit them, and what they do to scores."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax, softmax
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


def drawn_of_one_label(images=600, labels=5, sureness=2.5):
    """The same of a softmax."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1.5, (images, labels))
    uniform = rng.random((images, 1))
    label = (uniform > np.cumsum(softmax(logits, axis=1), axis=1)).sum(1)
    targets = np.eye(labels, dtype=np.uint8)[label]
    return softmax(sureness * logits, axis=1).astype(np.float32), targets


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


@pytest.mark.parametrize("sureness", [0.4, 1.0, 2.5])
def test_of_a_softmax_it_is_where_the_likelihood_is_largest(sureness):
    scores, targets = drawn_of_one_label(sureness=sureness)
    found = fit_temperature(scores, targets, single_label=True)
    logits = np.log(scores.astype(np.float64))

    def loss(logarithm):
        return -np.mean(log_softmax(logits / np.exp(logarithm), axis=1)[targets == 1])

    least = minimize_scalar(loss, bounds=(-3, 3), method="bounded", options={"xatol": 1e-9})
    assert found == pytest.approx(np.exp(least.x), rel=1e-5)
    assert found == pytest.approx(sureness, rel=0.15)
    tempered = apply_temperature(scores, found, single_label=True)
    assert tempered.dtype == np.float32
    np.testing.assert_allclose(tempered, softmax(logits / found, axis=1), rtol=1e-6)
    np.testing.assert_array_equal(tempered.argmax(1), scores.argmax(1))
    # Out of fold: a part is at the temperature of the others.
    fold = np.arange(len(scores)) % 2
    kept = crossfit_temperature(scores, targets, fold, single_label=True)
    of_others = fit_temperature(scores[fold == 1], targets[fold == 1], single_label=True)
    expected = apply_temperature(scores[fold == 0], of_others, single_label=True)
    np.testing.assert_array_equal(kept[fold == 0], expected)


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
    sure = np.eye(3, dtype=np.float32)
    np.testing.assert_array_equal(apply_temperature(sure, 3.0, single_label=True), sure)
    assert fit_temperature(sure, sure, single_label=True) == pytest.approx(0.01)
    assert fit_temperature(sure, np.roll(sure, 1, axis=1), single_label=True) == 100
