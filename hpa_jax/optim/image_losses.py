"""Losses between an image that a net makes and the true one, and weighted sums of them.

Every loss is a pure function of a predicted image and a true one, `[B, H, W, C]` as fractions of
white, and of a mask `[B, C]` that says which channels of which image count; it returns one float32
scalar, the mean over those (image, channel) pairs. A batch in which each image has other targets,
as channel dropout draws them, is thus one array.

- `l1`: mean absolute difference. Its best constant is the median, so it blurs less than the square
  would.
- `gradient`: mean absolute difference of the steps from pixel to pixel: edges where they belong.
- `ms_ssim`: 1 - MS-SSIM: structure at several scales, whatever the brightness.
- `pearson`: 1 - the correlation of all pixels: the pattern, whatever offset and contrast.

To add one: write it here, add it to `IMAGE_LOSSES`, and a NumPy reference to
`tests/optim/test_image_losses.py`.

Note: the batch is always the global one; jitted with a sharded batch, only sums cross devices. In
`ms_ssim` rows at the edges of a shard do where the height is sharded.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from hpa_jax.errors import InputError
from hpa_jax.optim.terms import parse_weights

ImageLoss = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
"""Of predicted and true images `[B, H, W, C]` and a mask `[B, C]`, to a float32 scalar."""

SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of MS-SSIM from the finest scale on (Wang et al. 2003, section 3.2)."""

SIGMA = 1.5
"""Standard deviation in px of the window of SSIM (Wang et al. 2004)."""

RADIUS = 5
"""px on either side of the window's center: 3.5 standard deviations, as scikit-image cuts it."""

WINDOW = 2 * RADIUS + 1

_CONSTANT = 1e-16
_K1 = 0.01
_K2 = 0.03


