"""Layer normalization, and batch normalization that can be given the moments of its input.

Design:
- layer normalization is Flax's, in float32 whatever its input is. Its variance is that of the
  differences from the mean, as PyTorch computes it: E[x^2] - (E x)^2 loses digits where the mean is
  large;
- a DenseNet normalizes each feature map again in every later layer of its block, each time with
  another scale and bias but with the same batch moments. `batch_moments` is therefore a function
  of its own, called once per feature map, and `BatchNorm` accepts its result;
- under a batch sharded over a mesh the moments are global, since XLA inserts the all-reduce: in
  effect this is SyncBN;
- the arithmetic lives in jitted functions. A DenseNet has many norms of the same shapes, and JAX
  traces and lowers only the first of them. The compiler inlines the calls;
- the backward passes are written out. Derived by JAX they have more operations, and norms are most
  of what there is to compile: a DenseNet-121's step compiles a tenth faster on a CPU
  (docs/results.md, Speed on two cores).
"""

from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from hpa_jax.models.layers import parameter

LAYER_NORM_EPSILON = 1e-6
"""Added to the variance: ConvNeXt's."""

layer_norm = partial(nn.LayerNorm, epsilon=LAYER_NORM_EPSILON, use_fast_variance=False)
"""Makes a norm over the channels of each position."""


class Moments(NamedTuple):
    """Mean and biased variance of each channel: `float32 [C]` each."""

    mean: jax.Array
    var: jax.Array


class MomentGradient(NamedTuple):
    """What the gradients of a map's moments add to that of each value x: `slope * x + offset`.

    `float32 [C]` each.
    """

    slope: jax.Array
    offset: jax.Array


@jax.jit
def batch_moments(x: jax.Array) -> Moments:
    """Mean and biased variance of each channel over all other axes.

    The variance is `E[x^2] - (E x)^2`, at least 0. It reads `x` once where the two-pass form reads
    it twice, and a DenseNet is bound by memory traffic.

    Args:
      x: `[B, ..., C]`, any float dtype; the sums are taken in float32.

    Returns:
      Moments, `float32 [C]` each.
    """
    return _moments(x)


@jax.custom_vjp
def _moments(x: jax.Array) -> Moments:
    # The sum of a million bfloat16 values would stop growing long before its end.
    x = x.astype(jnp.float32)
    axes = _all_but_channels(x)
    mean = jnp.mean(x, axis=axes)
    mean_of_squares = jnp.mean(x * x, axis=axes)
    return Moments(mean, jnp.maximum(mean_of_squares - mean * mean, 0))


def _moments_forward(x):
    moments = _moments(x)
    return moments, (x, moments)


