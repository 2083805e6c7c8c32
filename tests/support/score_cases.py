"""Score arrays drawn at random: scores in [0, 1] and targets of 0 and 1."""

import jax
import numpy as np

from hpa_jax.metrics import histogram


def plain_case(images=40, labels=28, seed=0):
    """Scores that know nothing: float32 and uint8 [images, labels]."""
    rng = np.random.default_rng(seed)
    scores = rng.random((images, labels)).astype(np.float32)
    targets = (rng.random((images, labels)) < 0.2).astype(np.uint8)
    return scores, targets


def edge_case(images, labels, seed, dtype=np.float32):
    """Many scores of 0.5 and its float neighbors.

    One label each has no positives, no predictions, neither of both, and positives alone.
    """
    rng = np.random.default_rng(seed)
    scores = rng.random((images, labels)).astype(dtype)
    half = dtype(0.5)
    edge = np.array([half, np.nextafter(half, dtype(1)), np.nextafter(half, dtype(0)), 0, 1], dtype)
    scores = np.where(rng.random(scores.shape) < 0.3, rng.choice(edge, scores.shape), scores)
    targets = (rng.random(scores.shape) < rng.random(labels)).astype(np.uint8)
    targets[:, 0] = 0
    scores[:, 1] = 0.25
    targets[:, 2] = 0
    scores[:, 2] = 0.25
    targets[:, 3] = 1
    scores[:, 3] = 0.75
    return scores, targets


def skilled_case(images, labels, seed):
    """Scores of a net that has learned something; rare and frequent labels."""
    rng = np.random.default_rng(seed)
    targets = (rng.random((images, labels)) < np.linspace(0.02, 0.5, labels)).astype(np.uint8)
    logits = 2.0 * targets + rng.normal(-1.5, 1.3, targets.shape)
    return (1 / (1 + np.exp(-logits))).astype(np.float32), targets


def several_models(models, images, labels, seed):
    """Scores [models, images, labels] of models of unequal skill, each with errors of its own."""
    rng = np.random.default_rng(seed)
    targets = (rng.random((images, labels)) < rng.uniform(0.02, 0.4, labels)).astype(np.uint8)
    skill = rng.uniform(0.5, 4, (models, 1, 1))
    spread = rng.uniform(0.5, 2, (models, 1, 1))
    logits = rng.normal(-1.5, spread, (models, images, labels)) + skill * targets
    return (1 / (1 + np.exp(-logits))).astype(np.float32), targets


def counts_of(scores, targets, **settings):
    """`histogram.count_arrays` without its axis of groups."""
    counts = histogram.count_arrays(scores, targets, **settings)
    return jax.tree.map(lambda a: a[0], counts)
