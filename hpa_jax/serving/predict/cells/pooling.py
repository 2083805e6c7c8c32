"""An image's scores from those of its cells, and how far the cells differ."""

import numpy as np
from scipy.special import expit, logit, softmax

from hpa_jax.serving.predict.cells.request import ATTENTION

_SMALLEST = 1e-8


def pool(probabilities: np.ndarray, how: str, attention: np.ndarray | None = None) -> np.ndarray:
    """One score a label for an image.

    Args:
      probabilities: float32 [N, L] of its N cells, one at least.
      how: one of `request.POOLS`: "mean"; "max", the largest of any cell; "attention", as a field's
        score is made in training (`hpa_jax.models.cell_attention`): logits weighed by the softmax
        of `attention` over the cells.
      attention: float32 [N, L], for that.

    Returns:
      float32 [L].
    """
    if how == "max":
        return probabilities.max(axis=0)
    if how == ATTENTION:
        # Where a float32 is 0 or 1 its logit is beyond what others can make up for, and finite.
        p = np.clip(probabilities.astype(np.float64), _SMALLEST, 1 - _SMALLEST)
        weights = softmax(attention.astype(np.float64), axis=0)
        return expit((weights * logit(p)).sum(axis=0)).astype(np.float32)
    return probabilities.mean(axis=0, dtype=np.float64).astype(np.float32)


def spread(probabilities: np.ndarray) -> np.ndarray:
    """The standard deviation of each label's scores over the cells.

    Args:
      probabilities: float32 [N, L], one cell at least.

    Returns:
      float64 [L], 0 where all cells have the same score and 0.5 at most. It is that of these
      cells, not an estimate for others (the sum is divided by N).
    """
    return probabilities.std(axis=0, dtype=np.float64)


def divergence(probabilities: np.ndarray) -> np.ndarray:
    """How much of a label's uncertainty is that cells differ: a Jensen-Shannon divergence.

    H(mean over cells of p) - mean over cells of H(p), with H(p) the entropy of having the label
    with the probability p, in bits. It is 0 where all cells have the same score, however unsure,
    and 1 where half of them surely have the label and half surely do not.

    Source: Lin, Divergence measures based on the Shannon entropy, IEEE Transactions on Information
    Theory 37, 1991, with equal weights.

    Args:
      probabilities: float32 [N, L], one cell at least.

    Returns:
      float64 [L], 0 to 1.
    """
    wide = probabilities.astype(np.float64)
    found = _entropy(wide.mean(axis=0)) - _entropy(wide).mean(axis=0)
    # Rounding can leave less than nothing.
    return np.maximum(found, 0)


def _entropy(p: np.ndarray) -> np.ndarray:
    """Of a coin, in bits; 0 log 0 is 0."""
    total = np.zeros_like(p)
    for q in (p, 1 - p):
        total -= q * np.log2(np.where(q > 0, q, 1))
    return total
