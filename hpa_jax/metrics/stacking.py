"""Several models as one: the mean of their scores, with weights fitted on fields that none of them has learnt from.

The weights w (none negative, sum 1) minimise the binary cross entropy of the mixed probabilities p = sum_m w_m s_m,
the mean over all (field, label) pairs. That is convex in w ("stacking" with convex weights: Breiman, "Stacked
regressions", 1996; van der Laan, Polley and Hubbard, "Super Learner", 2007), so that there is one best value, no seed
and nothing to tune. F1 is not convex, and its best weights are mostly luck.

Unusual here: the answer comes with its certificate. With q = p where the label is borne and 1 - p where not, and q_m
the same of model m, the mean of q_m / q is at most 1 for every model at the optimum, and at any w the largest of those
means, less 1, bounds how much better the cross entropy could be. The search goes on until that is below `TOLERANCE`.
"""

import numpy as np
from scipy import optimize

from hpa_jax.metrics import thresholds

TOLERANCE = 1e-9
"""Of the cross entropy, in nats a (field, label) pair."""

SMALLEST = 1e-7
"""Probabilities are kept this far from 0 and 1, as a sure and wrong score would weigh more than all the others."""


def mix(scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The weighted mean of the models' scores: float [M, N, L] and float [M] to float [N, L] of the scores' type."""
    mixed = np.tensordot(np.asarray(weights, np.float64), np.asarray(scores, np.float64), axes=1)
    return np.clip(mixed, 0, 1).astype(np.asarray(scores).dtype)  # weights may sum to 1 + 1e-16


def fit_weights(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The models' weights: float64 [M], none negative, sum 1. Deterministic.

    Models that are equal share their weight equally, and so does everything that no field decides.

    Args:
      scores: float [M, N, L] in [0, 1], of fields that the models were not trained on.
      targets: 0/1 [N, L].
    """
    scores = np.asarray(scores)
    kept = np.clip(scores.reshape(len(scores), -1).astype(np.float64), SMALLEST, 1 - SMALLEST)
    likelihoods = np.where(np.asarray(targets).ravel() != 0, kept, 1 - kept)
    return _maximise(likelihoods)


def _maximise(likelihoods: np.ndarray) -> np.ndarray:
    """The w on the simplex that maximises mean log(w @ likelihoods): float64 [M] from [M, P], all above 0.

    By SciPy's SLSQP, then steps of expectation maximisation, each of which helps, until the certificate holds.
    """
    models = len(likelihoods)

    def gradient(weights: np.ndarray) -> np.ndarray:
        return (likelihoods / (weights @ likelihoods)).mean(1)

    weights = optimize.minimize(
        lambda w: -np.log(w @ likelihoods).mean(),
        np.full(models, 1 / models),
        jac=lambda w: -gradient(w),
        method="SLSQP",
        bounds=[(0, 1)] * models,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like},
        options={"ftol": 1e-15, "maxiter": 500},
    ).x
    for _ in range(200):
        weights = np.maximum(weights, 0) / np.maximum(weights, 0).sum()
        towards = gradient(weights)
        if towards.max() - 1 <= TOLERANCE:
            break
        weights = weights * towards
    return weights


def crossfit_mix(
    scores: np.ndarray,
    targets: np.ndarray,
    *,
    folds: int = 5,
    seed: int = 0,
    groups: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Each field mixed with weights that were fitted without its fold: what the ensemble is worth, honestly.

    Args:
      scores: float [M, N, L] in [0, 1]; targets: 0/1 [N, L].
      folds, seed, groups: of `thresholds.assign_folds`, brought down to the number of fields (or groups). Where one fold
        is all there is, the models weigh the same.

    Returns:
      scores of the mixture, float [N, L], and the weights by fold, float64 [folds, M].
    """
    fields = len(targets)
    folds = min(folds, fields if groups is None else len(np.unique(groups)))
    fold = thresholds.assign_folds(fields, folds, seed, groups)
    weights = np.full((folds, len(scores)), 1 / len(scores))
    mixed = np.empty(scores.shape[1:], scores.dtype)
    for k in range(folds):
        if folds > 1:
            weights[k] = fit_weights(scores[:, fold != k], targets[fold != k])
        mixed[fold == k] = mix(scores[:, fold == k], weights[k])
    return mixed, weights
