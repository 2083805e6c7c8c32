"""The weight of votes: found where it is known, and what it gains is not of its own making."""

import json

import numpy as np
import pytest

from hpa_jax.metrics.vote_weight import fit_vote_weight


def drawn(rng, weight, single_label, images=3000, labels=6):
    """Scores, votes, and labels that are drawn from their blend."""
    if single_label:
        scores = rng.dirichlet(np.full(labels, 0.4), images)
        votes = rng.dirichlet(np.full(labels, 0.4), images)
    else:
        scores = rng.beta(0.3, 1, (images, labels))
        votes = rng.beta(0.3, 1, (images, labels))
    blend = (1 - weight) * scores + weight * votes
    if single_label:
        ends = blend.cumsum(axis=1)
        chosen = (rng.random((images, 1)) > ends).sum(axis=1).clip(max=labels - 1)
        return scores, votes, np.eye(labels, dtype=np.uint8)[chosen]
    return scores, votes, (rng.random(blend.shape) < blend).astype(np.uint8)


@pytest.mark.parametrize("single_label", [False, True])
@pytest.mark.parametrize("weight", [0.0, 0.35, 1.0])
def test_it_finds_the_weight_that_the_labels_were_drawn_with(weight, single_label):
    scores, votes, targets = drawn(np.random.default_rng(0), weight, single_label)
    found = fit_vote_weight(scores, votes, targets, single_label=single_label)
    assert abs(found.weight - weight) < 0.06
    assert found.by_fold.shape == (5,) and np.abs(found.by_fold - weight).max() < 0.09
    if weight == 0.35:
        assert found.macro_f1 > max(found.macro_f1_scores, found.macro_f1_votes)
    written = json.loads(json.dumps(found.to_dict()))
    assert written["gain"] == found.macro_f1 - found.macro_f1_scores


def test_votes_that_are_worth_nothing_weigh_nothing_and_gain_nothing():
    scores, _, targets = drawn(np.random.default_rng(1), 0.0, False, images=500)
    found = fit_vote_weight(scores, np.full_like(scores, 0.02), targets)
    assert found.weight < 0.1
    assert abs(found.macro_f1 - found.macro_f1_scores) < 0.02


def test_images_of_one_group_stay_on_one_side():
    scores, votes, targets = drawn(np.random.default_rng(2), 0.5, False, images=40)
    one_group = fit_vote_weight(scores, votes, targets, groups=np.zeros(40, np.int64))
    # There is no other group to fit on: both count the same.
    np.testing.assert_array_equal(one_group.by_fold, [0.5])
    pairs = fit_vote_weight(scores, votes, targets, groups=np.arange(40) // 2)
    assert len(pairs.by_fold) == 5
