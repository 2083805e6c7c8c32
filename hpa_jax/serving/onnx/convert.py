"""A function of JAX as an ONNX model."""

from collections.abc import Callable

import jax
import numpy as np
from jax import numpy as jnp
from onnx import ModelProto

from hpa_jax.serving.onnx.graph import Graph
from hpa_jax.serving.onnx.layout import channels_last
from hpa_jax.serving.onnx.simplify import simplify
from hpa_jax.serving.onnx.values import Value
from hpa_jax.serving.onnx.walk import walk
from hpa_jax.serving.onnx.write import make_model
from hpa_jax.serving.served import in_order


def convert(
    function: Callable[[jax.Array], dict[str, jax.Array]], shape: tuple[int, int, int]
) -> ModelProto:
    """The model of a function of images, for any number of them.

    Args:
      function: uint8 `[B, H, W, C]` to arrays by name, whose first axis is B. What it closes over
        (parameters) becomes constants of the model.
      shape: H, W, C.

    Returns:
      A model with the input `images` and an output for each array, by its name.

    Raises:
      InputError: the function uses a primitive of JAX that cannot be converted; it is named.
    """
    (batch,) = jax.export.symbolic_shape("b")
    images = jax.ShapeDtypeStruct((batch, *shape), jnp.uint8)
    closed, found = jax.make_jaxpr(function, return_shape=True)(images)
    graph = Graph()
    given = Value("images", images.shape, np.dtype(np.uint8))
    results = walk(graph, closed.jaxpr, closed.consts, [given])
    # JAX has the arrays of a dict sorted by their names.
    results = [channels_last(graph, value) for value in results]
    names = simplify(graph, [value.name for value in results])
    outputs = {}
    for output, value, name in zip(sorted(found), results, names, strict=True):
        outputs[output] = Value(name, value.shape, value.dtype)
    return make_model(graph, given, {name: outputs[name] for name in in_order(outputs)})
