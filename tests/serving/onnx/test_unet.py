"""A U-Net by onnxruntime and as StableHLO: JAX's outputs, at sides that are filled up, too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict
from support.drawn_variables import drawn
from support.onnx_nets import images_of

from hpa_jax.models import create_unet
from hpa_jax.serving.onnx import layout
from hpa_jax.serving.onnx.convert import convert
from hpa_jax.serving.onnx.session import open_session
from hpa_jax.serving.onnx.write import as_bytes

OUTPUTS = {"yellow": 1, "edges": 3}

pytestmark = pytest.mark.usefixtures("compiled_once")


def forward_of(name, size):
    """uint8 images to the outputs of a drawn U-Net."""
    model = create_unet(name, outputs=OUTPUTS, width=2, dtype="float32")
    image = jax.ShapeDtypeStruct((1, *size, 4), jnp.float32)
    shapes = jax.eval_shape(lambda image: model.init(jax.random.key(0), image, train=False), image)
    variables = unflatten_dict(drawn(shapes), sep="/")

    def forward(images):
        return model.apply(variables, images.astype(jnp.float32) / 255 - 0.5, train=False)

    return forward


@pytest.mark.parametrize(
    ("name", "size", "most_picked"),
    [
        ("densenet_tiny", (41, 64), 1 << 18),
        # As where an output has too many pixels for a constant of their numbers.
        pytest.param("densenet_tiny", (64, 64), 10, marks=pytest.mark.slow),
        pytest.param("densenet_small", (96, 70), 1 << 18, marks=pytest.mark.slow),
        pytest.param("convnext_test", (64, 33), 1 << 18, marks=pytest.mark.slow),
        pytest.param("resnet50", (64, 64), 1 << 18, marks=pytest.mark.slow),
    ],
)
def test_every_runtime_gives_jaxs_outputs(name, size, most_picked, monkeypatch):
    monkeypatch.setattr(layout, "_MOST_PICKED", most_picked)
    forward = forward_of(name, size)
    images = images_of(96, 3)[:, : size[0], : size[1]]

    (batch,) = jax.export.symbolic_shape("b")
    shape = jax.ShapeDtypeStruct((batch, *size, 4), jnp.uint8)
    exported = jax.export.export(jax.jit(forward), platforms=("cpu", "cuda", "tpu"))(shape)
    expected = jax.export.deserialize(exported.serialize()).call(images)
    assert {output: array.shape for output, array in expected.items()} == {
        output: (3, *size, channels) for output, channels in OUTPUTS.items()
    }

    model = convert(forward, (*size, 4))
    run, outputs = open_session(as_bytes(model), "model.onnx")
    # Of the images alone: no map is transposed between its layers, nor an output of few pixels.
    transposed = sum(node.op_type == "Transpose" for node in model.graph.node)
    assert transposed == (1 if most_picked > 10 else 2)
    for count in (1, 3):
        found = run(images[:count], outputs)
        assert set(found) == set(OUTPUTS)
        for output in outputs:
            largest = np.abs(expected[output]).max()
            np.testing.assert_allclose(
                found[output], expected[output][:count], atol=1e-5 * largest, rtol=0
            )
