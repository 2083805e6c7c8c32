"""Weights of fewer bits: how large the file is, what is quantized, how far scores move."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, numpy_helper
from support.onnx_nets import differences, images_of, model_of, net_config, variables_of

from hpa_jax.errors import InputError
from hpa_jax.serving.onnx.build import _difference_on_images
from hpa_jax.serving.onnx.screen import check_self_contained
from hpa_jax.serving.onnx.session import open_session
from hpa_jax.serving.onnx.weights import with_8_bit_weights, with_half_weights
from hpa_jax.serving.onnx.write import as_bytes

pytestmark = pytest.mark.usefixtures("compiled_once")

SIZE = 32
REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def net():
    """A net's configuration, variables and model."""
    config = net_config("densenet_tiny", "linear", "rgby", SIZE)
    variables = variables_of(config)
    return config, variables, model_of(config, variables)


def test_half_precision_halves_the_kernels_and_computes_in_float32(net):
    config, variables, model = net
    halved = with_half_weights(model)
    assert len(as_bytes(halved)) < 0.65 * len(as_bytes(model))
    kinds = Counter(constant.data_type for constant in halved.graph.initializer)
    casts = [node for node in halved.graph.node if node.op_type == "Cast"]
    # One cast makes the pixels float32.
    assert kinds[TensorProto.FLOAT16] == len(casts) - 1 > 10
    found = differences(halved, config, variables)
    assert 0 < found["probabilities"] < 2e-3 and found["maps"] < 1e-2
    # Values that half precision has exactly change nothing.
    exact = {name: np.float32(np.float16(array)) for name, array in variables.items()}
    found = differences(with_half_weights(model_of(config, exact)), config, exact)
    assert found["probabilities"] <= 1e-5


def test_a_kernel_beyond_half_precision_stays_as_it_is(net):
    config, variables, _ = net
    large = dict(variables)
    name = "params/backbone/stem_conv/kernel"
    large[name] = variables[name] * 1e6
    halved = with_half_weights(model_of(config, large))
    stored = {
        constant.name: numpy_helper.to_array(constant) for constant in halved.graph.initializer
    }
    assert all(np.isfinite(array).all() for array in stored.values())
    found = differences(halved, config, large)
    assert found["probabilities"] < 2e-2


@pytest.mark.slow
def test_8_bits_quantize_convolutions_and_products_by_channel(net, tmp_path):
    _, _, model = net
    images = images_of(SIZE, 8)
    quantized = with_8_bit_weights(model, images)
    content = as_bytes(quantized)
    check_self_contained(content, "model.onnx")
    counts = Counter(node.op_type for node in quantized.graph.node)
    convolutions = sum(node.op_type == "Conv" for node in model.graph.node)
    assert counts["QuantizeLinear"] and counts["Conv"] == convolutions > 10
    constants = {c.name: numpy_helper.to_array(c) for c in quantized.graph.initializer}
    kernels = [array for array in constants.values() if array.dtype == np.int8 and array.ndim > 1]
    assert len(kernels) >= convolutions
    # A scale for each channel of each kernel.
    scales = [array for name, array in constants.items() if name.endswith("_scale")]
    assert sum(array.size > 1 for array in scales) >= len(kernels) - 1
    assert _difference_on_images(quantized, model, images) < 0.05
    run, names = open_session(content, "model.onnx")
    assert run(images[:3], names)["maps"].shape[0] == 3
    assert content == quantized_elsewhere(model, images, tmp_path)


def quantized_elsewhere(model, images, folder) -> bytes:
    """What a process makes of it whose sets have another order."""
    (folder / "plain.onnx").write_bytes(as_bytes(model))
    np.save(folder / "images.npy", images)
    program = (
        "import numpy, onnx; from pathlib import Path\n"
        "from hpa_jax.serving.onnx.weights import with_8_bit_weights\n"
        "from hpa_jax.serving.onnx.write import as_bytes\n"
        "model = with_8_bit_weights(onnx.load('plain.onnx'), numpy.load('images.npy'))\n"
        "Path('quantized.onnx').write_bytes(as_bytes(model))"
    )
    places = {"PYTHONPATH": str(REPOSITORY), "PYTHONHASHSEED": "7"}
    command = [sys.executable, "-c", program]
    subprocess.run(command, check=True, cwd=folder, env=os.environ | places)
    return (folder / "quantized.onnx").read_bytes()


@pytest.mark.slow
def test_8_bits_that_change_scores_too_much_are_refused(net):
    """Of ranges from other images."""
    _, _, model = net
    dark = np.full((2, SIZE, SIZE, 4), 10, np.uint8)
    dark[0] = 0
    quantized = with_8_bit_weights(model, dark)
    with pytest.raises(InputError, match=r"8-bit weights change a probability by .*fp16"):
        _difference_on_images(quantized, model, images_of(SIZE, 8))
