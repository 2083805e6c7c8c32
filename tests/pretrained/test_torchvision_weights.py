"""Weights for torchvision: its own module computes the features that our backbone does."""

import functools

import jax
import numpy as np
import pytest
import torch
from flax.traverse_util import flatten_dict
from safetensors.numpy import save_file
from safetensors.torch import load_file
from support.torchvision_nets import convnext, densenet

from hpa_jax.errors import InputError
from hpa_jax.models import BACKBONES, create_model, init_variables
from hpa_jax.pretrained.torchvision_weights import (
    check_torchvision,
    has_classifier,
    module_arguments,
    to_torchvision,
)

LABELS = 5
SIZE = 64
QUICK = {"xla_backend_optimization_level": 0}


@functools.cache
def drawn(net, channels, head):
    """A net and its arrays, every one of them drawn so that it shows in the features."""
    model = create_model(net, head=head, num_labels=LABELS, dtype="float32")
    variables = init_variables(model, (SIZE, SIZE, channels), seed=3)
    rng = np.random.default_rng(4)

    def draw(path, array):
        name = path[-1].key
        if name == "kernel":
            return np.asarray(array)
        if name == "var":
            variances = rng.uniform(0.5, 2, array.shape)
            if path[-2].key == "stem_norm":
                # So small that what a norm adds to it counts.
                variances[::4] = 1e-5
            return variances.astype(np.float32)
        if name == "scale":
            return rng.uniform(0.5, 1.5, array.shape).astype(np.float32)
        return rng.normal(0, 0.3, array.shape).astype(np.float32)

    return model, jax.tree_util.tree_map_with_path(draw, variables)


def ours(model, variables, images):
    def features(variables, images):
        maps = model.apply(variables, images, train=False, method="features")
        return maps, model.apply(variables, maps, train=False, method="classify")

    compiled = jax.jit(features).lower(variables, images).compile(compiler_options=QUICK)
    return [np.asarray(array) for array in compiled(variables, images)]


def theirs(path, net, images, classes):
    channels = images.shape[-1]
    make = convnext if net.startswith("convnext") else densenet
    module = make(module_arguments(net), channels, classes)
    state = load_file(path)
    is_whole = any(key.startswith("classifier") for key in state)
    # Strict where all of torchvision's arrays are in the file.
    missing, unknown = module.load_state_dict(state, strict=is_whole)
    assert not unknown
    assert all(key.startswith("classifier.") for key in missing)
    with torch.no_grad():
        inputs = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
        maps = module.features(inputs)
        if make is densenet:
            maps = torch.relu(maps)
        return maps.numpy().transpose(0, 2, 3, 1), module(inputs).numpy()


def written(folder, net, channels, head):
    model, variables = drawn(net, channels, head)
    flat = {n: np.asarray(a) for n, a in flatten_dict(variables, sep="/").items()}
    path = folder / "torchvision.safetensors"
    save_file(to_torchvision(flat, net, head), path)
    return path, model, variables, flat


def assert_same(folder, net, channels, head):
    path, model, variables, flat = written(folder, net, channels, head)
    images = np.random.default_rng(5).normal(0, 1, (3, SIZE, SIZE, channels)).astype(np.float32)
    maps, logits = ours(model, variables, images)
    found_maps, found_logits = theirs(path, net, images, LABELS)
    assert found_maps.shape == maps.shape
    scale = np.abs(maps).max()
    assert scale > 0.1
    assert np.abs(found_maps - maps).max() <= 1e-4 * scale
    if has_classifier(net, head):
        assert np.abs(found_logits - logits).max() <= 1e-4 * np.abs(logits).max()
    check_torchvision(path, net, head, flat)


@pytest.mark.parametrize(("channels", "head"), [(4, "linear"), (1, "pooled")])
def test_torchvision_computes_our_features(tmp_path, channels, head):
    assert_same(tmp_path, "densenet_tiny", channels, head)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("net", "channels", "head"),
    [
        ("convnext_test", 1, "pooled"),
        ("convnext_tiny", 4, "norm_linear"),
        ("convnext_small", 3, "norm_linear"),
    ],
)
def test_torchvision_computes_the_features_of_every_convnext(tmp_path, net, channels, head):
    assert_same(tmp_path, net, channels, head)


@pytest.mark.slow
@pytest.mark.parametrize("net", ["densenet121", "densenet169", "densenet201", "densenet_small"])
def test_torchvision_computes_the_features_of_every_densenet(tmp_path, net):
    assert_same(tmp_path, net, 4, "linear")


def test_nets_that_torchvision_has_are_the_densenets_and_convnexts():
    having = {net for net in BACKBONES if module_arguments(net)}
    assert having == {net for net in BACKBONES if net.startswith(("densenet", "convnext"))}


def test_an_array_in_the_place_of_another_is_noticed(tmp_path):
    path, _, _, flat = written(tmp_path, "densenet_tiny", 4, "linear")
    arrays = to_torchvision(flat, "densenet_tiny", "linear")
    first = "features.norm0.weight"
    second = "features.norm0.bias"
    arrays[first], arrays[second] = arrays[second], arrays[first]
    save_file(arrays, path)
    with pytest.raises(InputError, match="torchvision.safetensors is not the net: .*stem_norm"):
        check_torchvision(path, "densenet_tiny", "linear", flat)


def test_a_kernel_that_was_turned_is_noticed(tmp_path):
    path, _, _, flat = written(tmp_path, "densenet_tiny", 4, "linear")
    arrays = to_torchvision(flat, "densenet_tiny", "linear")
    kernel = arrays["features.conv0.weight"]
    arrays["features.conv0.weight"] = np.ascontiguousarray(kernel.transpose(0, 1, 3, 2))
    save_file(arrays, path)
    with pytest.raises(InputError, match="stem_conv/kernel differs"):
        check_torchvision(path, "densenet_tiny", "linear", flat)
