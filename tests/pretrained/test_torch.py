"""Weights in PyTorch's layouts, written by PyTorch: MONAI's DenseNet has torchvision's layers.

Most of it on a DenseNet of the same parts with six dense layers in place of 58.
"""

import functools
import re
import sys

import jax
import numpy as np
import pytest
import torch
from monai.networks.nets import DenseNet
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save_file

from hpa_jax import pretrained
from hpa_jax.errors import InputError
from hpa_jax.models import create_model, init_variables
from hpa_jax.models.densenet import DEPTHS

CLASSES, SIZE = 10, 64
DEPTHS = DEPTHS | {"densenet_tiny": (1, 2, 2, 1)}
QUICK = {"xla_backend_optimization_level": 0}


def monai_net(name, channels=3, seed=0):
    """A net of MONAI's with every parameter and statistic drawn."""
    width = {"init_features": 16, "growth_rate": 8} if name == "densenet_tiny" else {}
    net = DenseNet(2, channels, CLASSES, block_config=DEPTHS[name], **width).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, tensor in net.state_dict().items():
            if key.endswith("running_var") or (".norm" in key and key.endswith(".weight")):
                tensor.uniform_(0.5, 1.5, generator=generator)
            elif tensor.is_floating_point():
                tensor.normal_(
                    0,
                    0.2 if tensor.ndim == 1 else (2 / tensor[0].numel()) ** 0.5,
                    generator=generator,
                )
    return net


def torchvision_keys(net, older=False):
    """A state dict under torchvision's keys; the older ones have no counts of steps either."""
    state = {}
    for key, tensor in net.state_dict().items():
        key = key.replace(".layers.", ".").replace("class_layers.out.", "classifier.")
        if older:
            key = re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", key)
        if not (older and key.endswith("num_batches_tracked")):
            state[key] = tensor.clone()
    return state


@functools.cache
def drawn(name, channels=3, head="linear", labels=CLASSES):
    return init_variables(
        create_model(name, head=head, num_labels=labels, dtype="float32"),
        (SIZE, SIZE, channels),
        seed=1,
    )


def load(path, name="densenet_tiny", stem="copy_red", channels=3, **others):
    variables = drawn(name, channels, **others)
    loaded, _ = pretrained.load_described(str(path), net=name, variables=variables, stem=stem)
    return loaded


def logits(name, variables, images):
    model = create_model(name, head="linear", num_labels=CLASSES, dtype="float32")
    call = jax.jit(lambda variables, images: model.apply(variables, images, train=False))
    return call.lower(variables, images).compile(compiler_options=QUICK)(variables, images)


