"""Images that are not square where a net takes squares."""

import cv2
import numpy as np
import pytest

from hpa_jax.images.resize import fit_square, resize


def disc(height: int, width: int, radius: int) -> np.ndarray:
    """A bright disc in the middle, uint8 [H, W, 4]."""
    rows, columns = np.ogrid[:height, :width]
    distance = np.hypot(rows - (height - 1) / 2, columns - (width - 1) / 2)
    return np.repeat((255 * (distance <= radius)).astype(np.uint8)[..., None], 4, axis=2)


def extent(image: np.ndarray) -> tuple[int, int]:
    """Height and width of what is bright."""
    bright = image[..., 1] > 127
    return int(bright.any(axis=1).sum()), int(bright.any(axis=0).sum())


@pytest.mark.parametrize(
    "aspect, expected",
    [("stretch", (40, 20)), ("pad", (20, 20)), ("crop", (40, 40))],
)
@pytest.mark.parametrize("is_turned", [False, True])
def test_a_disc_keeps_its_shape_unless_it_is_stretched(aspect, expected, is_turned):
    image = disc(48, 96, 15)
    if is_turned:
        image = image.transpose(1, 0, 2)
        expected = expected[::-1]
    square = fit_square(image, 64, aspect)
    assert square.shape == (64, 64, 4) and square.dtype == np.uint8
    np.testing.assert_allclose(extent(square), expected, atol=1)


def test_padding_is_black_on_both_sides_and_loses_nothing():
    image = np.full((48, 95, 4), 200, np.uint8)
    square = fit_square(image, 95, "pad")
    assert not square[:23].any() and not square[71:].any()
    np.testing.assert_array_equal(square[23:71], image)


def test_cropping_keeps_the_middle():
    image = np.zeros((10, 31, 4), np.uint8)
    image[:] = np.arange(31)[:, None]
    np.testing.assert_array_equal(fit_square(image, 10, "crop"), image[:, 10:20])


@pytest.mark.parametrize("aspect", ["pad", "crop", "stretch"])
@pytest.mark.parametrize(
    "side, size, interpolation",
    [(32, 20, cv2.INTER_AREA), (20, 32, cv2.INTER_LINEAR), (20, 20, None)],
)
def test_a_square_is_resized_alike_whatever_is_done_with_others(aspect, side, size, interpolation):
    image = np.random.default_rng(0).integers(0, 256, (side, side, 4), np.uint8)
    wanted = image
    if interpolation is not None:
        wanted = cv2.resize(image, (size, size), interpolation=interpolation)
    np.testing.assert_array_equal(fit_square(image, size, aspect), wanted)
    np.testing.assert_array_equal(resize(image, (size, size)), wanted)


def test_the_area_decides_how_an_image_is_stretched():
    """As versions before this module did, of whose runs the nets are."""
    image = np.random.default_rng(0).integers(0, 256, (48, 96, 4), np.uint8)
    wanted = cv2.resize(image, (64, 64), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(fit_square(image, 64, "stretch"), wanted)
