"""Sums, maxima and minima over complete axes, and the largest values of the last one."""

from functools import partial

import numpy as np

from hpa_jax.serving.onnx.graph import Graph
from hpa_jax.serving.onnx.layout import axis_of, channels_last, first_order, has_layouts
from hpa_jax.serving.onnx.values import Value


def _reduction(operation: str, graph: Graph, equation, inputs: list) -> Value:
    (x,) = inputs
    if not x.channels_first:
        x = channels_last(graph, x)
    axes = equation.params["axes"]
    output = equation.outvars[0].aval
    rank = len(x.shape)
    remaining = [axis for axis in range(rank) if axis not in axes]
    lying = [axis for axis in first_order(rank) if axis in remaining]
    stays_first = x.channels_first and lying != remaining
    if stays_first and not _is_first_order(lying):
        x = channels_last(graph, x)
        stays_first = False
    lying_axes = sorted(axis_of(x, axis) for axis in axes)
    names = [x.name, graph.constant(np.array(lying_axes, np.int64))]
    return graph.add(
        operation, names, output.shape, output.dtype, channels_first=stays_first, keepdims=0
    )


def _is_first_order(lying: list[int]) -> bool:
    """Whether axes that lie so are again a value that lies channels first."""
    if not has_layouts(len(lying)):
        return False
    in_order = sorted(lying)
    return lying == [in_order[axis] for axis in first_order(len(lying))]


def _top_k(graph: Graph, equation, inputs: list) -> Value | None:
    """The k largest values of each row. Where they stood is given to nobody."""
    (x,) = inputs
    if len(x.shape) != 2 or equation.params["axis"] != 1:
        return None
    x = channels_last(graph, x)
    output = equation.outvars[0].aval
    names = [x.name, graph.constant(np.array([equation.params["k"]], np.int64))]
    return graph.add("TopK", names, output.shape, output.dtype, outputs=2, axis=1)


RULES = {
    "reduce_max": partial(_reduction, "ReduceMax"),
    "reduce_min": partial(_reduction, "ReduceMin"),
    "reduce_sum": partial(_reduction, "ReduceSum"),
    "top_k": _top_k,
}
