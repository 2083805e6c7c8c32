"""Cross-fitting against a plain slow version that knows no histograms."""

import numpy as np
import pytest
from metrics.test_thresholds import BINS, slow_fit
from sklearn.metrics import f1_score
from support.score_cases import counts_of, skilled_case

from hpa_jax.metrics import classification, crossfitting, thresholds


def test_crossfit_uses_both_fallbacks():
    scores, targets = skilled_case(120, 5, 3)
    scores[:20] *= 0.01
    found = crossfitting.crossfit(scores, targets, few_positives=10, fill_empty=True)
    assert found["decisions"].any(1).all()
    for k in range(5):
        rest = found["fold"] != k
        fitted = thresholds.fit(counts_of(scores[rest], targets[rest]), few_positives=10)
        np.testing.assert_array_equal(found["thresholds_by_fold"][k], fitted)
        decided = thresholds.decide(scores[~rest], fitted, fill_empty=True)
        np.testing.assert_array_equal(found["decisions"][~rest], decided)
    macro = f1_score(targets, found["decisions"], average="macro", zero_division=0)
    assert found["crossfit"]["macro_f1"] == pytest.approx(macro, abs=1e-12)
    decided = thresholds.decide(scores, found["thresholds"], fill_empty=True)
    macro = f1_score(targets, decided, average="macro", zero_division=0)
    assert found["in_sample"]["macro_f1"] == pytest.approx(macro, abs=1e-12)
    again = crossfitting.crossfit_decisions(scores, targets, few_positives=10, fill_empty=True)
    np.testing.assert_array_equal(again, found["decisions"])


def test_groups_stay_in_one_fold_and_folds_stay_even():
    sizes = np.array([300, 1, 1, 40, 40, 40, 40, 40, 40, 40, *[2] * 60])
    groups = np.random.default_rng(0).permutation(np.repeat(1000 - np.arange(len(sizes)), sizes))
    fold = crossfitting.assign_folds(len(groups), 5, 1, groups)
    assert all(len(np.unique(fold[groups == g])) == 1 for g in np.unique(groups))
    assert sorted(np.bincount(fold))[-1] == 300 and sorted(np.bincount(fold))[0] >= 99
    np.testing.assert_array_equal(
        fold, crossfitting.assign_folds(len(groups), 5, 1, groups * 7 + 3)
    )
    alone = np.random.default_rng(1).permutation(10**6)[:57]
    np.testing.assert_array_equal(
        crossfitting.assign_folds(57, 5, 2, alone), crossfitting.assign_folds(57, 5, 2)
    )


def test_one_group_cannot_be_crossfitted():
    scores, targets = skilled_case(30, 3, 0)
    found = crossfitting.crossfit(scores, targets, groups=np.zeros(30, int))
    assert found["folds"] == 1
    np.testing.assert_array_equal(found["decisions"], scores > 0.5)


def test_folds_are_seeded_even_and_cover_every_image():
    fold = crossfitting.assign_folds(23, 5, seed=1)
    assert sorted(np.bincount(fold)) == [4, 4, 5, 5, 5]
    np.testing.assert_array_equal(fold, crossfitting.assign_folds(23, 5, seed=1))
    assert (fold != crossfitting.assign_folds(23, 5, seed=2)).any()


@pytest.mark.parametrize("seed", range(2))
def test_crossfit_equals_the_slow_version(seed):
    scores, targets = skilled_case(83, 4, seed)
    found = crossfitting.crossfit(scores, targets, folds=5, seed=seed, bins=BINS)
    fold = crossfitting.assign_folds(83, 5, seed)
    predicted = np.zeros_like(targets)
    for k in range(5):
        fitted = slow_fit(scores[fold != k], targets[fold != k])
        np.testing.assert_array_equal(found["thresholds_by_fold"][k], fitted)
        predicted[fold == k] = scores[fold == k] > fitted.astype(np.float32)
    for average in ("macro", "micro"):
        value = f1_score(targets, predicted, average=average, zero_division=0)
        assert found["crossfit"][f"{average}_f1"] == pytest.approx(value, abs=1e-12)
    per_label = f1_score(targets, predicted, average=None, zero_division=0)
    np.testing.assert_allclose(found["crossfit"]["per_label"]["f1"], per_label, atol=1e-12)

    everything = slow_fit(scores, targets)
    np.testing.assert_array_equal(found["thresholds"], everything)
    value = f1_score(
        targets, scores > everything.astype(np.float32), average="macro", zero_division=0
    )
    assert found["in_sample"]["macro_f1"] == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_in_sample_is_never_below_one_half_and_flatters(seed):
    scores, targets = skilled_case(200, 8, seed)
    found = crossfitting.crossfit(scores, targets)
    assert (
        found["in_sample"]["macro_f1"]
        >= classification.metrics_from_counts(found["counts"])["macro_f1"]
    )
    assert found["in_sample"]["macro_f1"] > found["crossfit"]["macro_f1"]


def test_an_image_does_not_move_the_thresholds_it_is_decided_with():
    scores, targets = skilled_case(50, 3, 0)
    fold = crossfitting.assign_folds(50, 5, 0)
    before = crossfitting.crossfit(scores, targets)["thresholds_by_fold"]
    scores[fold == 2] = np.random.default_rng(1).random((10, 3))
    targets[fold == 2] = 1 - targets[fold == 2]
    after = crossfitting.crossfit(scores, targets)["thresholds_by_fold"]
    np.testing.assert_array_equal(after[2], before[2])
    assert (after != before).any()
