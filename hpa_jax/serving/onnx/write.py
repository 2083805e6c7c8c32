"""A graph as a model, whose bytes any runtime of ONNX reads."""

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import ModelProto, helper, numpy_helper

import hpa_jax
from hpa_jax.serving.onnx.graph import Graph
from hpa_jax.serving.onnx.values import Value, is_concrete

OPERATIONS = 18
"""The version of ONNX's operations: runtimes since the beginning of 2023 have it."""

_FORMAT = 8
"""The version of the file format that came with these operations."""

_BATCH = "B"


def make_model(graph: Graph, images: Value, outputs: Mapping[str, Value]) -> ModelProto:
    """The checked model of a graph.

    Args:
      graph: simplified.
      images: its input.
      outputs: by the names that they get in the model.

    Returns:
      A model with one input, `images`, and these outputs.
    """
    names = {value.name: name for name, value in outputs.items()}
    for node in graph.nodes:
        node.output[0] = names.get(node.output[0], node.output[0])
        for number, name in enumerate(node.input):
            node.input[number] = names.get(name, name)
    described = [_described(name, value) for name, value in outputs.items()]
    constants = [numpy_helper.from_array(array, name) for name, array in graph.constants.items()]
    model = helper.make_model(
        helper.make_graph(
            graph.nodes, "hpa_jax", [_described("images", images)], described, constants
        ),
        opset_imports=[helper.make_opsetid("", OPERATIONS)],
        ir_version=_FORMAT,
        producer_name="hpa_jax",
        producer_version=hpa_jax.__version__,
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def as_bytes(model: ModelProto) -> bytes:
    """The same bytes for the same model."""
    return model.SerializeToString(deterministic=True)


def _described(name: str, value: Value):
    shape = [length if is_concrete((length,)) else _BATCH for length in value.shape]
    element = helper.np_dtype_to_tensor_dtype(np.dtype(value.dtype))
    return helper.make_tensor_value_info(name, element, shape)
