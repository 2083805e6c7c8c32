"""Windows and rotations, against SciPy, which samples each pixel for itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates, maximum_filter, minimum_filter

from hpa_jax.transforms.geometry import warp_upright
from hpa_jax.transforms.rotation import warp_rotated


def images(batch=4, height=32, width=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (batch, height, width, 4), np.uint8)


def seen(images, side, center, angle, order):
    """What `warp_rotated` is to show, by SciPy: linear (order 1) or cubic splines (order 3)."""
    height, width = images.shape[1:3]
    y, x = np.meshgrid(
        np.arange(height) - (height - 1) / 2, np.arange(width) - (width - 1) / 2, indexing="ij"
    )

    def one(image, side, center, angle):
        sin, cos = np.sin(angle) * side, np.cos(angle) * side
        at = (
            cos * y - sin * x + (height - 1) / 2 + center[0] * height,
            sin * y + cos * x + (width - 1) / 2 + center[1] * width,
        )
        return np.stack(
            [
                map_coordinates(c, at, order=order, mode="grid-constant")
                for c in np.moveaxis(image, -1, 0)
            ]
        )

    return np.stack(
        [np.moveaxis(one(*each), 0, -1) for each in zip(images, side, center, angle, strict=True)]
    )


def draws(batch, limit, seed=0):
    rng = np.random.default_rng(seed)
    angle = rng.uniform(-limit, limit, batch)
    angle[:2] = limit, -limit
    return rng.uniform(0.7, 1.3, batch), rng.uniform(-0.1, 0.1, (batch, 2)), angle


def rotated(images, side, center, angle, limit):
    return np.asarray(
        jax.jit(lambda *arrays: warp_rotated(*arrays, limit))(
            images, *map(jnp.float32, (side, center, angle))
        )
    )


@pytest.mark.parametrize("degrees", [30, 60, 180])
@pytest.mark.parametrize("shape", [(64, 64), (33, 33), (63, 48)], ids=str)
def test_rotated_windows_are_those_of_scipy(shape, degrees):
    """On soft images, which all interpolations read alike; a pixel off differs by 30 and more."""
    noise = np.random.default_rng(1).uniform(0, 255, (6, *shape, 4))
    soft = gaussian_filter(noise, (0, 3, 3, 0)) - 127.5
    soft = np.clip(soft / soft.std() * 50 + 127.5, 0, 255)
    soft *= (
        np.hanning(shape[0])[:, None, None] * np.hanning(shape[1])[:, None]
    )  # no edge that interpolations ring at
    soft = np.round(soft).astype(np.uint8)
    limit = np.deg2rad(degrees)
    found = rotated(soft, *draws(6, limit), limit)
    wanted = seen(soft.astype(float), *draws(6, limit), order=3)
    assert np.abs(found - wanted).max() < 6
    assert np.sqrt(np.mean((found - wanted) ** 2)) < 0.7


def test_a_rotation_shows_all_that_lies_in_the_window_and_black_beyond():
    white = np.full((6, 64, 64, 4), 255, np.uint8)
    limit = np.deg2rad(45)
    found = rotated(white, *draws(6, limit), limit)
    wanted = seen(white.astype(float), *draws(6, limit), order=1)
    # Corners too, whatever the shears move out and back; three pixels from an edge, where the
    # cubic rings.
    inside = np.stack([minimum_filter(image, 7) for image in wanted[..., 0]]) > 254
    outside = np.stack([maximum_filter(image, 7) for image in wanted[..., 0]]) == 0
    assert inside[:, [0, -1]].any() and found[inside].min() > 254
    assert outside.any() and not found[outside].any()


def test_a_rotation_keeps_more_of_what_is_fine_than_linear_samples_do():
    noise = images(6, 96, 96)
    limit = np.deg2rad(30)
    as_is = np.ones(6), np.zeros((6, 2)), draws(6, limit)[2]
    middle = np.s_[:, 32:-32, 32:-32]
    found = rotated(noise, *as_is, limit)[middle]
    linear = seen(noise.astype(float), *as_is, order=1)[middle]
    assert found.std() > linear.std() + 2


def test_the_two_warps_agree_without_a_rotation():
    stored = images(height=32, width=40)
    side, center, _ = draws(4, 0)
    upright = warp_upright(stored.astype(np.float32), jnp.float32(side), jnp.float32(center))
    np.testing.assert_allclose(
        rotated(stored, side, center, np.zeros(4), 0.5), upright, atol=0.51
    )  # rounded to bytes


@pytest.mark.parametrize("quarters", [1, 2, 3, -1])
def test_quarter_rotations_are_those_of_rot90(quarters):
    stored = images()
    angle = np.full(4, quarters * np.pi / 2)
    found = rotated(stored, np.ones(4), np.zeros((4, 2)), angle, limit=2 * np.pi)
    np.testing.assert_allclose(found, np.rot90(stored, -quarters, (1, 2)), atol=1e-2)


def test_a_window_of_the_full_image_is_the_image():
    stored = images().astype(np.float32)
    np.testing.assert_allclose(
        warp_upright(stored, jnp.ones(4), jnp.zeros((4, 2))), stored, atol=1e-3
    )


def test_half_the_side_shows_the_middle_enlarged():
    ramp = np.broadcast_to(np.arange(64, dtype=np.float32)[None, :, None, None], (1, 64, 64, 4))
    window = warp_upright(ramp, jnp.array([0.5]), jnp.zeros((1, 2)))
    np.testing.assert_allclose(window[0, :, 0, 0], (np.arange(64) - 31.5) * 0.5 + 31.5, atol=1e-3)


def test_a_shifted_window_shows_black_beyond_the_image():
    white = np.full((1, 32, 32, 4), 255, np.uint8)
    window = warp_upright(white.astype(np.float32), jnp.ones(1), jnp.array([[0.5, 0.0]]))
    assert window[0, :15].min() == 255 and window[0, 17:].max() == 0
