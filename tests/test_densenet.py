"""DenseNet-121 against keras.applications.DenseNet121 (TensorFlow backend), with every variable random."""

import os

os.environ["KERAS_BACKEND"] = "tensorflow"

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
import tensorflow as tf
from flax.traverse_util import flatten_dict, unflatten_dict

from hpa_jax.models import build_model, init_variables

CLASSES = 1000
# Optimising the compiled code takes longer than running it unoptimised.
QUICK = {"xla_backend_optimization_level": 0}


def keras_densenet(channels, size, seed):
    """A Keras DenseNet-121 with every variable drawn: gamma 0.5 to 1.5, variances 0.5 to 2, the others around 0."""
    keras.backend.clear_session()
    net = keras.applications.DenseNet121(
        weights=None, input_shape=(size, size, channels), classes=CLASSES, classifier_activation=None
    )
    rng = np.random.default_rng(seed)
    for variable in net.variables:
        shape = tuple(variable.shape)
        match variable.path.split("/")[-1]:
            case "kernel":
                value = rng.normal(0, np.sqrt(2 / np.prod(shape[:-1])), shape)
            case "gamma":
                value = rng.uniform(0.5, 1.5, shape)
            case "moving_variance":
                value = rng.uniform(0.5, 2, shape)
            case _:
                value = rng.normal(0, 0.2, shape)
        variable.assign(value.astype(np.float32))
    return net


def our_name(path):
    """A Keras variable's path as our flat name and the shape rule: 1x1 kernels are matrices here."""
    layer, leaf = path.split("/")[-2:]
    fixed = {
        "conv1_conv": "backbone/stem_conv",
        "conv1_bn": "backbone/stem_norm",
        "bn": "backbone/final_norm",
        "predictions": "head/logits",
    }
    if layer in fixed:
        place = fixed[layer]
    elif layer.startswith("pool"):
        block, kind = layer.removeprefix("pool").split("_")
        place = f"backbone/transition{int(block) - 1}_{'norm' if kind == 'bn' else 'conv'}"
    else:
        block, number, part = layer.removeprefix("conv").replace("block", "").split("_", 2)
        part = {"0_bn": "norm1", "1_conv": "conv1", "1_bn": "norm2", "2_conv": "conv2"}[part]
        place = f"backbone/block{int(block) - 1}_layer{number}/{part}"
    group = "batch_stats" if leaf.startswith("moving") else "params"
    leaf = {"gamma": "scale", "beta": "bias", "moving_mean": "mean", "moving_variance": "var"}.get(leaf, leaf)
    return f"{group}/{place}/{leaf}"


def to_ours(variables, like):
    """Keras variables (or gradients under their paths) as our tree, shaped as `like`."""
    flat = {our_name(path): np.asarray(value) for path, value in variables.items()}
    shapes = flatten_dict(like, sep="/")
    return unflatten_dict({name: value.reshape(shapes[name].shape) for name, value in flat.items()}, sep="/")


def relative(a, b):
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def compiled(function, *arguments):
    return jax.jit(function).lower(*arguments).compile(compiler_options=QUICK)(*arguments)


@pytest.mark.parametrize(
    "channels, size",
    [(4, 64), (3, 96), pytest.param(3, 64, marks=pytest.mark.slow), pytest.param(4, 96, marks=pytest.mark.slow)],
)
def test_equals_keras(channels, size):
    theirs = keras_densenet(channels, size, seed=channels * size)
    ours = build_model("densenet121", head="linear", labels=CLASSES, dropout=0.0, momentum=0.99)
    start = init_variables(ours, (size, size, channels), seed=0)
    variables = to_ours({v.path: v.numpy() for v in theirs.variables}, start)
    assert jax.tree.structure(variables) == jax.tree.structure(start)
    rng = np.random.default_rng(1)
    images = rng.normal(size=(4, size, size, channels)).astype(np.float32)
    weights = rng.normal(size=(4, CLASSES)).astype(np.float32)

    with tf.GradientTape() as tape:
        expected = theirs(images, training=False)
        objective = tf.reduce_sum(expected * weights)
    gradients = tape.gradient(objective, [v.value for v in theirs.trainable_variables])
    gradients = {v.path: g.numpy() for v, g in zip(theirs.trainable_variables, gradients, strict=True)}
    expected = expected.numpy()

    def inference(params, variables):
        logits = ours.apply({**variables, "params": params}, images, train=False)
        return jnp.sum(logits * weights), logits

    (_, logits), ours_gradients = compiled(jax.value_and_grad(inference, has_aux=True), variables["params"], variables)
    largest = np.abs(expected).max()
    np.testing.assert_allclose(logits, expected, atol=1e-4 * largest, rtol=0)
    wanted = flatten_dict(to_ours(gradients, start)["params"], sep="/")
    for name, gradient in flatten_dict(ours_gradients, sep="/").items():
        assert relative(np.asarray(gradient), wanted[name]) < 1e-3, name

    def training(variables):
        return ours.apply(variables, images, train=True, mutable=["batch_stats"], rngs={"dropout": jax.random.key(0)})

    outputs, updates = compiled(training, variables)
    expected = theirs(images, training=True).numpy()
    np.testing.assert_allclose(outputs, expected, atol=1e-4 * np.abs(expected).max(), rtol=0)
    updated = to_ours({v.path: v.numpy() for v in theirs.non_trainable_variables}, start)["batch_stats"]
    moved = flatten_dict(updates["batch_stats"], sep="/")
    before = flatten_dict(variables["batch_stats"], sep="/")
    for name, wanted in flatten_dict(updated, sep="/").items():
        assert relative(np.asarray(moved[name]), wanted) < 1e-4, name
        assert relative(np.asarray(moved[name]), before[name]) > 1e-3, name  # training did move it


def test_the_comparison_sees_two_swapped_batch_norms():
    theirs = keras_densenet(4, 64, seed=0)
    ours = build_model("densenet121", head="linear", labels=CLASSES, dropout=0.0)
    start = init_variables(ours, (64, 64, 4), seed=0)
    variables = to_ours({v.path: v.numpy() for v in theirs.variables}, start)
    images = np.random.default_rng(1).normal(size=(4, 64, 64, 4)).astype(np.float32)
    expected = theirs(images, training=False).numpy()
    largest = np.abs(expected).max()
    inference = jax.jit(lambda v: ours.apply(v, images, train=False)).lower(variables).compile(compiler_options=QUICK)
    assert np.abs(inference(variables) - expected).max() < 1e-4 * largest
    for group, leaf in (("params", "scale"), ("params", "bias"), ("batch_stats", "mean"), ("batch_stats", "var")):
        swapped = jax.tree.map(np.copy, variables)
        first, second = (swapped[group]["backbone"][f"block3_layer{n}"]["norm2"] for n in (5, 6))
        first[leaf], second[leaf] = second[leaf], first[leaf]
        assert np.abs(inference(swapped) - expected).max() > 1e-3 * largest, (group, leaf)


@pytest.mark.parametrize("channels", [3, 4])
def test_parameter_counts_equal_keras(channels):
    theirs = keras.applications.DenseNet121(weights=None, input_shape=(64, 64, channels), classes=CLASSES)
    backbone = keras.applications.DenseNet121(weights=None, input_shape=(64, 64, channels), include_top=False)
    variables = init_variables(build_model("densenet121", head="linear", labels=CLASSES), (64, 64, channels), seed=0)
    count = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))  # noqa: E731
    assert count(variables) == theirs.count_params()
    assert count(variables["params"]["backbone"]) + count(variables["batch_stats"]) == backbone.count_params()
