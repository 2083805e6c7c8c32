"""All-CNN-C against its paper's layer table, and against the same layers in PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax.traverse_util import flatten_dict

from hpa_jax.models import create_model, init_variables

# Table 1 of arXiv:1412.6806, model C, with the strided layers of its Table 2 in place of pooling: what 32 px become,
# the kernel's side, and the feature maps.
TABLE = (
    ("backbone/conv1", 32, 3, 96),
    ("backbone/conv2", 32, 3, 96),
    ("backbone/conv3", 16, 3, 96),
    ("backbone/conv4", 16, 3, 192),
    ("backbone/conv5", 16, 3, 192),
    ("backbone/conv6", 8, 3, 192),
    ("backbone/conv7", 6, 3, 192),
    ("backbone/conv8", 6, 1, 192),
    ("head/logits", 6, 1, 10),
)


def layers_of(model, variables, images, **options):
    """What each layer gives, by its flat name."""
    _, seen = model.apply(
        variables, images, capture_intermediates=True, mutable=["intermediates"], **options
    )
    return {
        name.removesuffix("/__call__"): v[0]
        for name, v in flatten_dict(seen["intermediates"], sep="/").items()
    }


@pytest.mark.parametrize("channels", [3, 4])
def test_the_layers_of_the_paper(channels):
    model = create_model("all_cnn", head="all_cnn", num_labels=10, dtype="float32")
    variables = init_variables(model, (32, 32, channels), seed=0)
    shapes = jax.eval_shape(
        lambda images: layers_of(model, variables, images, train=False),
        jnp.zeros((2, 32, 32, channels)),
    )
    before, parameters = channels, {}
    for name, side, kernel, maps in TABLE:
        assert shapes[name].shape == (2, side, side, maps), name
        parameters[name] = kernel * kernel * before * maps + maps
        before = maps
    counted = {}
    for name, value in flatten_dict(variables["params"], sep="/").items():
        place = name.rpartition("/")[0]
        counted[place] = counted.get(place, 0) + value.size
    assert counted == parameters
    assert variables["batch_stats"] == {}
    if channels == 3:
        assert (
            sum(counted.values()) == 1_369_738
        )  # DeepOBS counts 1,387,108 for 100 classes: 90 x 193 more


def torch_all_cnn(params, channels, labels):
    """The same layers in PyTorch, with our weights."""
    widths = (
        (channels, 96, 1),
        (96, 96, 1),
        (96, 96, 2),
        (96, 192, 1),
        (192, 192, 1),
        (192, 192, 2),
    )
    convolutions = [torch.nn.Conv2d(a, b, 3, stride=stride, padding=1) for a, b, stride in widths]
    convolutions += [
        torch.nn.Conv2d(192, 192, 3),
        torch.nn.Conv2d(192, 192, 1),
        torch.nn.Conv2d(192, labels, 1),
    ]
    ours = [params["backbone"][f"conv{n}"] for n in range(1, 9)] + [params["head"]["logits"]]
    for convolution, layer in zip(convolutions, ours, strict=True):
        kernel = layer["kernel"] if layer["kernel"].ndim == 4 else layer["kernel"][None, None]
        convolution.weight.data = torch.tensor(np.transpose(kernel, (3, 2, 0, 1)))
        convolution.bias.data = torch.tensor(layer["bias"])
    rectified = [
        part for convolution in convolutions[:-1] for part in (convolution, torch.nn.ReLU())
    ]
    return torch.nn.Sequential(
        *rectified, convolutions[-1], torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    )


def test_equals_pytorch():
    channels, labels, rng = 4, 28, np.random.default_rng(0)
    ours = create_model("all_cnn", head="all_cnn", num_labels=labels, dropout=0.0, dtype="float32")
    params = init_variables(ours, (33, 45, channels), seed=1)["params"]
    params = jax.tree.map(lambda a: a + rng.normal(0, 0.02, a.shape).astype(np.float32), params)
    images = rng.normal(size=(3, 33, 45, channels)).astype(np.float32)
    weights = rng.normal(size=(3, labels)).astype(np.float32)

    theirs = torch_all_cnn(params, channels, labels)
    expected = theirs(torch.tensor(images.transpose(0, 3, 1, 2)))
    (expected * torch.tensor(weights)).sum().backward()
    wanted = [layer.weight.grad.numpy() for layer in theirs if isinstance(layer, torch.nn.Conv2d)]
    expected = expected.detach().numpy()

    def objective(params):
        key = jax.random.key(0)
        logits = ours.apply(
            {"params": params, "batch_stats": {}}, images, train=True, rngs={"dropout": key}
        )
        return jnp.sum(logits * weights), logits

    (_, logits), gradients = jax.jit(jax.value_and_grad(objective, has_aux=True))(params)
    np.testing.assert_allclose(logits, expected, atol=1e-5 * np.abs(expected).max(), rtol=0)
    errors = {}
    for name, gradient in zip([*(f"conv{n}" for n in range(1, 9)), "logits"], wanted, strict=True):
        part = gradients["head"] if name == "logits" else gradients["backbone"]
        ours_here = np.asarray(part[name]["kernel"]).reshape(
            *gradient.shape[2:], *gradient.shape[1::-1]
        )
        errors[name] = np.linalg.norm(ours_here - gradient.transpose(2, 3, 1, 0)) / np.linalg.norm(
            gradient
        )
    # A rectifier whose input lies within rounding of 0 may pass its gradient on in one of the two nets alone.
    assert errors["logits"] < 1e-5 and max(errors.values()) < 1e-2, errors


def test_training_drops_what_the_paper_drops():
    """A fifth of the images and half of what the strided layers give; inference drops nothing."""
    model = create_model("all_cnn", head="all_cnn", num_labels=10, dropout=0.5, dtype="float32")
    variables = init_variables(model, (32, 32, 3), seed=0)
    images = np.ones((8, 32, 32, 3), np.float32)
    seen = layers_of(model, variables, images, train=True, rngs={"dropout": jax.random.key(0)})
    assert np.mean(np.asarray(seen["backbone/Dropout_0"]) == 0) == pytest.approx(0.2, abs=0.02)
    for dropout, layer in (
        ("backbone/Dropout_1", "backbone/conv3"),
        ("backbone/Dropout_2", "backbone/conv6"),
    ):
        whole, kept = np.maximum(seen[layer], 0), np.asarray(seen[dropout])
        assert np.mean(kept[whole > 0] == 0) == pytest.approx(0.5, abs=0.02)
        np.testing.assert_allclose(kept[kept > 0], 2 * whole[kept > 0], rtol=1e-6)
    assert not any("Dropout_3" in name for name in seen)
    still = layers_of(model, variables, images, train=False)
    np.testing.assert_array_equal(still["backbone/Dropout_0"], images)
