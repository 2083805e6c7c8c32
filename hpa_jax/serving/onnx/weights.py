"""Weights of fewer bits: half precision and 8 bits.

Half-precision weights are widened where they are used (Cast), and the arithmetic stays in float32.
For 8 bits only convolutions and products are computed so, with a scale for each of their outputs'
channels; their inputs' ranges are those found on real images.
"""

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

TOLERANCES = {
    "float32": (1e-5, 1e-4),
    "fp16": (5e-3, 1e-2),
    "int8": (0.25, 0.5),
}
"""Largest differences from the golden output that are no fault: of probabilities; of other outputs,
as a fraction of their largest value. The golden images are noise, for which the ranges of 8 bits
are not made: real images are closer by far (docs/serving.md)."""


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
    casts = []
    for constant in graph.initializer:
        array = numpy_helper.to_array(constant)
        is_kernel = array.dtype == np.float32 and array.ndim >= 2
        if not is_kernel or np.abs(array).max() > largest:
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
