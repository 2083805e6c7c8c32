"""An image's scores from its cells', and how far cells differ, against SciPy."""

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from hpa_jax.serving.predict.cells.pooling import divergence, pool, spread


def test_pools():
    scores = np.array([[0.1, 0.9], [0.3, 0.5]], np.float32)
    np.testing.assert_allclose(pool(scores, "mean"), [0.2, 0.7], rtol=1e-6)
    np.testing.assert_array_equal(pool(scores, "max"), np.float32([0.3, 0.9]))
    assert pool(scores, "mean").dtype == np.float32
    attention = np.array([[2, 0], [1, 0]], np.float32)
    share = 1 / (1 + np.exp(-1))
    first = share * np.log(0.1 / 0.9) + (1 - share) * np.log(0.3 / 0.7)
    second = (np.log(9) + np.log(1)) / 2
    found = pool(scores, "attention", attention)
    np.testing.assert_allclose(np.log(found / (1 - found)), [first, second], rtol=1e-5)
    sure = pool(np.array([[0], [1]], np.float32), "attention", np.zeros((2, 1), np.float32))
    assert sure == pytest.approx(0.5)


def test_of_two_cells_the_divergence_is_the_jensen_shannon_distance_squared():
    scores = np.random.default_rng(0).random((2, 50)).astype(np.float32)
    scores[:, :3] = [[0, 1, 0], [1, 1, 0.5]]
    found = divergence(scores)
    for label in range(50):
        p, q = (np.array([s, 1 - s], np.float64) for s in scores[:, label])
        right = jensenshannon(p, q, base=2) ** 2
        assert found[label] == pytest.approx(right, abs=1e-7)


def test_equal_cells_do_not_differ_and_opposite_ones_do_by_a_bit():
    equal = np.full((7, 2), np.float32(0.3))
    np.testing.assert_array_equal(divergence(equal), 0)
    np.testing.assert_allclose(spread(equal), 0, atol=1e-12)
    opposite = np.array([[0.0], [1.0], [1.0], [0.0]], np.float32)
    assert divergence(opposite) == [1] and spread(opposite) == [0.5]
    # One cell differs from none.
    assert divergence(opposite[:1]) == [0] and spread(opposite[:1]) == [0]
