"""The loss between maps: PyTorch's value and gradient, and where it is 0."""

import jax
import numpy as np
import pytest
import torch

from hpa_jax.optim.map_losses import map_divergence


@pytest.fixture(scope="module")
def value_and_gradient():
    """Of the maps of `[2, 5, 4, 3]`: the loss of each, and the gradient of their sum."""

    def summed(logits, targets):
        of_maps = map_divergence(logits, targets)
        return of_maps.sum(), of_maps

    def call(logits, targets):
        (_, of_maps), gradient = jax.value_and_grad(summed, has_aux=True)(logits, targets)
        return of_maps, gradient

    return jax.jit(call, compiler_options={"xla_backend_optimization_level": 0})


def torch_value_and_gradient(logits, targets):
    logits = torch.tensor(np.float64(logits), requires_grad=True)
    chance = torch.distributions.Bernoulli(torch.tensor(np.float64(targets)))
    found = torch.distributions.Bernoulli(logits=logits)
    value = torch.distributions.kl_divergence(chance, found).mean(dim=(0, 1, 2))
    value.sum().backward()
    return value.detach().numpy(), logits.grad.numpy()


def test_value_and_gradient_are_pytorchs(value_and_gradient):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (2, 5, 4, 3)).astype(np.float32)
    targets = rng.choice([0.0, 1.0, 0.3, 0.9], logits.shape).astype(np.float32)
    expected = torch_value_and_gradient(logits, targets)
    value, gradient = value_and_gradient(logits, targets)
    np.testing.assert_allclose(value, expected[0], rtol=1e-5)
    np.testing.assert_allclose(gradient, expected[1], rtol=1e-4, atol=1e-8)


def test_it_is_0_where_maps_are_right_and_finite_anywhere(value_and_gradient):
    targets = np.full((2, 5, 4, 3), 0.2, np.float32)
    logits = np.log(targets / (1 - targets))
    np.testing.assert_allclose(value_and_gradient(logits, targets)[0], 0, atol=1e-6)
    beyond = np.full_like(targets, np.nextafter(np.float32(1), np.float32(2)))
    for sign in (-60.0, 60.0):
        found = value_and_gradient(np.full_like(targets, sign), beyond)
        assert all(np.isfinite(array).all() for array in found)
