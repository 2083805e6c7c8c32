"""The loss for images with one label each: PyTorch's value and gradient, never in a mixed sum."""

import jax
import numpy as np
import pytest
import torch

from hpa_jax.errors import InputError
from hpa_jax.models import class_prior_bias
from hpa_jax.optim.losses import is_single_label, make_loss, probabilities_function

LOSS = "softmax_cross_entropy"


@pytest.fixture(scope="module")
def step():
    fast = {"xla_backend_optimization_level": 0}
    return jax.jit(jax.value_and_grad(make_loss(LOSS)), compiler_options=fast)


def one_hot(labels, count=5):
    return np.eye(count, dtype=np.uint8)[labels]


def torch_value_and_gradient(logits, targets):
    logits = torch.tensor(np.float64(logits), requires_grad=True)
    value = torch.nn.functional.cross_entropy(logits, torch.tensor(targets))
    value.backward()
    return value.item(), logits.grad.numpy()


def test_value_and_gradient_are_pytorchs(step):
    rng = np.random.default_rng(0)
    labels = rng.integers(5, size=64)
    logits = rng.normal(0, 4, (64, 5)).astype(np.float32)
    value, gradient = step(logits, one_hot(labels))
    expected = torch_value_and_gradient(logits, labels)
    np.testing.assert_allclose(value, expected[0], rtol=1e-5)
    np.testing.assert_allclose(gradient, expected[1], rtol=1e-4, atol=1e-8)
    # Mixtures of two images.
    weights = rng.dirichlet(np.ones(5), 64).astype(np.float32)
    value, gradient = step(logits, weights)
    expected = torch_value_and_gradient(logits, np.float64(weights))
    np.testing.assert_allclose(value, expected[0], rtol=1e-5)
    np.testing.assert_allclose(gradient, expected[1], rtol=1e-4, atol=1e-7)


def test_finite_at_extreme_logits_and_never_hides_what_is_no_number(step):
    for size in (100.0, 1e4):
        logits = np.where(one_hot(np.arange(5)), -size, size).astype(np.float32)
        value, gradient = step(logits, one_hot(np.arange(5)))
        assert value == pytest.approx(2 * size + np.log(4), rel=1e-5)
        assert np.isfinite(gradient).all() and (np.diag(gradient) < 0).all()
    logits[2, 1] = np.nan
    assert np.isnan(step(logits, one_hot(np.arange(5)))[0])


def test_the_loss_says_what_a_net_learns():
    assert is_single_label(LOSS) and is_single_label(f"{LOSS}:2")
    assert not is_single_label("bce") and not is_single_label("focal:0.5,lovasz:0.5")
    with pytest.raises(InputError, match=f"'{LOSS}' is for images with one label each") as caught:
        make_loss(f"bce,{LOSS}")
    assert "config.train.loss=" in str(caught.value)


def test_probabilities_share_an_image_where_it_has_one_label():
    logits = np.random.default_rng(1).normal(0, 3, (7, 5)).astype(np.float32)
    shared = probabilities_function(single_label=True)(logits)
    np.testing.assert_allclose(shared, torch.softmax(torch.tensor(logits), 1), atol=1e-6)
    each = probabilities_function(single_label=False)(logits)
    np.testing.assert_allclose(each, torch.sigmoid(torch.tensor(logits)), atol=1e-6)
    frequencies = np.array([0.5, 0.3, 0.2])
    started = probabilities_function(single_label=True)(class_prior_bias(frequencies))
    np.testing.assert_allclose(started, frequencies, atol=1e-6)
