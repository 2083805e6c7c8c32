"""The paired test: equal models differ once in twenty, a better one is found."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from hpa_jax.metrics.paired import paired_test


def two_models(images, seed, gain=0.0):
    rng = np.random.default_rng(seed)
    targets = (rng.random((images, 4)) < 0.25).astype(np.uint8)
    logits = (
        rng.normal(-1.2, 1.2, (2, images, 4))
        + (2.0 + gain * np.array([0, 1])[:, None, None]) * targets
    )
    return (*(1 / (1 + np.exp(-logits))).astype(np.float32), targets)


def test_equal_models_differ_once_in_twenty():
    names = ("macro_f1", "micro_f1", "samples_f1", "accuracy")
    groups = np.arange(120) // 3
    p = []
    for seed in range(200):
        a, b, targets = two_models(120, seed)
        found = paired_test(a > 0.5, b > 0.5, targets, groups=groups, replicates=99, seed=seed)
        p.append([found["metrics"][name]["p_value"] for name in names])
    fraction = np.mean(np.array(p) <= 0.05, axis=0)
    assert np.all(fraction <= 0.1), fraction
    assert np.all(np.mean(p, axis=0) == pytest.approx(0.5, abs=0.1))


def test_a_better_model_is_found_and_order_only_changes_the_sign():
    a, b, targets = two_models(300, 0, gain=1.5)
    found = paired_test(a, b, targets, decisions_a=a > 0.4, decisions_b=b > 0.4, replicates=200)
    swapped = paired_test(b, a, targets, decisions_a=b > 0.4, decisions_b=a > 0.4, replicates=200)
    for name in (
        "macro_f1",
        "macro_f1_crossfit",
        "samples_f1",
        "macro_average_precision",
        "micro_auc",
    ):
        row = found["metrics"][name]
        assert row["difference"] == pytest.approx(row["b"] - row["a"]) and row["difference"] > 0, (
            name
        )
        assert row["interval"][0] > 0 and row["p_value"] <= 0.01, name
        other = swapped["metrics"][name]
        np.testing.assert_allclose(other["interval"], -np.array(row["interval"])[::-1], atol=1e-12)
        assert other["p_value"] == row["p_value"]
    expected = f1_score(targets, b > 0.5, average=None) - f1_score(targets, a > 0.5, average=None)
    np.testing.assert_allclose(
        [row["difference"] for row in found["per_label"]["f1"]], expected, atol=1e-12
    )


def test_a_model_against_itself_is_no_different():
    a, _, targets = two_models(50, 1)
    targets[:, 2] = 0
    found = paired_test(a, a.copy(), targets, replicates=50)
    for row in found["metrics"].values():
        assert (row["difference"], row["p_value"]) == (0, 1) and row["interval"] == [0, 0]
    undefined = found["per_label"]["auc"][2]
    assert undefined == {
        "a": None,
        "b": None,
        "difference": None,
        "interval": None,
        "p_value": None,
    }
    with pytest.raises(ValueError, match="alike"):
        paired_test(a, a > 0.5, targets)
