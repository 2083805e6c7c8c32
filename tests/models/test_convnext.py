"""ConvNeXt against torchvision's module: values, and the gradients of every parameter."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax.traverse_util import flatten_dict, unflatten_dict
from support.compiling import compile_quickly
from support.drawn_variables import drawn
from support.torchvision_nets import convnext, import_torchvision

from hpa_jax.errors import InputError
from hpa_jax.models import create_model, depthwise, init_variables
from hpa_jax.models.convnext import Block
from hpa_jax.models.depthwise import (
    convolution,
    convolution_kernel_gradient,
    sum_of_taps,
    tap_kernel_gradient,
)
from hpa_jax.pretrained.torchvision_weights import module_arguments, to_torchvision

LABELS = 5


def pair_of(net, channels, size):
    """Our net, its drawn arrays, and torchvision's module with the same."""
    ours = create_model(net, head="norm_linear", num_labels=LABELS, dropout=0.0, dtype="float32")
    shapes = jax.eval_shape(
        lambda: ours.init(jax.random.key(0), jnp.zeros((1, *size, channels)), train=False)
    )
    arrays = drawn(shapes, seed=channels)
    theirs = convnext(module_arguments(net), channels, LABELS)
    state = to_torchvision(arrays, net, "norm_linear")
    theirs.load_state_dict({key: torch.tensor(array) for key, array in state.items()})
    return ours, arrays, theirs


def assert_close(found, expected, tolerance=1e-4):
    largest = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, atol=tolerance * largest, rtol=0)


def images_of(channels, size, count=3):
    return np.random.default_rng(size[0]).normal(size=(count, *size, channels)).astype(np.float32)


def as_torch(images):
    return torch.from_numpy(images.transpose(0, 3, 1, 2).copy())


@pytest.mark.parametrize("form", ["convolution", pytest.param("taps", marks=pytest.mark.slow)])
def test_equals_torchvision_in_values_and_gradients(form, monkeypatch):
    """Odd sides: every stage drops a row or a column that does not fill its stride.

    Taps are what a CPU computes, and take longer to compile.
    """
    if form == "convolution":
        monkeypatch.setattr(depthwise, "sum_of_taps", convolution)
        monkeypatch.setattr(depthwise, "tap_kernel_gradient", convolution_kernel_gradient)
    net, channels, size = "convnext_test", 5, (45, 71)
    ours, arrays, theirs = pair_of(net, channels, size)
    images = images_of(channels, size)
    wanted = np.random.default_rng(1).normal(size=(3, LABELS)).astype(np.float32)

    def loss(arrays, images):
        variables = unflatten_dict(arrays, sep="/")
        # In training, too, nothing is drawn unless it is asked for.
        logits = ours.apply(variables, images, train=True)
        return jnp.sum(logits * wanted), logits

    step = compile_quickly(jax.value_and_grad(loss, has_aux=True), arrays, images)
    (_, logits), gradients = step(arrays, images)

    found = theirs(as_torch(images))
    assert_close(logits, found.detach().numpy())
    (found * torch.from_numpy(wanted)).sum().backward()
    # Gradients lie as their arrays do.
    named = to_torchvision(
        {name: np.asarray(g) for name, g in gradients.items()}, net, "norm_linear"
    )
    parameters = dict(theirs.named_parameters())
    assert named.keys() == parameters.keys()
    for key, parameter in parameters.items():
        assert_close(named[key], parameter.grad.numpy())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("net", "channels", "size"),
    [
        ("convnext_tiny", 3, (97, 64)),
        ("convnext_tiny", 7, (65, 110)),
        ("convnext_small", 4, (70, 70)),
    ],
)
def test_the_published_sizes_equal_torchvisions(net, channels, size):
    ours, arrays, theirs = pair_of(net, channels, size)
    images = images_of(channels, size, count=2)
    variables = unflatten_dict(arrays, sep="/")

    def forward(variables, images):
        features = ours.apply(variables, images, train=False, method="features")
        return features, ours.apply(variables, features, train=False, method="classify")

    features, logits = compile_quickly(forward, variables, images)(variables, images)
    with torch.no_grad():
        maps = theirs.features(as_torch(images)).numpy()
        expected = theirs(as_torch(images)).numpy()
    assert_close(features, maps.transpose(0, 2, 3, 1))
    assert_close(logits, expected)