def assert_same_logits(name, variables, net):
    channels = variables["params"]["backbone"]["stem_conv"]["kernel"].shape[2]
    images = np.random.default_rng(2).normal(size=(2, SIZE, SIZE, channels)).astype(np.float32)
    with torch.no_grad():
        expected = net(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()
    np.testing.assert_allclose(
        logits(name, variables, images), expected, atol=1e-4 * np.abs(expected).max(), rtol=0
    )


def assert_equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def write(folder, net):
    """The same weights in each way in which they are published: `{what: path}`."""
    new, old = torchvision_keys(net), torchvision_keys(net, older=True)
    torch.save(new, folder / "zip.pth")
    torch.save(old, folder / "older.pth", _use_new_zipfile_serialization=False)
    save_file(new, folder / "timm.safetensors")
    torch.save(net.state_dict(), folder / "monai.pt")
    half = {
        key: tensor.bfloat16().float() if tensor.is_floating_point() else tensor
        for key, tensor in new.items()
    }
    save_file(
        {k: v.bfloat16() if v.is_floating_point() else v for k, v in half.items()},
        folder / "half.safetensors",
    )
    assert (folder / "zip.pth").read_bytes()[:2] == b"PK" != (folder / "older.pth").read_bytes()[:2]
    return half


def test_densenet121_has_the_logits_of_the_net_that_wrote_the_file(tmp_path):
    net = monai_net("densenet121")
    torch.save(
        torchvision_keys(net, older=True), tmp_path / "w.pth", _use_new_zipfile_serialization=False
    )
    assert_same_logits("densenet121", load(tmp_path / "w.pth", "densenet121"), net)


def test_every_layout_gives_the_same_net(tmp_path):
    net = monai_net("densenet_tiny")
    half = write(tmp_path, net)
    loaded = load(tmp_path / "zip.pth")
    assert_same_logits("densenet_tiny", loaded, net)
    for leaf in jax.tree.leaves(loaded):
        assert leaf.dtype == np.float32 and leaf.flags.c_contiguous
    for name in ("older.pth", "timm.safetensors", "monai.pt"):
        assert_equal(load(tmp_path / name), loaded)
    torch.save(half, tmp_path / "rounded.pth")
    assert_equal(load(tmp_path / "half.safetensors"), load(tmp_path / "rounded.pth"))


@pytest.mark.parametrize("name", ["densenet169", "densenet201"])
def test_the_deeper_ones_have_every_array(tmp_path, name):
    net = monai_net(name)
    torch.save(torchvision_keys(net, older=True), tmp_path / "w.pth")
    variables = load(tmp_path / "w.pth", name)
    last = f"features.denseblock4.denselayer{DEPTHS[name][3]}.layers.conv2.weight"
    kernel = variables["params"]["backbone"][f"block4_layer{DEPTHS[name][3]}"]["conv2"]["kernel"]
    np.testing.assert_array_equal(kernel, net.state_dict()[last].numpy().transpose(2, 3, 1, 0))
    sums = lambda arrays: sorted(float(np.abs(array.astype(np.float64)).sum()) for array in arrays)  # noqa: E731
    theirs = (tensor.numpy() for tensor in net.state_dict().values() if tensor.is_floating_point())
    np.testing.assert_allclose(sums(jax.tree.leaves(variables)), sums(theirs), rtol=1e-12)


@pytest.mark.parametrize(
    "stem, channels", [("copy_red", 4), ("mean", 4), ("repeat", 4), ("repeat", 2), ("repeat", 1)]
)
def test_a_net_for_other_channels_equals_pytorchs_with_the_filters_written_out(
    tmp_path, stem, channels
):
    net, wide = monai_net("densenet_tiny"), monai_net("densenet_tiny", channels)
    torch.save(torchvision_keys(net), tmp_path / "w.pth")
    red, green, blue = net.state_dict()["features.conv0.weight"].unbind(1)
    filters = {
        ("copy_red", 4): (red, green, blue, red),
        ("mean", 4): tuple(0.75 * f for f in (red, green, blue, (red + green + blue) / 3)),
        ("repeat", 4): tuple(0.75 * f for f in (red, green, blue, red)),
        ("repeat", 2): (1.5 * red, 1.5 * green),
        ("repeat", 1): (red + green + blue,),
    }[stem, channels]
    wide.load_state_dict(net.state_dict() | {"features.conv0.weight": torch.stack(filters, dim=1)})
    assert_same_logits(
        "densenet_tiny", load(tmp_path / "w.pth", stem=stem, channels=channels), wide
    )


def test_filters_for_more_channels():
    kernel = np.random.default_rng(0).normal(size=(7, 7, 3, 5)).astype(np.float32)
    for name, way in pretrained.STEMS.items():
        assert way(kernel, 8).shape == (7, 7, 8, 5), name
    np.testing.assert_array_equal(
        pretrained.STEMS["copy_red"](kernel, 6)[:, :, 3:], kernel[:, :, [0, 0, 0]]
    )
    np.testing.assert_allclose(
        pretrained.STEMS["mean"](kernel, 6)[:, :, 5], kernel.mean(2) / 2, rtol=1e-6
    )
    np.testing.assert_allclose(
        pretrained.STEMS["repeat"](kernel, 7)[:, :, 5], kernel[:, :, 2] * 3 / 7, rtol=1e-6
    )


def test_gray_images_are_seen_alike_where_the_filters_are_rescaled():
    kernel = np.random.default_rng(0).normal(size=(7, 7, 3, 5)).astype(np.float32)
    for stem, channels in (("mean", 4), ("mean", 9), ("repeat", 1), ("repeat", 6)):
        np.testing.assert_allclose(
            pretrained.STEMS[stem](kernel, channels).sum(2), kernel.sum(2), atol=1e-5
        )


def test_another_head_keeps_its_drawn_values(tmp_path):
    torch.save(torchvision_keys(monai_net("densenet_tiny")), tmp_path / "w.pth")
    for others in ({"head": "pooled"}, {"labels": 7}):
        variables = drawn("densenet_tiny", **others)
        loaded, what = pretrained.load_described(
            str(tmp_path / "w.pth"), net="densenet_tiny", variables=variables, stem="mean"
        )
        assert_equal(loaded["params"]["head"], variables["params"]["head"])
        assert what.head == "left"
    _, what = pretrained.load_described(
        str(tmp_path / "w.pth"), net="densenet_tiny", variables=drawn("densenet_tiny"), stem="mean"
    )
    assert (
        what.head == "taken"
        and what.layout == "torch"
        and "first convolution as in the file" in str(what)
    )


def test_a_file_without_a_classifier(tmp_path):
    state = torchvision_keys(monai_net("densenet_tiny"))
    torch.save(
        {k: v for k, v in state.items() if not k.startswith("classifier")}, tmp_path / "w.pth"
    )
    variables = drawn("densenet_tiny")
    loaded = load(tmp_path / "w.pth")
    assert_equal(loaded["params"]["head"], variables["params"]["head"])
    assert (
        loaded["params"]["backbone"]["stem_conv"]["kernel"]
        != variables["params"]["backbone"]["stem_conv"]["kernel"]
    ).all()


def refused(path, **arguments):
    with pytest.raises(InputError) as caught:
        load(path, **arguments)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_missing_extra_double_and_misshapen_arrays_are_refused_by_name(tmp_path):
    path, state = tmp_path / "w.pth", torchvision_keys(monai_net("densenet_tiny"))
    missing = "features.denseblock2.denselayer2.norm2.running_var"
    extra = "features.denseblock1.denselayer2.conv1.weight"
    bent = "features.transition1.conv.weight"
    double = "features.denseblock1.denselayer1.norm.1.weight"
    cases = {
        f"{missing} is missing (1 of": {k: v for k, v in state.items() if k != missing},
        f"{extra} is none of the arrays of densenet_tiny (1 are not)": state
        | {extra: torch.zeros(32, 24, 1, 1)},
        f"{bent} has the shape (1, 1, 24, 13)": state | {bent: torch.zeros(13, 24, 1, 1)},
        "norm5.bias holds a value that is not finite": state
        | {"features.norm5.bias": torch.full((23,), float("nan"))},
        "norm5.bias is of int64": state
        | {"features.norm5.bias": torch.zeros(23, dtype=torch.int64)},
        "is there twice": state | {double: torch.ones(16)},
        "fc.weight is none of the arrays": state | {"fc.weight": torch.zeros(10, 23)},
    }
    for said, content in cases.items():
        torch.save(content, path)
        text = refused(path)
        assert said in text and str(path) in text, text


def test_another_net_is_refused_with_advice(tmp_path):
    torch.save(torchvision_keys(monai_net("densenet_tiny")), tmp_path / "w.pth")
    text = refused(tmp_path / "w.pth", name="densenet121")
    assert "is missing" in text and "set config.model.name" in text
    save_file({"conv1.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "resnet.safetensors")
    text = refused(tmp_path / "resnet.safetensors", name="resnet50")
    assert "strides elsewhere" in text and "keras_resnet50" in text


def test_channels_and_stems_are_refused_by_name(tmp_path):
    torch.save(torchvision_keys(monai_net("densenet_tiny")), tmp_path / "w.pth")
    assert "choose one of copy_red, mean, repeat" in refused(tmp_path / "w.pth", stem="copy")
    for stem in ("copy_red", "mean"):
        assert "--config.model.stem=repeat" in refused(tmp_path / "w.pth", stem=stem, channels=2)
    torch.save(torchvision_keys(monai_net("densenet_tiny", channels=5)), tmp_path / "w.pth")
    assert "features.conv0.weight has the shape (7, 7, 5, 16)" in refused(
        tmp_path / "w.pth", channels=4
    )


def test_damaged_and_foreign_files_are_refused(tmp_path):
    path, net = tmp_path / "w", monai_net("densenet_tiny")
    write(tmp_path, net)
    for name in ("zip.pth", "older.pth", "timm.safetensors"):
        whole = (tmp_path / name).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        assert str(path) in refused(path)
    path.write_bytes(b"<html>no</html> and more than sixteen bytes")
    assert "begins with b'<html>" in refused(path)
    path.write_bytes(b"")
    assert "begins with b''" in refused(path)
    torch.save(net, path)
    assert "torch.save(model.state_dict(), FILE)" in refused(path)
    torch.save({"epoch": 3} | torchvision_keys(net), path)
    assert "'epoch' is no tensor" in refused(path)
    assert "is no file, no export's folder and no source; sources are torchvision_" in refused(
        tmp_path / "nothing"
    )


def test_nothing_in_a_file_is_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return open, (str(tmp_path / "was run"), "w")

    for zipped in (True, False):
        torch.save({"a": Trap()}, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
        assert "torch.save(model.state_dict(), FILE)" in refused(tmp_path / "w.pth")
    assert not (tmp_path / "was run").exists()


def test_without_pytorch_one_line_says_what_to_install(tmp_path, monkeypatch):
    write(tmp_path, monai_net("densenet_tiny"))
    expected = load(tmp_path / "zip.pth")
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "pip install -e '.[weights]'" in refused(tmp_path / "zip.pth")
    assert_equal(load(tmp_path / "timm.safetensors"), expected)


@pytest.mark.parametrize("name, head", [("densenet_tiny", "pooled"), ("all_cnn", "all_cnn")])
def test_an_export_starts_another_run(tmp_path, name, head):
    like = lambda **others: drawn(name, **{"head": head, "channels": 4} | others)  # noqa: E731
    trained = jax.tree.map(lambda array: array + np.float32(0.5), like())
    flat = {
        "/".join(entry.key for entry in path): v
        for path, v in jax.tree_util.tree_leaves_with_path(trained)
    }
    save_arrays(flat, tmp_path / "model.safetensors")
    load = lambda variables: pretrained.load_described(  # noqa: E731
        str(tmp_path / "model.safetensors"), net=name, variables=variables, stem="mean"
    )
    again, what = load(like())
    assert_equal(again, trained)
    of_folder, _ = pretrained.load_described(str(tmp_path), net=name, variables=like(), stem="mean")
    assert_equal(of_folder, trained)
    assert what.head == "taken" and what.arrays == len(flat)
    fewer, what = load(like(labels=9))
    assert what.head == "left"
    assert_equal(fewer["params"]["backbone"], trained["params"]["backbone"])
    assert_equal(fewer["params"]["head"], like(labels=9)["params"]["head"])
    flat.pop(lost := next(key for key in flat if key.startswith("params/backbone/")))
    save_arrays(flat, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=f"{lost} is missing"):
        load(like())
