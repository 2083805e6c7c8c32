"""Brightness and contrast of channels, against torchvision's formulas and by hand."""

import jax
import numpy as np
import pytest

from hpa_jax.transforms.augment import augment_images
from hpa_jax.transforms.intensity import adjust_brightness, adjust_contrast, jitter, rescale_protein

GREEN = 1


def images(batch=3, seed=0):
    drawn = np.random.default_rng(seed).integers(0, 200, (batch, 16, 12, 4)).astype(np.float32)
    drawn[-1, :, :, 3] = 0  # a channel that was not imaged
    return drawn


def blended(plane, other, ratio):
    """As torchvision blends an image of floats, 0 to 1, in float64."""
    return np.clip(ratio * plane + (1 - ratio) * other, 0, 1)


@pytest.mark.parametrize(
    ("ours", "other_of"), [(adjust_contrast, np.mean), (adjust_brightness, np.zeros_like)]
)
def test_each_channel_is_changed_as_torchvision_changes_an_image_of_one(ours, other_of):
    factors = np.random.default_rng(1).uniform(0, 3, (3, 4)).astype(np.float32)
    found = np.asarray(ours(images(), factors))
    for number, channel in np.ndindex(3, 4):
        plane = images()[number, :, :, channel].astype(np.float64) / 255
        expected = blended(plane, other_of(plane), factors[number, channel]) * 255
        np.testing.assert_allclose(found[number, :, :, channel], expected, rtol=1e-4, atol=1e-3)
    assert found.max() == 255  # some were clipped
    assert not found[-1, :, :, 3].any()


def test_the_protein_is_rescaled_by_the_brightest_pixel_of_any_channel():
    stored = images()
    stored[1] = 0
    found = np.asarray(rescale_protein(stored, np.array([0.5, 2.0, np.nan], np.float32)))
    expected = stored.copy()
    expected[0, :, :, GREEN] *= 0.5 / (stored[0].max() / 255)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_draws_are_those_that_are_asked_for():
    """Each image and channel for itself, with the stated frequency and spread."""
    one = np.full((2000, 1, 2, 4), 100, np.float32)
    key = jax.random.key(0)
    protein = np.asarray(jitter(one, key, protein_contrast=0.2))
    assert (protein[..., [0, 2, 3]] == 100).all()
    changed = protein[:, 0, 0, GREEN] != 100
    assert changed.mean() == pytest.approx(0.2, abs=0.04)
    # 0 to 2 times white over the brightest, which is its own: 0 to 510, clipped at 255.
    assert (protein[changed, 0, 0, GREEN] == 255).mean() == pytest.approx(0.5, abs=0.1)

    exposed = np.asarray(jitter(one, key, exposure=0.2))[:, 0, 0] / 100
    assert (exposed == exposed[:, :1]).all()
    assert exposed[:, 0].std() == pytest.approx(0.2, abs=0.02)

    factors = np.asarray(jitter(one, key, brightness=0.2))[:, 0, 0] / 100
    assert factors.mean() == pytest.approx(1, abs=0.02)
    assert factors.std() == pytest.approx(0.2, abs=0.02)
    assert factors.min() >= 0.5
    correlations = np.corrcoef(factors.T) - np.eye(4)
    assert np.abs(correlations).max() < 0.1

    both = jitter(one, key, brightness=0.2, protein_contrast=0.2)
    np.testing.assert_allclose(np.asarray(both)[~changed, 0, 0] / 100, factors[~changed], rtol=1e-5)


def test_they_leave_all_other_draws_and_images_outside_of_rows():
    stored = images().astype(np.uint8)
    key = jax.random.key(3)
    settings = {"flips": True, "channel_dropout": 0.5}
    plain = np.asarray(augment_images(stored, key, **settings))
    rows = np.array([True, False, True])
    varied = augment_images(stored, key, rows=rows, brightness=0.3, contrast=0.2, **settings)
    varied = np.asarray(varied)
    # The same channels are black. What is outside of rows keeps its pixels but for those.
    np.testing.assert_array_equal((varied == 0).all((1, 2)), (plain == 0).all((1, 2)))
    kept = varied[1].any((0, 1))
    np.testing.assert_array_equal(varied[1][:, :, kept], stored[1][:, :, kept])
    assert not np.allclose(varied[0], plain[0])
