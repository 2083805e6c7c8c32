"""The square that a net sees of an image, and the way back."""

import numpy as np
import pytest

from hpa_jax.images.resize import fit_square
from hpa_jax.images.square import Square


@pytest.mark.parametrize("aspect", ["pad", "stretch"])
@pytest.mark.parametrize("size", [(24, 24), (24, 40), (33, 20)])
def test_the_square_is_that_of_training_and_what_is_made_has_the_images_size(aspect, size):
    ramp = np.linspace(0, 255, size[0])[:, None, None] + np.zeros((*size, 4))
    image = ramp.astype(np.uint8)
    shape = Square(*size, 48, aspect)
    square = shape.of(image)
    np.testing.assert_array_equal(square, fit_square(image, 48, aspect))
    back = shape.undo(square[..., :1])
    assert back.shape == (*size, 1)
    inside = slice(2, -2)
    difference = back[inside, inside, 0].astype(int) - image[inside, inside, 0]
    assert abs(difference).max() <= 6


def test_nothing_is_cropped():
    image = np.random.default_rng(0).integers(0, 256, (16, 32, 4)).astype(np.uint8)
    shape = Square(16, 32, 32, "crop")
    np.testing.assert_array_equal(shape.undo(shape.of(image)), image)
