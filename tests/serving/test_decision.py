"""An export decides as evaluating does (`hpa_jax.metrics.thresholds.decide`)."""

import numpy as np
import pytest

from hpa_jax.metrics import thresholds
from hpa_jax.serving import decision

EMPTY = {
    False: "no label",
    True: "the label with the largest probability / threshold, where none is above",
}


@pytest.mark.parametrize("fill_empty", [False, True])
def test_decisions_are_those_of_evaluating(fill_empty):
    rng = np.random.default_rng(0)
    limits = rng.uniform(0.2, 0.9, 28)
    limits[3] = 0
    scores = rng.uniform(0, 0.6, (200, 28)).astype(np.float32)
    # On the threshold itself, and nothing at all.
    scores[0] = limits
    scores[1] = 0
    scores[:, 3] *= rng.random(200) < 0.5
    description = {"thresholds": limits.tolist(), "empty": EMPTY[fill_empty]}
    right = thresholds.decide(scores, limits, fill_empty=fill_empty)
    found = decision.decide(description, scores)
    np.testing.assert_array_equal(found, right)
    assert found.any(axis=1).all() == fill_empty


def test_a_net_without_labels_decides_nothing():
    description = {"decision": decision.NONE, "thresholds": [], "empty": "no label", "labels": []}
    assert decision.decide(description, np.zeros((3, 0), np.float32)).shape == (3, 0)
