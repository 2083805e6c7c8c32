"""The largest value of a map, and its gradient."""

import jax
import jax.numpy as jnp
import numpy as np

from hpa_jax.models.pooling import global_max


def test_the_largest_value_of_each_map():
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    np.testing.assert_array_equal(jax.jit(global_max)(x), x.max((1, 2)))
    x[0, 1, 1, 2] = np.nan
    assert np.isnan(np.asarray(global_max(x))[0, 2])


def test_its_gradient_goes_to_the_first_of_equals_alone():
    x = jnp.zeros((1, 3, 3, 1)).at[0, 1, 1:, 0].set(7.0).at[0, 2, 0, 0].set(7.0)
    gradient = jax.jit(jax.grad(lambda x: 3 * global_max(x).sum()))(x)
    assert float(gradient[0, 1, 1, 0]) == 3 and float(jnp.abs(gradient).sum()) == 3


def test_differentiated_or_not_the_value_is_the_same():
    x = np.random.default_rng(1).normal(size=(2, 4, 4, 3)).astype(np.float32)
    value, _ = jax.vjp(global_max, x)
    np.testing.assert_array_equal(value, global_max(x))
