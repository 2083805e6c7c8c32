"""Weights in Keras's layouts, written by Keras: the legacy `.h5`, the `.weights.h5` of Keras 3."""

import functools
import inspect
import os
import shutil
import sys

os.environ["KERAS_BACKEND"] = "tensorflow"

import dataclasses
import hashlib

import h5py
import jax
import keras
import numpy as np
import pytest
from keras.src.legacy.saving import legacy_h5_format
from support.keras_parity import QUICK, randomise

from hpa_jax import pretrained
from hpa_jax.errors import InputError
from hpa_jax.models import create_model, init_variables
from hpa_jax.pretrained import keras_names

CLASSES = 10
SIZE = {"densenet121": 64, "resnet50": 64, "inception_resnet_v2": 75}
MAKERS = {
    "densenet121": keras.applications.DenseNet121,
    "densenet169": keras.applications.DenseNet169,
    "densenet201": keras.applications.DenseNet201,
    "resnet50": keras.applications.ResNet50,
    "inception_resnet_v2": keras.applications.InceptionResNetV2,
}
# Of NumPy 2, at Keras's own writer.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
)


def keras_net(name, size, seed=0, **arguments):
    """A net with every variable drawn."""
    arguments = {"classes": CLASSES, "classifier_activation": None} | arguments
    net = MAKERS[name](weights=None, input_shape=(size, size, 3), **arguments)
    randomise(net, seed, gain=1)
    return net


def write_legacy(net, path):
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, net)


@functools.cache
def drawn(name, channels=3, labels=CLASSES):
    size = SIZE.get(name, 64)
    return init_variables(
        create_model(name, head="linear", num_labels=labels, dtype="float32"),
        (size, size, channels),
        seed=1,
    )


def load(path, name, stem="mean", **others):
    return pretrained.load_described(
        str(path), net=name, variables=drawn(name, **others), stem=stem
    )


def assert_equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def rewrite_legacy(source, target, rename=lambda layer, number: layer, without=()):
    """Copies a legacy file with its layers renamed, and without some.

    Each array as Keras 2 wrote it, `layer/leaf:0`.
    """
    with h5py.File(source) as old, h5py.File(target, "w") as new:
        names = []
        for number, layer in enumerate(
            name for name in old.attrs["layer_names"] if name not in without
        ):
            names.append(rename(layer, number))
            group = new.create_group(names[-1])
            weights = []
            for weight in old[layer].attrs["weight_names"]:
                weights.append(f"{names[-1]}/{weight.rpartition('/')[2]}:0".encode())
                group[weights[-1].decode()] = old[layer][weight][()]
            group.attrs["weight_names"] = weights
        # In two parts, as where the list is longer than HDF5 lets an attribute be.
        new.attrs["layer_names0"] = [name.encode() for name in names[:100]]
        new.attrs["layer_names1"] = [name.encode() for name in names[100:]]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """`written(name)`: a net and a folder with its w.h5 and w.weights.h5."""

    @functools.cache
    def written(name):
        folder = tmp_path_factory.mktemp(name)
        keras.backend.clear_session()
        # So that Keras's numbers do not start at 0.
        keras.layers.Conv2D(1, 1)
        keras.layers.BatchNormalization()
        net = keras_net(name, SIZE[name])
        write_legacy(net, folder / "w.h5")
        net.save_weights(folder / "w.weights.h5")
        return net, folder

    return written


@pytest.fixture(scope="module")
def densenet(written):
    return written("densenet121")[1]


