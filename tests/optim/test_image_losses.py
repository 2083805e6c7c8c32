"""Image losses against scikit-image and NumPy; masks; gradients that stay finite."""

from functools import cache

import jax
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.stats import pearsonr
from skimage.metrics import structural_similarity

from hpa_jax.errors import InputError
from hpa_jax.optim.image_losses import (
    IMAGE_LOSSES,
    SCALE_WEIGHTS,
    make_image_loss,
    scale_weights,
    ssim_terms,
)

FAST = {"xla_backend_optimization_level": 0}  # compiling is what these tests spend their time on


def pair(side=48, seed=0, batch=2, channels=2):
    """A blurred image and a noisy copy of it, fractions of white."""
    rng = np.random.default_rng(seed)
    noise = rng.random((batch, side, side, channels))
    truth = gaussian_filter(noise, (0, 1, 1, 0))
    predicted = np.clip(0.8 * truth + 0.1 * rng.random(truth.shape), 0, 1)
    return predicted.astype(np.float32), truth.astype(np.float32)


def skimage_ssim(predicted, truth):
    """By scikit-image, `[B, C]`."""
    values = np.zeros((len(truth), truth.shape[-1]))
    for image, channel in np.ndindex(values.shape):
        values[image, channel] = structural_similarity(
            np.float64(predicted[image, ..., channel]),
            np.float64(truth[image, ..., channel]),
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1.0,
        )
    return values


def numpy_gradient(predicted, truth):
    """Step by step, `[B, C]`."""
    values = np.zeros((len(truth), truth.shape[-1]))
    for image, channel in np.ndindex(values.shape):
        p = np.float64(predicted[image, ..., channel])
        t = np.float64(truth[image, ..., channel])
        down = [abs((p[y + 1] - p[y]) - (t[y + 1] - t[y])) for y in range(len(p) - 1)]
        right = [abs((p[:, x + 1] - p[:, x]) - (t[:, x + 1] - t[:, x])) for x in range(len(p) - 1)]
        values[image, channel] = np.mean(down) + np.mean(right)
    return values


def numpy_ms_ssim(predicted, truth, weights):
    """By the paper's formula with SciPy's filter, `[B, C]`."""
    p, t = np.float64(predicted), np.float64(truth)
    product = 1.0
    for scale, weight in enumerate(weights):
        if scale:
            p, t = (0.25 * (a[:, ::2, ::2] + a[:, 1::2, ::2] + a[:, ::2, 1::2] + a[:, 1::2, 1::2])
                    for a in (p, t))  # fmt: skip

        def blur(a):
            return gaussian_filter(a, (0, 1.5, 1.5, 0), truncate=3.5)[:, 5:-5, 5:-5]

        cov = blur(p * t) - blur(p) * blur(t)
        var = blur(p * p) - blur(p) ** 2 + blur(t * t) - blur(t) ** 2
        term = (2 * cov + 9e-4) / (var + 9e-4)
        if scale == len(weights) - 1:
            term *= (2 * blur(p) * blur(t) + 1e-4) / (blur(p) ** 2 + blur(t) ** 2 + 1e-4)
        product = product * term.mean((1, 2)) ** weight
    return product


def test_one_scale_is_scikit_image_and_several_are_the_papers_formula():
    predicted, truth = pair()
    ssim, _ = jax.jit(ssim_terms, compiler_options=FAST)(predicted, truth)
    assert ssim.shape == (2, 38, 38, 2)
    np.testing.assert_allclose(ssim.mean((1, 2)), skimage_ssim(predicted, truth), atol=2e-6)
    # 48 px have three scales, 21 px have one.
    weights = scale_weights(48)
    assert len(weights) == 3 and sum(weights) == pytest.approx(1)
    small = predicted[:, :21, :21], truth[:, :21, :21]
    assert len(scale_weights(21)) == 1 and scale_weights(176) == pytest.approx(SCALE_WEIGHTS, 1e-3)
    mask = np.ones((2, 2))
    loss = jax.jit(IMAGE_LOSSES["ms_ssim"], compiler_options=FAST)
    of_small = loss(*small, mask)
    np.testing.assert_allclose(1 - of_small, skimage_ssim(*small).mean(), atol=2e-6)
    found = loss(predicted, truth, mask)
    np.testing.assert_allclose(
        1 - found, numpy_ms_ssim(predicted, truth, weights).mean(), atol=2e-6
    )
    with pytest.raises(InputError, match="11 px"):
        scale_weights(10)


@cache
def summed():
    """Value and gradient of a sum of them all, compiled once."""
    loss = make_image_loss("l1, gradient:0.5,ms_ssim:2,pearson:0.3")
    return jax.jit(jax.value_and_grad(loss), compiler_options=FAST)


def test_masks_weigh_pairs_and_terms_are_summed():
    predicted, truth = pair(21, seed=1)
    mask = np.array([[1, 0], [1, 1]])
    by_pair = np.abs(np.float64(predicted) - truth).mean((1, 2))
    by_pair += 0.5 * numpy_gradient(predicted, truth)
    by_pair += 2 * (1 - numpy_ms_ssim(predicted, truth, [1.0]))
    for image, channel in np.ndindex(by_pair.shape):
        flat = predicted[image, ..., channel].ravel(), truth[image, ..., channel].ravel()
        by_pair[image, channel] += 0.3 * (1 - pearsonr(*flat).statistic)
    # What does not count may be broken.
    predicted[0, ..., 1] = np.nan
    total, _ = summed()(predicted, truth, mask)
    np.testing.assert_allclose(total, by_pair[mask > 0].mean(), rtol=1e-5)
    assert summed()(predicted, truth, 0 * mask)[0] == 0


def test_the_gradient_is_that_of_differences_and_finite_where_nothing_fits():
    predicted, truth = pair(21, seed=2)
    mask = np.ones((2, 2), int)
    _, found = summed()(predicted, truth, mask)
    # On the way to the truth no difference changes its sign, where the loss has a corner.
    direction = truth - predicted
    step = 0.01
    high, _ = summed()(predicted + step * direction, truth, mask)
    low, _ = summed()(predicted - step * direction, truth, mask)
    slope = float((found * direction).sum())
    assert slope == pytest.approx(float(high - low) / (2 * step), rel=1e-3)
    for other in (np.zeros_like(truth), 1 - truth):
        assert np.isfinite(summed()(other, truth, mask)[1]).all()


@pytest.mark.parametrize(
    ("terms", "message"),
    [("l2", "'l2' is unknown; choose from l1"), ("l1,l1", "twice"), ("l1:0", "not a number above")],
)
def test_terms_that_are_refused(terms, message):
    with pytest.raises(InputError, match=f"config.channels.loss=.*{message}"):
        make_image_loss(terms)
