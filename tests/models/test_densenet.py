"""The DenseNets against those of keras.applications, with every variable random."""

import jax
import keras
import numpy as np
import pytest
from support.keras_parity import (
    CLASSES,
    QUICK,
    assert_equal,
    assert_same_variables,
    keras_net,
    to_ours,
)

from hpa_jax.models import create_model, init_variables

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
    assert_equal(net, keras_net(NETS[net], channels, size, seed=channels * size), channels, size)


def test_the_comparison_sees_two_swapped_batch_norms():
    theirs = keras_net(NETS["densenet121"], 4, 64, seed=0)
    ours = create_model(
        "densenet121", head="linear", num_labels=CLASSES, dropout=0.0, dtype="float32"
    )
    start = init_variables(ours, (64, 64, 4), seed=0)
    variables = to_ours("densenet121", {v.path: v.numpy() for v in theirs.variables}, start)
    images = np.random.default_rng(1).normal(size=(4, 64, 64, 4)).astype(np.float32)
    expected = theirs(images, training=False).numpy()
    largest = np.abs(expected).max()
    inference = (
        jax.jit(lambda v: ours.apply(v, images, train=False))
        .lower(variables)
        .compile(compiler_options=QUICK)
    )
    assert np.abs(inference(variables) - expected).max() < 1e-4 * largest
    for group, leaf in (
        ("params", "scale"),
        ("params", "bias"),
        ("batch_stats", "mean"),
        ("batch_stats", "var"),
    ):
        swapped = jax.tree.map(np.copy, variables)
        first, second = (swapped[group]["backbone"][f"block3_layer{n}"]["norm2"] for n in (5, 6))
        first[leaf], second[leaf] = second[leaf], first[leaf]
        assert np.abs(inference(swapped) - expected).max() > 1e-3 * largest, (group, leaf)


@pytest.mark.parametrize(
    "net, channels",
    [("densenet121", 3), ("densenet121", 4), ("densenet169", 3), ("densenet201", 4)],
)
def test_has_the_variables_of_keras(net, channels):
    assert_same_variables(net, NETS[net], channels, 64)
