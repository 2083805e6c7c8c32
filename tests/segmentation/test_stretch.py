"""Fields of any brightness reach a net alike."""

import numpy as np

from hpa_jax.segmentation.stretch import SMALLEST_RANGE, WHITE, stretch
from tfds_builder.hpa.synthetic.render import render


def test_quantiles_are_numpys_and_the_order_of_values_stays():
    field = render(0, 1, (0,), 96)
    stretched = stretch(field)
    assert stretched.dtype == np.uint8 and stretched.shape == field.shape
    for channel in (0, 2, 3):
        low, high = np.quantile(field[..., channel], (0.01, 0.998), method="inverted_cdf")
        expected = np.clip((field[..., channel] - low) * (WHITE / (high - low)), 0, 255)
        np.testing.assert_allclose(stretched[..., channel], expected, atol=1)


def test_gain_and_background_make_no_difference():
    field = render(0, 1, (0,), 96)
    darker = (field * 0.4 + 20).astype(np.uint8)
    difference = np.abs(stretch(field).astype(int) - stretch(darker))
    # Values that were one in the darker field stay one.
    assert difference.max() <= 8 and difference.mean() < 2.5


def test_noise_is_made_no_signal_and_black_stays_black():
    noise = np.random.default_rng(0).integers(0, 3, (40, 40, 1), np.uint8)
    assert stretch(noise).max() <= 2 * WHITE / SMALLEST_RANGE
    assert not stretch(np.zeros((8, 8, 4), np.uint8)).any()
