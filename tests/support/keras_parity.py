"""A net of ours against the one of keras.applications (TensorFlow backend), with every variable random."""

import os

os.environ["KERAS_BACKEND"] = "tensorflow"

import jax
import jax.numpy as jnp
import keras
import numpy as np
import tensorflow as tf
from flax.traverse_util import flatten_dict, unflatten_dict
from support.keras_names import our_name

from hpa_jax.models import create_model, init_variables

CLASSES = 1000
IMAGES = 5
# Optimising the compiled code takes longer than running it unoptimised.
QUICK = {"xla_backend_optimization_level": 0}


def randomise(net, seed, gain=2):
    """Draws each variable: gamma 0.5 to 1.5, variances 0.5 to 2, kernels by gain and fan-in, the others around 0."""
    rng = np.random.default_rng(seed)
    for variable in net.variables:
        shape = tuple(variable.shape)
        match variable.path.split("/")[-1]:
            case "kernel":
                value = rng.normal(0, np.sqrt(gain / np.prod(shape[:-1])), shape)
            case "gamma":
                value = rng.uniform(0.5, 1.5, shape)
            case "moving_variance":
                value = rng.uniform(0.5, 2, shape)
            case _:
                value = rng.normal(0, 0.2, shape)
        variable.assign(value.astype(np.float32))


def keras_net(make, channels, size, seed, **options):
    """A Keras net with every variable drawn."""
    keras.backend.clear_session()  # unnamed layers are numbered from 0 again
    net = make(
        weights=None,
        input_shape=(size, size, channels),
        classes=CLASSES,
        classifier_activation=None,
        **options,
    )
    randomise(net, seed)
    return net


def to_ours(net, variables, like):
    """Keras variables (or gradients under their paths) as our tree, shaped as `like`: 1x1 kernels are matrices here."""
    flat = {our_name(net, path): np.asarray(value) for path, value in variables.items()}
    assert len(flat) == len(variables)
    shapes = flatten_dict(like, sep="/")
    return unflatten_dict(
        {name: value.reshape(shapes[name].shape) for name, value in flat.items()}, sep="/"
    )


def relative(a, b):
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def compiled(function, *arguments):
    return jax.jit(function).lower(*arguments).compile(compiler_options=QUICK)(*arguments)


def assert_equal(net, theirs, channels, size, *, training_batch=4):
    """Logits and gradients at inference, logits and batch statistics in training.

    Gradients are compared image by image. In a deep net some rectifier's input may lie within rounding of 0 and pass
    its gradient on in one of the two programs alone; everything below feels that. It befalls a few images, another few
    on another machine, so each array's relative error is bounded by 1e-3 for most images, not for all. (Where the two
    agree it is some 1e-6; a defect would show in every image.) Nothing rectifies above the head, whose own is 1e-4.
    """
    ours = create_model(
        net, head="linear", num_labels=CLASSES, dropout=0.0, momentum=0.99, dtype="float32"
    )
    start = init_variables(ours, (size, size, channels), seed=0)
    variables = to_ours(net, {v.path: v.numpy() for v in theirs.variables}, start)
    assert jax.tree.structure(variables) == jax.tree.structure(start)
    rng = np.random.default_rng(1)
    images = rng.normal(size=(IMAGES, size, size, channels)).astype(np.float32)
    weights = rng.normal(size=(IMAGES, CLASSES)).astype(np.float32)

    def inference(params, variables, image, weights):
        logits = ours.apply({**variables, "params": params}, image, train=False)
        return jnp.sum(logits * weights), logits

    step, worst = jax.jit(jax.value_and_grad(inference, has_aux=True), compiler_options=QUICK), []
    for i in range(IMAGES):
        arguments = variables["params"], variables, images[i : i + 1], weights[i : i + 1]
        (_, logits), found = step(*arguments)
        with tf.GradientTape() as tape:
            expected = theirs(images[i : i + 1], training=False)
            objective = tf.reduce_sum(expected * weights[i : i + 1])
        gradients = tape.gradient(objective, [v.value for v in theirs.trainable_variables])
        gradients = {
            v.path: g.numpy() for v, g in zip(theirs.trainable_variables, gradients, strict=True)
        }
        expected = expected.numpy()
        np.testing.assert_allclose(logits, expected, atol=1e-4 * np.abs(expected).max(), rtol=0)
        wanted = flatten_dict(to_ours(net, gradients, start)["params"], sep="/")
        errors = {
            name: relative(g, wanted[name]) for name, g in flatten_dict(found, sep="/").items()
        }
        assert max(error for name, error in errors.items() if name.startswith("head/")) < 1e-4
        worst.append(max(errors.values()))
    assert sorted(worst)[IMAGES // 2] < 1e-3 and max(worst) < 0.2, worst

    images = rng.normal(size=(training_batch, size, size, channels)).astype(np.float32)

    def training(variables):
        return ours.apply(
            variables,
            images,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(0)},
        )

    outputs, updates = compiled(training, variables)
    expected = theirs(images, training=True).numpy()
    np.testing.assert_allclose(outputs, expected, atol=1e-4 * np.abs(expected).max(), rtol=0)
    stats = {v.path: v.numpy() for v in theirs.non_trainable_variables}
    updated = flatten_dict(to_ours(net, stats, start)["batch_stats"], sep="/")
    moved = flatten_dict(updates["batch_stats"], sep="/")
    before = flatten_dict(variables["batch_stats"], sep="/")
    for name, wanted in updated.items():
        assert relative(np.asarray(moved[name]), wanted) < 1e-4, name
        assert relative(np.asarray(moved[name]), before[name]) > 1e-3, name  # training did move it


def assert_same_variables(net, make, channels, size):
    """Every variable of Keras's net has its place and shape in ours, and none of ours is left over."""
    keras.backend.clear_session()
    theirs = make(weights=None, input_shape=(size, size, channels), classes=CLASSES)
    ours = create_model(net, head="linear", num_labels=CLASSES, dtype="float32")
    image = jax.ShapeDtypeStruct((1, size, size, channels), jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    shapes = jax.eval_shape(lambda key, image: ours.init(key, image, train=False), key, image)
    shapes = {name: leaf.shape for name, leaf in flatten_dict(shapes, sep="/").items()}
    assert sum(map(np.prod, shapes.values())) == theirs.count_params()
    expected = {our_name(net, v.path): tuple(v.shape) for v in theirs.variables}
    assert shapes.keys() == expected.keys() and len(expected) == len(theirs.variables)
    for name, shape in shapes.items():
        assert shape == (expected[name] if len(shape) != 2 else expected[name][-2:]), name
