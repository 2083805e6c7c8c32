"""Losses for fields that bear several labels."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax


def bce(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Binary cross entropy, the mean over the labels: the seed study's loss.

    Args:
      logits: float `[B, L]`.
      targets: 0/1 `[B, L]`.

    Returns:
      `float32 [B]`, `mean_l -(t log s(z) + (1 - t) log(1 - s(z)))` in nats, from logits so that no score saturates.
    """
    return jnp.mean(optax.sigmoid_binary_cross_entropy(logits, targets.astype(jnp.float32)), axis=-1)


LOSSES: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {"bce": bce}
