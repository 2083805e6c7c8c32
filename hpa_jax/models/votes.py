"""Votes of neighbours: the labels of the training images that an image's embedding is closest to.

Design: the neighbours are those at least as similar as the k-th most similar image, found by its
similarity rather than by their places. Then all that is left are products with constant arrays, so
that an export computes the votes in any runtime; and images that are equally similar at the edge
all vote, in whatever order they lie.

References:
  Wu et al. 2018, Unsupervised Feature Learning via Non-Parametric Instance Discrimination,
  arXiv:1805.01978, section 3.4: the weights, with a temperature of 0.07.
  Caron et al. 2021, Emerging Properties in Self-Supervised Vision Transformers (DINO),
  arXiv:2104.14294: 20 neighbours.
  Wang et al. 2019, SimpleShot, arXiv:1911.04623: embeddings less their mean, of length 1.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from hpa_jax.models.layers import parameter

_SHORTEST = 1e-12
"""Squared length of an embedding, below which it is not scaled up any further."""

SMALLEST = 1e-6
"""Blended probabilities are kept this far from 0 and 1, where logits would be infinite."""


class VoteSettings(NamedTuple):
    """How the neighbours vote.

    Attributes:
      images: in the bank, N.
      neighbours: how many of them vote; all, where there are fewer.
      temperature: of their weights.
    """

    images: int
    neighbours: int
    temperature: float


def neighbour_votes(
    embeddings: jax.Array,
    bank: jax.Array,
    targets: jax.Array,
    *,
    neighbours: int,
    temperature: float,
) -> jax.Array:
    """The labels of the most similar images, each weighted by `exp(cosine / temperature)`.

    Args:
      embeddings: `float32 [B, F]`, of length 1.
      bank: `float32 [N, F]`, of length 1: the cosine similarity is the product.
      targets: 0/1 `[N, L]`, the labels of the images in the bank.
      neighbours: k, from 1 to N. More vote where several are exactly as similar as the k-th.
      temperature: above 0; the smaller, the more the nearest counts.

    Returns:
      `float32 [B, L]` in [0, 1]: of each label the weighted fraction of the neighbours that have
      it.
    """
    similarity = jnp.dot(embeddings, bank.T, precision=lax.Precision.HIGHEST)
    nearest = lax.top_k(lax.stop_gradient(similarity), neighbours)[0]
    largest = jnp.max(nearest, axis=1, keepdims=True)
    smallest = jnp.min(nearest, axis=1, keepdims=True)
    weights = jnp.exp((similarity - largest) / temperature)
    weights = jnp.where(similarity >= smallest, weights, 0.0)
    votes = jnp.dot(weights, targets, precision=lax.Precision.HIGHEST)
    return votes / jnp.sum(weights, axis=1, keepdims=True)


def blend_logits(
    logits: jax.Array, votes: jax.Array, weight: jax.Array, *, single_label: bool
) -> jax.Array:
    """Logits of `(1 - weight) * score + weight * vote`.

    Args:
      logits: `float32 [B, L]` of the scores.
      votes: `float32 [B, L]` in [0, 1].
      weight: float32, in [0, 1]. At 0 the logits stay as they are.
      single_label: every image has exactly one label: scores are a softmax over the labels, else
        sigmoids.

    Returns:
      `float32 [B, L]`; a softmax, or sigmoids, of which are the blended scores.
    """
    scores = jax.nn.softmax(logits) if single_label else jax.nn.sigmoid(logits)
    blended = jnp.clip((1 - weight) * scores + weight * votes, SMALLEST, 1 - SMALLEST)
    found = jnp.log(blended)
    if not single_label:
        found = found - jnp.log(1 - blended)
    return jnp.where(weight > 0, found, logits)


def centered(embeddings: jax.Array, mean: jax.Array) -> jax.Array:
    """Embeddings `[B, F]` less the mean `[F]` of the bank's, each of length 1."""
    moved = embeddings - mean
    squared = jnp.sum(jnp.square(moved), axis=-1, keepdims=True)
    return moved * lax.rsqrt(jnp.maximum(squared, _SHORTEST))


class Bank(nn.Module):
    """What the net keeps of training images, as parameters that no step moves.

    `embeddings` `[N, F]`, centered; `targets` `[N, L]`; `mean` `[F]`, by which embeddings are
    centered; `weight` `[1]` of the votes, 0 until it is fitted.

    Attributes:
      settings: of the votes.
      num_labels: L.
    """

    settings: VoteSettings
    num_labels: int

    @nn.compact
    def __call__(self, embeddings: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Embeddings of length 1, `float32 [B, F]`, to votes `[B, L]` and their weight."""
        images, neighbours, temperature = self.settings
        zeros = nn.initializers.zeros
        values = embeddings.shape[-1]
        bank = parameter(self, "embeddings", zeros, (images, values))
        targets = parameter(self, "targets", zeros, (images, self.num_labels))
        mean = parameter(self, "mean", zeros, (values,))
        # A vector, since the optimizer joins arrays along an axis.
        weight = parameter(self, "weight", zeros, (1,))
        votes = neighbour_votes(
            centered(embeddings, mean),
            bank,
            targets,
            neighbours=min(neighbours, images),
            temperature=temperature,
        )
        return votes, jnp.clip(weight, 0, 1)
