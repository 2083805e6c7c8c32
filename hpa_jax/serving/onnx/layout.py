"""Channels first inside: runtimes compute convolutions so, and JAX has the channels last.

A value of three axes or more may lie either way (`Value.channels_first`); the others have one
layout. Nothing is transposed between a net's layers: a convolution's result lies channels first,
and whatever follows takes it as it lies. Where an output of the model has to be channels last, its
values are picked by number (`Gather`) rather than transposed, since optimizers of runtimes move a
Transpose upward, before the convolutions. The numbers lie in the model, so images of many pixels
are transposed after all; those of one channel lie the same way in both.
"""

import numpy as np

from hpa_jax.serving.onnx.graph import Graph
from hpa_jax.serving.onnx.values import Value, is_concrete

# Values of one image that are picked by number, at most: 1 MiB of numbers.
_MOST_PICKED = 1 << 18


def has_layouts(rank: int) -> bool:
    """Whether values of so many axes may lie channels first."""
    return rank >= 3


def first_order(rank: int) -> tuple[int, ...]:
    """The jaxpr's axes in the order in which they lie, channels first."""
    return (0, rank - 1, *range(1, rank - 1))


def axis_of(value: Value, axis: int) -> int:
    """Where an axis of the jaxpr lies in the node's output."""
    if not value.channels_first:
        return axis
    return first_order(len(value.shape)).index(axis)


def channels_first(graph: Graph, value: Value) -> Value:
    """The same value, channels first."""
    if value.channels_first:
        return value
    order = first_order(len(value.shape))
    return graph.add(
        "Transpose", [value.name], value.shape, value.dtype, channels_first=True, perm=order
    )


def channels_last(graph: Graph, value: Value) -> Value:
    """The same value as the jaxpr has it."""
    if value.positions:
        return _unscrambled(graph, value)
    if not value.channels_first:
        return value
    inner = value.shape[1:]
    if not is_concrete(inner) or (inner[-1] > 1 and np.prod(inner) > _MOST_PICKED):
        order = np.argsort(first_order(len(value.shape)))
        return graph.add("Transpose", [value.name], value.shape, value.dtype, perm=order.tolist())
    if inner[-1] == 1:
        return _reshaped(graph, value.name, value)
    flat_shape = (value.shape[0], int(np.prod(inner)))
    to_flat = graph.constant(np.array([-1, flat_shape[1]], np.int64))
    flat = graph.add("Reshape", [value.name, to_flat], flat_shape, value.dtype)
    picked = _picked(graph, flat, _numbers(inner))
    return _reshaped(graph, picked.name, value)


def _reshaped(graph: Graph, name: str, value: Value) -> Value:
    shape = graph.constant(np.array([-1, *value.shape[1:]], np.int64))
    return graph.add("Reshape", [name, shape], value.shape, value.dtype)


def _unscrambled(graph: Graph, value: Value) -> Value:
    return _picked(graph, value, _numbers(value.positions))


def _picked(graph: Graph, flat: Value, numbers: np.ndarray) -> Value:
    indices = graph.constant(numbers.astype(np.int32))
    return graph.add("Gather", [flat.name, indices], flat.shape, flat.dtype, axis=1)


def _numbers(inner: tuple[int, ...]) -> np.ndarray:
    """Where each value of axes `[..., C]` lies, channels first, one after the other."""
    *places, channels = inner
    lying = np.arange(np.prod(inner)).reshape(channels, *places)
    return np.moveaxis(lying, 0, -1).ravel()


def operand(graph: Graph, value: "Value | np.ndarray", *, first: bool) -> str:
    """The name of an input of an elementwise node, in the layout of the others.

    Args:
      value: whose axes of length 1 broadcast.
      first: whether the node computes channels first.
    """
    if isinstance(value, Value):
        if not has_layouts(len(value.shape)):
            return channels_last(graph, value).name
        if first:
            return channels_first(graph, value).name
        return channels_last(graph, value).name
    array = np.asarray(value)
    if first and has_layouts(array.ndim):
        array = array.transpose(first_order(array.ndim))
    return graph.constant(array)
