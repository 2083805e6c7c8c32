"""Fewer nodes that compute the same: what a walk, equation by equation, does not see."""

from collections import Counter

import numpy as np
from onnx import NodeProto, helper

from hpa_jax.serving.onnx.graph import Graph


def simplify(graph: Graph, outputs: list[str]) -> list[str]:
    """Rewrites the nodes of a graph in place.

    Args:
      graph: whose nodes are complete.
      outputs: names of the values that are asked for.

    Returns:
      The names of these values now.
    """
    outputs = merge_equal(graph, outputs)
    outputs = cancel_scales(graph, outputs)
    fold_norms(graph, outputs)
    remove_unused(graph, outputs)
    return outputs


def merge_equal(graph: Graph, outputs: list[str]) -> list[str]:
    """Nodes that compute the same of the same inputs become one."""
    renamed: dict[str, str] = {}
    known: dict[tuple, str] = {}
    kept = []
    for node in graph.nodes:
        _rename_inputs(node, renamed)
        attributes = tuple(attribute.SerializeToString() for attribute in node.attribute)
        key = (node.op_type, tuple(node.input), attributes)
        if key in known:
            renamed[node.output[0]] = known[key]
        else:
            known[key] = node.output[0]
            kept.append(node)
    graph.nodes = kept
    return [renamed.get(name, name) for name in outputs]


def cancel_scales(graph: Graph, outputs: list[str]) -> list[str]:
    """`x * n / n` is `x`: a mean over windows, which JAX spells as a sum and a quotient."""
    made_by = {node.output[0]: node for node in graph.nodes}
    renamed: dict[str, str] = {}
    kept = []
    for node in graph.nodes:
        _rename_inputs(node, renamed)
        product = made_by.get(node.input[0])
        if node.op_type == "Div" and product is not None and product.op_type == "Mul":
            factor = _number(graph, product.input[1])
            if factor is not None and factor == _number(graph, node.input[1]):
                renamed[node.output[0]] = product.input[0]
                continue
        kept.append(node)
    graph.nodes = kept
    return [renamed.get(name, name) for name in outputs]


def fold_norms(graph: Graph, outputs: list[str]) -> None:
    """`x * factor + shift`, a number a channel each, becomes a BatchNormalization.

    Runtimes compute it in one pass, and fold it into the convolution before.
    """
    made_by = {node.output[0]: node for node in graph.nodes}
    uses = Counter(outputs)
    for node in graph.nodes:
        uses.update(node.input)
    gone = set()
    kept = []
    for node in graph.nodes:
        product = made_by.get(node.input[0])
        if node.op_type == "Add" and product is not None and product.op_type == "Mul":
            norm = _norm(graph, product, node)
            if norm is not None and uses[product.output[0]] == 1:
                gone.add(product.output[0])
                node = norm
        kept.append(node)
    graph.nodes = [node for node in kept if node.output[0] not in gone]


def remove_unused(graph: Graph, outputs: list[str]) -> None:
    """Nodes and constants that no output needs."""
    needed = set(outputs)
    kept = []
    for node in reversed(graph.nodes):
        if node.output[0] in needed:
            needed.update(node.input)
            kept.append(node)
    graph.nodes = kept[::-1]
    constants = {}
    for name, array in graph.constants.items():
        if name in needed:
            constants[name] = array
    graph.constants = constants


def _rename_inputs(node: NodeProto, renamed: dict[str, str]) -> None:
    for number, name in enumerate(node.input):
        node.input[number] = renamed.get(name, name)


def _number(graph: Graph, name: str) -> float | None:
    array = graph.constants.get(name)
    if array is None or array.size != 1:
        return None
    return float(array.ravel()[0])


def _norm(graph: Graph, product: NodeProto, total: NodeProto) -> NodeProto | None:
    factor = _by_channel(graph, product.input[1])
    shift = _by_channel(graph, total.input[1])
    if factor is None or shift is None or factor.shape != shift.shape:
        return None
    # The running statistics are in the factor and the shift already.
    names = [product.input[0]]
    for values in (factor, shift, np.zeros_like(factor), np.ones_like(factor)):
        names.append(graph.constant(values))
    return helper.make_node(
        "BatchNormalization", names, list(total.output), name=total.name, epsilon=0.0
    )


def _by_channel(graph: Graph, name: str) -> np.ndarray | None:
    """A constant `[1, C, 1, ...]` as `[C]`; None for any other."""
    array = graph.constants.get(name)
    if array is None or array.ndim < 3 or array.dtype != np.float32:
        return None
    if array.size != array.shape[1]:
        return None
    return array.ravel()
