"""A classifier's weights start a U-Net's encoder, whoever trained them."""

import functools

import numpy as np
import pytest
import torch
from flax.traverse_util import flatten_dict
from safetensors.numpy import save_file
from support.torchvision_nets import densenet

import hpa_jax
from hpa_jax.models import init_variables
from hpa_jax.pretrained.torchvision_weights import module_arguments

NET = "densenet_tiny"
SIZE = (64, 64, 4)


def unet(**options):
    return hpa_jax.create_unet(NET, **({"outputs": {"yellow": 1}, "width": 2} | options))


def loaded(path, model, channels=4):
    return flat(hpa_jax.load_pretrained(model, str(path), channels=channels, image_size=50, seed=1))


def flat(variables):
    return flatten_dict(variables, sep="/")


@functools.cache
def drawn(outputs=("yellow",), seed=1):
    return flat(init_variables(unet(outputs=dict.fromkeys(outputs, 1)), SIZE, seed))


def parts(arrays):
    """Arrays of the encoder, and those of the decoder."""
    encoder = {}
    decoder = {}
    for name, array in arrays.items():
        part = encoder if name.split("/")[1] == "backbone" else decoder
        part[name] = array
    return encoder, decoder


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_published_weights_start_the_encoder_as_they_start_a_classifier(tmp_path):
    torch.manual_seed(0)
    theirs = densenet(module_arguments(NET), 3, 10)
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    encoder, decoder = parts(loaded(tmp_path / "weights.pth", unet()))
    classifier = hpa_jax.create_model(NET, head="linear", num_labels=5)
    assert_same(encoder, parts(loaded(tmp_path / "weights.pth", classifier))[0])
    assert_same(decoder, parts(drawn())[1])
    stem = theirs.features.conv0.weight.detach().numpy().transpose(2, 3, 1, 0)
    kernel = encoder["params/backbone/stem_conv/kernel"]
    np.testing.assert_array_equal(kernel[:, :, :3], stem)
    np.testing.assert_array_equal(kernel[:, :, 3], stem[:, :, 0])


def test_a_runs_own_classifier_does_too(tmp_path):
    """Its export's model.safetensors; the head stays behind."""
    classifier = hpa_jax.create_model(NET, head="pooled", num_labels=1)
    arrays = flat(init_variables(classifier, SIZE, seed=2))
    save_file(arrays, tmp_path / "model.safetensors")
    encoder, decoder = parts(loaded(tmp_path / "model.safetensors", unet()))
    assert_same(encoder, parts(arrays)[0])
    assert_same(decoder, parts(drawn())[1])


@pytest.mark.slow
def test_a_unet_starts_another_one_with_or_without_its_decoder(tmp_path):
    arrays = drawn(seed=2)
    save_file(arrays, tmp_path / "unet.safetensors")
    assert_same(loaded(tmp_path / "unet.safetensors", unet()), arrays)
    other = unet(outputs={"red": 1})
    encoder, decoder = parts(loaded(tmp_path / "unet.safetensors", other))
    assert_same(encoder, parts(arrays)[0])
    assert_same(decoder, parts(drawn(("red",)))[1])
