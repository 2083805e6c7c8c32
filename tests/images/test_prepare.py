"""Images reach a net as those did that it was trained on; more of it in tests/serving/predict."""

import cv2
import numpy as np
import pytest

from hpa_jax.images.prepare import Preparation
from hpa_jax.images.store import Refused
from hpa_jax.labels import CHANNELS

IMAGE = np.random.default_rng(0).integers(0, 256, (90, 120, 4), np.uint8)


def described(**preparation):
    return {"input": {"shape": ["B", 32, 32, 4]}, "preparation": preparation}


def area(image, width, height):
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def test_an_older_export_says_nothing_and_images_are_taken_as_they_are():
    preparation = Preparation.from_description({"input": {"shape": ["B", 32, 32, 4]}})
    assert not preparation.is_known and preparation.channels == CHANNELS
    np.testing.assert_array_equal(preparation.prepare(IMAGE), area(IMAGE, 32, 32))
    assert preparation.pixel_size_warning(0.3) == ""


def test_two_scalings_round_twice():
    """As a build to an edge and a net of another size do."""
    preparation = Preparation.from_description(described(edge=60))
    twice = area(area(IMAGE, 60, 45), 32, 32)
    np.testing.assert_array_equal(preparation.prepare(IMAGE), twice)
    assert (twice != area(IMAGE, 32, 32)).any()


def test_images_are_scaled_to_the_pixel_size_of_the_training_set():
    preparation = Preparation.from_description(described(rescaled_to=0.08, pixel_size=0.04))
    found = preparation.prepare(IMAGE, pixel_size=0.06)
    np.testing.assert_array_equal(found, area(area(IMAGE, 90, 68), 32, 32))
    with pytest.raises(Refused, match="--pixel_size"):
        preparation.prepare(IMAGE)
    with pytest.raises(Refused, match="more than"):
        preparation.prepare(IMAGE, pixel_size=50)


@pytest.mark.parametrize("aspect", ["pad", "crop", "stretch"])
def test_images_that_are_not_square(aspect):
    found = Preparation.from_description(described(aspect=aspect)).prepare(IMAGE)
    if aspect == "crop":
        right = area(np.ascontiguousarray(IMAGE[:, 15:105]), 32, 32)
    elif aspect == "pad":
        padded = np.pad(IMAGE, ((15, 15), (0, 0), (0, 0)))
        right = area(padded, 32, 32)
    else:
        right = area(IMAGE, 32, 32)
    np.testing.assert_array_equal(found, right)


def test_another_pixel_size_is_told():
    preparation = Preparation.from_description(described(pixel_size=0.08))
    assert preparation.pixel_size_warning(None) == ""
    assert preparation.pixel_size_warning(0.083) == ""
    assert "0.65 micrometres, and was 0.08" in preparation.pixel_size_warning(0.65)


def test_white_is_that_of_the_training_set_where_it_was_stated():
    stated = Preparation.from_description(described(white={"8": 4095, "16": 4095}))
    assert stated.white_of(16) == 4095
    taken = Preparation.from_description(described(white={"8": 255, "16": 65535}))
    assert taken.white_of(16) is None and taken.white_of(8) is None
