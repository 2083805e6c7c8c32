"""Several models as one: their scores averaged with fitted weights.

The weights w (none negative, sum 1) minimize the binary cross entropy of the averaged probabilities
p = sum_m w_m s_m, the mean over all (image, label) pairs. That is convex in w ("stacking" with
convex weights), so that there is one best value, no seed and nothing to tune. F1 is not convex, and
its best weights are mostly luck.

Notes:
- The answer comes with its certificate. With q = p for a positive and 1 - p for a negative, and q_m
  the same of model m, the mean of q_m / q is at most 1 for every model at the optimum, and at any w
  the largest of those means, less 1, bounds how much better the cross entropy could be. The search
  continues until that is below `TOLERANCE`.

References:
  Breiman, "Stacked Regressions", Machine Learning 24 (1996). van der Laan, Polley and Hubbard,
  "Super Learner", Statistical Applications in Genetics and Molecular Biology 6 (2007).
"""

import numpy as np
from scipy import optimize

from hpa_jax.metrics.crossfitting import assign_folds

TOLERANCE = 1e-9
"""Of the cross entropy, in nats an (image, label) pair."""

SMALLEST = 1e-7
"""Probabilities are kept this far from 0 and 1, as a sure and wrong score would outweigh all the
others.
"""


def weighted_mean(scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The weighted mean of the models' scores.

    Args:
      scores: float [M, N, L] in [0, 1].
      weights: float [M], sum 1.

    Returns:
      [N, L], of the scores' type.
    """
    mean = np.tensordot(np.asarray(weights, np.float64), np.asarray(scores, np.float64), axes=1)
    # Weights may sum to 1 + 1e-16.
    return np.clip(mean, 0, 1).astype(np.asarray(scores).dtype)


def fit_weights(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The models' weights. Deterministic.

    Models that are equal share their weight equally, and so does everything that no image decides.

    Args:
      scores: float [M, N, L] in [0, 1], of images that the models were not trained on.
      targets: 0/1 [N, L].

    Returns:
      float64 [M], none negative, sum 1.
    """
    scores = np.asarray(scores)
    by_model = scores.reshape(len(scores), -1).astype(np.float64)
    by_model = np.clip(by_model, SMALLEST, 1 - SMALLEST)
    positive = np.asarray(targets).ravel() != 0
    return _maximize(np.where(positive, by_model, 1 - by_model))


def _maximize(likelihoods: np.ndarray) -> np.ndarray:
    """The w on the simplex that maximizes mean log(w @ likelihoods).

    By SciPy's SLSQP, then steps of expectation maximization, each of which helps, until the
    certificate holds.

    Args:
      likelihoods: float64 [M, P], all above 0.

    Returns:
      float64 [M].
    """
    models = len(likelihoods)

    def loss(weights: np.ndarray) -> float:
        return -np.log(weights @ likelihoods).mean()

    def gain(weights: np.ndarray) -> np.ndarray:
        return (likelihoods / (weights @ likelihoods)).mean(1)

    sum_is_one = {"type": "eq", "fun": lambda weights: weights.sum() - 1, "jac": np.ones_like}
    weights = optimize.minimize(
        loss,
        np.full(models, 1 / models),
        jac=lambda weights: -gain(weights),
        method="SLSQP",
        bounds=[(0, 1)] * models,
        constraints=sum_is_one,
        options={"ftol": 1e-15, "maxiter": 500},
    ).x
    # Not the tolerance of SLSQP decides, but the certificate; a step never makes it worse.
    for _ in range(200):
        weights = np.maximum(weights, 0) / np.maximum(weights, 0).sum()
        gains = gain(weights)
        if gains.max() - 1 <= TOLERANCE:
            break
        weights = weights * gains
    return weights


def crossfit_mean(
    scores: np.ndarray,
    targets: np.ndarray,
    *,
    folds: int = 5,
    seed: int = 0,
    groups: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Each image's scores averaged with weights that were fitted without its fold.

    Args:
      scores: float [M, N, L] in [0, 1].
      targets: 0/1 [N, L].
      folds: of `assign_folds`, lowered to the number of images (or groups). Where there is only one
        fold, the models weigh the same.
      seed: of `assign_folds`.
      groups: of `assign_folds`.

    Returns:
      The ensemble's scores, float [N, L], and the weights by fold, float64 [folds, M].
    """
    models, images, labels = scores.shape
    units = images
    if groups is not None:
        units = len(np.unique(groups))
    folds = min(folds, units)
    fold = assign_folds(images, folds, seed, groups)
    weights = np.full((folds, models), 1 / models)
    averaged = np.empty((images, labels), scores.dtype)
    for k in range(folds):
        held_out = fold == k
        if folds > 1:
            weights[k] = fit_weights(scores[:, ~held_out], targets[~held_out])
        averaged[held_out] = weighted_mean(scores[:, held_out], weights[k])
    return averaged, weights