@pytest.mark.parametrize("net", ["convnext_tiny", "convnext_small"])
def test_has_the_parameters_of_torchvisions_own(net):
    """By shapes alone, and those of the module that torchvision itself makes of the name."""
    model = create_model(net, head="norm_linear", num_labels=1000)
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    shapes = jax.eval_shape(lambda image: model.init(jax.random.key(0), image, train=False), image)
    with torch.device("meta"):
        theirs = getattr(import_torchvision().models, net)()
    count = sum(parameter.numel() for parameter in theirs.parameters())
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == count
    arrays = {}
    for name, leaf in flatten_dict(shapes, sep="/").items():
        # A view of one number: only the shape is looked at.
        arrays[name] = np.broadcast_to(np.float32(0), leaf.shape)
    made = to_torchvision(arrays, net, "norm_linear")
    state = theirs.state_dict()
    assert {key: array.shape for key, array in made.items()} == {
        key: tuple(tensor.shape) for key, tensor in state.items()
    }


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_both_forms_of_a_depthwise_convolution_are_the_same(dtype):
    """The convolution is what other platforms get, and what this machine's tests do not run."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, 9, 11, 6)), dtype)
    g = jnp.asarray(rng.normal(size=x.shape), dtype)
    kernel = jnp.asarray(rng.normal(size=(7, 7, 1, 6)), jnp.float32)
    rounding = 1e-5 if dtype == "float32" else 2**-6
    expected = np.asarray(convolution(x, kernel), np.float32)
    assert_close(np.asarray(jax.jit(sum_of_taps)(x, kernel), np.float32), expected, rounding)

    # In float32 whatever the images are.
    gradient = convolution_kernel_gradient(x, g, kernel)
    found = jax.jit(tap_kernel_gradient)(x, g, kernel)
    assert gradient.dtype == found.dtype == jnp.float32
    assert_close(found, gradient, 1e-5)


def test_stochastic_depth_drops_a_branch_by_image_and_by_key():
    block = Block(0.5, jnp.float32)
    x = np.random.default_rng(0).normal(size=(16, 2, 2, 3)).astype(np.float32)
    shapes = jax.eval_shape(lambda: block.init(jax.random.key(0), x, train=False))
    variables = unflatten_dict(drawn(shapes), sep="/")

    def in_training(variables, x, key):
        return block.apply(variables, x, train=True, rngs={"dropout": key})

    def in_evaluation(variables, x):
        return block.apply(variables, x, train=False)

    step = compile_quickly(in_training, variables, x, jax.random.key(0))
    complete = np.asarray(compile_quickly(in_evaluation, variables, x)(variables, x))

    def trained(seed):
        return np.asarray(step(variables, x, jax.random.key(seed)))

    found = trained(1)
    past = x
    # Twice the branch where it is kept, so that the mean over keys is the complete block.
    kept = past + 2 * (complete - past)
    dropped = [np.array_equal(image, other) for image, other in zip(found, past, strict=True)]
    assert 0 < sum(dropped) < 16
    for number, is_dropped in enumerate(dropped):
        if not is_dropped:
            np.testing.assert_allclose(found[number], kept[number], atol=1e-5)
    np.testing.assert_array_equal(trained(1), found)
    assert not np.array_equal(trained(2), found)


def test_it_grows_with_the_depth_and_only_convnexts_have_it():
    model = create_model("convnext_test", stochastic_depth=0.8)
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    rates = []

    def record(call, arguments, options, context):
        if isinstance(context.module, Block) and context.method_name == "__call__":
            rates.append(context.module.drop)
        return call(*arguments, **options)

    with nn.intercept_methods(record):
        jax.eval_shape(lambda image: model.init(jax.random.key(0), image, train=False), image)
    np.testing.assert_allclose(rates, [0, 0.2, 0.4, 0.6, 0.8])
    message = r"config.model.stochastic_depth=0.1 .*config.model.name='resnet50' takes 0 only"
    with pytest.raises(InputError, match=message):
        create_model("resnet50", stochastic_depth=0.1)
    with pytest.raises(InputError, match="config.model.block='fused'.*convnext_tiny"):
        create_model("convnext_tiny", block="fused")


def test_blocks_start_nearly_left_out():
    model = create_model("convnext_test", dtype="float32")
    variables = init_variables(model, (32, 32, 4), seed=0)
    scale = variables["params"]["backbone"]["stage3_block2"]["layer_scale"]
    np.testing.assert_array_equal(scale, np.full(24, 1e-6, np.float32))
    assert variables["batch_stats"].keys() == {"head"}
