"""U-Nets against PyTorch's, on any encoder; refusals; what becomes of sides that do not fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax.traverse_util import unflatten_dict
from support.compiling import compile_quickly
from support.drawn_variables import drawn
from support.torch_unet import (
    ResNetEncoder,
    TorchUNet,
    as_state,
    convnext_encoder,
    densenet_encoder,
    load_ours,
)

from hpa_jax.errors import InputError
from hpa_jax.models import (
    BACKBONES,
    create_unet,
    init_variables,
    list_encoders,
)
from hpa_jax.models.resnet import ResNet

OUTPUTS = {"yellow": 1, "edges": 3}
WIDTH = 2
SHALLOW = (1, 1, 1, 1)
ENCODERS = {
    "densenet": densenet_encoder,
    "convnext": convnext_encoder,
    "resnet50": lambda name, channels: ResNetEncoder(channels, SHALLOW),
}


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


def unet(name="densenet_tiny", **options):
    return create_unet(name, **({"outputs": OUTPUTS, "width": WIDTH, "dtype": "float32"} | options))


def images_of(size, channels, count=2):
    return np.random.default_rng(size[0]).normal(size=(count, *size, channels)).astype(np.float32)


def arrays_of(model, size, channels):
    image = jax.ShapeDtypeStruct((1, *size, channels), jnp.float32)
    shapes = jax.eval_shape(lambda image: model.init(jax.random.key(0), image, train=False), image)
    return drawn(shapes, seed=channels)


def pair_of(name, size, channels):
    """Our U-Net, its drawn arrays, and PyTorch's with the same."""
    ours = unet(name)
    arrays = arrays_of(ours, size, channels)
    kind = next(kind for kind in ENCODERS if name.startswith(kind))
    widths = {stride: WIDTH * min(stride, 8) for stride in (16, 8, 4, 2, 1)}
    theirs = TorchUNet(ENCODERS[kind](name, channels), channels, OUTPUTS, widths)
    load_ours(theirs, arrays, name)
    return ours, arrays, theirs


def as_torch(images):
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def as_ours(tensor):
    return tensor.detach().numpy().transpose(0, 2, 3, 1)


def assert_close(found, expected, tolerance=1e-4):
    largest = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, atol=tolerance * largest, rtol=0)


@pytest.mark.parametrize(
    ("name", "size", "channels", "train"),
    [
        ("densenet_tiny", (45, 64), 3, True),
        slow("densenet_tiny", (70, 33), 1, False),
        slow("densenet_small", (96, 71), 4, True),
        slow("densenet121", (64, 64), 2, True),
        slow("densenet121", (64, 64), 2, False),
        slow("convnext_test", (60, 75), 5, True),
        slow("convnext_test", (60, 75), 5, False),
        slow("resnet50", (64, 80), 3, True),
        slow("resnet50", (64, 80), 3, False),
    ],
)
def test_equals_pytorch_with_batch_and_with_running_statistics(
    name, size, channels, train, monkeypatch
):
    monkeypatch.setitem(BACKBONES, "resnet50", lambda **options: ResNet(SHALLOW, **options))
    ours, arrays, theirs = pair_of(name, size, channels)
    images = images_of(size, channels)

    def call(arrays, images):
        variables = unflatten_dict(arrays, sep="/")
        outputs, updates = ours.apply(variables, images, train=train, mutable=["batch_stats"])
        return outputs, updates["batch_stats"]["head"]["level1"]["norm2"]["mean"]

    found, mean = compile_quickly(call, arrays, images)(arrays, images)
    with torch.no_grad():
        expected = theirs.train(train)(as_torch(images))
    assert set(found) == set(OUTPUTS)
    for output, channels in OUTPUTS.items():
        assert found[output].shape == (2, *size, channels)
        assert found[output].dtype == jnp.float32
        assert_close(found[output], as_ours(expected[output]))
    assert_close(mean, theirs.head.level1.norm2.running_mean.numpy())


