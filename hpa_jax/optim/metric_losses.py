"""Losses on embeddings, for metric learning: images that belong together shall lie close.

Pure functions of embeddings `[B, E]`; all is computed in float32, whatever comes in. There are two:

- `arcface`: each class (an antibody, a set of labels) has a learnt direction, and an image is to
  lie nearer to its own than to any other, with an angle to spare. It needs no two images of a class
  in one batch;
- `supervised_contrastive`: images of one batch attract each other by how much they have in common.
  It needs no weights of its own, and batches with positives (`hpa_jax/data/group_sampler.py`).

Notes:
- the batch is always the global one: jitted with a sharded batch, the value is the unsharded one;
- what follows from labels is computed apart (`LABEL_SET_WEIGHTS`, `same_class_weights`), so that
  the contrastive loss can be shown another notion of belonging together.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

# Squared length below which an embedding has no direction, and becomes zeros.
_SHORTEST = 1e-12


def normalized(embeddings: jax.Array) -> jax.Array:
    """Each row with a length of 1, float32; a row of zeros stays, with a finite gradient.

    Args:
      embeddings: float `[..., E]`.
    """
    embeddings = jnp.asarray(embeddings, jnp.float32)
    squared = jnp.sum(embeddings**2, axis=-1, keepdims=True)
    return embeddings * jax.lax.rsqrt(jnp.maximum(squared, _SHORTEST))


def cosines(embeddings: jax.Array, others: jax.Array) -> jax.Array:
    """The cosine of each pair of rows.

    Args:
      embeddings: float `[B, E]`.
      others: float `[C, E]`.

    Returns:
      float32 `[B, C]`, -1 to 1 up to rounding.
    """
    # A GPU or TPU would multiply in fewer bits, and scale times the error is in the loss.
    return jnp.matmul(normalized(embeddings), normalized(others).T, precision="highest")


def arcface(
    embeddings: jax.Array,
    class_weights: jax.Array,
    classes: jax.Array,
    *,
    scale: float = 30.0,
    margin: float = 0.5,
) -> jax.Array:
    """ArcFace: cross entropy of scaled cosines, where an image's own class is held further off.

    `mean -log softmax(s u)_c` over the classes, with `u_j = cos(theta_j)` for the others and
    `u_c = cos(theta_c + m)` for the image's own class c, `theta_j` the angle between the embedding
    and the weight of class j. Beyond `theta_c > pi - m`, where that cosine would rise again,
    `u_c = cos(theta_c) - m sin(m)` goes on falling (the margin is not "easy").

    The challenge's winners averaged this with the cross entropy of the unscaled cosines, which over
    thousands of classes is almost constant; that term is left out here.

    Args:
      embeddings: float `[B, E]`, of any length: they are normalized.
      class_weights: float `[C, E]`, the learnt directions; normalized likewise.
      classes: int `[B]`, each image's class, 0 to C - 1.
      scale: s, above 0; 30 as the winners', 64 in the paper.
      margin: m in radians, 0 to below pi; 0.5 as the winners' and in the paper.

    Returns:
      float32 scalar, the mean over the images.

    References:
      Deng et al. 2019, ArcFace, arXiv:1801.07698, eq. 3; `ArcFaceLoss` of the winners
      (bestfitting/src/layers/loss.py, CellProfiling/HPA-competition-solutions).
    """
    found = cosines(embeddings, class_weights)
    logits = scale * with_margin(found, classes, margin=margin)
    log_likelihood = jax.nn.log_softmax(logits, axis=-1)
    own = jnp.take_along_axis(log_likelihood, classes[:, None].astype(jnp.int32), axis=-1)
    return -jnp.mean(own)


def with_margin(found: jax.Array, classes: jax.Array, *, margin: float) -> jax.Array:
    """Cosines in which that of each image's own class is lowered by the margin (`arcface`).

    Value and gradient are finite at every cosine, at -1 and 1 as well.

    Args:
      found: float `[B, C]`, cosines.
      classes: int `[B]`.
      margin: radians, 0 to below pi.

    Returns:
      float32 `[B, C]`.
    """
    found = jnp.asarray(found, jnp.float32)
    # As a product: 1 - cos^2 would lose the digits that matter near 1.
    squared_sine = (1 - found) * (1 + found)
    # The root is infinitely steep at 0, where rounding may even have gone below it: the inner
    # selection keeps that out of the gradient.
    is_inside = squared_sine > 0
    sine = jnp.where(is_inside, jnp.sqrt(jnp.where(is_inside, squared_sine, 1.0)), 0.0)
    turned = found * math.cos(margin) - sine * math.sin(margin)
    beyond = found - margin * math.sin(margin)
    lowered = jnp.where(found > math.cos(math.pi - margin), turned, beyond)
    is_own = jnp.arange(found.shape[-1]) == classes[:, None]
    return jnp.where(is_own, lowered, found)


def supervised_contrastive(
    embeddings: jax.Array, weights: jax.Array, *, temperature: float = 0.1
) -> jax.Array:
    """Supervised contrastive loss with a weight for each pair of images of a batch.

    For image i, over the other images of the batch:
    `l_i = -sum_j w_ij log softmax_j(cos_ij / t) / sum_j w_ij`; the loss is the mean of `l_i` over
    the images that have a pair of weight above 0. With weights of 0 and 1 it is the paper's
    `L_out`.

    Args:
      embeddings: float `[B, E]`, of any length: they are normalized.
      weights: float `[B, B]`, 0 or more, how much two images belong together; the diagonal is left
        out of account. See `LABEL_SET_WEIGHTS` and `same_class_weights`.
      temperature: t, above 0; 0.1 is the best of the paper's (fig. 4).

    Returns:
      float32 scalar; 0 where no two images belong together.

    References:
      Khosla et al. 2020, Supervised Contrastive Learning, arXiv:2004.11362, eq. 2.
    """
    similarities = cosines(embeddings, embeddings) / temperature
    is_other = ~jnp.eye(len(embeddings), dtype=bool)
    # Not -inf, whose product with a weight of 0 would be no number.
    similarities = jnp.where(is_other, similarities, jnp.finfo(jnp.float32).min)
    log_likelihood = jax.nn.log_softmax(similarities, axis=-1)
    weights = jnp.where(is_other, jnp.asarray(weights, jnp.float32), 0.0)
    totals = jnp.sum(weights, axis=-1)
    has_positive = totals > 0
    sums = -jnp.sum(jnp.where(weights > 0, weights * log_likelihood, 0.0), axis=-1)
    by_image = jnp.where(has_positive, sums / jnp.where(has_positive, totals, 1.0), 0.0)
    return jnp.sum(by_image) / jnp.maximum(jnp.sum(has_positive), 1)


def jaccard(targets: jax.Array) -> jax.Array:
    """How much of their labels two images share: |A and B| / |A or B|.

    Graded, since images here have one to five of 28 labels: where labels are as frequent as in the
    challenge, 30 % of all pairs share a label and 4 % share all of them, so that the strict rule
    (`same_set`) would push apart seven of eight pairs that have something in common. It is the
    weight of JSCL.

    Args:
      targets: 0/1 `[B, L]`.

    Returns:
      float32 `[B, B]`, 0 to 1; 0 for an image without labels, which shares none.

    References:
      Lin et al. 2023, An Effective Deployment of Contrastive Learning in Multi-label Text
      Classification, arXiv:2212.00552 (JSCL).
    """
    targets = (targets > 0).astype(jnp.float32)
    shared = jnp.matmul(targets, targets.T, precision="highest")
    counts = jnp.sum(targets, axis=-1)
    united = counts[:, None] + counts[None, :] - shared
    return shared / jnp.maximum(united, 1.0)


def same_set(targets: jax.Array) -> jax.Array:
    """Whether two images have exactly the same labels, and at least one.

    Args:
      targets: 0/1 `[B, L]`.

    Returns:
      float32 `[B, B]`, 0 or 1.

    References:
      Lin et al. 2023, arXiv:2212.00552 (SCL, the strict one).
    """
    return (jaccard(targets) == 1).astype(jnp.float32)


LABEL_SET_WEIGHTS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "jaccard": jaccard,
    "same_set": same_set,
}
"""How much two images belong together, from their labels."""


def same_class_weights(classes: jax.Array) -> jax.Array:
    """Whether two images are of one class.

    Args:
      classes: int `[B]`.

    Returns:
      float32 `[B, B]`, 0 or 1.
    """
    return (classes[:, None] == classes[None, :]).astype(jnp.float32)
