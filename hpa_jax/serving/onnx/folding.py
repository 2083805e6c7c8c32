"""Arithmetic on what is known already: no node computes what is the same for all images."""

from collections.abc import Callable

import jax
import numpy as np
from jax import numpy as jnp

from hpa_jax.serving.onnx.values import is_concrete

# Elementwise primitives by NumPy: JAX would compile a program for each shape. An axis of length 1
# stays one, where JAX has it broadcast.
_ELEMENTWISE: dict[str, Callable] = {
    "add": np.add,
    "add_any": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
    "neg": np.negative,
    "sqrt": np.sqrt,
    "square": np.square,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "and": np.logical_and,
    "or": np.logical_or,
    "not": np.logical_not,
    "select_n": lambda which, *cases: np.choose(which.astype(int), cases),
    "convert_element_type": lambda x: x,
    "copy": lambda x: x,
}


def fold(equation, inputs: list[np.ndarray]) -> list[np.ndarray] | None:
    """The outputs of an equation whose inputs are all known.

    Args:
      equation: of a jaxpr.
      inputs: arrays, whose axes of length 1 may be longer in the jaxpr.

    Returns:
      Arrays of the same kind; None where they depend on the number of images.
    """
    primitive = equation.primitive
    output = equation.outvars[0].aval
    arrays = [np.asarray(array) for array in inputs]
    if primitive.name == "div":
        divide = np.divide
        if output.dtype.kind in "iu":
            divide = _divide_integers
        return [divide(*arrays).astype(output.dtype)]
    if primitive.name in _ELEMENTWISE and not _is_bitwise(primitive.name, output.dtype):
        found = _ELEMENTWISE[primitive.name](*arrays)
        return [np.asarray(found).astype(output.dtype)]
    if not all(is_concrete(variable.aval.shape) for variable in equation.outvars):
        return None
    full = []
    for array, variable in zip(arrays, equation.invars, strict=True):
        full.append(jnp.broadcast_to(array, variable.aval.shape))
    with jax.default_matmul_precision("highest"):
        found = primitive.bind(*full, **equation.params)
    if not primitive.multiple_results:
        found = [found]
    return [np.asarray(array) for array in found]


def _divide_integers(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    # JAX rounds toward zero.
    return np.trunc(x / y)


def _is_bitwise(name: str, dtype: np.dtype) -> bool:
    return name in ("and", "or", "not") and dtype != np.bool_