@pytest.mark.parametrize("name", SIZE)
def test_both_layouts_give_the_logits_of_the_net_that_wrote_them(
    written, tmp_path, name, monkeypatch
):
    size = SIZE[name]
    theirs, folder = written(name)
    variables, what = load(folder / "w.h5", name)
    assert (
        what.layout == "keras_legacy"
        and what.head == "taken"
        and what.arrays == len(theirs.variables)
    )
    again, what = load(folder / "w.weights.h5", name)
    assert (
        what.layout == "keras_3" and what.head == "taken" and what.arrays == len(theirs.variables)
    )
    assert_equal(again, variables)

    images = np.random.default_rng(2).normal(size=(2, size, size, 3)).astype(np.float32)
    model = create_model(name, head="linear", num_labels=CLASSES, dtype="float32")
    call = jax.jit(lambda variables, images: model.apply(variables, images, train=False))
    logits = call.lower(variables, images).compile(compiler_options=QUICK)(variables, images)
    expected = np.asarray(theirs(images, training=False))
    np.testing.assert_allclose(logits, expected, atol=1e-4 * np.abs(expected).max(), rtol=0)

    # As published: names of another day, in the order of Keras; ResNet-50 sees blue first.
    rewrite_legacy(
        folder / "w.h5", tmp_path / "published.h5", lambda layer, number: f"part/{number}"
    )
    published = pretrained.SOURCES[f"keras_{name}"]
    md5 = hashlib.md5((tmp_path / "published.h5").read_bytes()).hexdigest()
    same = dataclasses.replace(published, digest=f"md5:{md5}", without_top="")
    monkeypatch.setitem(pretrained.SOURCES, f"keras_{name}", same)
    again, what = load(tmp_path / "published.h5", name)
    assert what.mean == published.mean
    if name == "resnet50":
        assert "blue, green, red to red, green, blue" in str(what)
        stem = again["params"]["backbone"]["stem_conv"]
        stem["kernel"] = stem["kernel"][:, :, ::-1]
    assert_equal(again, variables)


@pytest.mark.parametrize("name", ["densenet169", "densenet201"])
def test_the_layers_are_listed_in_the_order_of_keras(name):
    """Of the deeper ones no file is written: only the order and names of Keras's layers."""
    net = MAKERS[name](weights=None, include_top=False, input_shape=(96, 96, 3))
    theirs = [layer for layer in net.layers if layer.weights]
    listed = keras_names.layers(name)
    kinds = {"Conv2D": "conv2d", "BatchNormalization": "batch_normalization"}
    for kind in kinds.values():
        order = [layer.name for layer in theirs if kinds[type(layer).__name__] == kind]
        ours = [layer.name for layer in listed if layer.kind == kind]
        assert ours == order
    assert len({layer.place for layer in listed}) == len(listed)


def test_a_whole_model_and_one_without_its_top(written, tmp_path):
    net, folder = written("densenet121")
    expected, _ = load(folder / "w.h5", "densenet121")
    net.compile("adam")
    net.save(tmp_path / "whole.h5")
    assert_equal(load(tmp_path / "whole.h5", "densenet121")[0], expected)
    keras.Model(net.inputs, net.get_layer("avg_pool").output).save_weights(
        tmp_path / "notop.weights.h5"
    )
    variables, what = load(tmp_path / "notop.weights.h5", "densenet121")
    assert what.head == "none"
    assert_equal(variables["params"]["backbone"], expected["params"]["backbone"])
    assert_equal(variables["params"]["head"], drawn("densenet121")["params"]["head"])
    variables, what = load(folder / "w.h5", "densenet121", labels=28, channels=5)
    assert what.head == "left" and "5 channels (mean)" in what.stem
    kernel, narrow = (v["params"]["backbone"]["stem_conv"]["kernel"] for v in (variables, expected))
    np.testing.assert_allclose(kernel[:, :, 4], 0.6 * narrow.mean(2), rtol=1e-4, atol=1e-6)


def refused(path, name="densenet121"):
    with pytest.raises(InputError) as caught:
        load(path, name)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    return str(caught.value)


