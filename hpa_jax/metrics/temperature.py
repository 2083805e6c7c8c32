"""Temperature scaling: one number that makes scores as sure as they should be.

A score `s(z)` becomes `s(z / T)`, with the T that makes the scores of images with known labels most
likely. The order of a label's scores, and so average precision and AUC, stay as they are, and each
decision too if its threshold is moved along. One number for all labels: rare ones have too few
images for one of their own.

References:
  Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, arXiv:1706.04599, section 4.2,
  for a softmax; here of sigmoids, the mean over (image, label) pairs.
"""

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, logit

_SMALLEST = 1e-2
_LARGEST = 1e2

# The largest logit of a score below 1 in float32 is 16.6; of one above 0, -103.
_LARGEST_LOGIT = 20.0


def fit_temperature(scores: np.ndarray, targets: np.ndarray) -> float:
    """The temperature of the largest likelihood.

    The loss is convex in 1 / T: its derivative `mean z (s(z / T) - t)` has one root.

    Args:
      scores: float [N, L] in [0, 1]. Those that are 0 or 1 count as of logits -20 and 20.
      targets: 0/1 [N, L].

    Returns:
      0.01 to 100: where scores separate all targets, no number is sure enough, and it is 0.01; 1
      without scores.
    """
    if not scores.size:
        return 1.0
    logits = _logits(scores)
    positive = targets != 0

    def slope(inverse: float) -> float:
        return float(np.mean(logits * (expit(inverse * logits) - positive)))

    if slope(1 / _LARGEST) >= 0:
        return _LARGEST
    if slope(1 / _SMALLEST) <= 0:
        return _SMALLEST
    return 1 / brentq(slope, 1 / _LARGEST, 1 / _SMALLEST, xtol=1e-9)


def apply_temperature(scores: np.ndarray, temperature: float | np.ndarray) -> np.ndarray:
    """Scores, or thresholds of scores, at a temperature.

    Args:
      scores: float [...] in [0, 1]; 0 and 1 stay.
      temperature: above 0, or an array that goes with `scores`.

    Returns:
      Of the same shape and type.
    """
    with np.errstate(divide="ignore"):
        scaled = expit(logit(np.asarray(scores, np.float64)) / temperature)
    return scaled.astype(scores.dtype)


def crossfit_temperature(scores: np.ndarray, targets: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Each image's scores at the temperature that was fitted without its fold.

    Args:
      scores: float [N, L] in [0, 1].
      targets: 0/1 [N, L].
      fold: int [N], as `crossfitting.assign_folds` gives; a single fold has no other to fit on, and
        its scores stay.

    Returns:
      As `scores`.
    """
    found = scores.copy()
    folds = np.unique(fold)
    if len(folds) < 2:
        return found
    for number in folds:
        own = fold == number
        temperature = fit_temperature(scores[~own], targets[~own])
        found[own] = apply_temperature(scores[own], temperature)
    return found


def _logits(scores: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        logits = logit(np.asarray(scores, np.float64))
    return np.clip(logits, -_LARGEST_LOGIT, _LARGEST_LOGIT)
