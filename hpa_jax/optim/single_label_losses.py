"""Losses for images with exactly one label each. A run that learns with one of them decides by it.

Its net gives probabilities that sum to 1 over the labels (a softmax), and an image's label is the
one with the largest. Such losses are summed with each other, never with those of several labels
(`losses.LOSSES`), whose logits mean something else.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax


def softmax_cross_entropy(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Cross entropy of the label that an image has, of all labels.

    `mean -sum_l t_l log p_l` in nats, with `p` the softmax of an image's logits. Targets between 0
    and 1 that sum to 1 (a mixture of two images) are taken as they are.

    Args:
      logits: float `[B, L]`; computed in float32.
      targets: `[B, L]`, one 1 a row.

    Returns:
      float32 scalar, the mean over images.
    """
    logits = jnp.asarray(logits, jnp.float32)
    targets = jnp.asarray(targets, jnp.float32)
    return jnp.mean(optax.softmax_cross_entropy(logits, targets))


SINGLE_LABEL_LOSSES: dict[str, Callable[..., jax.Array]] = {
    "softmax_cross_entropy": softmax_cross_entropy,
}