@pytest.mark.slow
def test_gradients_equal_pytorchs_and_bfloat16s_are_near_and_finite():
    """Of an L1 loss with batch statistics, as it is trained."""
    size, channels = (64, 40), 3
    exact, arrays, theirs = pair_of("densenet_tiny", size, channels)
    images = images_of(size, channels)
    wanted = images_of(size, 1)

    def step(model):
        def loss(arrays, images):
            variables = unflatten_dict(arrays, sep="/")
            outputs, _ = model.apply(variables, images, train=True, mutable=["batch_stats"])
            return jnp.mean(jnp.abs(outputs["yellow"] - wanted)), outputs

        return compile_quickly(jax.value_and_grad(loss, has_aux=True), arrays, images)

    (_, outputs), gradients = step(exact)(arrays, images)
    found = theirs.train()(as_torch(images))
    torch.mean(torch.abs(found["yellow"] - as_torch(wanted))).backward()
    named = as_state(
        {name: np.asarray(value) for name, value in gradients.items()}, "densenet_tiny"
    )
    compared = 0
    for key, parameter in theirs.named_parameters():
        if parameter.grad is not None:
            assert_close(named[key], parameter.grad.numpy(), 1e-3)
            compared += 1
    # All but those of the other output and of torchvision's classifier.
    assert compared == sum(name.startswith("params/") for name in arrays) - 2

    (_, narrow), gradients = step(unet(dtype="bfloat16"))(arrays, images)
    for name, gradient in gradients.items():
        assert gradient.dtype == jnp.float32 and np.isfinite(gradient).all(), name
    for name in OUTPUTS:
        assert narrow[name].dtype == jnp.float32
        difference = np.asarray(narrow[name] - outputs[name])
        assert np.sqrt(np.mean(difference**2)) < 0.05 * np.std(outputs[name])


@pytest.mark.slow
def test_recomputed_blocks_are_the_same_net():
    size = (64, 64)
    images = images_of(size, 3)
    variables = init_variables(unet(), (*size, 3), seed=0)

    def gradients(block):
        model = unet(block=block)

        def loss(params, images):
            outputs, _ = model.apply(
                variables | {"params": params}, images, train=True, mutable=["batch_stats"]
            )
            return jnp.mean(jnp.square(outputs["edges"]))

        return compile_quickly(jax.grad(loss), variables["params"], images)(
            variables["params"], images
        )

    plain = gradients("plain")
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(plain))
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(gradients("remat")), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * largest)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "encoder", "decoder"),
    [
        ("densenet_small", 66_424, 885_777),
        ("densenet_medium", 311_028, 1_112_465),
        ("densenet121", 6_956_992, 2_782_225),
        ("convnext_tiny", 27_820_128, 1_532_945),
        ("resnet50", 23_537_728, 2_913_297),
    ],
)
def test_the_numbers_of_parameters_are_the_documented_ones(name, encoder, decoder):
    model = create_unet(name, outputs={"y": 1})
    image = jax.ShapeDtypeStruct((1, 64, 64, 4), jnp.float32)
    shapes = jax.eval_shape(lambda image: model.init(jax.random.key(0), image, train=False), image)
    for part, count in (("backbone", encoder), ("head", decoder)):
        assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"][part])) == count


def test_nets_that_crop_are_no_encoders():
    assert {"convnext_tiny", "densenet121", "resnet50"} <= set(list_encoders())
    for name in ("all_cnn", "inception_resnet_v2"):
        assert name not in list_encoders()
        message = f"name='{name}' cannot be a U-Net's encoder: it shrinks images without padding"
        with pytest.raises(InputError, match=message):
            create_unet(name, outputs=OUTPUTS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "vgg"}, "name='vgg' is unknown; choose one of convnext_small, .*resnet50"),
        ({"outputs": {}}, "a U-Net needs an output"),
        ({"outputs": {"a b": 1}}, "'a b' cannot name a U-Net's output"),
        ({"outputs": {"green": 0}}, "output 'green' of 0 channels"),
        ({"width": 0}, "width=0 of a U-Net's decoder"),
        ({"dtype": "float16"}, "config.model.dtype='float16' is unknown; choose one of float32"),
        ({"block": "fused"}, "config.model.block='fused' keeps no maps .*choose one of plain"),
        (
            {"name": "resnet50", "block": "remat"},
            "config.model.block='remat' is for DenseNets; .*'resnet50' takes plain only",
        ),
    ],
)
def test_what_no_unet_can_be_is_refused_in_one_line(options, message):
    with pytest.raises(InputError, match=message) as refused:
        unet(**options)
    assert "\n" not in str(refused.value)


def test_fused_blocks_have_no_earlier_maps():
    backbone = BACKBONES["densenet_tiny"](block="fused")
    images = jnp.zeros((1, 32, 32, 3))
    shapes = jax.eval_shape(lambda: backbone.init(jax.random.key(0), images, train=False))
    with pytest.raises(ValueError, match="block='fused' keeps no maps"):
        jax.eval_shape(
            lambda variables: backbone.apply(
                variables, images, train=True, method="stages", mutable=["batch_stats"]
            ),
            shapes,
        )
