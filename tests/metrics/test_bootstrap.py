"""Resampled figures are those of arrays with repeated fields; intervals cover; equal models differ once in twenty."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from hpa_jax.metrics import bootstrap, calibration, classification, ranking, resampling


def case(fields, labels, seed, dtype=np.float32):
    """Scores with ties; a label that nobody bears and one that all do."""
    rng = np.random.default_rng(seed)
    targets = (rng.random((fields, labels)) < np.linspace(0.05, 0.5, labels)).astype(np.uint8)
    scores = 1 / (1 + np.exp(-(rng.normal(-1.5, 1.2, targets.shape) + 2.0 * targets)))
    scores[:, 1] = np.round(scores[:, 1] * 6) / 6
    targets[:, 2], targets[:, 3] = 0, 1
    return scores.astype(dtype), targets


def figures_of(scores, targets, decisions):
    """The same figures by the other modules, of arrays as they are."""
    borne = targets > 0
    over_all = classification.ratios(classification.decisions(decisions, borne))
    by_label = over_all.pop("per_label")
    by_label = {name: by_label[name] for name in ("precision", "recall", "f1")}
    ranked, table = ranking.figures(scores, targets), calibration.reliability(scores, targets)
    by_label |= ranked.pop("per_label") | {"calibration_error": calibration.error(table)}
    over_all |= ranked | {"calibration_error": calibration.error(table.pooled())}
    return over_all | {"samples_f1": classification.samples_f1(decisions, borne)}, by_label


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_figures_under_weights_are_those_of_repeated_fields(dtype):
    scores, targets = case(150, 6, 0, dtype)
    rng = np.random.default_rng(1)
    group = rng.permutation(
        np.repeat(np.arange(40), np.append(np.full(39, 2), 72))
    )  # one group of nearly half
    decisions = scores > 0.4
    problem = resampling.prepare(
        targets, decisions={"": decisions}, scores=scores, group=group, groups=40
    )
    weights = np.concatenate(
        [np.ones((40, 1)), bootstrap.draws(40, range(4)), np.eye(40)[:, :1]], axis=1
    )
    over_all, by_label = resampling.figures(problem, weights)
    for r in range(weights.shape[1]):
        rows = np.repeat(np.arange(150), weights[group, r].astype(int))
        expected = figures_of(scores[rows], targets[rows], decisions[rows])
        missed = targets.any(0) & ~targets[rows].any(0)
        if missed.any():  # column 5, one group alone; the labels that it lacks are left out
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
    problem = resampling.prepare(
        targets, decisions={"": scores > 0.5}, scores=scores, group=np.arange(200), groups=200
    )
    found, by_label = bootstrap.replicate(problem, replicates=3, seed=5)
    weights = bootstrap.draws(200, range(3), seed=5)
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
    """By heart: the figures are as high as they can be, and no draw of fields could make them less."""
    targets = np.zeros((60, 5), np.uint8)
    targets[:40, 0], targets[:2, 1], targets[2, 2], targets[10:30, 3] = 1, 1, 1, 1
    decisions = targets > 0
    over_all, by_label = bootstrap.intervals(targets, decisions={"": decisions})
    for name in (
        "macro_f1",
        "macro_precision",
        "macro_recall",
    ):  # the fifth label is borne by no field at all
        np.testing.assert_allclose(over_all[name], 4 / 5, rtol=1e-12, err_msg=name)
    for name in ("f1", "precision", "recall"):
        np.testing.assert_array_equal(
            by_label[name], np.repeat([[1], [1], [1], [1], [0]], 2, axis=1)
        )


def test_a_replicate_that_lacks_labels_is_scikit_learns_mean_over_the_others():
    rng = np.random.default_rng(0)
    targets = (rng.random((60, 6)) < [0.4, 0.02, 0.02, 0.3, 0.02, 0]).astype(np.uint8)
    decisions = rng.random(targets.shape) < 0.3
    borne = targets.any(0)
    problem = resampling.prepare(targets, decisions={"": decisions}, group=np.arange(60), groups=60)
    found, by_label = bootstrap.replicate(problem, replicates=20)
    lacking = 0
    for r, weights in enumerate(bootstrap.draws(60, range(20)).T):
        rows = np.repeat(np.arange(60), weights)
        here = targets[rows].any(0)
        each = f1_score(targets[rows], decisions[rows], average=None, zero_division=0)
        assert found["macro_f1"][r] == pytest.approx(each[here].mean() * borne.mean(), abs=1e-12)
        np.testing.assert_allclose(by_label["f1"][:, r], np.where(borne & ~here, np.nan, each))
        lacking += (borne & ~here).any()
    assert 5 < lacking < 20


@pytest.mark.parametrize("rows", [0, 1, 31, 32, 33, 1000])
def test_running_sum_is_the_cumulative_sum(rows):
    values = np.random.default_rng(0).integers(0, 9, (rows, 3)).astype(np.float64)
    expected = np.cumsum(values, 0)
    np.testing.assert_array_equal(resampling._running_sum(values), expected)


def test_large_sums_are_exact_too():
    scores, targets = case(60, 4, 3)
    problem = resampling.prepare(
        targets, decisions={}, scores=scores, group=np.arange(60), groups=60
    )
    weights = np.random.default_rng(0).integers(1, 4, (60, 2))
    small, large = (resampling.figures(problem, weights * factor)[0] for factor in (1, 2**20 + 1))
    for name in small:
        np.testing.assert_allclose(large[name], small[name], rtol=1e-13)


def test_draws_and_intervals_are_seeded_and_blocks_do_not_show(monkeypatch):
    scores, targets = case(80, 5, 4)
    settings = {"decisions": {"": scores > 0.5}, "scores": scores, "replicates": 150}
    first, again, other = (bootstrap.intervals(targets, **settings, seed=s)[0] for s in (0, 0, 1))
    monkeypatch.setattr(resampling, "BLOCK", 7)
    blocks = bootstrap.intervals(targets, **settings)[0]
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
        np.testing.assert_allclose(first[name], blocks[name], atol=1e-12)
    assert (first["macro_f1"] != other["macro_f1"]).any()
    np.testing.assert_array_equal(
        bootstrap.draws(80, range(9, 12)), bootstrap.draws(80, range(20))[:, 9:12]
    )


def test_interval_leaves_out_what_is_undefined():
    values = np.array([[0.0, 1, 2, 3, 4], [np.nan, 5, 5, np.nan, 5], [np.nan] * 5])
    np.testing.assert_array_equal(
        bootstrap.interval(values, 0.5), [[1, 3], [5, 5], [np.nan, np.nan]]
    )


def test_the_interval_is_as_wide_as_other_draws_of_fields_make_the_figure_move():
    population = case(40000, 6, 5)
    parts = [tuple(a[i * 400 : (i + 1) * 400] for a in population) for i in range(100)]
    macro = np.array(
        [
            classification.ratios(classification.decisions(s > 0.5, t > 0))["macro_f1"]
            for s, t in parts
        ]
    )
    truth = classification.ratios(classification.decisions(population[0] > 0.5, population[1] > 0))[
        "macro_f1"
    ]
    ends = np.array(
        [
            bootstrap.intervals(t, decisions={"": s > 0.5}, replicates=200, level=0.9)[0][
                "macro_f1"
            ]
            for s, t in parts
        ]
    )
    width = np.mean(ends[:, 1] - ends[:, 0]) / (2 * 1.645)
    assert width == pytest.approx(macro.std(), rel=0.25)
    covered = np.mean((ends[:, 0] <= truth) & (truth <= ends[:, 1]))
    assert 0.8 <= covered <= 0.98  # 0.9 in 100 parts: a standard deviation of 0.03


def test_groups_of_alike_fields_are_less_sure():
    scores, targets = case(60, 5, 6)
    tenfold = [np.repeat(a, 10, axis=0) for a in (scores, targets)]
    group = np.repeat(np.arange(60), 10)

    def width(groups):
        ends = bootstrap.intervals(tenfold[1], decisions={"": tenfold[0] > 0.5}, groups=groups)[0][
            "macro_f1"
        ]
        return ends[1] - ends[0]

    alone = bootstrap.intervals(targets, decisions={"": scores > 0.5})[0]["macro_f1"]
    assert width(group) == pytest.approx(
        alone[1] - alone[0], rel=1e-9
    )  # the same draws of the same groups
    assert width(None) < 0.5 * width(group)
    names = np.random.default_rng(0).permutation(10**6)[:60][group]
    assert width(names) == pytest.approx(width(group), rel=0.2)


def two_models(fields, seed, gain=0.0):
    rng = np.random.default_rng(seed)
    targets = (rng.random((fields, 4)) < 0.25).astype(np.uint8)
    logits = (
        rng.normal(-1.2, 1.2, (2, fields, 4))
        + (2.0 + gain * np.array([0, 1])[:, None, None]) * targets
    )
    return (*(1 / (1 + np.exp(-logits))).astype(np.float32), targets)


def test_equal_models_are_told_apart_once_in_twenty():
    names = ("macro_f1", "micro_f1", "samples_f1", "accuracy")
    groups = np.arange(120) // 3
    p = []
    for seed in range(200):
        a, b, targets = two_models(120, seed)
        found = bootstrap.paired_test(
            a > 0.5, b > 0.5, targets, groups=groups, replicates=99, seed=seed
        )["figures"]
        p.append([found[name]["p_value"] for name in names])
    share = np.mean(np.array(p) <= 0.05, axis=0)
    assert np.all(share <= 0.1) and np.all(np.mean(p, axis=0) == pytest.approx(0.5, abs=0.1)), share


def test_a_better_model_is_found_and_order_only_turns_the_sign():
    a, b, targets = two_models(300, 0, gain=1.5)
    found = bootstrap.paired_test(
        a, b, targets, decisions_a=a > 0.4, decisions_b=b > 0.4, replicates=200
    )
    turned = bootstrap.paired_test(
        b, a, targets, decisions_a=b > 0.4, decisions_b=a > 0.4, replicates=200
    )
    for name in (
        "macro_f1",
        "macro_f1_crossfit",
        "samples_f1",
        "macro_average_precision",
        "micro_auc",
    ):
        row = found["figures"][name]
        assert row["difference"] == pytest.approx(row["b"] - row["a"]) and row["difference"] > 0, (
            name
        )
        assert row["interval"][0] > 0 and row["p_value"] <= 0.01, name
        other = turned["figures"][name]
        np.testing.assert_allclose(other["interval"], -np.array(row["interval"])[::-1], atol=1e-12)
        assert other["p_value"] == row["p_value"]
    expected = f1_score(targets, b > 0.5, average=None) - f1_score(targets, a > 0.5, average=None)
    np.testing.assert_allclose(
        [row["difference"] for row in found["per_label"]["f1"]], expected, atol=1e-12
    )


def test_a_model_against_itself_is_no_different():
    a, _, targets = two_models(50, 1)
    targets[:, 2] = 0
    found = bootstrap.paired_test(a, a.copy(), targets, replicates=50)
    for row in found["figures"].values():
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
        bootstrap.paired_test(a, a > 0.5, targets)
