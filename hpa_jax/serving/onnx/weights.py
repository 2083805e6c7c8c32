"""Weights of fewer bits: half precision and 8 bits.

Half-precision weights are widened where they are used (Cast), and the arithmetic stays in float32.
For 8 bits only convolutions and products are computed so, with a scale for each of their outputs'
channels; their inputs' ranges are those found on real images.
"""

import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

from hpa_jax.serving.onnx.write import as_bytes

_LAYERS = ("Conv", "MatMul")
"""Operations that are quantized, and whose second input is a kernel."""


def with_half_weights(model: ModelProto) -> ModelProto:
    """The model with the kernels of its layers in half precision: half the file.

    Args:
      model: whose constants are float32.

    Returns:
      Another model. A kernel with a value beyond half precision's stays as it is.
    """
    halved = ModelProto()
    halved.CopyFrom(model)
    graph = halved.graph
    largest = np.finfo(np.float16).max
    # Statistics, shifts and the like are few, and moved scores by far more than they save.
    kernels = {node.input[1] for node in graph.node if node.op_type in _LAYERS}
    casts = []
    for constant in graph.initializer:
        array = numpy_helper.to_array(constant)
        if constant.name not in kernels or np.abs(array).max() > largest:
            continue
        name = constant.name
        half_name = f"{name}_half"
        constant.CopyFrom(numpy_helper.from_array(array.astype(np.float16), half_name))
        cast = helper.make_node(
            "Cast", [half_name], [name], name=f"{name}_cast", to=TensorProto.FLOAT
        )
        casts.append(cast)
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return halved


def with_8_bit_weights(model: ModelProto, images: np.ndarray) -> ModelProto:
    """The model with convolutions and products in 8 bits: a quarter of the file.

    Args:
      model: whose constants are float32.
      images: real ones, uint8 `[N, H, W, C]`, on which the ranges of values are found.

    Returns:
      Another model. It has the operations QuantizeLinear and DequantizeLinear, which runtimes fuse
      with what is between them.
    """
    # Slow to import, and needed for this alone.
    from onnxruntime.quantization import (
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "plain.onnx"
        fused = Path(folder) / "fused.onnx"
        quantized = Path(folder) / "quantized.onnx"
        plain.write_bytes(as_bytes(model))
        # Norms and biases go into the convolutions before them, which are then quantized with them.
        quant_pre_process(str(plain), str(fused), skip_symbolic_shape=True)
        quantize_static(
            str(fused),
            str(quantized),
            _Images(images),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(_LAYERS),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
        found = onnx.load(str(quantized))
    for opset in list(found.opset_import):
        # The tool adds the runtime's own operations, and uses none of them.
        if opset.domain not in ("", "ai.onnx"):
            found.opset_import.remove(opset)
    onnx.checker.check_model(found, full_check=True)
    return found


class _Images:
    """Hands out images one by one, as the quantizer asks for them."""

    def __init__(self, images: np.ndarray):
        self._remaining = iter(images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self._remaining, None)
        if image is None:
            return None
        return {"images": image[np.newaxis]}
