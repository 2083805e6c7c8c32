"""Primitives that move values and compute nothing."""

import numpy as np

from hpa_jax.serving.onnx.graph import Graph
from hpa_jax.serving.onnx.layout import (
    axis_of,
    channels_last,
    first_order,
    has_layouts,
    operand,
)
from hpa_jax.serving.onnx.values import Value, is_concrete, is_known


def _integers(graph: Graph, values) -> str:
    return graph.constant(np.array(list(values), np.int64))


def _broadcast(graph: Graph, equation, inputs: list) -> Value | np.ndarray:
    """Adds axes of length 1; those that are longer in the jaxpr broadcast where they are used."""
    x = inputs[0]
    shape = equation.params["shape"]
    axes = equation.params["broadcast_dimensions"]
    lengths = [1] * len(shape)
    for axis, length in zip(axes, np.shape(x) if is_known(x) else x.shape, strict=True):
        lengths[axis] = length
    if is_known(x):
        return np.reshape(x, lengths)
    added = [axis for axis in range(len(shape)) if axis not in axes]
    # New axes among those of the positions, as where each position of a map is repeated.
    keeps_ends = axes[:1] == (0,) and axes[-1:] == (len(shape) - 1,)
    if added and keeps_ends and x.channels_first:
        return _with_axes(graph, x, lengths, added, first=True)
    x = channels_last(graph, x)
    if not added:
        return x
    # The last axis goes to the last one: as channels, which lie first.
    has_channels = axes[-1:] == (len(shape) - 1,) and len(axes) == 2
    # A number for each position of an image, as a layer norm subtracts.
    is_by_position = len(shape) == 4 and added == [3]
    first = has_layouts(len(shape)) and (has_channels or is_by_position)
    return _with_axes(graph, x, lengths, added, first=first)


def _with_axes(graph: Graph, x: Value, lengths: list, added: list[int], *, first: bool) -> Value:
    """`x` with axes of length 1; `added` are their places in the jaxpr."""
    if first:
        order = first_order(len(lengths))
        added = sorted(order.index(axis) for axis in added)
    names = [x.name, _integers(graph, added)]
    return graph.add("Unsqueeze", names, lengths, x.dtype, channels_first=first)


def expanded(graph: Graph, x: Value, shape: tuple) -> Value | None:
    """`x` with its axes of length 1 as long as in the jaxpr; None for a symbolic length."""
    factors = [1] * len(shape)
    for axis, (length, full) in enumerate(zip(x.shape, shape, strict=True)):
        if length == full:
            continue
        if not is_concrete((length, full)):
            return None
        factors[axis_of(x, axis)] = full
    names = [x.name, _integers(graph, factors)]
    return graph.add("Expand", names, shape, x.dtype, channels_first=x.channels_first)


def _iota(graph: Graph, equation, inputs: list) -> np.ndarray:
    params = equation.params
    axis = params["dimension"]
    lengths = [1] * len(params["shape"])
    lengths[axis] = params["shape"][axis]
    return np.arange(lengths[axis], dtype=params["dtype"]).reshape(lengths)


def _concatenate(graph: Graph, equation, inputs: list) -> Value:
    output = equation.outvars[0].aval
    rank = len(output.shape)
    axis = equation.params["dimension"]
    first = any(isinstance(value, Value) and value.channels_first for value in inputs)
    names = []
    for value, variable in zip(inputs, equation.invars, strict=True):
        if is_known(value):
            value = np.broadcast_to(value, variable.aval.shape)
        names.append(operand(graph, value, first=first))
    if first:
        axis = first_order(rank).index(axis)
    return graph.add("Concat", names, output.shape, output.dtype, channels_first=first, axis=axis)


def _stack(graph: Graph, equation, inputs: list) -> Value | None:
    """Single channels `[B, H, W]` become images; channels first, so that none is transposed."""
    output = equation.outvars[0].aval
    rank = len(output.shape)
    is_last = equation.params["axis"] == rank - 1
    if not is_last or not has_layouts(rank) or any(map(is_known, inputs)):
        return None
    names = []
    for value in inputs:
        value = channels_last(graph, value)
        shape = (value.shape[0], 1, *value.shape[1:])
        with_axis = [value.name, _integers(graph, [1])]
        names.append(graph.add("Unsqueeze", with_axis, shape, value.dtype).name)
    return graph.add("Concat", names, output.shape, output.dtype, channels_first=True, axis=1)


