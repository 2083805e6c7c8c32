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
    convnext_encoder,
    densenet_encoder,
    load_ours,
)

from hpa_jax.models import BACKBONES, create_unet
from hpa_jax.models.resnet import ResNet

OUTPUTS = {"yellow": 1, "edges": 3}
WIDTH = 2
SHALLOW = (1, 1, 1, 1)
ENCODERS = {
    "densenet": densenet_encoder,
    "convnext": convnext_encoder,
    "resnet50": lambda name, channels: ResNetEncoder(channels, SHALLOW),
}


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
    widths = {stride: WIDTH * stride for stride in (16, 8, 4, 2, 1)}
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
    ("name", "size", "channels"),
    [
        ("densenet_tiny", (45, 64), 3),
        pytest.param("densenet_small", (96, 71), 4, marks=pytest.mark.slow),
        pytest.param("densenet121", (64, 64), 2, marks=pytest.mark.slow),
        pytest.param("convnext_test", (60, 75), 5, marks=pytest.mark.slow),
        pytest.param("resnet50", (64, 80), 3, marks=pytest.mark.slow),
    ],
)
def test_equals_pytorch_with_running_and_with_batch_statistics(name, size, channels, monkeypatch):
    monkeypatch.setitem(BACKBONES, "resnet50", lambda **options: ResNet(SHALLOW, **options))
    ours, arrays, theirs = pair_of(name, size, channels)
    images = images_of(size, channels)

    def both(arrays, images):
        variables = unflatten_dict(arrays, sep="/")
        evaluated = ours.apply(variables, images, train=False)
        trained, updates = ours.apply(variables, images, train=True, mutable=["batch_stats"])
        return evaluated, trained, updates["batch_stats"]["head"]["level1"]["norm2"]["mean"]

    evaluated, trained, moved = compile_quickly(both, arrays, images)(arrays, images)
    with torch.no_grad():
        expected = theirs.eval()(as_torch(images))
        expected_trained = theirs.train()(as_torch(images))
    for found, outputs in ((evaluated, expected), (trained, expected_trained)):
        assert set(found) == set(OUTPUTS)
        for output, channels in OUTPUTS.items():
            assert found[output].shape == (2, *size, channels)
            assert found[output].dtype == jnp.float32
            assert_close(found[output], as_ours(outputs[output]))
    assert_close(moved, theirs.head.level1.norm2.running_mean.numpy())
