"""Inception-ResNet-v2 against the one of keras.applications, with every variable random."""

import keras
import pytest
from support.keras_parity import assert_equal, assert_same_variables, keras_net


@pytest.mark.parametrize("channels, size", [(4, 107), pytest.param(3, 139, marks=pytest.mark.slow)])
def test_equals_keras(channels, size):
    theirs = keras_net(keras.applications.InceptionResNetV2, channels, size, seed=2)
    # Four images at 107 px are 16 positions of the last map: few for a variance, and 245 layers
    # pass its error on.
    assert_equal("inception_resnet_v2", theirs, channels, size, training_batch=8)


def test_has_the_variables_of_keras():
    assert_same_variables("inception_resnet_v2", keras.applications.InceptionResNetV2, 4, 75)
