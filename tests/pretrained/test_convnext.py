"""A ConvNeXt's weights under the names of torchvision, timm and the paper's authors."""

import functools

import jax
import numpy as np
import pytest
import torch
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors.numpy import save_file
from support.drawn_variables import drawn

from hpa_jax import pretrained
from hpa_jax.errors import InputError
from hpa_jax.models import create_model, init_variables
from hpa_jax.pretrained.torchvision_weights import to_torchvision

NET = "convnext_test"
LABELS = 5

# What follows a block's number, by torchvision's name.
TIMM = {
    "block.0": "conv_dw",
    "block.2": "norm",
    "block.3": "mlp.fc1",
    "block.5": "mlp.fc2",
    "layer_scale": "gamma",
}
AUTHORS = {
    "block.0": "dwconv",
    "block.2": "norm",
    "block.3": "pwconv1",
    "block.5": "pwconv2",
    "layer_scale": "gamma",
}


@functools.cache
def variables_of(head="norm_linear", labels=LABELS, channels=3):
    model = create_model(NET, head=head, num_labels=labels, dtype="float32")
    return init_variables(model, (32, 32, channels), seed=1)


@functools.cache
def trained():
    """Flat arrays, each of which differs from every other."""
    shapes = jax.eval_shape(variables_of)
    return drawn(shapes, seed=2)


@functools.cache
def by_torchvision():
    return to_torchvision(trained(), NET, "norm_linear")


def renamed(key, layers, *, of_timm):
    """A key of torchvision's in another style, as their sources spell it."""
    part, number, rest = key.split(".", 2)
    if part == "classifier":
        place = {"0": "head.norm", "2": "head.fc"}[number]
        if not of_timm:
            place = {"0": "norm", "2": "head"}[number]
        return f"{place}.{rest}"
    stage, is_block = divmod(int(number), 2)
    if is_block:
        block, layer = rest.split(".", 1)
        for theirs, other in layers.items():
            layer = layer.replace(theirs, other)
        return f"stages.{stage}.{'blocks.' if of_timm else ''}{block}.{layer}"
    if not of_timm:
        return f"downsample_layers.{stage}.{rest}"
    return f"stages.{stage}.downsample.{rest}" if stage else f"stem.{rest}"


def in_style(style):
    if style == "torchvision":
        return dict(by_torchvision())
    layers = TIMM if style == "timm" else AUTHORS
    of_timm = style == "timm"
    found = {}
    for key, array in by_torchvision().items():
        # theirs is a vector.
        flat = array.ravel() if key.endswith("layer_scale") else array
        found[renamed(key, layers, of_timm=of_timm)] = flat
    return found


def load(path, **others):
    return pretrained.load_described(
        str(path), net=NET, variables=variables_of(**others), stem="repeat"
    )


def assert_backbone(loaded):
    flat = flatten_dict(loaded, sep="/")
    for name, array in trained().items():
        if name.startswith("params/backbone/"):
            np.testing.assert_array_equal(flat[name], array, err_msg=name)


@pytest.mark.parametrize("style", ["torchvision", "timm", "authors"])
def test_every_style_gives_every_array(tmp_path, style):
    path = tmp_path / "w.safetensors"
    save_file(in_style(style), path)
    loaded, what = load(path)
    assert what.head == "taken"
    found = flatten_dict(loaded, sep="/")
    for name, array in trained().items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_the_authors_file_and_a_wrapped_one(tmp_path):
    path = tmp_path / "w.pth"
    tensors = {key: torch.tensor(array) for key, array in in_style("authors").items()}
    torch.save({"model": tensors}, path)
    loaded, what = load(path)
    assert what.inside == "model"
    assert_backbone(loaded)
    torch.save({f"module.{key}": tensor for key, tensor in tensors.items()}, path)
    loaded, what = load(path)
    assert what.prefix == "module."
    assert_backbone(loaded)


def test_the_norm_of_the_head_is_taken_for_other_labels(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file(in_style("timm"), path)
    loaded, what = load(path, labels=9, channels=4)
    assert what.head == "its norm taken"
    head = loaded["params"]["head"]
    np.testing.assert_array_equal(head["norm"]["scale"], trained()["params/head/norm/scale"])
    drawn_head = variables_of(labels=9, channels=4)["params"]["head"]
    np.testing.assert_array_equal(head["logits"]["kernel"], drawn_head["logits"]["kernel"])
    kernel = trained()["params/backbone/stem_conv/kernel"]
    wide = loaded["params"]["backbone"]["stem_conv"]["kernel"]
    np.testing.assert_allclose(wide, kernel[:, :, [0, 1, 2, 0]] * 0.75, rtol=1e-6)
    loaded, what = load(path, head="pooled")
    assert what.head == "left"
    assert_backbone(loaded)


def test_what_is_missing_or_unknown_is_refused_by_its_name(tmp_path):
    path = tmp_path / "w.safetensors"
    arrays = in_style("timm")
    lost = arrays.pop("stages.2.blocks.1.mlp.fc1.bias")
    save_file(arrays, path)
    with pytest.raises(InputError, match=r"features\.5\.1\.block\.3\.bias is missing \(1 of"):
        load(path)
    # As of the second version of the net.
    arrays["stages.2.blocks.1.mlp.fc1.bias"] = lost
    arrays["stages.2.blocks.1.mlp.grn.weight"] = lost
    save_file(arrays, path)
    with pytest.raises(InputError, match=r"mlp\.grn\.weight is none of the arrays of convnext"):
        load(path)


def test_an_export_starts_another_run(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file(trained(), path)
    loaded, what = load(path)
    assert what.layout == "ours" and what.head == "taken"
    assert_backbone(loaded)
    assert jax.tree.structure(loaded) == jax.tree.structure(
        {"batch_stats": {}} | unflatten_dict(trained(), sep="/")
    )
