"""Losses that are a mean over labels, each label's term computed from its entire column.

They stand for a set measure of the label, so they depend on which images share a batch. Pure
functions of logits `[B, L]` and 0/1 targets `[B, L]`, named in the table of `losses.py`.
"""

import jax
import jax.numpy as jnp


def lovasz(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Symmetric Lovasz hinge: a convex surrogate of the Jaccard loss of each label.

    For one label, `e_i = 1 - (2 t_i - 1) z_i` are the hinge errors of the batch's images, and
    `D(S)` is the Jaccard loss when the images `S` are wrong: `1 - |P - S| / |P | S|`, `P` the
    positives. Its Lovasz extension at `max(e, 0)` is `sum_k max(e_(k), 0) (D(S_k) - D(S_k-1))`,
    errors in descending order and `S_k` the first `k`. Symmetric: the mean of this and of the same
    with positives and negatives exchanged, as the challenge's winners used it, label by label
    (CellProfiling/HPA-competition-solutions, bestfitting). Both have the same errors, so one sort
    serves both.

    The loss is 0 where all margins are 1 or more, and has no upper bound. For a label without a
    positive in the batch, the one worst negative counts fully in the first half: best summed with
    another loss. Its logits are margins, not log odds.

    Args:
      logits: float `[B, L]`.
      targets: 0/1 `[B, L]`.

    Returns:
      float32 scalar, the mean over labels.

    References:
      Yu & Blaschko 2015, Learning Submodular Losses with the Lovasz Hinge, arXiv:1512.07797.
      Berman et al. 2018, The Lovasz-Softmax loss, arXiv:1705.08790.
    """
    logits = jnp.asarray(logits, jnp.float32)
    targets = jnp.asarray(targets, jnp.float32)
    errors = 1 - (2 * targets - 1) * logits
    # Descending errors, and the targets in the same order.
    negated, targets = jax.lax.sort((-errors, targets), dimension=0, num_keys=1)
    increments = _jaccard_increments(targets) + _jaccard_increments(1 - targets)
    of_labels = jnp.sum(jax.nn.relu(-negated) * increments, axis=0)
    return jnp.mean(of_labels) / 2


def _jaccard_increments(targets: jax.Array) -> jax.Array:
    """By how much the Jaccard loss grows with the k-th wrong image.

    Args:
      targets: float32 0/1 `[B, L]`, each column in the order in which its images become wrong.

    Returns:
      float32 `[B, L]`.
    """
    positives = jnp.sum(targets, axis=0)
    intersection = positives - jnp.cumsum(targets, axis=0)
    # Never empty: the first image is either a positive or a false positive.
    union = positives + jnp.cumsum(1 - targets, axis=0)
    jaccard = 1 - intersection / union
    return jnp.diff(jaccard, axis=0, prepend=0.0)


def soft_f1(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """One minus macro F1, with scores in the place of decisions.

    `mean_l (1 - 2 sum_i s(z_il) t_il / (sum_i s(z_il) + sum_i t_il))`, sums over the batch. At
    scores of 0 and 1 this is one minus the batch's macro F1, labels without positives counted as
    0. Such a label adds 1 and has no gradient: its false positives cost nothing in batches without
    a positive, so sum this loss with another one.

    Args:
      logits: float `[B, L]`.
      targets: 0/1 `[B, L]`.

    Returns:
      float32 scalar, the mean over labels.

    References:
      Benedict et al. 2021, sigmoidF1, arXiv:2108.10566, with slope 1 and offset 0.
    """
    logits = jnp.asarray(logits, jnp.float32)
    targets = jnp.asarray(targets, jnp.float32)
    scores = jax.nn.sigmoid(logits)
    true_positives = jnp.sum(scores * targets, axis=0)
    both = jnp.sum(scores, axis=0) + jnp.sum(targets, axis=0)
    # Below the limit only where a label has no positives, and then the numerator is 0.
    return jnp.mean(1 - 2 * true_positives / jnp.maximum(both, 1e-6))
