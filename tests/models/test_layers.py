"""Products, convolutions and pools against flax.linen's: the same parameters, results and gradients."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hpa_jax.models.layers import Conv, Dense
from hpa_jax.models.pooling import max_pool

pytestmark = pytest.mark.usefixtures("compiled_once")

# Side of the image, kernel, stride, padding: those of the nets, and strides that leave a last row or column out.
CONVOLUTIONS = [
    (12, (7, 7), 2, 3),
    (9, (3, 3), 1, 1),
    (9, (3, 3), 2, 0),
    (10, (1, 7), 1, ((0, 0), (3, 3))),
]


def images(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def gradients(layer, variables, x):
    """Of a scalar, by the variables and by the input, in float32 throughout."""
    loss = lambda variables, x: jnp.sum(jnp.sin(layer.apply(variables, x).astype(jnp.float32)))  # noqa: E731
    return jax.jit(jax.grad(loss, (0, 1)))(variables, x)


def assert_alike(ours, theirs, x, dtype):
    variables = ours.init(jax.random.key(1), x)
    jax.tree.map(np.testing.assert_array_equal, variables, theirs.init(jax.random.key(1), x))
    variables = jax.tree.map(lambda a: a + 0.1, variables)
    exact = theirs.clone(dtype=jnp.float32)
    if dtype == jnp.float32:
        np.testing.assert_array_equal(ours.apply(variables, x), theirs.apply(variables, x))
    assert ours.apply(variables, x).dtype == dtype
    ours, theirs, exact = (
        jax.tree.leaves(gradients(layer, variables, x)) for layer in (ours, theirs, exact)
    )
    for own, other, true in zip(ours, theirs, exact, strict=True):
        assert own.dtype == jnp.float32 and own.shape == other.shape
        size = np.abs(true).max()
        if dtype == jnp.float32:
            np.testing.assert_allclose(own, other, atol=1e-6 * size)
        else:  # the sums are no further from the truth for being float32
            assert np.abs(own - true).mean() < 1.1 * np.abs(other - true).mean() < 0.1 * size


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("side, kernel, stride, padding", CONVOLUTIONS)
def test_a_convolution_is_flax_s(side, kernel, stride, padding, dtype):
    ours = Conv(6, kernel, stride, padding, dtype=dtype)
    theirs = nn.Conv(6, kernel, stride, padding=padding, dtype=dtype)
    assert_alike(ours, theirs, images(2, side, side + 1, 5), dtype)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("shape", [(7, 5), (2, 6, 4, 5)])
def test_a_product_is_flax_s(shape, dtype):
    assert_alike(Dense(6, dtype=dtype), nn.Dense(6, dtype=dtype), images(*shape), dtype)


def test_a_net_of_other_shapes_is_refused_by_name():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Dense(6, name="conv1")(x)

    variables = Net().init(jax.random.key(0), images(2, 5))
    with pytest.raises(ValueError, match=r"conv1/kernel has the shape \(5, 6\), and not \(4, 6\)"):
        Net().apply(variables, images(2, 4))


@pytest.mark.parametrize(
    "height, width, padding", [(8, 8, 1), (9, 7, 1), (7, 10, 1), (9, 9, 0), (10, 12, 0), (11, 8, 0)]
)
def test_the_gradient_of_a_pool_goes_to_the_first_of_the_largest(height, width, padding):
    theirs = lambda x: nn.max_pool(x, (3, 3), strides=(2, 2), padding=((padding, padding),) * 2)  # noqa: E731
    x = np.maximum(images(2, height, width, 3).round(1), 0)  # many are equal
    out = theirs(x)
    np.testing.assert_array_equal(max_pool(x, padding), out)
    g = images(*out.shape, seed=1)
    ours, theirs = (
        jax.jit(lambda x, pool=pool: jax.vjp(pool, x)[1](g)[0])(x)
        for pool in (ours_of(padding), theirs)
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert (
        "select_and_scatter"
        not in jax.jit(jax.grad(lambda x: max_pool(x, padding).sum())).lower(x).as_text()
    )


def ours_of(padding):
    return lambda x: max_pool(x, padding)


def test_a_tpu_keeps_its_own_operation():
    step = jax.jit(jax.grad(lambda x: max_pool(x, 1).sum())).trace(images(2, 8, 8, 3))
    assert "select_and_scatter" in step.lower(lowering_platforms=("tpu",)).as_text()
