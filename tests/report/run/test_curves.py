"""What a run's page draws: curves, cases, overlays, charts, against other libraries and plain loops."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import f1_score, precision_recall_curve

from hpa_jax.metrics import classification
from hpa_jax.report.overlays import GAP, PANELS, WIDTH, overlay_strip, spread_heat
from hpa_jax.report.pictures import SIDE
from hpa_jax.report.run import curves
from hpa_jax.report.run.cases import OF_A_LABEL, best_hits, missed, wrongly_predicted
from hpa_jax.report.run.curve_points import (
    alone,
    errors_together,
    over_thresholds,
    precision_recall,
    reliability,
)
from hpa_jax.report.svg import SHARE, Line, axis_of, line_chart, share_bars, thinned, yardstick


@pytest.fixture(scope="module")
def arrays():
    """Scores and targets of a real net where they are at hand, else made ones."""
    if folder := os.environ.get("HPA_SAMPLE_DIR"):
        folder = Path(folder) / "predictions"
        return np.load(folder / "val_scores_inception_224.npy"), np.load(
            folder / "val_targets.npy"
        ).astype(np.uint8)
    rng = np.random.default_rng(0)
    targets = (rng.random((2000, 28)) < 0.05).astype(np.uint8)
    return rng.beta(1 + 3 * targets, 4 - 3 * targets).astype(np.float32).round(3), targets


def test_precision_and_recall_are_sklearns(arrays):
    scores, targets = arrays
    for label in range(0, 28, 3):
        levels, precision, recall = precision_recall(scores[:, label], targets[:, label])
        theirs = precision_recall_curve(targets[:, label], scores[:, label])
        np.testing.assert_array_equal(levels[::-1], theirs[2])
        np.testing.assert_allclose(precision[::-1], theirs[0][:-1])
        np.testing.assert_allclose(recall[::-1], theirs[1][:-1])


def test_figures_over_thresholds_are_those_of_a_search(arrays):
    scores, targets = arrays
    found, grid = over_thresholds(scores, targets), classification.thresholds()
    assert found["f1"].shape == (28, 1001)
    for k in (0, 100, 337, 500, 999, 1000):
        decided = scores > grid[k].astype(scores.dtype)
        np.testing.assert_allclose(
            found["f1"][:, k], f1_score(targets, decided, average=None, zero_division=0)
        )
        hits = (decided & (targets > 0)).sum(0)
        np.testing.assert_allclose(found["precision"][:, k], hits / np.maximum(1, decided.sum(0)))
        np.testing.assert_allclose(found["recall"][:, k], hits / np.maximum(1, targets.sum(0)))


def test_the_calibration_curve_is_sklearns(arrays):
    scores, targets = arrays
    pairs, score, share = reliability(scores, targets)
    theirs = calibration_curve(targets.ravel(), scores.ravel().astype(float), n_bins=15)
    assert pairs.sum() == scores.size
    np.testing.assert_allclose(share[pairs > 0], theirs[0], atol=1e-6)
    np.testing.assert_allclose(score[pairs > 0], theirs[1], atol=1e-6)


def test_errors_that_come_together_are_those_counted_one_by_one(arrays):
    scores, targets = (a[:300] for a in arrays)
    decided = scores > 0.3
    together, silent = errors_together(decided, targets), alone(decided, targets)
    missing = [set(np.flatnonzero((t > 0) & ~d)) for t, d in zip(targets, decided, strict=True)]
    wrong = [set(np.flatnonzero((t == 0) & d)) for t, d in zip(targets, decided, strict=True)]
    for i in range(28):
        assert together[i, i] == sum(i in m for m in missing)
        assert silent[i] == sum(i in m and not w for m, w in zip(missing, wrong, strict=True))
        for j in set(range(28)) - {i}:
            assert together[i, j] == sum(
                i in m and j in w for m, w in zip(missing, wrong, strict=True)
            )


def test_the_surest_mistakes_are_mistakes_and_no_surer_one_is_left_out(arrays):
    scores, targets = arrays
    decided = scores > 0.5
    for cases, bad in (
        (wrongly_predicted(scores, targets, decided), scores * (decided & (targets == 0))),
        (missed(scores, targets, decided), (1 - scores) * (~decided & (targets > 0))),
    ):
        assert len(cases) == 12 and len({case.field for case in cases}) == 12
        worth = [bad[case.field, case.label] for case in cases]
        assert min(worth) > 0 and worth == sorted(worth, reverse=True) and worth[0] == bad.max()
        counts = np.bincount([case.label for case in cases])
        assert counts.max() <= OF_A_LABEL
        full = np.flatnonzero(counts == OF_A_LABEL)
        rest = np.delete(np.delete(bad, [case.field for case in cases], axis=0), full, axis=1)
        assert rest.max() <= worth[-1]


def test_the_best_hits_have_the_highest_scores_of_those_that_bear_the_label(arrays):
    scores, targets = (a.copy() for a in arrays)
    targets[:, 4] = 0
    hits = best_hits(scores, targets, 3)
    assert hits[4] == []
    for label, cases in enumerate(hits):
        bearers = np.flatnonzero(targets[:, label])
        assert [case.score for case in cases] == sorted(
            scores[bearers, label].tolist(), reverse=True
        )[:3]
        assert all(targets[case.field, label] for case in cases)


def test_no_mistakes_no_cases():
    targets = np.eye(5, dtype=np.uint8)
    assert (
        wrongly_predicted(targets * 0.9, targets, targets > 0)
        == missed(targets * 0.9, targets, targets > 0)
        == []
    )


# Its pictures.


def test_heat_lies_where_the_net_looked_and_on_the_channels_alone():
    image = np.full((64, 64, 4), 60, np.uint8)
    image[:2, :2] = 255
    heat = np.zeros((4, 4), np.float32)
    heat[3, 0] = 7.0  # below, left
    strip = overlay_strip(image, heat).astype(int)
    assert strip.shape == (SIDE, WIDTH, 3)
    plain = overlay_strip(image, np.zeros((4, 4))).astype(int)
    assert (strip[:, :SIDE] == plain[:, :SIDE]).all()  # false colours bear no heat
    for panel in range(1, PANELS):
        left = panel * (SIDE + GAP)
        part, bare = strip[:, left : left + SIDE], plain[:, left : left + SIDE]
        red, blue = part[-4, 4, 0], part[-4, 4, 2]
        assert red > blue + 60 and (bare[-4, 4, 0] == bare[-4, 4, 2])
        assert (part[:40, 60:] == bare[:40, 60:]).all()


def test_heat_on_a_field_that_is_no_square_lies_on_the_field():
    over = spread_heat(np.ones((3, 3)), (50, 100))
    assert over.shape == (SIDE, SIDE) and over.max() == 1
    assert not over[: SIDE // 4].any() and not over[-SIDE // 4 :].any() and over[SIDE // 2].all()
    assert not spread_heat(np.zeros((2, 2)), (8, 8)).any()


# Its charts.


@pytest.mark.parametrize(
    "low, high", [(0, 1), (0.94, 0.977), (12, 25_000), (-3, 5), (0.5, 0.5), (0, 0), (1e-5, 3e-4)]
)
def test_an_axis_holds_its_values_between_few_round_ticks(low, high):
    axis = axis_of([np.array([low, np.nan, high])])
    assert axis.low <= low and axis.high >= high and axis.high > axis.low
    assert 3 <= len(axis.ticks) <= 8 and np.allclose(
        np.diff(axis.ticks), axis.ticks[1] - axis.ticks[0]
    )
    np.testing.assert_allclose([axis.ticks[0], axis.ticks[-1]], [axis.low, axis.high])
    assert axis_of([np.array([3.0, 4.0])], from_zero=True).low == 0


def test_thinning_keeps_the_mean():
    x, y = np.arange(1000.0), np.sin(np.arange(1000.0))
    few_x, few_y = thinned(x, y, 100)
    assert (
        len(few_x) == 100
        and few_x.mean() == pytest.approx(x.mean())
        and few_y.mean() == pytest.approx(y.mean())
    )
    assert thinned(x, y, 1000)[1] is not None and len(thinned(x, y, 1000)[0]) == 1000


def test_a_line_is_where_its_numbers_say_and_breaks_where_there_is_none():
    line = Line("<a>", np.array([0.0, 0.25, 0.5, 1.0]), np.array([0.0, np.nan, 0.5, 1.0]), 1)
    svg = line_chart(
        [line], "said", SHARE, SHARE, size=(146, 128), upright=0.25, dots=[(0, 1.0, 0.0)]
    )
    path = re.search(r'class="line s1" d="([^"]*)"', svg)[1]
    assert path == "M38.0 108.0M88.0 58.0L138.0 8.0"  # 100 x 100 px inside
    assert (
        'd="M63.0 8V108"' in svg and 'cx="138.0" cy="108.0" r="3.5"' in svg and "&lt;a&gt;" in svg
    )


def test_bars_and_spans_are_as_long_as_their_shares():
    svg = share_bars([(0.5, (0.25, 0.75)), (1.0, None)])
    assert re.findall(r'width="([\d.]+)"', svg) == ["50.0", "100.0"] and "M25.0 5H75.0" in svg
    assert svg.count("span") == 1
    mark = yardstick(0.4, [(0.6, (0.5, 0.7))], 0.71)
    assert (
        'x="39.3"' in mark and 'x="50.0"' in mark and 'width="20.0"' in mark and "M71.0 0" in mark
    )


def test_what_is_left_out_of_a_drawn_curve_lies_on_it(arrays):
    rng = np.random.default_rng(1)
    borne = rng.random(500) < 0.1
    _, precision, recall = precision_recall((borne + rng.normal(size=500)).round(1), borne)
    kept = curves._corners(recall)
    assert len(kept) < len(recall) and set(recall[kept]) == set(recall)
    for k in range(len(recall)):
        at = precision[kept][recall[kept] == recall[k]]
        assert at.min() <= precision[k] <= at.max()
    many = curves._corners(np.linspace(0, 1, 5000))
    assert len(many) == 60 and many[0] == 0 and many[-1] == 4999