def l1(predicted: jax.Array, truth: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean absolute difference, in fractions of white.

    Args:
      predicted: float `[B, H, W, C]`, fractions of white; computed in float32.
      truth: likewise.
      mask: `[B, C]`, 1 for the channels that count, else 0.

    Returns:
      float32 scalar, the mean over the pairs that count; 0 where none does.
    """
    predicted, truth = _float32(predicted, truth)
    by_pair = jnp.mean(jnp.abs(predicted - truth), axis=(1, 2))
    return masked_mean(by_pair, mask)


def gradient(predicted: jax.Array, truth: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean absolute difference of the steps from each pixel to the next, down and to the right.

    `mean |d_y p - d_y t| + mean |d_x p - d_x t|`, `d` the difference of neighbours. (Mathieu et al.
    compare the sizes of the steps; here the direction counts as well, so that an inverted edge is
    no match.)

    Args:
      predicted, truth, mask: as of `l1`; two pixels a side at least.

    Returns:
      float32 scalar, as of `l1`.

    References:
      Mathieu et al. 2016, Deep multi-scale video prediction beyond mean square error,
      arXiv:1511.05440, eq. 6.
    """
    predicted, truth = _float32(predicted, truth)
    difference = predicted - truth
    down = jnp.diff(difference, axis=1)
    right = jnp.diff(difference, axis=2)
    by_pair = jnp.mean(jnp.abs(down), axis=(1, 2)) + jnp.mean(jnp.abs(right), axis=(1, 2))
    return masked_mean(by_pair, mask)


def ms_ssim(predicted: jax.Array, truth: jax.Array, mask: jax.Array) -> jax.Array:
    """1 - MS-SSIM: `1 - l_S^w_S prod_s cs_s^w_s`, scales `s` by halving, from the finest on.

    `cs_s` is the mean contrast and structure term of a scale, `l_S` the luminance term of the
    coarsest, both as in `ssim_terms`; a term below 0 counts as 0, which has no root. Where an image
    is too small for five scales the finer ones' weights are made to sum to 1 again.

    Args:
      predicted, truth, mask: as of `l1`; 11 px a side at least.

    Returns:
      float32 scalar, as of `l1`.

    References:
      Wang, Simoncelli & Bovik 2003, Multiscale structural similarity for image quality assessment,
      https://doi.org/10.1109/ACSSC.2003.1292216. As a loss: Zhao et al. 2017, arXiv:1511.08861.
    """
    predicted, truth = _float32(predicted, truth)
    weights = scale_weights(min(predicted.shape[1:3]))
    similarity = 1.0
    for scale, weight in enumerate(weights):
        if scale:
            predicted = _halve(predicted)
            truth = _halve(truth)
        ssim, contrast_structure = ssim_terms(predicted, truth)
        # At the coarsest scale the luminance counts too.
        is_last = scale == len(weights) - 1
        term = ssim if is_last else contrast_structure
        similarity = similarity * _power(jnp.mean(term, axis=(1, 2)), weight)
    return masked_mean(1 - similarity, mask)


def pearson(predicted: jax.Array, truth: jax.Array, mask: jax.Array) -> jax.Array:
    """1 - Pearson's coefficient of the pixels.

    Args:
      predicted, truth, mask: as of `l1`. A constant channel counts as uncorrelated.

    Returns:
      float32 scalar, as of `l1`.
    """
    return masked_mean(1 - correlations(predicted, truth), mask)


def correlations(predicted: jax.Array, truth: jax.Array) -> jax.Array:
    """Pearson's coefficient of each channel of each image, float32 `[B, C]`.

    Args:
      predicted, truth: as of `l1`. Where one of them is constant it is 0.
    """
    predicted, truth = _float32(predicted, truth)
    predicted = predicted - jnp.mean(predicted, axis=(1, 2), keepdims=True)
    truth = truth - jnp.mean(truth, axis=(1, 2), keepdims=True)
    covariance = jnp.mean(predicted * truth, axis=(1, 2))
    variances = jnp.mean(predicted**2, axis=(1, 2)) * jnp.mean(truth**2, axis=(1, 2))
    # The root has no gradient at 0, and a variance below a thousandth of a grey level is rounding.
    defined = variances > _CONSTANT
    root = jnp.sqrt(jnp.where(defined, variances, 1))
    return jnp.where(defined, covariance / root, 0)


def scale_weights(side: int) -> tuple[float, ...]:
    """The exponents of the scales that an image of this shorter side (px) has; their sum is 1.

    Raises:
      InputError: it has no room for one window.
    """
    if side < WINDOW:
        raise InputError(
            f"ms_ssim needs images of {WINDOW} px a side at least, not {side}; give a larger "
            "config.data.image_size, or leave it out of the losses"
        )
    scales = 1
    while scales < len(SCALE_WEIGHTS) and side >> scales >= WINDOW:
        scales += 1
    chosen = np.array(SCALE_WEIGHTS[:scales])
    return tuple((chosen / chosen.sum()).tolist())


def ssim_terms(predicted: jax.Array, truth: jax.Array) -> tuple[jax.Array, jax.Array]:
    """SSIM and its contrast and structure factor, at each place that has a complete window.

    `cs = (2 s_pt + c2) / (s_pp + s_tt + c2)` and `ssim = cs (2 m_p m_t + c1) / (m_p^2 + m_t^2 +
    c1)`, with `m` means and `s` covariances under a Gaussian window of 1.5 px, `c1 = 0.01^2` and
    `c2 = 0.03^2`, white being 1. Its mean is scikit-image's `structural_similarity` with
    `gaussian_weights=True, use_sample_covariance=False, data_range=1`.

    Args:
      predicted, truth: float32 `[B, H, W, C]`, fractions of white.

    Returns:
      float32 `[B, H - 10, W - 10, C]` each.

    References:
      Wang et al. 2004, Image quality assessment: from error visibility to structural similarity,
      https://doi.org/10.1109/TIP.2003.819861.
    """
    maps = [predicted, truth, predicted**2, truth**2, predicted * truth]
    blurred = _blur(jnp.concatenate(maps, axis=-1))
    mean_p, mean_t, square_p, square_t, product = jnp.split(blurred, len(maps), axis=-1)
    variances = square_p - mean_p**2 + square_t - mean_t**2
    covariance = product - mean_p * mean_t
    contrast_structure = (2 * covariance + _K2**2) / (variances + _K2**2)
    luminance = (2 * mean_p * mean_t + _K1**2) / (mean_p**2 + mean_t**2 + _K1**2)
    return contrast_structure * luminance, contrast_structure


def masked_mean(by_pair: jax.Array, mask: jax.Array) -> jax.Array:
    """The mean of `[B, C]` over the pairs whose mask is 1; 0 where there is none."""
    mask = jnp.asarray(mask, jnp.float32)
    # A pair that does not count may be anything, NaN too.
    counted = jnp.where(mask > 0, by_pair, 0)
    return jnp.sum(counted * mask) / jnp.maximum(jnp.sum(mask), 1)


def _float32(predicted: jax.Array, truth: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jnp.asarray(predicted, jnp.float32), jnp.asarray(truth, jnp.float32)


def _window() -> np.ndarray:
    """Weights of the window along one axis: float64 `[11]`, their sum 1."""
    distance = np.arange(-RADIUS, RADIUS + 1)
    weights = np.exp(-(distance**2) / (2 * SIGMA**2))
    return weights / weights.sum()


def _blur(images: jax.Array) -> jax.Array:
    """The window's weighted mean at each place that has a complete one, `[B, H - 10, W - 10, C]`.

    Written as shifted sums, which XLA fuses into one pass; a convolution channel by channel is
    slower on every kind of device.
    """
    for axis in (1, 2):
        length = images.shape[axis] - WINDOW + 1
        total = 0.0
        for shift, weight in enumerate(_window().tolist()):
            part = jax.lax.slice_in_dim(images, shift, shift + length, axis=axis)
            total = total + weight * part
        images = total
    return images


def _halve(images: jax.Array) -> jax.Array:
    """Means of 2 x 2 pixels; an odd last row or column is left out."""
    batch, height, width, channels = images.shape
    height = height // 2
    width = width // 2
    even = images[:, : 2 * height, : 2 * width]
    blocks = even.reshape(batch, height, 2, width, 2, channels)
    return jnp.mean(blocks, axis=(2, 4))


def _power(base: jax.Array, exponent: float) -> jax.Array:
    """`base^exponent`, 0 below 0; there and at 0 the gradient is 0, where it would be infinite."""
    positive = base > 0
    safe = jnp.where(positive, base, 1)
    return jnp.where(positive, safe**exponent, 0)


IMAGE_LOSSES: dict[str, ImageLoss] = {
    "l1": l1,
    "gradient": gradient,
    "ms_ssim": ms_ssim,
    "pearson": pearson,
}


def make_image_loss(terms: str, setting: str = "config.channels.loss") -> ImageLoss:
    """Makes a loss, or a weighted sum of losses.

    Args:
      terms: "NAME" or "NAME:WEIGHT" (default 1), several separated by commas: "l1,ms_ssim:0.5".
      setting: that the text is of, for messages.

    Raises:
      InputError: an unknown name, a name twice, or a weight that is not a number above 0.
    """
    weights = parse_weights(terms, IMAGE_LOSSES, setting)

    def loss(predicted: jax.Array, truth: jax.Array, mask: jax.Array) -> jax.Array:
        total = jnp.float32(0)
        for name, weight in weights.items():
            total = total + weight * IMAGE_LOSSES[name](predicted, truth, mask)
        return total

    return loss
