"""The Pallas kernel inside a `tpu_custom_call`: its grid, and which block of each operand a grid step works on.

The call carries its kernel as MLIR bytecode (Mosaic's dialects, under a name that says they are stable). The kernel's
entry function names a block shape and an index function for each operand; those functions are whole-number arithmetic
and are evaluated here, for all grid steps at once.
"""

import base64
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jax._src.lib import tpu
from jaxlib.mlir import ir


class Uncountable(Exception):
    """Which blocks are moved depends on values that only a run knows."""


class Window(NamedTuple):
    """How an operand is cut.

    Attributes:
      block: shape of a block; None: the whole operand at once.
      index: the grid's coordinates to a block's, as kernels.crossing_bytes takes it. Raises Uncountable.
      by_element: whether an axis of the index counts elements, not blocks.
      used: whether the kernel touches it at all: an operand may be there to be written over alone.
    """

    block: tuple[int, ...] | None
    index: Callable | None = None
    by_element: tuple[bool, ...] = ()
    used: bool = True


_COMPARE = (np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal) + (
    *(np.less, np.less_equal, np.greater, np.greater_equal),  # unsigned: indices are not negative
)
_ARITHMETIC = {
    "addi": np.add,
    "subi": np.subtract,
    "muli": np.multiply,
    "divsi": lambda a, b: np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b)),  # towards 0
    "divui": lambda a, b: a // b,
    "floordivsi": lambda a, b: a // b,
    "ceildivsi": lambda a, b: -(-a // b),
    "remsi": np.fmod,
    "remui": np.fmod,
    "maxsi": np.maximum,
    "minsi": np.minimum,
    "maxui": np.maximum,
    "minui": np.minimum,
    "andi": np.bitwise_and,
    "ori": np.bitwise_or,
    "xori": np.bitwise_xor,
    "shli": np.left_shift,
    "shrsi": np.right_shift,
    "shrui": np.right_shift,
    "select": np.where,
    "index_cast": lambda a: a,
    "extsi": lambda a: -a.astype(np.int64) if a.dtype == bool else a,
    "extui": lambda a: a.astype(np.int64) if a.dtype == bool else a,
    "trunci": lambda a: a,
}


def read_kernel(body: str) -> tuple[tuple[int, ...], list[Window | None]]:
    """The grid of a kernel, and the windows of its operands and results in the order of the call; None: in no blocks.

    Args:
      body: as in the call's backend_config: MLIR bytecode in base64.
    """
    context = ir.Context()
    tpu.register_dialect(context)
    context.allow_unregistered_dialects = True
    with context:
        module = ir.Module.parse(base64.b64decode(body))
    functions = {str(f.attributes["sym_name"]).strip('"'): f for f in module.body.operations}
    entry = next(
        f for f in functions.values() if not str(f.attributes["sym_name"]).startswith('"transform_')
    )
    attributes = entry.attributes
    grid = (
        tuple(ir.DenseI64ArrayAttr(attributes["iteration_bounds"]))
        if "iteration_bounds" in attributes
        else ()
    )
    prefetched = (
        ir.IntegerAttr(attributes["scalar_prefetch"]).value
        if "scalar_prefetch" in attributes
        else 0
    )
    windows: list[Window | None] = [Window(None)] * prefetched
    arguments = list(entry.regions[0].blocks[0].arguments)[len(grid) + prefetched :]
    scratch = (
        ir.IntegerAttr(attributes["scratch_operands"]).value
        if "scratch_operands" in attributes
        else 0
    )
    arguments = arguments[: len(arguments) - scratch]
    cuts = (
        list(ir.ArrayAttr(attributes["window_params"]))
        if "window_params" in attributes
        else [None] * len(arguments)
    )
    for argument, cut in zip(arguments, cuts, strict=True):
        in_memory = any(f"memory_space<{space}>" in str(argument.type) for space in ("any", "hbm"))
        if in_memory or cut is None or "transform_indices" not in ir.DictAttr(cut):
            copied = in_memory and any(True for _ in argument.uses)
            windows.append(None if copied else Window(None, used=not in_memory))
            continue
        cut = ir.DictAttr(cut)
        block = tuple(ir.DenseI64ArrayAttr(cut["window_bounds"]))
        by_element = (True,) * len(block) if "window_kind" in cut else ()
        function = functions[str(cut["transform_indices"]).lstrip("@")]
        windows.append(Window(block, _index_function(module, function, len(block)), by_element))
    return grid, windows


def _index_function(module: ir.Module, function: ir.Operation, rank: int) -> Callable:
    def index(*coordinates):
        block = function.regions[0].blocks[0]
        values = {
            argument: np.asarray(c, np.int64)
            for argument, c in zip(block.arguments, coordinates, strict=False)
        }
        for operation in block.operations:
            kind = operation.operation.name.removeprefix("stable_mosaic.")
            if kind == "func.return":
                return [_of(values, operand) for operand in operation.operands][:rank]
            dialect, _, name = kind.partition(".")
            if name == "constant":
                value = np.asarray(_whole_number(operation.attributes["value"]))
            elif name == "cmpi":
                compare = _COMPARE[ir.IntegerAttr(operation.attributes["predicate"]).value]
                value = compare(*(_of(values, operand) for operand in operation.operands))
            elif dialect == "arith" and name in _ARITHMETIC:
                value = _ARITHMETIC[name](*(_of(values, operand) for operand in operation.operands))
            else:
                raise Uncountable(kind)
            values[operation.results[0]] = value
        raise Uncountable("no result")

    index.module = module  # which the function is part of
    return index


def _of(values: dict, name: ir.Value) -> np.ndarray:
    if name not in values:
        raise Uncountable(str(name))
    return values[name]


def _whole_number(attribute: ir.Attribute) -> int:
    try:
        return ir.IntegerAttr(attribute).value
    except ValueError:
        return int(ir.BoolAttr(attribute).value)
