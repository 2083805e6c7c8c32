"""The loss between maps: PyTorch's value and gradient, and where it is 0."""

import jax
import jax.numpy as jnp
import numpy as np
import torch

from hpa_jax.optim.map_losses import map_divergence


def torch_value_and_gradient(logits, targets):
    logits = torch.tensor(np.float64(logits), requires_grad=True)
    chance = torch.distributions.Bernoulli(torch.tensor(np.float64(targets)))
    found = torch.distributions.Bernoulli(logits=logits)
    value = torch.distributions.kl_divergence(chance, found).mean(dim=(0, 1, 2))
    value.sum().backward()
    return value.detach().numpy(), logits.grad.numpy()


def test_value_and_gradient_are_pytorchs():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (2, 5, 4, 3)).astype(np.float32)
    targets = rng.choice([0.0, 1.0, 0.3, 0.9], logits.shape).astype(np.float32)
    expected = torch_value_and_gradient(logits, targets)
    np.testing.assert_allclose(map_divergence(logits, targets), expected[0], rtol=1e-5)
    gradient = jax.grad(lambda logits: map_divergence(logits, targets).sum())(logits)
    np.testing.assert_allclose(gradient, expected[1], rtol=1e-4, atol=1e-8)


def test_it_is_0_where_maps_are_right_and_finite_anywhere():
    targets = jnp.array([[0.2, 0.7]])
    logits = jnp.log(targets / (1 - targets))
    np.testing.assert_allclose(map_divergence(logits, targets), 0, atol=1e-6)
    beyond = jnp.array([[np.nextafter(np.float32(1), np.float32(2)), 0.0]])
    for sign in (-60.0, 60.0):
        assert np.isfinite(map_divergence(jnp.full((1, 2), sign), beyond)).all()
