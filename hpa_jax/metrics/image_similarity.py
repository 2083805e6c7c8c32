"""How like two images are, channel by channel: Pearson correlation, PSNR, SSIM.

Each is computed of one channel of one image; a mean over images, and its interval, is made of
those values (`bootstrap.mean_interval`). They answer different questions: Pearson's coefficient
asks for the pattern and nothing of brightness, PSNR for the values, SSIM for structure in small
windows.

Needs SciPy, so it is imported by name: `from hpa_jax.metrics import image_similarity`.
"""

from collections.abc import Callable

import numpy as np
from scipy.ndimage import gaussian_filter

WHITE = 255.0

_SIGMA = 1.5  # px; the window of SSIM (Wang et al. 2004)
_TRUNCATE = 3.5  # standard deviations of it: 11 x 11 px
_RADIUS = int(_TRUNCATE * _SIGMA + 0.5)
_K1 = 0.01
_K2 = 0.03


def pearson(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Correlation of the pixels' values; NaN where one of the two is constant.

    Args:
      predicted: uint8 or float `[..., H, W, C]`.
      truth: likewise, of that shape.

    Returns:
      float64 `[..., C]`, -1 to 1.
    """
    predicted, truth = _float64(predicted, truth)
    predicted = predicted - predicted.mean((-3, -2), keepdims=True)
    truth = truth - truth.mean((-3, -2), keepdims=True)
    covariance = (predicted * truth).sum((-3, -2))
    variances = (predicted**2).sum((-3, -2)) * (truth**2).sum((-3, -2))
    defined = variances > 0
    return np.where(defined, covariance / np.sqrt(np.where(defined, variances, 1)), np.nan)


def psnr(predicted: np.ndarray, truth: np.ndarray, *, white: float = WHITE) -> np.ndarray:
    """Peak signal-to-noise ratio, `10 log10(white^2 / mean square error)`, in dB.

    Args:
      predicted, truth: as of `pearson`.
      white: the value of the brightest pixel that there can be.

    Returns:
      float64 `[..., C]`; infinite where the two are equal.
    """
    predicted, truth = _float64(predicted, truth)
    error = ((predicted - truth) ** 2).mean((-3, -2))
    with np.errstate(divide="ignore"):
        return 10 * np.log10(white**2 / error)


def ssim(predicted: np.ndarray, truth: np.ndarray, *, white: float = WHITE) -> np.ndarray:
    """Mean structural similarity under a Gaussian window of 1.5 px (11 x 11).

    It is scikit-image's `structural_similarity` with `gaussian_weights=True,
    use_sample_covariance=False`, and the quantity of which
    `hpa_jax.optim.image_losses.ms_ssim` takes several scales.

    Args:
      predicted, truth: as of `pearson`; 11 px a side at least.
      white: as of `psnr`.

    Returns:
      float64 `[..., C]`, at most 1.

    Raises:
      ValueError: the images are smaller than the window.

    References:
      Wang et al. 2004, Image quality assessment: from error visibility to structural similarity,
      https://doi.org/10.1109/TIP.2003.819861.
    """
    predicted, truth = _float64(predicted, truth)
    if min(predicted.shape[-3:-1]) < 2 * _RADIUS + 1:
        raise ValueError(f"SSIM needs {2 * _RADIUS + 1} px a side, not {predicted.shape[-3:-1]}")
    mean_p = _blur(predicted)
    mean_t = _blur(truth)
    variances = _blur(predicted**2) - mean_p**2 + _blur(truth**2) - mean_t**2
    covariance = _blur(predicted * truth) - mean_p * mean_t
    c1 = (_K1 * white) ** 2
    c2 = (_K2 * white) ** 2
    luminance = (2 * mean_p * mean_t + c1) / (mean_p**2 + mean_t**2 + c1)
    contrast_structure = (2 * covariance + c2) / (variances + c2)
    # Where the window leaves the image it sees reflections, which do not count.
    inside = slice(_RADIUS, -_RADIUS)
    return (luminance * contrast_structure)[..., inside, inside, :].mean((-3, -2))


def _blur(images: np.ndarray) -> np.ndarray:
    sigma = [0.0] * images.ndim
    sigma[-3] = sigma[-2] = _SIGMA
    return gaussian_filter(images, sigma, truncate=_TRUNCATE)


def _float64(predicted: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if predicted.shape != truth.shape:
        raise ValueError(f"shapes differ: {predicted.shape} and {truth.shape}")
    return np.asarray(predicted, np.float64), np.asarray(truth, np.float64)


SIMILARITIES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "pearson": pearson,
    "psnr": psnr,
    "ssim": ssim,
}
"""By the name under which each is reported; of images whose white is 255."""


def similarities(predicted: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
    """All of `SIMILARITIES`: float64 `[..., C]` each, of images 0 to 255 `[..., H, W, C]`."""
    return {name: function(predicted, truth) for name, function in SIMILARITIES.items()}
