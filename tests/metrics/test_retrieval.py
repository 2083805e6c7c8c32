"""Retrieval across groups: scikit-learn's average precision, a naive loop, chance where all tie."""

import itertools

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from hpa_jax.errors import InputError
from hpa_jax.metrics import retrieval
from hpa_jax.metrics.retrieval import KS, mean_metrics, rank, retrieve
from hpa_jax.metrics.retrieval_intervals import difference, intervals, resampled_means


def drawn(images=150, seed=0):
    """Images of 40 groups, whose embeddings know something of their labels."""
    rng = np.random.default_rng(seed)
    targets = (rng.random((images, 4)) < 0.3).astype(np.uint8)
    groups = rng.integers(0, 40, images) * 7
    embeddings = rng.normal(size=(images, 6)) + targets @ rng.normal(size=(4, 6))
    # Some are equal, so that cosines tie.
    embeddings[10:20] = embeddings[30:40]
    return embeddings.astype(np.float32), targets, groups


def naively(embeddings, targets, groups, relevance):
    """Query by query and image by image."""
    unit = retrieval.normalize(embeddings)
    cosines = np.round(unit @ unit.T, retrieval.DECIMALS)
    precision, recall = [], []
    for query in range(len(unit)):
        others = [i for i in range(len(unit)) if groups[i] != groups[query]]
        of_kind = []
        for i in others:
            if relevance == "any_label":
                of_kind.append(bool((targets[i] & targets[query]).any()))
            else:
                of_kind.append(bool((targets[i] == targets[query]).all() and targets[i].any()))
        scores = cosines[query, others]
        if not any(of_kind):
            precision.append(np.nan)
            recall.append([np.nan] * len(KS))
            continue
        precision.append(average_precision_score(of_kind, scores))
        nearest = sorted(zip(-scores, of_kind, strict=True))
        recall.append([float(any(kind for _, kind in nearest[:k])) for k in KS])
    return np.array(precision), np.array(recall)


@pytest.mark.parametrize("relevance", retrieval.RELEVANCE)
def test_it_equals_scikit_learn_and_a_naive_loop(relevance, monkeypatch):
    embeddings, targets, groups = drawn()
    monkeypatch.setattr(retrieval, "_BLOCK", 150)
    found = retrieve(embeddings, targets, groups, relevance=relevance)
    precision, recall = naively(embeddings, targets, groups, relevance)
    np.testing.assert_allclose(found.average_precision, precision, rtol=1e-6)
    # Where cosines tie over the k-th place, the loop takes one of their orders.
    assert np.nanmax(np.abs(found.recall - recall)) <= 0.5
    asked = found.relevant > 0
    assert np.mean(found.recall[asked] != recall[asked]) < 0.1
    monkeypatch.setattr(retrieval, "_BLOCK", 7)
    in_blocks = retrieve(embeddings, targets, groups, relevance=relevance)
    np.testing.assert_allclose(in_blocks.average_precision, precision, rtol=1e-3)
    np.testing.assert_array_equal(in_blocks.relevant, found.relevant)


def test_images_of_the_own_group_are_never_found():
    """Each image has a twin in its group, and none of its kind elsewhere but far away."""
    rng = np.random.default_rng(1)
    one_each = rng.normal(size=(30, 8))
    embeddings = np.repeat(one_each, 2, axis=0)
    targets = np.repeat(np.eye(3, dtype=np.uint8)[np.arange(30) % 3], 2, axis=0)
    groups = np.repeat(np.arange(30), 2)
    found = mean_metrics(retrieve(embeddings, targets, groups))
    leaking = mean_metrics(retrieve(embeddings, targets, np.arange(60)))
    assert leaking["recall_at_1"] == 1 and found["recall_at_1"] < 0.7
    # Nor does it help to be told of one group alone.
    alone = retrieve(embeddings, targets, np.zeros(60, int))
    assert not alone.relevant.any() and np.isnan(mean_metrics(alone)["retrieval_map"])


