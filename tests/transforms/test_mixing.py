"""Mixup and cutmix against the formulas of their papers, in NumPy."""

import jax
import numpy as np
import pytest

from hpa_jax.transforms.mixing import Mix, box_weights, draw_mix, mix_images

HEIGHT, WIDTH = 12, 16


def images(batch=8):
    return np.random.default_rng(0).normal(size=(batch, HEIGHT, WIDTH, 2)).astype(np.float32)


def drawn(count, **settings):
    """Weights `[count, H, W]` and fractions `[count]` of as many keys."""
    keys = jax.random.split(jax.random.key(0), count)
    mix = jax.jit(jax.vmap(lambda key: draw_mix(key, HEIGHT, WIDTH, **settings)))(keys)
    return np.asarray(mix.weights), np.asarray(mix.fraction)


def test_mixup_averages_each_image_with_the_next():
    fraction = 0.3
    mix = Mix(np.full((HEIGHT, WIDTH), fraction, np.float32), np.float32(fraction))
    expected = np.empty_like(images())
    for number in range(8):
        other = images()[(number + 1) % 8]
        expected[number] = fraction * images()[number] + (1 - fraction) * other
    np.testing.assert_allclose(mix_images(images(), mix), expected, rtol=1e-5, atol=1e-5)


def test_cutmix_puts_a_box_of_the_next_image_in():
    weights = np.asarray(box_weights(HEIGHT, WIDTH, np.array([0.9, 0.3]), np.float32(0.75)))
    # As in the paper's code: sides of sqrt(1 - 0.75) = half, around pixel (10, 4).
    expected = np.ones((HEIGHT, WIDTH))
    expected[7:12, 0:8] = 0
    np.testing.assert_array_equal(weights, expected)
    mix = draw_mix(jax.random.key(1), HEIGHT, WIDTH, cutmix=1.0)
    box = np.asarray(mix.weights) == 0
    assert 0 < box.mean() < 1
    assert float(mix.fraction) == pytest.approx(1 - box.mean())
    expected = np.where(box[None, :, :, None], np.roll(images(), -1, axis=0), images())
    np.testing.assert_array_equal(mix_images(images(), mix), expected)


@pytest.mark.slow
def test_fractions_are_of_the_beta_distribution_and_kinds_as_often():
    weights, fractions = drawn(1000, mixup=0.4)
    assert (weights == weights[:, :1, :1]).all()
    assert fractions.mean() == pytest.approx(0.5, abs=0.05)
    # Of beta(a, a): 1 / (4 (2 a + 1)).
    assert fractions.var() == pytest.approx(1 / 7.2, abs=0.015)

    weights, fractions = drawn(1000, mixup=0.4, cutmix=1.0, probability=0.75)
    mixed = fractions < 1
    boxes = ((weights == 0) | (weights == 1)).all((1, 2)) & mixed
    # Some boxes have no pixel, which counts as not mixed.
    assert mixed.mean() == pytest.approx(0.75, abs=0.06)
    assert boxes.sum() / mixed.sum() == pytest.approx(0.5, abs=0.07)
    np.testing.assert_array_equal(weights[~mixed], 1)
