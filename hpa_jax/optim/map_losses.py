"""Losses between maps of a U-Net and maps of numbers from 0 to 1."""

import jax
import jax.numpy as jnp
import optax
from jax.scipy.special import xlogy


def map_divergence(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """How far sigmoids are from targets, each taken as the chance of a coin: `KL(t || p)`.

    It is the cross-entropy less the entropy of the target, so that its smallest value is 0 for any
    target and not for 0 and 1 alone; the gradient is the same.

    Args:
      logits: float32 `[..., M]`, of M maps.
      targets: float32 `[..., M]`, 0 to 1.

    Returns:
      float32 `[M]`: the mean of each map over all else.
    """
    # A division that became a product may give a little more than 1, which has no logarithm.
    targets = jnp.clip(targets, 0, 1)
    entropy = -xlogy(targets, targets) - xlogy(1 - targets, 1 - targets)
    divergence = optax.sigmoid_binary_cross_entropy(logits, targets) - entropy
    return jnp.mean(divergence, axis=tuple(range(divergence.ndim - 1)))
