"""Batch norm as arithmetic on moments, for the passes that compute a norm inside a convolution.

With the moments of its input given, a norm is an affine map of each channel, `factor * x + shift`.
Its backward pass has two parts: through the affine map, per value; and through the moments, which
are sums over all values, so that what their gradients add to that of each value is affine again.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from hpa_jax.models.norm import Moments


class Affine(NamedTuple):
    """`factor * x + shift` of each channel: `float32 [C]` each."""

    factor: jax.Array
    shift: jax.Array


def norm_as_affine(params: dict, moments: Moments, epsilon: float) -> Affine:
    """The affine map that a norm with `scale` and `bias` is, given the moments of its input."""
    factor = params["scale"] * lax.rsqrt(moments.var + epsilon)
    return Affine(factor, params["bias"] - moments.mean * factor)


def affine_gradient(sums: jax.Array) -> Affine:
    """Gradients of factor and shift from the sums that backward passes return, `[C, 2]`."""
    return Affine(factor=sums[:, 1], shift=sums[:, 0])


def moments_from_sums(sums: jax.Array, count: int) -> Moments:
    """Moments from the sums of `count` values and of their squares, `[C, 2]`."""
    mean = sums[:, 0] / count
    return Moments(mean, jnp.maximum(sums[:, 1] / count - jnp.square(mean), 0))


def slice_channels(moments: Moments, channels: slice) -> Moments:
    return Moments(moments.mean[channels], moments.var[channels])
