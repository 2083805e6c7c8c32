"""Temperature scaling: one number that makes scores as sure as they should be.

A score `s(z)` becomes `s(z / T)`, with the T that makes the scores of images with known labels most
likely. The order of a label's scores, and so average precision and AUC, stay as they are, and each
decision too if its threshold is moved along. One number for all labels: rare ones have too few
images for one of their own.

Where images have one label each, `s` is a softmax over the labels, whose logits are the logarithms
of its scores up to a constant that does not matter. The order of an image's scores stays, and with
it the decision; that of a label's scores, and its average precision and AUC, may not.

References:
  Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, arXiv:1706.04599, section 4.2,
  for a softmax; for sigmoids the mean is over (image, label) pairs.
"""

from collections.abc import Callable

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, logit, softmax

_SMALLEST = 1e-2
_LARGEST = 1e2

# The largest logit of a score below 1 in float32 is 16.6; of one above 0, -103.
_LARGEST_LOGIT = 20.0
_SMALLEST_LOGARITHM = -103.0


def fit_temperature(
    scores: np.ndarray, targets: np.ndarray, *, single_label: bool = False
) -> float:
    """The temperature of the largest likelihood.

    The loss is convex in 1 / T, so that its derivative has one root: `mean z (s(z / T) - t)` over
    pairs, or over images `mean sum_l z_l (s_l(z / T) - t_l)`.

    Args:
      scores: float [N, L] in [0, 1]. Those that are 0 or 1 count as of logits -20 and 20; of a
        softmax those that are 0 as of logarithms of -103.
      targets: 0/1 [N, L].
      single_label: every image has exactly one label, and its scores sum to 1.

    Returns:
      0.01 to 100: where scores separate all targets, no number is sure enough, and it is 0.01; 1
      without scores.
    """
    if not scores.size:
        return 1.0
    slope_of = _softmax_slope if single_label else _sigmoid_slope
    slope = slope_of(np.asarray(scores, np.float64), targets != 0)
    if slope(1 / _LARGEST) >= 0:
        return _LARGEST
    if slope(1 / _SMALLEST) <= 0:
        return _SMALLEST
    return 1 / brentq(slope, 1 / _LARGEST, 1 / _SMALLEST, xtol=1e-9)


def _sigmoid_slope(scores: np.ndarray, positive: np.ndarray) -> Callable[[float], float]:
    """The derivative of the loss by 1 / T, as a function of 1 / T."""
    with np.errstate(divide="ignore"):
        logits = np.clip(logit(scores), -_LARGEST_LOGIT, _LARGEST_LOGIT)

    def slope(inverse: float) -> float:
        return float(np.mean(logits * (expit(inverse * logits) - positive)))

    return slope


def _softmax_slope(scores: np.ndarray, positive: np.ndarray) -> Callable[[float], float]:
    with np.errstate(divide="ignore"):
        logits = np.maximum(np.log(scores), _SMALLEST_LOGARITHM)

    def slope(inverse: float) -> float:
        gaps = softmax(inverse * logits, axis=1) - positive
        return float(np.mean(np.sum(logits * gaps, axis=1)))

    return slope


def apply_temperature(
    scores: np.ndarray, temperature: float | np.ndarray, *, single_label: bool = False
) -> np.ndarray:
    """Scores, or thresholds of scores, at a temperature.

    Args:
      scores: float [...] in [0, 1]; 0 and 1 stay. With `single_label` [..., L].
      temperature: above 0, or an array that goes with `scores`.
      single_label: as of `fit_temperature`.

    Returns:
      Of the same shape and type.
    """
    exact = np.asarray(scores, np.float64)
    with np.errstate(divide="ignore"):
        if single_label:
            scaled = softmax(np.log(exact) / temperature, axis=-1)
        else:
            scaled = expit(logit(exact) / temperature)
    return scaled.astype(scores.dtype)


def crossfit_temperature(
    scores: np.ndarray, targets: np.ndarray, fold: np.ndarray, *, single_label: bool = False
) -> np.ndarray:
    """Each image's scores at the temperature that was fitted without its fold.

    Args:
      scores: float [N, L] in [0, 1].
      targets: 0/1 [N, L].
      fold: int [N], as `crossfitting.assign_folds` gives; a single fold has no other to fit on, and
        its scores stay.
      single_label: as of `fit_temperature`.

    Returns:
      As `scores`.
    """
    found = scores.copy()
    folds = np.unique(fold)
    if len(folds) < 2:
        return found
    for number in folds:
        own = fold == number
        others = ~own
        temperature = fit_temperature(scores[others], targets[others], single_label=single_label)
        found[own] = apply_temperature(scores[own], temperature, single_label=single_label)
    return found
