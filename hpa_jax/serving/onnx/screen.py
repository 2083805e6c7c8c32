"""Refuses a model that would have a runtime read other files, or run other code.

An ONNX file may keep its weights in files beside it, at any path ("external data"), and may name
operations of libraries that are loaded at run time ("custom operations"). An export's model has
neither, and no function or inner graph. What is looked at is the file itself, a message of protocol
buffers, so that no package is needed.

References:
  onnx/onnx.proto of https://github.com/onnx/onnx has the numbers of the fields;
  https://protobuf.dev/programming-guides/encoding has the encoding.
"""

from collections.abc import Iterator

from hpa_jax.errors import InputError

_STANDARD = (b"", b"ai.onnx")
"""Names of the set of operations that every runtime has."""

# Numbers of fields, by message.
_MODEL_GRAPH = 7
_MODEL_OPSETS = 8
_MODEL_FUNCTIONS = 25
_OPSET_DOMAIN = 1
_GRAPH_NODE = 1
_GRAPH_CONSTANT = 5
_GRAPH_SPARSE_CONSTANT = 15
_NODE_ATTRIBUTE = 5
_NODE_DOMAIN = 7
_ATTRIBUTE_TENSORS = (5, 10)
_ATTRIBUTE_GRAPHS = (6, 11)
_ATTRIBUTE_SPARSE_TENSORS = (22, 23)
_TENSOR_EXTERNAL_DATA = 13
_TENSOR_DATA_LOCATION = 14

_VARINT = 0
_FIXED_64 = 1
_BYTES = 2
_FIXED_32 = 5


def check_self_contained(model: bytes, name: str) -> None:
    """Refuses a model that is not complete in itself.

    Args:
      model: the bytes of the file.
      name: of the file, for the message.

    Raises:
      InputError: it has external data, custom operations, functions or inner graphs; or it is no
        ONNX file.
    """
    try:
        fault = _model_fault(memoryview(model))
    except (IndexError, ValueError, TypeError):
        fault = "is no ONNX file"
    if fault:
        raise InputError(f"{name} {fault}; it is not loaded: export the net again")


def _model_fault(model: memoryview) -> str:
    has_graph = False
    for number, value in _fields(model):
        if number == _MODEL_FUNCTIONS:
            return "has functions of its own"
        if number == _MODEL_OPSETS and _domain(value, _OPSET_DOMAIN) not in _STANDARD:
            return "has custom operations"
        if number == _MODEL_GRAPH:
            has_graph = True
            fault = _graph_fault(value)
            if fault:
                return fault
    if not has_graph:
        return "is no ONNX file"
    return ""


def _graph_fault(graph: memoryview) -> str:
    for number, value in _fields(graph):
        fault = ""
        if number == _GRAPH_NODE:
            fault = _node_fault(value)
        elif number == _GRAPH_CONSTANT:
            fault = _tensor_fault(value)
        elif number == _GRAPH_SPARSE_CONSTANT:
            fault = "has sparse constants"
        if fault:
            return fault
    return ""


def _node_fault(node: memoryview) -> str:
    if _domain(node, _NODE_DOMAIN) not in _STANDARD:
        return "has custom operations"
    for number, value in _fields(node):
        if number != _NODE_ATTRIBUTE:
            continue
        for kind, content in _fields(value):
            if kind in _ATTRIBUTE_GRAPHS:
                return "has graphs within its graph"
            if kind in _ATTRIBUTE_SPARSE_TENSORS:
                return "has sparse constants"
            if kind in _ATTRIBUTE_TENSORS:
                fault = _tensor_fault(content)
                if fault:
                    return fault
    return ""


def _tensor_fault(tensor: memoryview) -> str:
    for number, value in _fields(tensor):
        is_elsewhere = number == _TENSOR_DATA_LOCATION and value != 0
        if number == _TENSOR_EXTERNAL_DATA or is_elsewhere:
            return "keeps weights in other files (external data)"
    return ""


def _domain(message: memoryview, field: int) -> bytes:
    domain = b""
    for number, value in _fields(message):
        if number == field:
            domain = bytes(value)
    return domain


def _fields(message: memoryview) -> Iterator[tuple[int, "memoryview | int"]]:
    """The fields of a message: their numbers, and their values as far as they are used here."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        number = tag >> 3
        kind = tag & 7
        if kind == _VARINT:
            value, position = _varint(message, position)
            yield number, value
        elif kind == _BYTES:
            length, position = _varint(message, position)
            end = position + length
            if end > len(message):
                raise ValueError("a field ends beyond its message")
            yield number, message[position:end]
            position = end
        elif kind == _FIXED_64:
            position += 8
        elif kind == _FIXED_32:
            position += 4
        else:
            raise ValueError(f"a field of kind {kind}")
    if position != len(message):
        raise ValueError("a field ends beyond its message")


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("a number of more than 64 bits")
