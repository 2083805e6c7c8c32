"""The DenseNets against those of keras.applications, with every variable random."""

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

NETS = {
    "densenet121": keras.applications.DenseNet121,
    "densenet169": keras.applications.DenseNet169,
    "densenet201": keras.applications.DenseNet201,
}


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    "net, channels, size",
    [
        ("densenet121", 4, 64),
        ("densenet121", 3, 96),
        slow("densenet121", 3, 64),
        slow("densenet121", 4, 96),
        slow("densenet169", 4, 64),
        slow("densenet201", 4, 64),
    ],
)
def test_equals_keras(net, channels, size):
    theirs = keras_net(NETS[net], channels, size, seed=channels * size)
    assert_equal(net, theirs, channels, size)


def test_the_comparison_notices_two_swapped_batch_norms():
    theirs = keras_net(NETS["densenet121"], 4, 64, seed=0)
    ours = create_model(
        "densenet121", head="linear", num_labels=CLASSES, dropout=0.0, dtype="float32"
    )
    variables = our_variables("densenet121", ours, theirs, (64, 64, 4))
    images = np.random.default_rng(1).normal(size=(4, 64, 64, 4)).astype(np.float32)
    expected = theirs(images, training=False).numpy()
    largest = np.abs(expected).max()
    inference = compile_quickly(lambda v: ours.apply(v, images, train=False), variables)
    assert np.abs(inference(variables) - expected).max() < 1e-4 * largest

    leaves = (
        ("params", "scale"),
        ("params", "bias"),
        ("batch_stats", "mean"),
        ("batch_stats", "var"),
    )
    for collection, leaf in leaves:
        backbone = variables[collection]["backbone"]
        fifth = backbone["block3_layer5"]["norm2"]
        sixth = backbone["block3_layer6"]["norm2"]
        fifth[leaf], sixth[leaf] = sixth[leaf], fifth[leaf]
        error = np.abs(inference(variables) - expected).max()
        assert error > 1e-3 * largest, (collection, leaf)
        fifth[leaf], sixth[leaf] = sixth[leaf], fifth[leaf]


@pytest.mark.parametrize(
    "net, channels",
    [("densenet121", 3), ("densenet121", 4), ("densenet169", 3), ("densenet201", 4)],
)
def test_has_the_variables_of_keras(net, channels):
    assert_same_variables(net, NETS[net], channels, 64)
