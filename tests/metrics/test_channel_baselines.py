"""The baselines against scikit-learn's ridge and SciPy's correlation; sums add up."""

import numpy as np
import pytest
from scipy.stats import pearsonr
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from hpa_jax.labels import CHANNELS
from hpa_jax.metrics import channel_baselines
from hpa_jax.metrics.channel_baselines import FEATURES, best_raw_channel, blurred, fit_ridge


def images(count=3, side=20):
    """Yellow is mostly a blurred red; green is black in all images."""
    rng = np.random.default_rng(0)
    made = rng.integers(0, 256, (count, side, side, 4)).astype(np.uint8)
    made[..., 1] = 0
    for image in made:
        red = blurred(image[..., 0])
        image[..., 3] = np.clip(200 * red[..., 2] + 0.2 * image[..., 2], 0, 255)
    return made


def test_the_ridge_is_scikit_learns_and_any_subset_comes_of_the_same_sums():
    made = images()
    sums = channel_baselines.total(map(channel_baselines.sums_of, made))
    assert (sums.images, sums.pixels) == (3, 1200)
    for sources in (("red", "blue"), ("red", "green", "blue")):
        features, target = [], []
        for image in made:
            planes = [blurred(image[..., CHANNELS.index(source)]) for source in sources]
            features.append(np.concatenate(planes, axis=-1).reshape(400, -1))
            target.append(image[..., 3].ravel() / 255)
        scaled = StandardScaler().fit_transform(np.concatenate(features).astype(float))
        penalty = 0.01
        peer = Ridge(alpha=penalty * len(scaled)).fit(scaled, np.concatenate(target))
        expected = 255 * peer.predict(scaled).reshape(3, 20, 20)
        ridge = fit_ridge(sums, "yellow", sources, penalty)
        assert ridge.weights.shape == (len(sources) * FEATURES,)
        found = np.stack([ridge(image) for image in made])
        np.testing.assert_allclose(found, np.clip(expected, 0, 255), atol=0.02)


def test_the_best_raw_channel_has_the_highest_mean_correlation():
    made = images()
    sums = channel_baselines.total(map(channel_baselines.sums_of, made))
    raw = best_raw_channel(sums, "yellow", ("green", "red", "blue"))
    # Red is, once it is blurred; as it is, the part of blue shows more.
    assert raw.source == "blue"
    expected = np.mean([pearsonr(i[..., 2].ravel(), i[..., 3].ravel()).statistic for i in made])
    assert sums.pearson[2, 3] / 3 == pytest.approx(expected, abs=1e-6)
    # A black channel is like nothing.
    assert sums.pearson[1, 3] == 0
    np.testing.assert_array_equal(raw(made[0]), made[0][..., 2])
