"""Primitives that compute each element by itself."""

import dataclasses
from functools import partial

import numpy as np
from onnx import helper

from hpa_jax.serving.onnx.graph import Graph
from hpa_jax.serving.onnx.layout import operand
from hpa_jax.serving.onnx.values import Value, is_known, only_value

_UNARY = {
    "abs": "Abs",
    "ceil": "Ceil",
    "erf": "Erf",
    "exp": "Exp",
    "floor": "Floor",
    "log": "Log",
    "logistic": "Sigmoid",
    "neg": "Neg",
    "not": "Not",
    "sign": "Sign",
    "sqrt": "Sqrt",
    "tanh": "Tanh",
}

_BINARY = {
    "add": "Add",
    "add_any": "Add",
    "and": "And",
    "div": "Div",
    "eq": "Equal",
    "ge": "GreaterOrEqual",
    "gt": "Greater",
    "le": "LessOrEqual",
    "lt": "Less",
    "max": "Max",
    "min": "Min",
    "mul": "Mul",
    "or": "Or",
    "pow": "Pow",
    "sub": "Sub",
}


def as_onnx_type(dtype: np.dtype) -> int:
    """ONNX's number of a type."""
    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


def _unary(operation: str, graph: Graph, equation, inputs: list) -> Value:
    (x,) = inputs
    output = equation.outvars[0].aval
    found = graph.add(operation, [x.name], x.shape, output.dtype)
    return dataclasses.replace(found, channels_first=x.channels_first, positions=x.positions)


def _binary(operation: str, graph: Graph, equation, inputs: list) -> Value:
    output = equation.outvars[0].aval
    first = _is_first(inputs)
    names = []
    for value, variable in zip(inputs, equation.invars, strict=True):
        if is_known(value):
            # Literals have Python's types.
            value = np.asarray(value, variable.aval.dtype)
        names.append(operand(graph, value, first=first))
    shape = _broadcast(inputs)
    return graph.add(operation, names, shape, output.dtype, channels_first=first)


def _is_first(inputs: list) -> bool:
    """Whether a node computes channels first: where one of its inputs has them first."""
    return any(isinstance(value, Value) and value.channels_first for value in inputs)


def _broadcast(inputs: list) -> tuple:
    """The shape of an elementwise result; axes of length 1 may be longer in the jaxpr."""
    shapes = [np.shape(value) if is_known(value) else value.shape for value in inputs]
    shapes = [shape for shape in shapes if shape]
    result = []
    for lengths in zip(*shapes, strict=True):
        longer = [length for length in lengths if not _is_one(length)]
        result.append(longer[0] if longer else 1)
    return tuple(result)


def _is_one(length) -> bool:
    return isinstance(length, int) and length == 1


def _max(graph: Graph, equation, inputs: list) -> Value:
    for value, other in (inputs, reversed(inputs)):
        if only_value(other) == 0 and not is_known(value) and value.dtype == np.float32:
            return _unary("Relu", graph, equation, [value])
    return _binary("Max", graph, equation, inputs)


def _convert_element_type(graph: Graph, equation, inputs: list) -> Value:
    (x,) = inputs
    dtype = np.dtype(equation.params["new_dtype"])
    if x.dtype == dtype:
        return x
    found = graph.add("Cast", [x.name], x.shape, dtype, to=as_onnx_type(dtype))
    return dataclasses.replace(found, channels_first=x.channels_first, positions=x.positions)


def _integer_pow(graph: Graph, equation, inputs: list) -> Value | None:
    (x,) = inputs
    if equation.params["y"] != 2:
        return None
    return _square(graph, equation, [x])


def _square(graph: Graph, equation, inputs: list) -> Value:
    (x,) = inputs
    found = graph.add("Mul", [x.name, x.name], x.shape, x.dtype)
    return dataclasses.replace(found, channels_first=x.channels_first, positions=x.positions)


def _rsqrt(graph: Graph, equation, inputs: list) -> Value:
    root = _unary("Sqrt", graph, equation, inputs)
    return _unary("Reciprocal", graph, equation, [root])


def _erfc(graph: Graph, equation, inputs: list) -> Value:
    """1 - erf: as a factor of a value, as in GELU, its error where erf is nearly 1 is no more."""
    error_function = _unary("Erf", graph, equation, inputs)
    one = graph.constant(np.array(1, error_function.dtype))
    names = [one, error_function.name]
    found = graph.add("Sub", names, error_function.shape, error_function.dtype)
    return dataclasses.replace(
        found,
        channels_first=error_function.channels_first,
        positions=error_function.positions,
    )


def _select(graph: Graph, equation, inputs: list) -> Value | None:
    if len(inputs) != 3 or equation.invars[0].aval.dtype != np.bool_:
        return None
    which, if_false, if_true = inputs
    output = equation.outvars[0].aval
    first = _is_first(inputs)
    names = [operand(graph, which, first=first)]
    for value in (if_true, if_false):
        if is_known(value):
            value = np.asarray(value, output.dtype)
        names.append(operand(graph, value, first=first))
    return graph.add("Where", names, _broadcast(inputs), output.dtype, channels_first=first)


RULES = {
    **{name: partial(_unary, operation) for name, operation in _UNARY.items()},
    **{name: partial(_binary, operation) for name, operation in _BINARY.items()},
    "convert_element_type": _convert_element_type,
    "erfc": _erfc,
    "integer_pow": _integer_pow,
    "max": _max,
    "rsqrt": _rsqrt,
    "select_n": _select,
    "square": _square,
}
