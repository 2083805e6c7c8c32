"""What every net has: heads that fit, refusals that name the setting, and two halves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from support.compiling import compile_quickly

from hpa_jax.errors import InputError
from hpa_jax.models import (
    BACKBONES,
    HEADS,
    check_size,
    create_model,
    init_variables,
    list_models,
)

# Parameters of each head, as they are in checkpoints.
HEAD_PARAMETERS = {
    "hpa_densenet": {
        *("conv/kernel", "conv/bias"),
        *("dense/kernel", "dense/bias"),
        *("logits/kernel", "logits/bias"),
    },
    "linear": {"logits/kernel", "logits/bias"},
    "norm_linear": {"norm/scale", "norm/bias", "logits/kernel", "logits/bias"},
    "pooled": {
        *("pool_norm/scale", "pool_norm/bias"),
        *("dense/kernel", "dense/bias"),
        *("dense_norm/scale", "dense_norm/bias"),
        *("logits/kernel", "logits/bias"),
    },
    "all_cnn": {"logits/kernel", "logits/bias"},
    "attention": {
        *("pool_norm/scale", "pool_norm/bias"),
        *("dense/kernel", "dense/bias"),
        *("attention_tanh/kernel", "attention_tanh/bias"),
        *("attention_gate/kernel", "attention_gate/bias"),
        "attention/kernel",
        *("logits/kernel", "logits/bias"),
    },
}

# Tracing the large nets takes time; with the head `linear` every kind of net is traced below.
SMALL = ("all_cnn", "convnext_test", "densenet_tiny")
FITTING = []
for name in BACKBONES:
    for head in HEADS:
        if head in BACKBONES and head != name:
            continue
        marks = () if name in SMALL else pytest.mark.slow
        FITTING.append(pytest.param(name, head, marks=marks))

# Deeper ones of a net that is there already.
DEEPER = (
    "convnext_small",
    "densenet169",
    "densenet201",
    "densenet_medium",
    "densenet_small",
    "resnet_small",
)
EVERY_KIND = []
for name in BACKBONES:
    marks = pytest.mark.slow if name in DEEPER else ()
    EVERY_KIND.append(pytest.param(name, marks=marks))

ENCODERS = []
for name in BACKBONES:
    if hasattr(BACKBONES[name](), "STAGE_STRIDES"):
        marks = () if name == "densenet_tiny" else pytest.mark.slow
        ENCODERS.append(pytest.param(name, marks=marks))


def shapes_of(model, image_shape, **options):
    """Shapes of the result for two images, and of the variables."""
    images = jnp.zeros((2, *image_shape))
    key = jax.random.key(0)

    def init(key, images):
        return model.init_with_output(key, images, train=False, **options)

    return jax.eval_shape(init, key, images)


def dtypes_of(tree):
    return {leaf.dtype for leaf in jax.tree.leaves(tree)}


@pytest.mark.parametrize("name, head", FITTING)
def test_any_head_on_any_net_with_any_number_of_channels(name, head):
    model = create_model(name, head=head, num_labels=9, dtype="float32")
    side = BACKBONES[name]().MIN_IMAGE_SIZE
    image_shape = (side, side + 8, 5)
    check_size(model, image_shape)
    logits, variables = shapes_of(model, image_shape)
    assert logits.shape == (2, 9) and logits.dtype == jnp.float32
    assert set(variables["params"]) == {"backbone", "head"}
    assert set(flatten_dict(variables["params"]["head"], sep="/")) == HEAD_PARAMETERS[head]
    assert dtypes_of(variables) == {jnp.dtype("float32")}


def test_models_are_listed():
    names = list_models()
    assert names == sorted(names) and set(names) == set(BACKBONES)
    assert {"all_cnn", "densenet121", "inception_resnet_v2", "resnet50"} <= set(names)


def test_a_model_needs_only_its_name():
    model = create_model("densenet121")
    assert model == create_model(
        "densenet121", head="pooled", num_labels=28, dropout=0.5, dtype="bfloat16"
    )


@pytest.mark.parametrize("name", EVERY_KIND)
def test_the_feature_map_has_the_size_that_the_size_check_expects(name):
    backbone = BACKBONES[name]()
    height, width = 129, 174
    model = create_model(name, head="linear", num_labels=2)
    features, _ = shapes_of(model, (height, width, 3), method="features")
    expected = (backbone.feature_map_size(height), backbone.feature_map_size(width))
    assert features.shape[1:3] == expected


@pytest.mark.parametrize("name", ENCODERS)
def test_the_stages_of_an_encoder_lie_on_the_grid_that_it_states(name):
    """unet.py joins them with maps of its own; the last is the feature map itself."""
    backbone = BACKBONES[name]()
    strides = backbone.STAGE_STRIDES
    assert strides == (2, 4, 8, 16, 32)[-len(strides) :] and strides[0] in (2, 4)
    height, width = 64, 96
    maps, _ = shapes_of(backbone, (height, width, 3), method="stages")
    assert [found.shape[1:3] for found in maps] == [(height // s, width // s) for s in strides]
    features = (backbone.feature_map_size(height), backbone.feature_map_size(width))
    assert maps[-1].shape[1:3] == features


@pytest.mark.parametrize("name", ["all_cnn", "inception_resnet_v2"])
def test_a_smaller_image_leaves_no_feature_map(name):
    """Where a net pads nowhere that it shrinks images, one pixel less leaves nothing."""
    backbone = BACKBONES[name]()
    minimum = backbone.MIN_IMAGE_SIZE
    assert backbone.feature_map_size(minimum) == 1
    assert backbone.feature_map_size(minimum - 1) == 0


@pytest.mark.parametrize("name", BACKBONES)
def test_too_small_an_image_is_refused_by_name(name):
    minimum = BACKBONES[name]().MIN_IMAGE_SIZE
    model = create_model(name)
    message = rf"{name}' takes images of at least {minimum} px a side, not {minimum - 1} x 512"
    with pytest.raises(InputError, match=message):
        check_size(model, (minimum - 1, 512, 4))


@pytest.mark.parametrize("name", BACKBONES)
def test_too_large_a_map_for_the_flattening_head_is_refused_by_name(name):
    model = create_model(name, head="hpa_densenet")
    with pytest.raises(InputError) as refused:
        check_size(model, (3600, 3600, 4))
    values = 128 * BACKBONES[name]().feature_map_size(3600) ** 2
    message = str(refused.value)
    assert "\n" not in message
    assert "model.head='hpa_densenet'" in message
    assert f"model.name='{name}'" in message
    assert f"{values:,} values" in message
    assert "3600 x 3600" in message
    assert "200,000" in message
    assert "pooled" in message
    check_size(create_model(name, head="pooled"), (3600, 3600, 4))


def test_the_limit_of_the_flattening_head():
    model = create_model("densenet121", head="hpa_densenet")
    check_size(model, (1248, 1248, 4))  # 39 x 39 x 128 = 194,688
    with pytest.raises(InputError, match="204,800 values"):
        check_size(model, (1280, 1280, 4))


@pytest.mark.parametrize("name", [name for name in BACKBONES if name != "all_cnn"])
def test_the_head_of_all_cnn_is_its_own(name):
    message = rf"head='all_cnn' .*name='{name}' takes hpa_densenet, pooled, linear, norm"
    with pytest.raises(InputError, match=message):
        create_model(name, head="all_cnn")


def test_unknown_names_are_refused_with_the_known_ones():
    message = "config.model.name='vgg' is unknown; choose one of all_cnn, convnext_small"
    with pytest.raises(InputError, match=message):
        create_model("vgg")
    message = "config.model.head='flat' is unknown; choose one of hpa_densenet, pooled, linear"
    with pytest.raises(InputError, match=message):
        create_model("resnet50", head="flat")
    message = "config.model.dtype='float16' is unknown; choose one of float32, bfloat16"
    with pytest.raises(InputError, match=message):
        create_model("resnet50", dtype="float16")


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("name, head", [("densenet_tiny", "pooled"), ("all_cnn", "all_cnn")])
def test_features_then_classify_is_the_complete_net(name, head, train):
    model = create_model(name, head=head, num_labels=9, dropout=0.5, dtype="float32")
    variables = init_variables(model, (32, 32, 4), seed=0)
    images = np.random.default_rng(0).normal(size=(3, 32, 32, 4)).astype(np.float32)
    mutable = ["batch_stats"] if train else []
    rngs = {"dropout": jax.random.key(1)}

    def apply(inputs, method):
        def run(variables, inputs):
            return model.apply(
                variables, inputs, train=train, rngs=rngs, mutable=mutable, method=method
            )

        return compile_quickly(run, variables, inputs)(variables, inputs)

    expected, updates = apply(images, "__call__")
    features, backbone_updates = apply(images, "features")
    logits, head_updates = apply(features, "classify")
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    if train:
        # Each half moves the statistics of its own norms and leaves those of the other.
        for half, found in (("backbone", backbone_updates), ("head", head_updates)):
            moved = flatten_dict(updates["batch_stats"].get(half, {}), sep="/")
            found = flatten_dict(found["batch_stats"].get(half, {}), sep="/")
            assert found.keys() == moved.keys()
            for statistic, value in moved.items():
                np.testing.assert_allclose(found[statistic], value, atol=1e-5, err_msg=statistic)


def test_a_net_without_batch_norm_has_empty_statistics():
    model = create_model("all_cnn", head="all_cnn", num_labels=3, dtype="float32")
    variables = init_variables(model, (16, 16, 2), seed=0)
    assert set(variables) == {"params", "batch_stats"} and variables["batch_stats"] == {}
    logits, updates = model.apply(
        variables,
        np.zeros((2, 16, 16, 2), np.float32),
        train=True,
        mutable=["batch_stats"],
        rngs={"dropout": jax.random.key(0)},
    )
    assert logits.shape == (2, 3) and updates["batch_stats"] == {}


@pytest.mark.parametrize("name", ["convnext_test", "resnet50", "inception_resnet_v2"])
def test_bfloat16_is_only_the_arithmetic(name):
    model = create_model(name, head="linear", num_labels=3, dtype="bfloat16")
    side = BACKBONES[name]().MIN_IMAGE_SIZE
    features, variables = shapes_of(model, (side, side, 4), method="features")
    assert features.dtype == jnp.bfloat16
    assert dtypes_of(variables) == {jnp.dtype("float32")}