def test_a_net_that_sends_all_images_to_one_point_is_worth_chance():
    _, targets, groups = drawn()
    found = retrieve(np.ones((150, 3)), targets, groups, relevance="any_label")
    asked = found.relevant > 0
    others = np.array([np.sum(groups != group) for group in groups])
    chance = found.relevant[asked] / others[asked]
    np.testing.assert_allclose(found.average_precision[asked], chance)
    np.testing.assert_allclose(found.recall[asked, 0], chance)
    assert (found.recall[asked, 2] >= found.recall[asked, 1]).all()


def test_of_ties_over_the_last_place_every_order_counts():
    cosines = np.array([[0.9, 0.5, 0.5, 0.5, 0.1]])
    relevant = np.array([[False, True, False, True, True]])
    _, recall, counts = rank(cosines, np.ones((1, 5), bool), relevant, ks=(1, 2, 3, 4))
    kinds = [True, False, True]
    expected = [0.0]
    for places in (1, 2):
        orders = list(itertools.permutations(kinds))
        expected.append(np.mean([any(order[:places]) for order in orders]))
    np.testing.assert_allclose(recall[0], [*expected, 1.0])
    assert counts[0] == 3


@pytest.mark.parametrize("relevance", retrieval.RELEVANCE)
def test_whether_anything_can_be_asked_is_known_without_embeddings(relevance):
    answers = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        targets = (rng.random((5, 3)) < 0.3).astype(np.uint8)
        groups = rng.integers(0, 3, 5)
        found = retrieve(np.ones((5, 2)), targets, groups, relevance=relevance)
        assert retrieval.can_be_asked(targets, groups, relevance) == found.relevant.any()
        answers.append(found.relevant.any())
    assert 5 < sum(answers) < 40


def test_queries_without_labels_do_not_count():
    embeddings, targets, groups = drawn()
    targets[:100] = 0
    found = retrieve(embeddings, targets, groups)
    assert not found.relevant[:100].any() and np.isnan(found.average_precision[:100]).all()
    assert mean_metrics(found)["queries"] == np.count_nonzero(found.relevant)


def test_intervals_draw_the_groups():
    embeddings, targets, groups = drawn()
    found = retrieve(embeddings, targets, groups)
    values = found.average_precision
    rng_means = resampled_means(values, groups, replicates=300, seed=3)
    # By hand: a replicate's draw of the groups, each with its queries.
    names = np.unique(groups)
    for replicate in (0, 200):
        rng = np.random.default_rng([3, replicate])
        chosen = rng.integers(len(names), size=len(names))
        by_hand = np.concatenate([values[groups == names[number]] for number in chosen])
        np.testing.assert_allclose(rng_means[replicate], np.nanmean(by_hand))
    ends = intervals(found, groups, replicates=300)
    for name, mean in mean_metrics(found).items():
        if name != "queries":
            assert ends[name][0] <= mean <= ends[name][1]
    several = np.column_stack([values, found.recall])
    shift, ends_of_shift = difference(several + 0.1, several, groups, replicates=50)
    np.testing.assert_allclose(shift, 0.1)
    np.testing.assert_allclose(ends_of_shift, np.full((4, 2), 0.1))
    together = resampled_means(several, groups, replicates=300, seed=3)
    np.testing.assert_allclose(together[0], rng_means)


def test_what_cannot_be_ranked_is_refused():
    embeddings, targets, groups = drawn()
    with pytest.raises(InputError, match="relevance 'like' is unknown; choose one of same_set"):
        retrieve(embeddings, targets, groups, relevance="like")
    with pytest.raises(InputError, match="do not match"):
        retrieve(embeddings, targets[1:], groups)
    embeddings[7] = np.nan
    with pytest.raises(InputError, match="row 7 is not finite, nor are 0 others"):
        retrieve(embeddings, targets, groups)
