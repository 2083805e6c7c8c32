"""Fitted thresholds and cross-fitting, against a plain slow version that knows no histograms."""

from fractions import Fraction

import jax
import numpy as np
import pytest
from sklearn.metrics import f1_score

from hpa_jax.metrics import classification, thresholds

BINS = 20


def case(fields, labels, seed):
    rng = np.random.default_rng(seed)
    targets = (rng.random((fields, labels)) < np.linspace(0.02, 0.5, labels)).astype(np.uint8)
    logits = 2.0 * targets + rng.normal(-1.5, 1.3, targets.shape)
    return (1 / (1 + np.exp(-logits))).astype(np.float32), targets


def counts_of(scores, targets, bins=BINS):
    return jax.tree.map(lambda a: a[0], classification.count_arrays(scores, targets, bins=bins))


def slow_fit(scores, targets, bins=BINS):
    """Label by label, threshold by threshold, with scikit-learn; the lower median of the best ones."""
    grid = [k / bins for k in range(bins + 1)]
    fitted = []
    for label in range(scores.shape[1]):
        f1 = [
            f1_score(targets[:, label], scores[:, label] > np.float32(t), zero_division=0)
            for t in grid
        ]
        best = [t for t, value in zip(grid, f1, strict=True) if value == max(f1)]
        fitted.append(best[(len(best) - 1) // 2] if max(f1) > 0 else 0.5)
    return np.array(fitted)


@pytest.mark.parametrize("seed", range(3))
def test_fit_equals_the_slow_search(seed):
    scores, targets = case(60, 5, seed)
    targets[:, 4] = 0
    np.testing.assert_array_equal(
        thresholds.fit(counts_of(scores, targets)), slow_fit(scores, targets)
    )


def test_fit_takes_the_middle_of_equally_good_thresholds():
    scores = np.array([[0.11], [0.19], [0.81], [0.89]], np.float32)
    targets = np.array([[0], [0], [1], [1]])
    # the 620 thresholds from 0.190 (0.19 is not above it) to 0.809 are perfect; the 310th of them
    assert thresholds.fit(counts_of(scores, targets, 1000)) == 0.499


def test_labels_that_cannot_be_fitted_keep_one_half():
    scores = np.array([[0.9, 0.0, 0.7], [0.8, 0.0, 0.6]], np.float32)
    targets = np.array(
        [[0, 1, 0], [0, 1, 0]]
    )  # no positives; positives that no threshold predicts; no positives
    np.testing.assert_array_equal(thresholds.fit(counts_of(scores, targets)), [0.5, 0.5, 0.5])


def test_products_and_fractions_of_32_bits_are_exact():
    rng = np.random.default_rng(0)
    big = rng.integers(0, 2**32, (2, 1000), dtype=np.uint64)
    high, low = jax.jit(thresholds._product)(*big.astype(np.uint32))
    np.testing.assert_array_equal(
        np.asarray(high, np.uint64) << 32 | np.asarray(low, np.uint64), big[0] * big[1]
    )
    # neighbours that are one float32, and nearly one float64
    a, b = np.uint32(2_000_000_001), np.uint32(4_000_000_001)
    assert thresholds._less(a, b, a + 1, b + 1) and not thresholds._less(a + 1, b + 1, a, b)
    assert not thresholds._less(a, b, a, b) and not thresholds._less(
        np.uint32(2), np.uint32(4), np.uint32(1), np.uint32(2)
    )


def test_large_counts_are_searched_exactly():
    """Counts of 2**30 fields, whose F1 differ in the tenth digit: float64 of Python's fractions decides."""
    positives, negatives = np.zeros((2, 1, 12), np.int32)
    rng = np.random.default_rng(3)
    for _ in range(20):
        positives[0] = 10**7 + rng.integers(0, 5, 12)
        negatives[0] = 5 * 10**6 + rng.integers(0, 5, 12)
        total = int(positives.sum())
        f1 = [
            Fraction(
                int(positives[0, k + 1 :].sum()),
                int((positives + negatives)[0, k + 1 :].sum()) + total,
            )
            for k in range(11)
        ]
        best = [k for k in range(11) if f1[k] == max(f1)]
        found = jax.jit(thresholds.fit_index)(classification.ScoreCounts(positives, negatives))
        assert found[0] == best[(len(best) - 1) // 2]


@pytest.mark.parametrize("labels", [1, 28, 31])
def test_fit_runs_inside_jit_without_the_host(labels):
    scores, targets = case(300, labels, 1)
    counts = counts_of(scores, targets, 1000)
    with jax.transfer_guard("disallow"):
        index = jax.jit(thresholds.fit_index, static_argnums=1)(counts, 5)
    np.testing.assert_array_equal(np.asarray(index) / 1000, thresholds.fit(counts, few_positives=5))
    stacked = jax.tree.map(lambda a: np.stack([a, a]), counts)
    np.testing.assert_array_equal(thresholds.fit(stacked), [thresholds.fit(counts)] * 2)


def slow_borrowing(own, positives, few):
    """The rule of `fit` in NumPy, for labels that all can be fitted."""
    logit, x, trusted = np.log(own / (1 - own)), np.log(np.maximum(positives, 1)), positives >= few
    line = np.polyval(np.polyfit(x[trusted], logit[trusted], 1), x)
    line = np.clip(line, logit[trusted].min(), logit[trusted].max())
    share = np.where(positives > 0, np.minimum(positives / few, 1), 0)
    return np.where(trusted, own, 1 / (1 + np.exp(-share * logit - (1 - share) * line)))


def test_labels_of_a_handful_of_positives_borrow():
    scores, targets = case(2000, 8, 2)
    targets[:, 0] = 0
    for label, kept in ((1, 1), (2, 4), (3, 5)):
        targets[np.flatnonzero(targets[:, label])[kept:], label] = 0
    counts = counts_of(scores, targets, 1000)
    own, found = thresholds.fit(counts), thresholds.fit(counts, few_positives=5)
    expected = slow_borrowing(own, targets.sum(0), 5)
    np.testing.assert_array_equal(found[3:], own[3:])  # five positives stand alone
    np.testing.assert_allclose(found, expected, atol=0.000501)
    assert (found[:3] != own[:3]).all()


def test_no_threshold_is_0_or_1_by_accident():
    rng = np.random.default_rng(0)
    scores = np.full(
        (400, 4), 1e-30, np.float32
    )  # a net that is sure of nothing: all scores in the lowest bin
    scores[:, 1] = rng.random(400) ** 0.1
    scores[:, 3] = rng.random(400)
    targets = np.zeros((400, 4), np.uint8)
    targets[::9, 0], targets[:, 1], targets[::3, 3] = 1, 1, 1
    counts = counts_of(scores, targets, 1000)
    assert (
        thresholds.fit(counts)[0] == 0
    )  # every field gets the label: the search's best, and never meant
    found = thresholds.fit(counts, few_positives=5)
    assert ((found >= 0.001) & (found <= 0.999)).all()
    assert (
        found[1] == thresholds.fit(counts)[1] and (scores[:, 1] > found[1]).all()
    )  # always borne, always given
    nobody = thresholds.fit(counts_of(scores, np.zeros_like(targets), 1000), few_positives=5)
    np.testing.assert_array_equal(nobody, 0.5)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_decide_compares_in_the_scores_own_type(dtype):
    scores = np.array([[0.3, np.nextafter(dtype(0.3), dtype(1)), 0.0]], dtype)
    np.testing.assert_array_equal(
        thresholds.decide(scores, np.full(3, 0.3)), [[False, True, False]]
    )


def test_empty_fields_get_the_label_that_comes_nearest():
    limits = np.array([0.5, 0.1, 0.8])
    scores = np.array([[0.4, 0.05, 0.1], [0.2, 0.09, 0.7], [0.6, 0.0, 0.9], [0, 0, 0]], np.float32)
    plain = thresholds.decide(scores, limits)
    np.testing.assert_array_equal(plain.sum(1), [0, 0, 2, 0])
    filled = thresholds.decide(scores, limits, fill_empty=True)
    np.testing.assert_array_equal(filled, [[1, 0, 0], [0, 1, 0], [1, 0, 1], [1, 0, 0]])
    tiny = np.array([[0, 1e-42, 0]], np.float32)  # subnormal, and still more than nothing
    np.testing.assert_array_equal(thresholds.decide(tiny, limits, fill_empty=True), [[0, 1, 0]])


def test_crossfit_honours_both_fallbacks():
    scores, targets = case(120, 5, 3)
    scores[:20] *= 0.01
    found = thresholds.crossfit(scores, targets, few_positives=10, fill_empty=True)
    assert found["decisions"].any(1).all()
    for k in range(5):
        rest = found["fold"] != k
        fitted = thresholds.fit(counts_of(scores[rest], targets[rest], 1000), few_positives=10)
        np.testing.assert_array_equal(found["thresholds_by_fold"][k], fitted)
        decided = thresholds.decide(scores[~rest], fitted, fill_empty=True)
        np.testing.assert_array_equal(found["decisions"][~rest], decided)
    macro = f1_score(targets, found["decisions"], average="macro", zero_division=0)
    assert found["crossfit"]["macro_f1"] == pytest.approx(macro, abs=1e-12)
    decided = thresholds.decide(scores, found["thresholds"], fill_empty=True)
    macro = f1_score(targets, decided, average="macro", zero_division=0)
    assert found["in_sample"]["macro_f1"] == pytest.approx(macro, abs=1e-12)
    again = thresholds.crossfit_decisions(scores, targets, few_positives=10, fill_empty=True)
    np.testing.assert_array_equal(again, found["decisions"])


def test_groups_stay_in_one_fold_and_folds_stay_even():
    sizes = np.array([300, 1, 1, 40, 40, 40, 40, 40, 40, 40, *[2] * 60])
    groups = np.random.default_rng(0).permutation(np.repeat(1000 - np.arange(len(sizes)), sizes))
    fold = thresholds.assign_folds(len(groups), 5, 1, groups)
    assert all(len(np.unique(fold[groups == g])) == 1 for g in np.unique(groups))
    assert sorted(np.bincount(fold))[-1] == 300 and sorted(np.bincount(fold))[0] >= 99
    np.testing.assert_array_equal(fold, thresholds.assign_folds(len(groups), 5, 1, groups * 7 + 3))
    alone = np.random.default_rng(1).permutation(10**6)[:57]
    np.testing.assert_array_equal(
        thresholds.assign_folds(57, 5, 2, alone), thresholds.assign_folds(57, 5, 2)
    )


def test_one_group_cannot_be_crossfitted():
    scores, targets = case(30, 3, 0)
    found = thresholds.crossfit(scores, targets, groups=np.zeros(30, int))
    assert found["folds"] == 1
    np.testing.assert_array_equal(found["decisions"], scores > 0.5)


def test_folds_are_seeded_even_and_cover_every_field():
    fold = thresholds.assign_folds(23, 5, seed=1)
    assert sorted(np.bincount(fold)) == [4, 4, 5, 5, 5]
    np.testing.assert_array_equal(fold, thresholds.assign_folds(23, 5, seed=1))
    assert (fold != thresholds.assign_folds(23, 5, seed=2)).any()


@pytest.mark.parametrize("seed", range(2))
def test_crossfit_equals_the_slow_version(seed):
    scores, targets = case(83, 4, seed)
    found = thresholds.crossfit(scores, targets, folds=5, seed=seed, bins=BINS)
    fold = thresholds.assign_folds(83, 5, seed)
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
    scores, targets = case(200, 8, seed)
    found = thresholds.crossfit(scores, targets)
    assert found["in_sample"]["macro_f1"] >= classification.figures(found["counts"])["macro_f1"]
    assert found["in_sample"]["macro_f1"] > found["crossfit"]["macro_f1"]


def test_a_field_does_not_move_the_thresholds_it_is_decided_with():
    scores, targets = case(50, 3, 0)
    fold = thresholds.assign_folds(50, 5, 0)
    before = thresholds.crossfit(scores, targets)["thresholds_by_fold"]
    scores[fold == 2] = np.random.default_rng(1).random((10, 3))
    targets[fold == 2] = 1 - targets[fold == 2]
    after = thresholds.crossfit(scores, targets)["thresholds_by_fold"]
    np.testing.assert_array_equal(after[2], before[2])
    assert (after != before).any()