def _moments_backward(residuals, gradients):
    x, moments = residuals
    gradient = moment_gradient(moments, gradients, x.size // x.shape[-1])
    slope = _for_each_value(gradient.slope, x)
    offset = _for_each_value(gradient.offset, x)
    grad_x = x.astype(jnp.float32) * slope + offset
    return (grad_x.astype(x.dtype),)


_moments.defvjp(_moments_forward, _moments_backward)


def moment_gradient(moments: Moments, gradients: Moments, count: int) -> MomentGradient:
    """The gradient of each of `count` values, given the gradients of their mean and variance.

    A variance of 0 was clipped (`batch_moments`) and has no gradient.
    """
    slope = jnp.where(moments.var > 0, gradients.var * (2 / count), 0.0)
    offset = gradients.mean * (1 / count) - slope * moments.mean
    return MomentGradient(slope, offset)


def _all_but_channels(x: jax.Array) -> tuple[int, ...]:
    return tuple(range(x.ndim - 1))


def _for_each_value(vector: jax.Array, x: jax.Array) -> jax.Array:
    """`vector [C]` in the shape of `x [..., C]`."""
    # jnp.broadcast_to, and arithmetic with a vector, make two operations of it.
    return lax.broadcast_in_dim(vector, x.shape, (x.ndim - 1,))


def concat_moments(*moments: Moments) -> Moments:
    """Moments of feature maps that are concatenated along the channels."""
    means, variances = zip(*moments, strict=True)
    return Moments(jnp.concatenate(means), jnp.concatenate(variances))


class BatchNorm(nn.Module):
    """`scale * (x - mean) / sqrt(var + epsilon) + bias`.

    Attributes:
      momentum: fraction of the old running statistics that a training step keeps.
      epsilon: added to the variance; 1.001e-5 is what the published Keras DenseNets were trained
        with.
      use_scale: whether there is a scale; Inception-ResNet-v2 has none.
      dtype: of the result; statistics, scale and bias are float32 throughout.

    References:
      Ioffe & Szegedy, Batch Normalization, 2015, arXiv:1502.03167.
    """

    momentum: float = 0.9
    epsilon: float = 1.001e-5
    use_scale: bool = True
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, moments: Moments | None = None) -> jax.Array:
        """Normalizes `x`, and in training moves the running statistics.

        Args:
          x: `[B, ..., C]`.
          train: normalize by the moments of the batch rather than by the running statistics.
          moments: of `x`, where they are already known; None: computed here.

        Returns:
          `dtype [B, ..., C]`.
        """
        channels = (x.shape[-1],)
        scale = None
        if self.use_scale:
            scale = parameter(self, "scale", nn.initializers.ones, channels)
        bias = parameter(self, "bias", nn.initializers.zeros, channels)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, channels)
        running_var = self.variable("batch_stats", "var", jnp.ones, channels)

        if not train:
            mean = running_mean.value
            var = running_var.value
            return _normalize(x, mean, var, scale, bias, self.epsilon, self.dtype)

        if moments is None:
            moments = batch_moments(x)
        mean, var = moments
        # Initialization leaves the statistics at 0 and 1: its images are made up.
        if not self.is_initializing():
            running_mean.value = _update_running(running_mean.value, mean, self.momentum)
            running_var.value = _update_running(running_var.value, var, self.momentum)
        return _normalize(x, mean, var, scale, bias, self.epsilon, self.dtype)


@partial(jax.jit, static_argnums=2)
def _update_running(old: jax.Array, new: jax.Array, momentum: float) -> jax.Array:
    return momentum * old + (1 - momentum) * new


@partial(jax.jit, static_argnums=(5, 6))
def _normalize(x, mean, var, scale, bias, epsilon: float, dtype) -> jax.Array:
    return _normalize_with_gradient(x, mean, var, scale, bias, epsilon, dtype)


@partial(jax.custom_vjp, nondiff_argnums=(5, 6))
def _normalize_with_gradient(x, mean, var, scale, bias, epsilon, dtype):
    y, _ = _normalize_forward(x, mean, var, scale, bias, epsilon, dtype)
    return y


def _normalize_forward(x, mean, var, scale, bias, epsilon, dtype):
    inverse_deviation = lax.rsqrt(var + epsilon)
    factor = inverse_deviation if scale is None else scale * inverse_deviation
    shift = bias - mean * factor
    y = x.astype(jnp.float32) * _for_each_value(factor, x) + _for_each_value(shift, x)
    return y.astype(dtype), (x, mean, inverse_deviation, scale, factor)


def _normalize_backward(epsilon, dtype, residuals, grad_y):
    del epsilon, dtype
    x, mean, inverse_deviation, scale, factor = residuals
    grad_y = grad_y.astype(jnp.float32)
    axes = _all_but_channels(x)
    grad_bias = jnp.sum(grad_y, axis=axes)
    grad_factor = jnp.sum(grad_y * x.astype(jnp.float32), axis=axes) - mean * grad_bias
    grad_scale = None if scale is None else grad_factor * inverse_deviation
    # The derivative of (var + epsilon)^(-1/2) is -(var + epsilon)^(-3/2) / 2.
    grad_var = -0.5 * grad_factor * factor * inverse_deviation * inverse_deviation
    grad_x = (grad_y * _for_each_value(factor, x)).astype(x.dtype)
    return grad_x, -factor * grad_bias, grad_var, grad_scale, grad_bias


_normalize_with_gradient.defvjp(_normalize_forward, _normalize_backward)