def _gather(graph: Graph, equation, inputs: list) -> Value | None:
    x, positions = inputs
    if is_known(x) or not is_known(positions):
        return None
    numbers = equation.params["dimension_numbers"]
    if numbers.operand_batching_dims or numbers.start_indices_batching_dims:
        return None
    positions = np.asarray(positions)
    collapsed = tuple(numbers.collapsed_slice_dims)
    started = tuple(numbers.start_index_map)
    sizes = equation.params["slice_sizes"]
    for axis, size in enumerate(sizes):
        if axis not in started and size != x.shape[axis]:
            return None
    output = equation.outvars[0].aval
    if positions.shape == (len(started),) and not collapsed:
        for axis, start in zip(started, positions.tolist(), strict=True):
            x = _sliced(graph, x, axis, start, start + sizes[axis], 1)
        return x
    if collapsed != started:
        return None
    if positions.shape == (1,) and len(collapsed) == 1:
        return _one_position(graph, x, int(positions[0]), collapsed[0], output)
    is_grid = collapsed == (1, 2) and tuple(numbers.offset_dims) == (0, 3)
    if is_grid and positions.ndim == 3 and len(x.shape) == 4:
        return _grid(graph, x, positions, output)
    return None


def _one_position(graph: Graph, x: Value, position: int, axis: int, output) -> Value | None:
    """`x[..., position, ...]`, as one channel of images is taken."""
    if x.channels_first and axis != len(x.shape) - 1:
        return None
    index = graph.constant(np.array(position, np.int64))
    lying_axis = axis_of(x, axis)
    return graph.add("Gather", [x.name, index], output.shape, output.dtype, axis=lying_axis)


def _grid(graph: Graph, x: Value, positions: np.ndarray, output) -> Value | None:
    """`x[:, ::s, ::t]`, which JAX traces to a gather of all its positions."""
    rows = positions[:, 0, 0]
    columns = positions[0, :, 1]
    grid = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1)
    if not np.array_equal(grid, positions):
        return None
    for axis, places in ((1, rows), (2, columns)):
        step = 1
        if len(places) > 1:
            step = int(places[1] - places[0])
        if step < 1 or not (np.diff(places) == step).all():
            return None
        x = _sliced(graph, x, axis, int(places[0]), int(places[-1]) + 1, step)
    return x


def _slice(graph: Graph, equation, inputs: list) -> Value:
    (x,) = inputs
    params = equation.params
    strides = params["strides"] or (1,) * len(x.shape)
    limits = zip(params["start_indices"], params["limit_indices"], strides, strict=True)
    for axis, (start, end, stride) in enumerate(limits):
        if (start, stride) != (0, 1) or end != x.shape[axis]:
            x = _sliced(graph, x, axis, start, end, stride)
    return x


def _sliced(graph: Graph, x: Value, axis: int, start: int, end: int, stride: int) -> Value:
    shape = list(x.shape)
    shape[axis] = -(-(end - start) // stride)
    names = [x.name]
    for number in (start, end, axis_of(x, axis), stride):
        names.append(_integers(graph, [number]))
    return graph.add("Slice", names, tuple(shape), x.dtype, channels_first=x.channels_first)


def _rev(graph: Graph, equation, inputs: list) -> Value:
    """Backward along some axes, as where an image is reflected at its edge."""
    (x,) = inputs
    for axis in equation.params["dimensions"]:
        names = [x.name]
        # From the last position to before the first.
        for number in (-1, np.iinfo(np.int64).min, axis_of(x, axis), -1):
            names.append(_integers(graph, [number]))
        x = graph.add("Slice", names, x.shape, x.dtype, channels_first=x.channels_first)
    return x


def _reshape(graph: Graph, equation, inputs: list) -> Value | None:
    (x,) = inputs
    old = x.shape
    new = tuple(equation.params["new_sizes"])
    if equation.params["dimensions"] is not None or not is_concrete(new[1:]):
        return None
    if not is_concrete(old[1:]) or new[0] != old[0]:
        return None
    output = equation.outvars[0].aval
    if x.channels_first and len(new) == 2 and len(old) == 4:
        # Flattened as it lies; the layer that follows has its weights in that order.
        return _reshaped(graph, x, new, output, positions=old[1:])
    if x.channels_first and has_layouts(len(new)) and new[-1] == old[-1]:
        lying = [new[axis] for axis in first_order(len(new))]
        return _reshaped(graph, x, lying, output, channels_first=True)
    return _reshaped(graph, channels_last(graph, x), new, output)


def _reshaped(graph: Graph, x: Value, lying: tuple, output, **layout) -> Value:
    """`lying` is the shape as it lies, of which the first length is the number of images."""
    names = [x.name, _integers(graph, [-1, *lying[1:]])]
    return graph.add("Reshape", names, output.shape, output.dtype, **layout)


def _squeeze(graph: Graph, equation, inputs: list) -> Value:
    x = channels_last(graph, inputs[0])
    output = equation.outvars[0].aval
    names = [x.name, _integers(graph, equation.params["dimensions"])]
    return graph.add("Squeeze", names, output.shape, output.dtype)


RULES = {
    "broadcast_in_dim": _broadcast,
    "concatenate": _concatenate,
    "gather": _gather,
    "iota": _iota,
    "reshape": _reshape,
    "rev": _rev,
    "slice": _slice,
    "squeeze": _squeeze,
    "stack": _stack,
}
