"""ResNet-50 against the one of keras.applications, with every variable random."""

import keras
import numpy as np
import pytest
from support.compiling import compile_quickly
from support.keras_parity import (
    CLASSES,
    assert_equal,
    assert_same_variables,
    keras_net,
    our_variables,
)

from hpa_jax.models import create_model


@pytest.mark.parametrize("channels, size", [(4, 64), pytest.param(3, 97, marks=pytest.mark.slow)])
def test_equals_keras(channels, size):
    theirs = keras_net(keras.applications.ResNet50, channels, size, seed=size)
    assert_equal("resnet50", theirs, channels, size, training_batch=16)


def test_the_stride_is_where_keras_has_it():
    """torchvision has it in the 3x3 convolution: the same shapes, so only the values tell."""
    theirs = keras_net(keras.applications.ResNet50, 3, 64, seed=0)
    ours = create_model("resnet50", head="linear", num_labels=CLASSES, dropout=0.0, dtype="float32")
    variables = our_variables("resnet50", ours, theirs, (64, 64, 3))
    images = np.zeros((1, 64, 64, 3), np.float32)
    images[0, ::2, ::2] = 1.0
    expected = theirs(images, training=False).numpy()
    inference = compile_quickly(lambda v: ours.apply(v, images, train=False), variables)
    largest = np.abs(expected).max()
    np.testing.assert_allclose(inference(variables), expected, atol=1e-4 * largest, rtol=0)


@pytest.mark.parametrize("channels", [3, 4])
def test_has_the_variables_of_keras(channels):
    assert_same_variables("resnet50", keras.applications.ResNet50, channels, 64)
