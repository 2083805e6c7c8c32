"""Votes of neighbours against scikit-learn, and what blending them does to logits."""

from functools import partial

import jax
import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from hpa_jax.models.votes import blend_logits, centered, neighbour_votes

pytestmark = pytest.mark.usefixtures("compiled_once")

K = 7
TEMPERATURE = 0.1


def unit(rng, rows, values=12):
    drawn = rng.normal(size=(rows, values)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def votes_of(queries, bank, targets, neighbours):
    votes = partial(neighbour_votes, neighbours=neighbours, temperature=TEMPERATURE)
    return np.asarray(jax.jit(votes)(queries, bank, targets))


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(0)
    bank, queries = unit(rng, 60), unit(rng, 9)
    return queries, bank, (rng.random((60, 5)) < 0.3).astype(np.float32)


def test_several_labels_as_of_scikit_learns_nearest_neighbours(case):
    queries, bank, targets = case
    nearest = NearestNeighbors(n_neighbors=K, metric="cosine", algorithm="brute").fit(bank)
    distances, places = nearest.kneighbors(queries)
    weights = softmax((1 - distances) / TEMPERATURE, axis=1)
    expected = np.einsum("qk,qkl->ql", weights, targets[places])
    np.testing.assert_allclose(votes_of(queries, bank, targets, K), expected, atol=1e-5)
    # All of them: a mean over the bank.
    everything = softmax(queries @ bank.T / TEMPERATURE, axis=1) @ targets
    np.testing.assert_allclose(votes_of(queries, bank, targets, 60), everything, atol=1e-5)


def test_one_label_as_of_scikit_learns_classifier(case):
    queries, bank, targets = case
    label = np.arange(60) % 5
    one_hot = np.eye(5, dtype=np.float32)[label]
    peer = KNeighborsClassifier(
        n_neighbors=K,
        metric="cosine",
        algorithm="brute",
        weights=lambda distances: np.exp((1 - distances) / TEMPERATURE),
    ).fit(bank, label)
    found = votes_of(queries, bank, one_hot, K)
    np.testing.assert_allclose(found, peer.predict_proba(queries), atol=1e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)


def test_equally_near_images_all_vote_whatever_their_order():
    bank = np.repeat(np.eye(3, dtype=np.float32), [1, 3, 1], axis=0)
    query = np.array([[0.8, 0.6, 0.0]], np.float32)
    targets = np.array([[1, 0], [0, 1], [0, 1], [1, 1], [1, 0]], np.float32)
    found = votes_of(query, bank, targets, 2)
    other = [4, 3, 2, 1, 0]
    np.testing.assert_allclose(votes_of(query, bank[other], targets[other], 2), found, rtol=1e-6)
    farther = np.exp((0.6 - 0.8) / TEMPERATURE)
    expected = np.array([1 + farther, 3 * farther]) / (1 + 3 * farther)
    np.testing.assert_allclose(found[0], expected, rtol=1e-5)


@pytest.mark.parametrize("single_label", [False, True])
def test_blended_logits_are_those_of_the_blended_scores(single_label):
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 4, (6, 5)).astype(np.float32)
    votes = rng.dirichlet(np.ones(5), 6).astype(np.float32)
    as_scores = softmax if single_label else expit
    options = {"axis": 1} if single_label else {}
    # One program for each kind, whatever the weight.
    blend = jax.jit(partial(blend_logits, single_label=single_label))
    for weight in (0.0, 0.3, 1.0):
        found = blend(logits, votes, np.full(1, weight, np.float32))
        expected = (1 - weight) * as_scores(logits, **options) + weight * votes
        np.testing.assert_allclose(as_scores(np.asarray(found), **options), expected, atol=3e-6)
        if weight == 0:
            np.testing.assert_array_equal(found, logits)
    # Nothing is infinite where votes are sure.
    sure = blend(logits, np.eye(5, dtype=np.float32)[[0] * 6], np.ones(1, np.float32))
    assert np.isfinite(sure).all()


def test_centered_embeddings_have_length_1():
    rng = np.random.default_rng(2)
    drawn = rng.normal(3, 1, (4, 8)).astype(np.float32)
    found = np.asarray(jax.jit(centered)(drawn, drawn.mean(axis=0)))
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(np.sign(found), np.sign(drawn - drawn.mean(axis=0)))
    # One that is the mean itself has no direction, and does not become a NaN.
    assert np.isfinite(jax.jit(centered)(drawn, drawn[0])).all()
