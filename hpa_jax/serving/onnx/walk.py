"""Goes through a jaxpr, equation by equation."""

import numpy as np
from jax.extend import core

from hpa_jax.errors import InputError
from hpa_jax.serving.onnx.folding import fold
from hpa_jax.serving.onnx.graph import Graph
from hpa_jax.serving.onnx.layout import channels_last
from hpa_jax.serving.onnx.primitives import BROADCASTING, RULES
from hpa_jax.serving.onnx.primitives.shapes import expanded
from hpa_jax.serving.onnx.values import Value, is_concrete, is_known

_INNER = ("jaxpr", "call_jaxpr", "fun_jaxpr")
"""Where an equation has the jaxpr of a function that it calls."""

# They run a jaxpr more than once, or one of several. Which of several is known only where it
# depends on the platform alone.
_CONTROL_FLOW = ("scan", "while", "cond")

# They compute nothing.
_IDENTITIES = (
    "stop_gradient",
    "name",
    "optimization_barrier",
    "copy",
    "copy_p",
    "reduce_precision",
)


def walk(graph: Graph, jaxpr, constants: list, inputs: list) -> list:
    """Adds the nodes of a jaxpr to a graph.

    Args:
      graph: to add to.
      jaxpr: an open one.
      constants: of its constvars.
      inputs: of its invars: arrays, or outputs of nodes.

    Returns:
      What its outvars are: arrays, or outputs of nodes.

    Raises:
      InputError: a primitive that has no rule here, or one that is used in an unknown way.
    """
    values = {}
    values.update(zip(jaxpr.constvars, constants, strict=True))
    values.update(zip(jaxpr.invars, inputs, strict=True))

    def read(variable) -> Value | np.ndarray:
        if isinstance(variable, core.Literal):
            return np.asarray(variable.val)
        value = values[variable]
        if value is None:
            raise InputError(
                "the net cannot be written as ONNX: of a primitive with several outputs another "
                "than the first is used; export without it: --config.export.onnx=none"
            )
        return value

    for equation in jaxpr.eqns:
        found = _convert(graph, equation, [read(variable) for variable in equation.invars])
        values.update(zip(equation.outvars, found, strict=True))
    return [read(variable) for variable in jaxpr.outvars]


def _convert(graph: Graph, equation, inputs: list) -> list:
    name = equation.primitive.name
    if name in _IDENTITIES:
        return inputs
    if name == "platform_index":
        # The form for any platform, written in fewer and larger operations.
        return [np.int32(equation.params["platforms"].index(None))]
    if name == "cond" and is_known(inputs[0]):
        branch = equation.params["branches"][int(inputs[0])]
        return walk(graph, branch.jaxpr, branch.consts, inputs[1:])
    if name not in _CONTROL_FLOW:
        inner = _inner(equation)
        if inner is not None:
            constants = getattr(inner, "consts", [])
            return walk(graph, getattr(inner, "jaxpr", inner), constants, inputs)
    # These keep what is known small, or are known whatever the number of images is.
    is_lazy = name in ("broadcast_in_dim", "iota")
    if all(map(is_known, inputs)) and not is_lazy:
        found = fold(equation, inputs)
        if found is not None:
            return found
    rule = RULES.get(name)
    if rule is None:
        raise InputError(
            f"the net cannot be written as ONNX: no rule for JAX's {name} of {_types(equation)}; "
            "export without it: --config.export.onnx=none"
        )
    found = None
    inputs = _full(graph, equation, inputs)
    if inputs is not None:
        found = rule(graph, equation, inputs)
    if found is None:
        raise InputError(
            f"the net cannot be written as ONNX: JAX's {name} of {_types(equation)} is used in a "
            "way that has no rule; export without it: --config.export.onnx=none"
        )
    # Of several outputs a rule gives the first; the others are used by nobody.
    return [found, *[None] * (len(equation.outvars) - 1)]


def _full(graph: Graph, equation, inputs: list) -> list | None:
    """The inputs as a rule takes them: no axis shorter than in the jaxpr, flattened maps in order.

    None where the number of images is such an axis.
    """
    if equation.primitive.name in BROADCASTING:
        return inputs
    full = []
    for value, variable in zip(inputs, equation.invars, strict=True):
        shape = variable.aval.shape
        if is_known(value):
            if np.shape(value) != shape and not is_concrete(shape):
                return None
            value = np.broadcast_to(value, shape)
        elif value.shape != shape:
            value = expanded(graph, value, shape)
            if value is None:
                return None
        elif value.positions and equation.primitive.name != "dot_general":
            value = channels_last(graph, value)
        full.append(value)
    return full


def _inner(equation):
    for name in _INNER:
        if name in equation.params:
            return equation.params[name]
    return None


def _types(equation) -> str:
    return ", ".join(variable.aval.str_short() for variable in equation.invars)
