"""Pearson, PSNR and SSIM against SciPy and scikit-image, and intervals of their means."""

import numpy as np
import pytest
from scipy.stats import pearsonr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from hpa_jax.metrics.bootstrap import bootstrap_weights, mean_interval
from hpa_jax.metrics.image_similarity import pearson, psnr, similarities, ssim


def test_each_channel_of_each_image_equals_scipy_and_scikit_image():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 256, (2, 17, 23, 3)).astype(np.uint8)
    predicted = np.clip(truth * 0.5 + rng.integers(0, 120, truth.shape), 0, 255)
    found = similarities(predicted, truth)
    for image, channel in np.ndindex(2, 3):
        p, t = predicted[image, ..., channel], truth[image, ..., channel].astype(float)
        expected = {
            "pearson": pearsonr(p.ravel(), t.ravel()).statistic,
            "psnr": peak_signal_noise_ratio(t, p, data_range=255),
            "ssim": structural_similarity(
                t,
                p,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
                data_range=255,
            ),
        }
        for name, value in expected.items():
            assert found[name][image, channel] == pytest.approx(value, abs=1e-12), name
    fractions = ssim(predicted / 255, truth / 255, white=1)
    np.testing.assert_allclose(fractions, found["ssim"])


def test_what_is_not_defined_and_what_is_refused():
    image = np.random.default_rng(1).random((11, 11, 1))
    black = np.zeros_like(image)
    assert np.isnan(pearson(black, image)) and psnr(image, image) == np.inf
    assert ssim(image, image) == pytest.approx(1)
    with pytest.raises(ValueError, match="11 px"):
        ssim(image[:10], image[:10])
    with pytest.raises(ValueError, match="shapes differ"):
        pearson(image, image[:10])


def test_the_interval_of_a_mean_is_that_of_drawn_rows():
    rng = np.random.default_rng(2)
    values = rng.normal(size=(30, 2, 3))
    values[4, 0, 1] = np.nan
    groups = rng.permutation(np.repeat(np.arange(10), 3))
    mean, interval = mean_interval(values, groups, replicates=50, level=0.9, seed=3)
    np.testing.assert_allclose(mean, np.nanmean(values, axis=0))
    drawn = []
    for weights in bootstrap_weights(10, range(50), seed=3).T:
        rows = np.repeat(np.arange(30), weights[groups])
        drawn.append(np.nanmean(values[rows], axis=0))
    np.testing.assert_allclose(
        interval, np.quantile(drawn, [0.05, 0.95], axis=0).transpose(1, 2, 0)
    )
    nothing, ends = mean_interval(np.full((4, 1), np.nan))
    assert np.isnan(nothing).all() and np.isnan(ends).all()
