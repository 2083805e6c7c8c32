"""Batch norm in training, and its written-out backward pass, against PyTorch's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from hpa_jax.models.norm import BatchNorm, batch_moments

SHAPE = (4, 6, 5, 3)
"""Of a map, channels last."""
MOMENTUM = 0.75


def draw(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.5, 2.0, shape).astype(np.float32)


@pytest.fixture
def x() -> np.ndarray:
    return draw(0, SHAPE)


@pytest.fixture
def params() -> dict:
    return {"scale": draw(1, SHAPE[-1:]), "bias": draw(2, SHAPE[-1:])}


def normalize(net: BatchNorm, params: dict, x, moments=None):
    statistics = {"mean": jnp.zeros(SHAPE[-1]), "var": jnp.ones(SHAPE[-1])}
    variables = {"params": params, "batch_stats": statistics}
    return net.apply(variables, x, train=True, moments=moments, mutable=["batch_stats"])


def of_torch(x: np.ndarray, params: dict) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """PyTorch's result, channels last, and its inputs: x, scale (where there is one) and bias."""
    inputs = [torch.tensor(x, requires_grad=True)]
    inputs += [torch.tensor(value, requires_grad=True) for value in params.values()]
    scale = inputs[1] if "scale" in params else None
    y = torch.nn.functional.batch_norm(
        inputs[0].movedim(-1, 1),
        None,
        None,
        scale,
        inputs[-1],
        training=True,
        eps=BatchNorm.epsilon,
    )
    return y.movedim(1, -1), inputs


@pytest.mark.parametrize("has_scale", [True, False])
def test_result_gradients_and_statistics_are_those_of_pytorch(x, params, has_scale):
    if not has_scale:
        del params["scale"]
    net = BatchNorm(momentum=MOMENTUM, use_scale=has_scale)
    weights = draw(3, SHAPE)

    def loss(x, params):
        y, updates = normalize(net, params, x)
        return jnp.sum(y * weights), (y, updates["batch_stats"])

    (grad_x, grad_params), (y, statistics) = jax.grad(loss, argnums=(0, 1), has_aux=True)(x, params)

    expected, inputs = of_torch(x, params)
    (expected * torch.tensor(weights)).sum().backward()
    assert_allclose(y, expected.detach(), atol=1e-5)
    gradients = [grad_x, *(grad_params[name] for name in params)]
    for gradient, value in zip(gradients, inputs, strict=True):
        assert_allclose(gradient, value.grad, rtol=1e-4, atol=1e-4)
    moved = (1 - MOMENTUM) * x.mean((0, 1, 2))
    assert_allclose(statistics["mean"], moved, rtol=1e-4)
    moved = MOMENTUM + (1 - MOMENTUM) * x.var((0, 1, 2))
    assert_allclose(statistics["var"], moved, rtol=1e-4)


def test_gradients_of_two_norms_that_share_the_moments_of_a_map_add_up(x, params):
    others = {name: value[::-1].copy() for name, value in params.items()}
    weights, other_weights = draw(3, SHAPE), draw(4, SHAPE)

    def loss(x):
        moments = batch_moments(x)
        y, _ = normalize(BatchNorm(), params, x, moments)
        other, _ = normalize(BatchNorm(), others, x, moments)
        return jnp.sum(y * weights) + jnp.sum(other * other_weights)

    expected = 0
    for of_norm, of_sum in ((params, weights), (others, other_weights)):
        y, inputs = of_torch(x, of_norm)
        (y * torch.tensor(of_sum)).sum().backward()
        expected = expected + inputs[0].grad.numpy()
    assert_allclose(jax.grad(loss)(x), expected, rtol=1e-4, atol=1e-4)


def test_narrow_maps_have_narrow_gradients_and_wide_ones_of_the_parameters(x, params):
    net = BatchNorm(dtype=jnp.bfloat16)
    weights = draw(3, SHAPE)

    def loss(x, params):
        y, _ = normalize(net, params, x)
        return jnp.sum(y * weights)

    narrow = x.astype(jnp.bfloat16)
    grad_x, grad_params = jax.grad(loss, argnums=(0, 1))(narrow, params)

    assert grad_x.dtype == jnp.bfloat16
    expected, inputs = of_torch(narrow.astype(np.float32), params)
    # What comes back has passed the result's bfloat16.
    (expected * torch.tensor(weights).bfloat16().float()).sum().backward()
    assert_allclose(grad_x.astype(np.float32), inputs[0].grad, rtol=0.02, atol=0.02)
    for name, value in zip(params, inputs[1:], strict=True):
        assert grad_params[name].dtype == jnp.float32
        assert_allclose(grad_params[name], value.grad, rtol=1e-3, atol=1e-3)


def test_a_channel_without_variance_has_a_gradient_through_its_values_alone(params):
    constant = np.full(SHAPE, 3.0, np.float32)
    weights = draw(3, SHAPE)

    def loss(x):
        y, _ = normalize(BatchNorm(), params, x)
        return jnp.sum(y * weights)

    factor = params["scale"] / np.sqrt(BatchNorm.epsilon)
    # What is left of the gradient of the variance is clipped; that of the mean is not.
    expected = factor * (weights - weights.mean((0, 1, 2)))
    assert_allclose(jax.grad(loss)(constant), expected, rtol=1e-4, atol=1e-2)
