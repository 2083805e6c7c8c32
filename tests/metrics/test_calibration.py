"""Expected calibration error against a plain loop over bins."""

import numpy as np
import pytest

from hpa_jax.metrics import calibration_error, reliability


def slow_error(scores, targets, bins=15):
    """The formula of arXiv:1706.04599, equation 3, term by term, on float64 [N]."""
    total, scores = 0.0, scores.astype(np.float64)
    for b in range(bins):
        inside = (scores > b / bins if b else scores >= 0) & (scores <= (b + 1) / bins)
        if inside.any():
            total += inside.mean() * abs(targets[inside].mean() - scores[inside].mean())
    return total


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_error_equals_the_slow_sum(dtype):
    rng = np.random.default_rng(0)
    scores = rng.random((500, 4)).astype(dtype)
    scores[:30] = (np.arange(30) % 16 / 15).astype(dtype)[:, None]  # edges of bins, 0 and 1
    scores[30, 0] = np.finfo(dtype).smallest_subnormal
    targets = (rng.random(scores.shape) < scores**2).astype(np.uint8)
    table = reliability(scores, targets)
    expected = [slow_error(scores[:, i], targets[:, i]) for i in range(4)]
    np.testing.assert_allclose(calibration_error(table), expected, atol=1e-12)
    pooled = calibration_error(table.pooled())
    assert pooled == pytest.approx(slow_error(scores.ravel(), targets.ravel()), abs=1e-12)
    assert table.total.sum() == 2000 and table.positives.sum() == targets.sum()


def test_known_errors():
    scores, targets = np.array([[0.8]] * 10), np.array([[1]] * 8 + [[0]] * 2)
    assert calibration_error(reliability(scores, targets)) == pytest.approx(0)
    assert calibration_error(reliability(scores, 1 - targets)) == pytest.approx(0.6)
    assert calibration_error(reliability(np.ones((3, 1)), np.zeros((3, 1)))) == 1
    assert calibration_error(reliability(np.zeros((3, 1)), np.zeros((3, 1)))) == 0


def test_calibrated_scores_have_a_small_error_and_distorted_ones_a_large_one():
    rng = np.random.default_rng(1)
    scores = rng.beta(0.3, 1, (20000, 2))
    targets = rng.random(scores.shape) < scores
    good, distorted = (
        calibration_error(reliability(s, targets).pooled()) for s in (scores, np.sqrt(scores))
    )
    assert good < 0.01 < 0.1 < distorted
