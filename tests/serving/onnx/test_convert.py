"""model.onnx computes what JAX computes, whatever the net, head, channel mix and batch."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from support.onnx_nets import (
    differences,
    images_of,
    is_same,
    model_of,
    net_config,
    variables_of,
)

from hpa_jax.errors import InputError
from hpa_jax.models import list_models
from hpa_jax.models.classifier import BACKBONES
from hpa_jax.models.heads import HEADS
from hpa_jax.serving.maps import CLOSED_FORMS
from hpa_jax.serving.onnx.build import build
from hpa_jax.serving.onnx.convert import convert
from hpa_jax.serving.onnx.session import open_session
from hpa_jax.serving.onnx.write import as_bytes

pytestmark = pytest.mark.usefixtures("compiled_once")

MIXES = ("rgby", "green", "hpa_densenet_i", "hpa_densenet_iii", "[[1,0,0,0],[0,0.5,0.25,0.25]]")

SMALL = (
    ("densenet_tiny", "linear", "rgby", 37),
    ("densenet_tiny", "attention", "green", 64),
    ("all_cnn", "pooled", "hpa_densenet_ii", 32),
    ("convnext_test", "norm_linear", "rgby", 37),
)


def all_nets():
    """Every backbone with every head that fits, the mixes by turns."""
    nets = []
    for name in list_models():
        for head in HEADS:
            if head not in BACKBONES or head == name:
                size = max(64, BACKBONES[name]().MIN_IMAGE_SIZE + 6)
                nets.append((name, head, MIXES[len(nets) % len(MIXES)], size))
    return nets


@pytest.mark.parametrize(("name", "head", "mix", "size"), SMALL)
def test_it_computes_what_jax_computes(name, head, mix, size):
    config = net_config(name, head, mix, size)
    variables = variables_of(config)
    model = model_of(config, variables)
    found = differences(model, config, variables)
    assert is_same(found), found
    assert ("maps" in found) == (head in CLOSED_FORMS)
    if name == "convnext_test":
        # A node for each convolution that is a sum on this machine, and layer norms as they lie.
        assert not {"Slice", "Transpose"} & set(operations(model))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "head", "mix", "size"), all_nets())
def test_every_net_computes_what_jax_computes(name, head, mix, size):
    config = net_config(name, head, mix, size)
    variables = variables_of(config)
    model = model_of(config, variables)
    found = differences(model, config, variables)
    assert is_same(found), found
    if name.startswith("densenet"):
        assert not {"Transpose", "Einsum"} & set(operations(model))


@pytest.mark.parametrize("head", ["linear", "pooled", "hpa_densenet", "attention"])
def test_nothing_is_transposed_and_norms_are_one_node(head):
    config = net_config("densenet_tiny", head, "rgby", 32)
    counts = operations(model_of(config, variables_of(config)))
    assert not {"Transpose", "Einsum"} & set(counts)
    # One in the stem, two a layer (six layers), three transitions, one at the end.
    assert counts["BatchNormalization"] >= 1 + 2 * 6 + 3 + 1
    assert counts["AveragePool"] == 3 and counts["MaxPool"] == 1


def operations(model) -> Counter:
    return Counter(node.op_type for node in model.graph.node)


def padded_otherwise(model, kind: str):
    """The model with the first padding of its kind moved by a pixel: all shapes stay."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for node in changed.graph.node:
        for attribute in node.attribute:
            if node.op_type == kind and attribute.name == "pads" and any(attribute.ints):
                top, left, bottom, right = attribute.ints
                attribute.ints[:] = [top - 1, left - 1, bottom + 1, right + 1]
                onnx.checker.check_model(changed, full_check=True)
                return changed
    raise AssertionError(f"no {kind} with padding")


@pytest.mark.parametrize("kind", ["Conv", pytest.param("MaxPool", marks=pytest.mark.slow)])
def test_a_wrong_padding_of_the_right_shape_is_noticed(kind):
    config = net_config("densenet_tiny", "linear", "rgby", 32)
    variables = variables_of(config)
    wrong = padded_otherwise(model_of(config, variables), kind)
    found = differences(wrong, config, variables, batches=(3,))
    assert not is_same(found), found


def test_an_export_with_a_wrong_padding_is_refused(monkeypatch):
    """By the check that each export passes before it gets its name."""
    config = net_config("densenet_tiny", "linear", "rgby", 32)
    variables = variables_of(config)
    golden = golden_of(config, variables)
    assert build(config, variables, golden, list).description["outputs"][0] == "probabilities"

    def convert_wrongly(*arguments):
        return padded_otherwise(convert(*arguments), "Conv")

    monkeypatch.setattr("hpa_jax.serving.onnx.build.convert", convert_wrongly)
    with pytest.raises(InputError, match=r"is not the net: its .* differ from JAX's by"):
        build(config, variables, golden, list)