def test_missing_and_extra_layers_of_the_legacy_layout_are_refused_by_name(densenet, tmp_path):
    path = tmp_path / "w.h5"
    rewrite_legacy(densenet / "w.h5", path, without=("conv4_block6_2_conv",))
    assert "conv4_block6_2_conv/kernel is missing (1 of 604 arrays" in refused(path)
    rewrite_legacy(
        densenet / "w.h5", path, lambda layer, _: layer.replace("predictions", "my_classes")
    )
    assert "my_classes/kernel is none of the arrays" in refused(path)
    rewrite_legacy(densenet / "w.h5", path, lambda layer, _: layer.replace("predictions", "probs"))
    assert load(path, "densenet121")[1].head == "taken"
    assert "set config.model.name" in refused(path, "densenet169")
    with h5py.File(path, "a") as file:
        kernel = file["conv1_conv/conv1_conv/kernel:0"][()]
        del file["conv1_conv/conv1_conv/kernel:0"]
        file["conv1_conv/conv1_conv/kernel:0"] = kernel[:5]
    assert "conv1_conv/kernel has the shape (5, 7, 3, 64)" in refused(path)


def test_missing_and_extra_arrays_of_keras_3_are_refused_by_name(densenet, tmp_path):
    path = tmp_path / "w.weights.h5"
    for change, said in (
        (lambda file: file["layers/conv2d_17/vars"].pop("0"), "layers/conv2d_17/vars/0 is missing"),
        (
            lambda file: file["layers/conv2d_17/vars"].create_dataset("1", data=np.zeros(3)),
            "conv2d_17/vars/1 is none",
        ),
        (
            lambda file: file.create_dataset("layers/dense_1/vars/0", data=np.zeros(3)),
            "dense_1/vars/0 is none",
        ),
    ):
        shutil.copy(densenet / "w.weights.h5", path)
        with h5py.File(path, "a") as file:
            change(file)
        assert said in refused(path)
    whole = (densenet / "w.weights.h5").read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "is no complete HDF5 file" in refused(path)


def test_the_number_of_a_missing_layer_is_found_where_keras_gives_no_names():
    found = [f"conv2d_{n}/kernel" for n in range(5, 208) if n != 57] + ["conv_7b/kernel"]
    assert keras_names.describe_missing("conv2d #202/kernel", found) == "conv2d_57/kernel"
    assert keras_names.describe_missing("conv2d #202/kernel", found[:-2]) == "conv2d_57/kernel"
    assert (
        keras_names.describe_missing("conv2d #1/kernel", ["conv2d/kernel"])
        == "kernel of one more conv2d layer"
    )
    assert keras_names.describe_missing("conv_7b/kernel", found) == "conv_7b/kernel"


def test_nets_that_keras_does_not_have_are_refused(densenet):
    assert "keras.applications has no all_cnn" in refused(densenet / "w.h5", "all_cnn")


def test_without_h5py_one_line_says_what_to_install(densenet, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert "pip install -e '.[weights]'" in refused(densenet / "w.h5")


def test_the_sources_are_those_of_the_installed_keras():
    """Addresses, digests, and what becomes of an image before it reaches the net."""
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3)).astype(np.float32)
    applications = keras.applications
    for net, module in (
        *((name, applications.densenet) for name in ("densenet121", "densenet169", "densenet201")),
        ("resnet50", applications.resnet),
        ("inception_resnet_v2", applications.inception_resnet_v2),
    ):
        source = pretrained.SOURCES[f"keras_{net}"]
        code = inspect.getsource(
            inspect.getmodule(inspect.unwrap(getattr(module, MAKERS[net].__name__)))
        )
        digits = [digest.removeprefix("md5:") for digest in (source.digest, source.without_top)]
        assert 0 < code.index(digits[0]) < code.index(digits[1])
        assert source.url.rpartition("/")[0].split("keras-applications/")[1] in code.replace(
            '"\n    "', ""
        )
        ours = (images / 255 - np.float32(source.mean)) / np.float32(source.std)
        if source.order == "bgr":
            ours = ours[..., ::-1]
        np.testing.assert_allclose(ours, module.preprocess_input(images.copy()), atol=1e-4)
