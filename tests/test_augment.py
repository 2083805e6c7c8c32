"""What the net is shown: channels, normalisation, symmetries, windows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hpa_jax.augment import augment, prepare, warp_turned, warp_upright


def images(batch=4, height=32, width=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (batch, height, width, 4), np.uint8)


def test_prepare_selects_and_normalises():
    stored, mean, std = images(), (0.1, 0.2, 0.3, 0.4), (0.5, 0.6, 0.7, 0.8)
    shown = prepare(stored, channels=(2, 1), mean=mean, std=std)
    wanted = [(stored[..., c] / 255 - mean[c]) / std[c] for c in (2, 1)]
    np.testing.assert_allclose(shown, np.stack(wanted, -1), rtol=1e-5, atol=1e-6)
    assert shown.dtype == jnp.float32


def test_without_settings_nothing_changes():
    np.testing.assert_array_equal(augment(images(), jax.random.key(0), flips=False), images())


def test_flips_are_the_eight_symmetries_evenly():
    one = np.repeat(images(1), 800, axis=0)
    flipped = np.asarray(augment(one, jax.random.key(0), flips=True))
    symmetries = [np.rot90(side, turns) for side in (one[0], one[0][::-1]) for turns in range(4)]
    counts = [sum(np.array_equal(image, symmetry) for image in flipped) for symmetry in symmetries]
    assert sum(counts) == 800 and min(counts) > 60


def test_images_that_are_not_square_keep_their_shape():
    assert augment(images(height=32, width=48), jax.random.key(0), flips=True, scale=(0.5, 1)).shape == (4, 32, 48, 4)


def test_the_two_warps_agree_without_a_turn():
    stored = images(height=32, width=40).astype(np.float32)
    side, centre = jnp.array([1.0, 0.6, 1.3, 0.9]), jnp.array([[0, 0], [0.1, -0.2], [0.05, 0], [-0.3, 0.3]])
    upright = warp_upright(stored, side, centre)
    turned = warp_turned(stored, side, centre, jnp.zeros(4))
    np.testing.assert_allclose(upright, turned, atol=1e-2)


def test_a_window_of_the_whole_image_is_the_image():
    stored = images().astype(np.float32)
    np.testing.assert_allclose(warp_upright(stored, jnp.ones(4), jnp.zeros((4, 2))), stored, atol=1e-3)


def test_a_quarter_turn_is_rot90():
    stored = images().astype(np.float32)
    turned = warp_turned(stored, jnp.ones(4), jnp.zeros((4, 2)), jnp.full(4, jnp.pi / 2))
    np.testing.assert_allclose(turned[:, 1:-1, 1:-1], np.rot90(stored, -1, (1, 2))[:, 1:-1, 1:-1], atol=1e-1)


def test_half_the_side_shows_the_middle_enlarged():
    ramp = np.broadcast_to(np.arange(64, dtype=np.float32)[None, :, None, None], (1, 64, 64, 4))
    window = warp_upright(ramp, jnp.array([0.5]), jnp.zeros((1, 2)))
    np.testing.assert_allclose(window[0, :, 0, 0], (np.arange(64) - 31.5) * 0.5 + 31.5, atol=1e-3)


def test_a_shifted_window_shows_black_beyond_the_image():
    white = np.full((1, 32, 32, 4), 255, np.uint8)
    window = warp_upright(white.astype(np.float32), jnp.ones(1), jnp.array([[0.5, 0.0]]))
    assert window[0, :15].min() == 255 and window[0, 17:].max() == 0


@pytest.mark.parametrize("seed", range(3))
def test_every_image_is_drawn_for_itself(seed):
    same = np.repeat(images(1), 8, axis=0)
    drawn = np.asarray(augment(same, jax.random.key(seed), flips=False, scale=(0.6, 0.9), shift=0.1))
    assert len({image.tobytes() for image in drawn}) == 8
