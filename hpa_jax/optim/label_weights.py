"""How much each label counts in a loss, from how many images have it.

Computed on the host from the labels of the images to train on, once, before the step is compiled.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

WeightSchedule = Callable[[jax.Array], jax.Array]


def positive_weights(targets: np.ndarray, power: float, limit: float) -> np.ndarray:
    """Weights of the positives of each label, for `weighted`.

    `(negatives / positives)^power`, clipped to `1 / limit` to `limit`.

    Args:
      targets: 0/1 `[N, L]` of the images to train on.
      power: 0: all weights are 1; 1: positives and negatives of a label weigh the same together;
        0.5 lies between.
      limit: 1 or more; also the weight of a label without positives.

    Returns:
      float32 `[L]`.
    """
    positives = np.sum(targets, axis=0, dtype=np.float64)
    negatives = len(targets) - positives
    # A label without positives gets infinity here, and the limit below.
    with np.errstate(divide="ignore"):
        ratio = negatives / positives
    return np.clip(ratio**power, 1 / limit, limit).astype(np.float32)


def label_margins(targets: np.ndarray, largest: float) -> np.ndarray:
    """Margins of LDAM: a label of `n` images has `C n^(-1/4)`.

    `C` is such that the rarest label has `largest`.

    Args:
      targets: 0/1 `[N, L]` of the images to train on. A label without positives counts as of one.
      largest: the margin of the rarest label, 0 or more, in units of logits.

    Returns:
      float32 `[L]`.

    References:
      Cao et al. 2019, arXiv:1906.07413, eq. 13 and section 4.
    """
    positives = np.maximum(np.sum(targets, axis=0, dtype=np.float64), 1)
    margins = positives**-0.25
    return (largest * margins / margins.max()).astype(np.float32)


def effective_number_weights(targets: np.ndarray, beta: float) -> np.ndarray:
    """Class-balanced weights: one over the effective number `(1 - beta^n) / (1 - beta)`, mean 1.

    Args:
      targets: 0/1 `[N, L]` of the images to train on. A label without positives counts as of one.
      beta: 0 (all weights are 1) to below 1 (toward one over the number of images).

    Returns:
      float32 `[L]`, of mean 1.

    References:
      Cui et al. 2019, Class-Balanced Loss Based on Effective Number of Samples, arXiv:1901.05555.
    """
    positives = np.maximum(np.sum(targets, axis=0, dtype=np.float64), 1)
    weights = (1 - beta) / (1 - beta**positives)
    return (weights / weights.mean()).astype(np.float32)


def deferred(weights: np.ndarray, start: int) -> WeightSchedule:
    """Weights that come late: 1 before step `start`, `weights` from then on.

    Re-weighting from the first step on makes worse features than none (Cao et al. 2019, section
    3.3); they are learnt first.

    Args:
      weights: float `[L]`.
      start: the first step, from 0, at which they count.

    Returns:
      A function of the step (int, may be traced) to float32 `[L]`.
    """

    def schedule(step: jax.Array) -> jax.Array:
        return jnp.where(step >= start, jnp.asarray(weights, jnp.float32), 1.0)

    return schedule
