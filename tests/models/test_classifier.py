"""What every net has: heads that fit, sizes that are refused by name, and two halves that make the whole."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from hpa_jax.errors import InputError
from hpa_jax.models import BACKBONES, HEADS, check_size, create_model, init_variables

HEAD_NAMES = {
    "seed": {
        "conv/kernel",
        "conv/bias",
        "dense/kernel",
        "dense/bias",
        "logits/kernel",
        "logits/bias",
    },
    "linear": {"logits/kernel", "logits/bias"},
    "pooled": {
        *("pool_norm/scale", "pool_norm/bias", "dense_norm/scale", "dense_norm/bias"),
        *("dense/kernel", "dense/bias", "logits/kernel", "logits/bias"),
    },
    "all_cnn": {"logits/kernel", "logits/bias"},
    "attention": {
        *(
            "pool_norm/scale",
            "pool_norm/bias",
            "dense/kernel",
            "dense/bias",
            "attention_tanh/kernel",
        ),
        *(
            "attention_tanh/bias",
            "attention_gate/kernel",
            "attention_gate/bias",
            "attention/kernel",
        ),
        *("logits/kernel", "logits/bias"),
    },
}
FITTING = [
    (net, head) for net in BACKBONES for head in HEADS if head != "all_cnn" or net == "all_cnn"
]


def shapes_of(model, image_shape, **options):
    image, key = jnp.zeros((2, *image_shape)), jax.random.key(0)
    return jax.eval_shape(
        lambda key, image: model.init_with_output(key, image, train=False, **options), key, image
    )


@pytest.mark.parametrize("net, head", FITTING)
def test_any_head_on_any_net_with_any_number_of_channels(net, head):
    model = create_model(net, head=head, num_labels=9, dtype="float32")
    side, channels = BACKBONES[net]().LEAST_SIDE, 5
    check_size(model, (side, side + 8, channels))
    logits, variables = shapes_of(model, (side, side + 8, channels))
    assert logits.shape == (2, 9) and logits.dtype == jnp.float32
    assert set(variables["params"]) == {"backbone", "head"}
    assert set(flatten_dict(variables["params"]["head"], sep="/")) == HEAD_NAMES[head]
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


@pytest.mark.parametrize("net", BACKBONES)
def test_the_map_is_as_large_as_the_size_check_thinks(net):
    backbone, height, width = BACKBONES[net](), 129, 174
    features, _ = shapes_of(
        create_model(net, head="linear", num_labels=2, dtype="float32"),
        (height, width, 3),
        method="features",
    )
    assert features.shape[1:3] == (backbone.map_side(height), backbone.map_side(width))


def test_a_smaller_image_leaves_no_map():
    """The least side of a net that pads nowhere it shrinks is no opinion: one pixel less, and nothing is left."""
    for net in ("all_cnn", "inception_resnet_v2"):
        backbone = BACKBONES[net]()
        assert (
            backbone.map_side(backbone.LEAST_SIDE) == 1
            and backbone.map_side(backbone.LEAST_SIDE - 1) == 0
        )


@pytest.mark.parametrize("net", BACKBONES)
def test_too_small_an_image_is_refused_by_name(net):
    least = BACKBONES[net]().LEAST_SIDE
    with pytest.raises(
        InputError,
        match=rf"{net}' takes images of at least {least} px a side, not {least - 1} x 512",
    ):
        check_size(
            create_model(net, head="pooled", num_labels=28, dtype="float32"), (least - 1, 512, 4)
        )


@pytest.mark.parametrize("net", BACKBONES)
def test_too_large_a_map_for_the_flatten_head_is_refused_by_name(net):
    model = create_model(net, head="seed", num_labels=28, dtype="float32")
    with pytest.raises(InputError) as refused:
        check_size(model, (3600, 3600, 4))
    values = 128 * BACKBONES[net]().map_side(3600) ** 2
    for part in (
        "model.head='seed'",
        f"model.name='{net}'",
        f"{values:,} values",
        "3600 x 3600",
        "200,000",
        "pooled",
    ):
        assert part in str(refused.value), part
    assert "\n" not in str(refused.value)
    check_size(create_model(net, head="pooled", num_labels=28, dtype="float32"), (3600, 3600, 4))


def test_the_limit_of_the_flatten_head_is_where_it_says():
    model = create_model("densenet121", head="seed", num_labels=28, dtype="float32")
    check_size(model, (1248, 1248, 4))  # 39 x 39 x 128 = 194,688
    with pytest.raises(InputError, match="204,800 values"):
        check_size(model, (1280, 1280, 4))


@pytest.mark.parametrize("net", [net for net in BACKBONES if net != "all_cnn"])
def test_all_cnns_head_is_its_own(net):
    with pytest.raises(
        InputError, match=rf"head='all_cnn' .*name='{net}' takes seed, pooled, linear"
    ):
        create_model(net, head="all_cnn", num_labels=28, dtype="float32")


def test_unknown_names_are_refused_with_those_there_are():
    with pytest.raises(
        InputError, match="config.model.name='vgg' is unknown; choose one of all_cnn, densenet121"
    ):
        create_model("vgg", head="pooled", num_labels=28, dtype="float32")
    with pytest.raises(
        InputError, match="config.model.head='flat' is unknown; choose one of seed, pooled, linear"
    ):
        create_model("resnet50", head="flat", num_labels=28, dtype="float32")


@pytest.mark.parametrize("net, head", [("densenet_tiny", "pooled"), ("all_cnn", "all_cnn")])
def test_features_then_classify_is_the_whole_net(net, head):
    model = create_model(net, head=head, num_labels=9, dropout=0.5, dtype="float32")
    variables = init_variables(model, (32, 32, 4), seed=0)
    images = np.random.default_rng(0).normal(size=(3, 32, 32, 4)).astype(np.float32)
    for train in (False, True):
        options = {
            "train": train,
            "rngs": {"dropout": jax.random.key(1)},
            "mutable": ["batch_stats"] if train else [],
        }

        def apply(inputs, method, options=options):
            lowered = jax.jit(lambda v, x: model.apply(v, x, method=method, **options)).lower(
                variables, inputs
            )
            return lowered.compile(compiler_options={"xla_backend_optimization_level": 0})(
                variables, inputs
            )

        whole, updates = apply(images, "__call__")
        features, first = apply(images, "features")
        logits, second = apply(features, "classify")
        np.testing.assert_allclose(logits, whole, atol=1e-5)
        if train:  # each half moves the statistics of its own norms, and leaves the other's
            first, second, updates = (
                flatten_dict(u["batch_stats"], sep="/") for u in (first, second, updates)
            )
            halves = {
                name: (first if name.startswith("backbone/") else second)[name] for name in updates
            }
            for name, moved in updates.items():
                np.testing.assert_allclose(halves[name], moved, atol=1e-5, err_msg=name)


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


@pytest.mark.parametrize("net", ["resnet50", "inception_resnet_v2"])
def test_bfloat16_is_the_arithmetic_alone(net):
    model = create_model(net, head="linear", num_labels=3, dtype="bfloat16")
    side = BACKBONES[net]().LEAST_SIDE
    features, variables = shapes_of(model, (side, side, 4), method="features")
    assert features.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
