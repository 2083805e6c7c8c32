"""All-CNN-C against its paper's layer table, and against the same layers in PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax.traverse_util import flatten_dict

from hpa_jax.models import create_model, init_variables

# Table 1 of arXiv:1412.6806, model C, with the strided layers of its Table 2 in place of pooling:
# the side that 32 px have become, the side of the kernel, and the channels.
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


def all_cnn(num_labels, dropout=0.5):
    return create_model(
        "all_cnn", head="all_cnn", num_labels=num_labels, dropout=dropout, dtype="float32"
    )


def layer_outputs(model, variables, images, **options):
    """The result of each layer, by its flat name."""
    _, state = model.apply(
        variables, images, capture_intermediates=True, mutable=["intermediates"], **options
    )
    outputs = {}
    for name, values in flatten_dict(state["intermediates"], sep="/").items():
        outputs[name.removesuffix("/__call__")] = values[0]
    return outputs


@pytest.mark.parametrize("channels", [3, 4])
def test_the_layers_of_the_paper(channels):
    model = all_cnn(num_labels=10)
    variables = init_variables(model, (32, 32, channels), seed=0)
    images = jnp.zeros((2, 32, 32, channels))
    shapes = jax.eval_shape(
        lambda images: layer_outputs(model, variables, images, train=False), images
    )
    inputs = channels
    expected = {}
    for name, side, kernel, features in TABLE:
        assert shapes[name].shape == (2, side, side, features), name
        expected[name] = kernel * kernel * inputs * features + features
        inputs = features

    counted = {}
    for name, value in flatten_dict(variables["params"], sep="/").items():
        layer = name.rpartition("/")[0]
        counted[layer] = counted.get(layer, 0) + value.size
    assert counted == expected
    assert variables["batch_stats"] == {}
    if channels == 3:
        # DeepOBS counts 1,387,108 for 100 classes: 90 x 193 more.
        assert sum(counted.values()) == 1_369_738


def torch_all_cnn(params, channels, num_labels):
    """The same layers in PyTorch, with our weights."""
    convolutions = [
        torch.nn.Conv2d(channels, 96, 3, padding=1),
        torch.nn.Conv2d(96, 96, 3, padding=1),
        torch.nn.Conv2d(96, 96, 3, padding=1, stride=2),
        torch.nn.Conv2d(96, 192, 3, padding=1),
        torch.nn.Conv2d(192, 192, 3, padding=1),
        torch.nn.Conv2d(192, 192, 3, padding=1, stride=2),
        torch.nn.Conv2d(192, 192, 3),
        torch.nn.Conv2d(192, 192, 1),
        torch.nn.Conv2d(192, num_labels, 1),
    ]
    ours = [params["backbone"][f"conv{number}"] for number in range(1, 9)]
    ours.append(params["head"]["logits"])
    modules = []
    for convolution, layer in zip(convolutions, ours, strict=True):
        kernel = layer["kernel"]
        if kernel.ndim == 2:
            kernel = kernel[None, None]
        convolution.weight.data = torch.tensor(np.transpose(kernel, (3, 2, 0, 1)))
        convolution.bias.data = torch.tensor(layer["bias"])
        modules += [convolution, torch.nn.ReLU()]
    logits = modules[:-1]  # no ReLU after the last convolution
    return torch.nn.Sequential(*logits, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())


def test_equals_pytorch():
    channels, num_labels = 4, 28
    rng = np.random.default_rng(0)
    ours = all_cnn(num_labels, dropout=0.0)
    params = init_variables(ours, (33, 45, channels), seed=1)["params"]
    params = jax.tree.map(lambda a: a + rng.normal(0, 0.02, a.shape).astype(np.float32), params)
    images = rng.normal(size=(3, 33, 45, channels)).astype(np.float32)
    weights = rng.normal(size=(3, num_labels)).astype(np.float32)

    theirs = torch_all_cnn(params, channels, num_labels)
    expected = theirs(torch.tensor(images.transpose(0, 3, 1, 2)))
    (expected * torch.tensor(weights)).sum().backward()
    expected = expected.detach().numpy()
    convolutions = [layer for layer in theirs if isinstance(layer, torch.nn.Conv2d)]

    def objective(params):
        variables = {"params": params, "batch_stats": {}}
        rngs = {"dropout": jax.random.key(0)}
        logits = ours.apply(variables, images, train=True, rngs=rngs)
        return jnp.sum(logits * weights), logits

    (_, logits), gradients = jax.jit(jax.value_and_grad(objective, has_aux=True))(params)
    np.testing.assert_allclose(logits, expected, atol=1e-5 * np.abs(expected).max(), rtol=0)
    ours_by_name = gradients["backbone"] | gradients["head"]
    names = [*(f"conv{number}" for number in range(1, 9)), "logits"]
    errors = {}
    for name, convolution in zip(names, convolutions, strict=True):
        wanted = convolution.weight.grad.numpy().transpose(2, 3, 1, 0)
        found = np.asarray(ours_by_name[name]["kernel"]).reshape(wanted.shape)
        errors[name] = np.linalg.norm(found - wanted) / np.linalg.norm(wanted)
    # A ReLU whose input lies within rounding of 0 may pass its gradient on in one net only.
    assert errors["logits"] < 1e-5 and max(errors.values()) < 1e-2, errors


def test_training_drops_what_the_paper_drops():
    """A fifth of the images and half of what the strided layers give; inference drops nothing."""
    model = all_cnn(num_labels=10, dropout=0.5)
    variables = init_variables(model, (32, 32, 3), seed=0)
    images = np.ones((8, 32, 32, 3), np.float32)
    rngs = {"dropout": jax.random.key(0)}
    outputs = layer_outputs(model, variables, images, train=True, rngs=rngs)
    dropped = np.asarray(outputs["backbone/Dropout_0"]) == 0
    assert np.mean(dropped) == pytest.approx(0.2, abs=0.02)
    for dropout, layer in (("Dropout_1", "conv3"), ("Dropout_2", "conv6")):
        before = np.maximum(outputs[f"backbone/{layer}"], 0)
        after = np.asarray(outputs[f"backbone/{dropout}"])
        assert np.mean(after[before > 0] == 0) == pytest.approx(0.5, abs=0.02)
        np.testing.assert_allclose(after[after > 0], 2 * before[after > 0], rtol=1e-6)
    assert not any("Dropout_3" in name for name in outputs)
    inference = layer_outputs(model, variables, images, train=False)
    np.testing.assert_array_equal(inference["backbone/Dropout_0"], images)
