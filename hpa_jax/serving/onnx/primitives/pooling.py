"""Maxima and sums over windows."""

import numpy as np

from hpa_jax.serving.onnx.graph import Graph
from hpa_jax.serving.onnx.layout import channels_first
from hpa_jax.serving.onnx.values import Value


def _window(equation) -> dict | None:
    """Attributes of a window over height and width; None for any other window."""
    params = equation.params
    sides = tuple(params["window_dimensions"])
    strides = tuple(params["window_strides"])
    padding = tuple(params["padding"])
    if len(sides) != 4:
        return None
    for axis in (0, 3):
        if sides[axis] != 1 or strides[axis] != 1 or tuple(padding[axis]) != (0, 0):
            return None
    for name in ("base_dilation", "window_dilation"):
        if tuple(params[name]) != (1, 1, 1, 1):
            return None
    (top, bottom), (left, right) = padding[1:3]
    # Runtimes take no window that lies beside the image altogether.
    if min(top, bottom, left, right) < 0 or max(top, bottom) >= sides[1]:
        return None
    if max(left, right) >= sides[2]:
        return None
    return {
        "kernel_shape": sides[1:3],
        "strides": strides[1:3],
        "pads": [top, left, bottom, right],
    }


def _pool(operation: str, graph: Graph, equation, x: Value, **attributes) -> Value:
    output = equation.outvars[0].aval
    name = channels_first(graph, x).name
    return graph.add(
        operation, [name], output.shape, output.dtype, channels_first=True, **attributes
    )


def _windowed_max(graph: Graph, equation, inputs: list) -> Value | None:
    (x,) = inputs
    window = _window(equation)
    if window is None:
        return None
    return _pool("MaxPool", graph, equation, x, **window)


def _windowed_sum(graph: Graph, equation, inputs: list) -> Value | None:
    """A mean times the number of its values; where a mean was meant, `simplify` takes both away."""
    (x,) = inputs
    window = _window(equation)
    if window is None:
        return None
    mean = _pool("AveragePool", graph, equation, x, count_include_pad=1, **window)
    height, width = window["kernel_shape"]
    count = graph.constant(np.array(height * width, mean.dtype))
    return graph.add("Mul", [mean.name, count], mean.shape, mean.dtype, channels_first=True)


RULES = {"reduce_window_max": _windowed_max, "reduce_window_sum": _windowed_sum}
