"""Convolutions and products with known kernels."""

import numpy as np

from hpa_jax.serving.onnx.graph import Graph
from hpa_jax.serving.onnx.layout import channels_first, channels_last, has_layouts
from hpa_jax.serving.onnx.values import Value, is_known

# Channels last, as models/layers.py has them: positions of batch, channels, height, width.
_IMAGES = (0, 3, 1, 2)
_KERNEL = (3, 2, 0, 1)


def _convolution(graph: Graph, equation, inputs: list) -> Value | None:
    x, kernel = inputs
    params = equation.params
    numbers = params["dimension_numbers"]
    if tuple(numbers.lhs_spec) != _IMAGES or tuple(numbers.rhs_spec) != _KERNEL:
        return None
    if tuple(numbers.out_spec) != _IMAGES or params["batch_group_count"] != 1:
        return None
    if tuple(params["lhs_dilation"]) != (1, 1) or not is_known(kernel) or is_known(x):
        return None
    kernel = np.asarray(kernel).transpose(_KERNEL)
    (top, bottom), (left, right) = params["padding"]
    if min(top, bottom, left, right) < 0:
        return None
    return _conv(
        graph,
        equation,
        x,
        kernel,
        strides=params["window_strides"],
        pads=[top, left, bottom, right],
        dilations=params["rhs_dilation"],
        group=params["feature_group_count"],
    )


def _conv(graph: Graph, equation, x: Value, kernel: np.ndarray, **attributes) -> Value:
    """A node of a convolution; its kernel is `[F, C, ...]`."""
    output = equation.outvars[0].aval
    return graph.add(
        "Conv",
        [channels_first(graph, x).name, graph.constant(kernel)],
        output.shape,
        output.dtype,
        channels_first=True,
        kernel_shape=kernel.shape[2:],
        **attributes,
    )


def _product(graph: Graph, equation, inputs: list) -> Value | None:
    """`x [..., C] @ kernel [C, F]`: on images a convolution of 1x1, which stays channels first."""
    x, kernel = inputs
    (of_x, of_kernel), batch = equation.params["dimension_numbers"]
    if is_known(x) or not is_known(kernel) or np.ndim(kernel) != 2:
        return None
    rank = len(x.shape)
    is_over_channels = tuple(of_x) == (rank - 1,) and tuple(of_kernel) == (0,)
    if not is_over_channels or any(batch):
        return None
    kernel = np.asarray(kernel)
    if has_layouts(rank):
        # Of as many axes as x has, all of length 1 but the channels.
        kernel = kernel.T.reshape(*kernel.T.shape, *[1] * (rank - 2))
        return _conv(graph, equation, x, kernel)
    if x.positions:
        # The rows of the kernel in the order in which the values lie.
        height, width, channels = x.positions
        by_position = kernel.reshape(height, width, channels, -1)
        kernel = by_position.transpose(2, 0, 1, 3).reshape(kernel.shape)
    else:
        x = channels_last(graph, x)
    output = equation.outvars[0].aval
    return graph.add("MatMul", [x.name, graph.constant(kernel)], output.shape, output.dtype)


RULES = {"conv_general_dilated": _convolution, "dot_general": _product}
