"""Batch normalisation that can be told the moments of its input.

Unusual: a DenseNet normalises each feature map again in every later layer of its block, each time with other scales but
with the same batch moments. `batch_moments` is therefore a function of its own, called once a map, and `BatchNorm`
takes the result. Under a batch sharded over a mesh the moments are global (XLA inserts the all-reduce): in effect
SyncBN. The arithmetic is in jitted functions: of norms with the same shapes, of which a dense block has many, JAX
traces, differentiates and lowers the first one only. The compiler sees them in line.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from hpa_jax.models.layers import parameter

Moments = tuple[jax.Array, jax.Array]


@jax.jit
def batch_moments(x: jax.Array) -> Moments:
    """Mean and biased variance of each channel over all other axes.

    Args:
      x: `[B, ..., C]`, any float dtype; the sums are taken in float32.

    Returns:
      Two `float32 [C]`. The variance is E[x^2] - (E x)^2, not below 0, which needs one reading of `x` where the
      two-pass form needs two; a DenseNet is bound by memory traffic.
    """
    x, axes = x.astype(jnp.float32), tuple(range(x.ndim - 1))
    mean = jnp.mean(x, axis=axes)
    return mean, jnp.maximum(jnp.mean(jnp.square(x), axis=axes) - jnp.square(mean), 0)


def concat_moments(*moments: Moments) -> Moments:
    """Moments of feature maps that are concatenated along the channels."""
    means, variances = zip(*moments, strict=True)
    return jnp.concatenate(means), jnp.concatenate(variances)


class BatchNorm(nn.Module):
    """`scale * (x - mean) / sqrt(var + epsilon) + bias` (Ioffe & Szegedy 2015).

    Attributes:
      momentum: share of the old running statistics that a training step keeps.
      epsilon: added to the variance; 1.001e-5 is what the published Keras DenseNets were trained with.
      scaled: whether there is a scale; Inception-ResNet-v2 has none.
      dtype: dtype of the result; statistics, scale and bias are float32 throughout.
    """

    momentum: float = 0.9
    epsilon: float = 1.001e-5
    scaled: bool = True
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, moments: Moments | None = None) -> jax.Array:
        channels = (x.shape[-1],)
        scale = parameter(self, "scale", nn.initializers.ones, channels) if self.scaled else None
        bias = parameter(self, "bias", nn.initializers.zeros, channels)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, channels)
        running_var = self.variable("batch_stats", "var", jnp.ones, channels)
        if train:
            mean, var = batch_moments(x) if moments is None else moments
            if not self.is_initializing():
                running_mean.value = _moved(running_mean.value, mean, self.momentum)
                running_var.value = _moved(running_var.value, var, self.momentum)
        else:
            mean, var = running_mean.value, running_var.value
        return _normalised(x, mean, var, scale, bias, self.epsilon, self.dtype)


@partial(jax.jit, static_argnums=2)
def _moved(old: jax.Array, new: jax.Array, kept: float) -> jax.Array:
    return kept * old + (1 - kept) * new


@partial(jax.jit, static_argnums=(5, 6))
def _normalised(x, mean, var, scale, bias, epsilon: float, dtype) -> jax.Array:
    factor = jax.lax.rsqrt(var + epsilon)
    factor = factor if scale is None else scale * factor
    return (x.astype(jnp.float32) * factor + (bias - mean * factor)).astype(dtype)
