"""Weights and margins from how many images have a label, against the papers' formulas."""

import jax
import numpy as np
import pytest
import torch
import torch.nn.functional as torch_nn

from hpa_jax import config
from hpa_jax.optim import label_weights
from hpa_jax.optim.losses import make_loss
from hpa_jax.training.parts import make_loss_from


def targets_with(*positives, images=100):
    """0/1 [images, L]: as many images with each label."""
    return (np.arange(images)[:, None] < np.array(positives)).astype(np.uint8)


def test_positive_weights():
    targets = targets_with(50, 20, 1, 0, 100)
    np.testing.assert_allclose(
        label_weights.positive_weights(targets, 1.0, 1e6), [1, 4, 99, 1e6, 1e-6], rtol=1e-6
    )
    found = label_weights.positive_weights(targets, 0.5, 8.0)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [1, 2, 8, 8, 1 / 8], rtol=1e-6)
    np.testing.assert_array_equal(label_weights.positive_weights(targets, 0.0, 8.0), 1)


def test_weights_with_power_one_balance_a_label():
    """At scores of 0.5 the gradients of its positives and of its negatives cancel."""
    targets = (np.random.default_rng(0).random((200, 3)) < [0.5, 0.1, 0.02]).astype(np.uint8)
    weights = label_weights.positive_weights(targets, 1.0, 1e6)
    loss = make_loss("weighted", {"weighted": {"positive_weights": weights}})
    gradient = jax.jit(jax.grad(loss))(np.zeros(targets.shape, np.float32), targets)
    np.testing.assert_allclose(np.sum(gradient, axis=0), 0, atol=1e-6)
    assert np.abs(gradient).sum() > 0.1


def test_margins_are_those_of_the_paper():
    found = label_weights.label_margins(targets_with(81, 16, 1, 0), 0.5)
    np.testing.assert_allclose(found, [0.5 / 3, 0.5 / 2, 0.5, 0.5], rtol=1e-6)
    # With no label of one image the rarest still has the largest margin, in the same proportions.
    found = label_weights.label_margins(targets_with(81, 16), 0.3)
    np.testing.assert_allclose(found, [0.2, 0.3], rtol=1e-6)
    assert found.dtype == np.float32


def test_effective_numbers_are_those_of_the_paper():
    counts = (100, 30, 7, 1, 0)
    found = label_weights.effective_number_weights(targets_with(*counts), 0.99)
    # E_n by its recursion (eq. 1), E_n = 1 + beta E_(n-1): each further image adds less.
    numbers = []
    for count in counts:
        number = 1.0
        for _ in range(count - 1):
            number = 1 + 0.99 * number
        numbers.append(number)
    expected = 1 / np.array(numbers)
    np.testing.assert_allclose(found, expected / expected.mean(), rtol=1e-5)
    assert found.mean() == pytest.approx(1)
    np.testing.assert_array_equal(
        label_weights.effective_number_weights(targets_with(*counts), 0.0), 1
    )


def authors_loss(logits, targets, counts, margin, beta, scale):
    """LDAM and its weights as kaidic/LDAM-DRW computes them, each label a problem of two classes.

    The class of images without the label has a logit of 0 and no margin. Value and gradient.
    """
    logits = torch.tensor(np.float64(logits), requires_grad=True)
    margins = 1 / np.sqrt(np.sqrt(counts))
    margins = margins * (margin / np.max(margins))
    effective_numbers = 1 - np.power(beta, counts)
    weights = (1 - beta) / effective_numbers
    weights = weights / np.sum(weights) * len(counts)
    total = 0
    for label, weight in enumerate(weights):
        truth = torch.tensor(np.int64(targets[:, label]))
        classes = torch.stack([torch.zeros(len(truth)), logits[:, label]], dim=1)
        lowered = classes - torch.tensor([0, margins[label]])
        is_truth = torch_nn.one_hot(truth, 2) > 0
        shown = torch.where(is_truth, lowered, classes)
        total = total + weight * torch_nn.cross_entropy(scale * shown, truth)
    value = total / len(counts)
    value.backward()
    return value.item(), logits.grad.numpy()


def test_a_run_has_the_authors_loss_and_re_weights_after_its_fraction_of_steps():
    counts = np.array([60, 20, 3])
    targets = targets_with(*counts)
    section = config.Loss(ldam_margin=0.4, ldam_scale=2.5, ldam_beta=0.99, ldam_reweight_after=0.75)
    loss = make_loss_from(section, "ldam", targets, num_steps=20)
    logits = np.random.default_rng(0).normal(0, 2, targets.shape).astype(np.float32)
    step_of = jax.jit(jax.value_and_grad(loss))
    for step, beta in ((0, 0.0), (14, 0.0), (15, 0.99), (19, 0.99)):
        value, gradient = step_of(logits, targets, step)
        expected = authors_loss(logits, targets, counts, 0.4, beta, 2.5)
        np.testing.assert_allclose(value, expected[0], rtol=1e-5)
        np.testing.assert_allclose(gradient, expected[1], rtol=1e-4, atol=1e-8)