def golden_of(config, variables) -> dict:
    from hpa_jax.serving.forward import forward_pass

    images = images_of(config.data.image_size, 2)
    outputs = jax.jit(forward_pass(config))(variables, images)
    return {"images": images} | {name: np.asarray(array) for name, array in outputs.items()}


def test_the_weights_lie_in_it_once_and_the_batch_is_free():
    config = net_config("densenet_tiny", "linear", "rgby", 32)
    variables = variables_of(config)
    model = model_of(config, variables)
    constants = [numpy_helper.to_array(constant) for constant in model.graph.initializer]
    kernels = [array for array in constants if array.ndim > 1 and array.shape[0] > 1]
    weights = [array for name, array in variables.items() if name.endswith("kernel")]
    # The last layer's once more, for the maps.
    weights.append(variables["params/head/logits/kernel"])
    assert sum(map(np.size, kernels)) == sum(map(np.size, weights))
    for value in [*model.graph.input, *model.graph.output]:
        assert value.type.tensor_type.shape.dim[0].dim_param == "B"


def test_a_primitive_without_a_rule_is_named_in_one_line():
    with pytest.raises(InputError, match=r"no rule for JAX's sort .*export\.onnx=none") as refusal:
        convert(lambda images: {"x": jnp.sort(images.astype(jnp.float32), axis=1)}, (8, 8, 4))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.transpose(0, 2, 1, 3),
        lambda x: jax.lax.scan(lambda c, _: (c + 1, None), x, length=3)[0],
        lambda x: jnp.cumsum(x, axis=1),
        lambda x: x[:, jnp.array([2, 0])],
        lambda x: jax.lax.conv_general_dilated(
            x, np.ones((2, 8, 3, 3), np.float32), (1, 1), "SAME"
        ),
    ],
)
def test_what_has_no_rule_is_refused_and_never_guessed(function):
    with pytest.raises(InputError, match="cannot be written as ONNX"):
        convert(lambda images: {"x": function(images.astype(jnp.float32))}, (8, 8, 4))


def test_tiles_are_refused_by_name():
    config = net_config("densenet_tiny", "attention", "rgby", 64, model__tile=32)
    with pytest.raises(InputError, match=r"config\.model\.tile=32: .*config\.export\.onnx=none"):
        build(config, {}, {}, list)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: jnp.concatenate([x, x * 2 + 1], axis=-1)[:, 1:7:2, ::3],
        lambda x: jnp.mean(x[..., 1:3], axis=(1, 2)) - jnp.max(x, axis=(1, 3)).sum(1)[:, None],
        lambda x: jax.nn.softmax(x.reshape(x.shape[0], -1, 4), axis=1).sum(2),
        lambda x: jnp.where(x[..., 0] > 100, x[..., 1], x[..., 2] / 3),
        lambda x: jax.lax.rsqrt(jnp.square(x) + 1) * jnp.arange(4) - jnp.minimum(x, 3) ** 2,
        lambda x: x.reshape(x.shape[0], -1)[:, 5:9] @ jnp.eye(4)[:, :3],
        lambda x: jax.nn.relu(x - 128).reshape(x.shape[0], -1) * 2,
        lambda x: jnp.pad(x, ((0, 0), (2, 1), (0, 3), (0, 0)), mode="reflect"),
        lambda x: jnp.broadcast_to(x[:, :, None, :1], (x.shape[0], 8, 3, 5, 4)).reshape(-1, 60, 8),
        lambda x: jax.lax.reduce_window(
            x, -jnp.inf, jax.lax.max, (1, 3, 2, 1), (1, 2, 1, 1), ((0, 0), (1, 0), (0, 1), (0, 0))
        ),
        lambda x: jax.lax.conv_general_dilated(
            x,
            jnp.arange(3 * 2 * 4 * 5, dtype=jnp.float32).reshape(3, 2, 4, 5) / 100,
            (2, 1),
            ((2, 0), (0, 1)),
            rhs_dilation=(1, 2),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        ),
    ],
)
def test_primitives_in_either_layout(function):
    """Of functions that no net has, after a convolution and before one."""
    kernel = np.linspace(-1, 1, 64).reshape(2, 2, 4, 4).astype(np.float32)

    def convolved(x):
        dimensions = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=dimensions)

    def both(images):
        x = images.astype(jnp.float32)
        return {"first": function(convolved(x)), "last": function(x)}

    images = images_of(8, 3)
    run, names = open_session(as_bytes(convert(both, (8, 8, 4))), "model.onnx")
    found = run(images, names)
    for name, expected in both(images).items():
        np.testing.assert_allclose(found[name], expected, rtol=2e-5, atol=2e-3)
