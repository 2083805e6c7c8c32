"""Resampled metrics are those of arrays with repeated images, and intervals cover."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from hpa_jax.metrics import macro_f1, mean_image_f1, ranking_metrics, reliability, weighted
from hpa_jax.metrics.bootstrap import (
    bootstrap_intervals,
    bootstrap_metrics,
    bootstrap_weights,
    percentile_interval,
)
from hpa_jax.metrics.calibration import calibration_error
from hpa_jax.metrics.classification import confusion_from_decisions, metrics_from_confusion
from hpa_jax.metrics.resampling import prepare
from hpa_jax.metrics.weighted import weighted_metrics


def case(images, labels, seed, dtype=np.float32):
    """Scores with ties; a label that no image has and one that all have."""
    rng = np.random.default_rng(seed)
    targets = (rng.random((images, labels)) < np.linspace(0.05, 0.5, labels)).astype(np.uint8)
    scores = 1 / (1 + np.exp(-(rng.normal(-1.5, 1.2, targets.shape) + 2.0 * targets)))
    scores[:, 1] = np.round(scores[:, 1] * 6) / 6
    targets[:, 2], targets[:, 3] = 0, 1
    return scores.astype(dtype), targets


def metrics_of(scores, targets, decisions):
    """The same metrics by the other modules, of arrays as they are."""
    positive = targets > 0
    over_all = metrics_from_confusion(confusion_from_decisions(decisions, positive))
    of_decisions = over_all.pop("per_label")
    by_label = {name: of_decisions[name] for name in ("precision", "recall", "f1")}
    over_all["samples_f1"] = mean_image_f1(decisions, positive)
    over_all |= ranking_metrics(scores, targets)
    by_label |= over_all.pop("per_label")
    table = reliability(scores, targets)
    by_label["calibration_error"] = calibration_error(table)
    over_all["calibration_error"] = calibration_error(table.pooled())
    return over_all, by_label


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_metrics_under_weights_are_those_of_repeated_images(dtype):
    scores, targets = case(150, 6, 0, dtype)
    rng = np.random.default_rng(1)
    group = rng.permutation(
        np.repeat(np.arange(40), np.append(np.full(39, 2), 72))
    )  # one group of nearly half
    decisions = scores > 0.4
    problem = prepare(targets, decisions={"": decisions}, scores=scores, group=group, groups=40)
    weights = np.concatenate(
        [np.ones((40, 1)), bootstrap_weights(40, range(4)), np.eye(40)[:, :1]], axis=1
    )
    over_all, by_label = weighted_metrics(problem, weights)
    for r in range(weights.shape[1]):
        rows = np.repeat(np.arange(150), weights[group, r].astype(int))
        expected = metrics_of(scores[rows], targets[rows], decisions[rows])
        missed = targets.any(0) & ~targets[rows].any(0)
        if missed.any():  # column 5, one group: the labels that it lacks are left out
            for name in ("f1", "precision", "recall"):
                expected[1][name] = np.where(missed, np.nan, expected[1][name])
                expected[0][f"macro_{name}"] = (
                    np.nansum(expected[1][name]) / 6 * 5 / (5 - missed.sum())
                )
        for found, wanted in ((over_all, expected[0]), (by_label, expected[1])):
            assert found.keys() == wanted.keys()
            for name, value in wanted.items():
                np.testing.assert_allclose(
                    found[name][..., r], value, atol=1e-11, err_msg=f"{name}, column {r}"
                )


def test_a_replicate_equals_scikit_learn():
    scores, targets = case(200, 6, 2)
    problem = prepare(
        targets, decisions={"": scores > 0.5}, scores=scores, group=np.arange(200), groups=200
    )
    found, by_label = bootstrap_metrics(problem, replicates=3, seed=5)
    weights = bootstrap_weights(200, range(3), seed=5)
    rows = np.repeat(np.arange(200), weights[:, 2])
    assert len(rows) == 200 and (targets[rows].any(0) == targets.any(0)).all()
    macro = f1_score(targets[rows], scores[rows] > 0.5, average="macro", zero_division=0)
    samples = f1_score(targets[rows], scores[rows] > 0.5, average="samples", zero_division=0)
    assert found["macro_f1"][2] == pytest.approx(macro, abs=1e-12)
    assert found["samples_f1"][2] == pytest.approx(samples, abs=1e-12)
    assert by_label["auc"][5, 2] == pytest.approx(
        roc_auc_score(targets[rows, 5], scores[rows, 5]), abs=1e-12
    )
    micro = average_precision_score(targets[rows].ravel(), scores[rows].ravel())
    assert found["micro_average_precision"][2] == pytest.approx(micro, abs=1e-12)


def test_a_label_that_a_replicate_lacks_is_left_out_of_its_means():
    """The metrics are as high as they can be: no draw of images could lower them."""
    targets = np.zeros((60, 5), np.uint8)
    targets[:40, 0], targets[:2, 1], targets[2, 2], targets[10:30, 3] = 1, 1, 1, 1
    decisions = targets > 0
    over_all, by_label = bootstrap_intervals(targets, decisions={"": decisions})
    for name in (
        "macro_f1",
        "macro_precision",
        "macro_recall",
    ):  # no image has the fifth label
        np.testing.assert_allclose(over_all[name], 4 / 5, rtol=1e-12, err_msg=name)
    for name in ("f1", "precision", "recall"):
        np.testing.assert_array_equal(
            by_label[name], np.repeat([[1], [1], [1], [1], [0]], 2, axis=1)
        )


def test_a_replicate_that_lacks_labels_is_scikit_learns_mean_over_the_others():
    rng = np.random.default_rng(0)
    targets = (rng.random((60, 6)) < [0.4, 0.02, 0.02, 0.3, 0.02, 0]).astype(np.uint8)
    decisions = rng.random(targets.shape) < 0.3
    has_positives = targets.any(0)
    problem = prepare(targets, decisions={"": decisions}, group=np.arange(60), groups=60)
    found, by_label = bootstrap_metrics(problem, replicates=20)
    lacking = 0
    for r, weights in enumerate(bootstrap_weights(60, range(20)).T):
        rows = np.repeat(np.arange(60), weights)
        here = targets[rows].any(0)
        each = f1_score(targets[rows], decisions[rows], average=None, zero_division=0)
        assert found["macro_f1"][r] == pytest.approx(
            each[here].mean() * has_positives.mean(), abs=1e-12
        )
        np.testing.assert_allclose(
            by_label["f1"][:, r], np.where(has_positives & ~here, np.nan, each)
        )
        lacking += (has_positives & ~here).any()
    assert 5 < lacking < 20


@pytest.mark.parametrize("rows", [0, 1, 31, 32, 33, 1000])
def test_running_sum_is_the_cumulative_sum(rows):
    values = np.random.default_rng(0).integers(0, 9, (rows, 3)).astype(np.float64)
    expected = np.cumsum(values, 0)
    np.testing.assert_array_equal(weighted._running_sum(values), expected)


def test_large_sums_are_exact_too():
    scores, targets = case(60, 4, 3)
    problem = prepare(targets, decisions={}, scores=scores, group=np.arange(60), groups=60)
    weights = np.random.default_rng(0).integers(1, 4, (60, 2))
    small, large = (weighted_metrics(problem, weights * factor)[0] for factor in (1, 2**20 + 1))
    for name in small:
        np.testing.assert_allclose(large[name], small[name], rtol=1e-13)


def test_draws_and_intervals_are_seeded_and_blocks_do_not_show(monkeypatch):
    scores, targets = case(80, 5, 4)
    settings = {"decisions": {"": scores > 0.5}, "scores": scores, "replicates": 150}
    first, again, other = (bootstrap_intervals(targets, **settings, seed=s)[0] for s in (0, 0, 1))
    monkeypatch.setattr(weighted, "BLOCK", 7)
    blocks = bootstrap_intervals(targets, **settings)[0]
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
        np.testing.assert_allclose(first[name], blocks[name], atol=1e-12)
    assert (first["macro_f1"] != other["macro_f1"]).any()
    np.testing.assert_array_equal(
        bootstrap_weights(80, range(9, 12)),
        bootstrap_weights(80, range(20))[:, 9:12],
    )


def test_interval_leaves_out_what_is_undefined():
    values = np.array([[0.0, 1, 2, 3, 4], [np.nan, 5, 5, np.nan, 5], [np.nan] * 5])
    np.testing.assert_array_equal(
        percentile_interval(values, 0.5), [[1, 3], [5, 5], [np.nan, np.nan]]
    )


def test_the_interval_is_as_wide_as_the_metric_varies_over_draws_of_images():
    scores, targets = case(40000, 6, 5)
    decisions = scores > 0.5
    samples = [slice(start, start + 400) for start in range(0, 40000, 400)]
    macro = []
    ends = []
    for rows in samples:
        macro.append(macro_f1(decisions[rows], targets[rows] > 0))
        over_all, _ = bootstrap_intervals(
            targets[rows], decisions={"": decisions[rows]}, replicates=200, level=0.9
        )
        ends.append(over_all["macro_f1"])
    low, high = np.array(ends).T
    assert np.mean(high - low) / (2 * 1.645) == pytest.approx(np.std(macro), rel=0.25)
    truth = macro_f1(decisions, targets > 0)
    covered = np.mean((low <= truth) & (truth <= high))
    assert 0.8 <= covered <= 0.98  # 0.9 in 100 samples: a standard deviation of 0.03


def test_groups_of_alike_images_widen_the_interval():
    scores, targets = case(60, 5, 6)
    tenfold = [np.repeat(a, 10, axis=0) for a in (scores, targets)]
    group = np.repeat(np.arange(60), 10)

    def width(groups):
        ends = bootstrap_intervals(tenfold[1], decisions={"": tenfold[0] > 0.5}, groups=groups)[0][
            "macro_f1"
        ]
        return ends[1] - ends[0]

    alone = bootstrap_intervals(targets, decisions={"": scores > 0.5})[0]["macro_f1"]
    assert width(group) == pytest.approx(
        alone[1] - alone[0], rel=1e-9
    )  # the same draws of the same groups
    assert width(None) < 0.5 * width(group)
    names = np.random.default_rng(0).permutation(10**6)[:60][group]
    assert width(names) == pytest.approx(width(group), rel=0.2)
