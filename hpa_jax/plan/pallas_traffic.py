"""What the Pallas kernels of a traced function move between memory and the chip, block by block.

A kernel declares to XLA what it moves (`pl.CostEstimate`), and XLA believes it. Here the grid and
the maps from grid steps to blocks are read instead: a block counts as moved whenever its index
differs from that of the step before, which is when the pipeline fetches or writes it.

Design:
- a block that extends beyond its array counts with what lies inside;
- an operand that stays in memory and that the kernel copies itself (`memory_space=ANY`), or whose
  index map reads values that only a run knows, has no blocks to count: it counts once, in full,
  and its kernel has `is_upper_bound`. An operand that the kernel never touches, because it is
  there to be overwritten, counts nothing;
- a GPU runs the steps of a grid side by side, and its kernels load what they need of whole arrays:
  nothing of that is in the grid. What such a kernel declares counts (the tests compare it with its
  loads and stores).
"""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plt
from jax.extend import core as jex


class Kernel(NamedTuple):
    """
    Attributes:
      name: of the kernel.
      read_bytes, written_bytes: that one call moves from and to memory. Of a GPU's, `read_bytes`
        is all that it declares.
      declared_bytes: what it declares to XLA, reads and writes together.
      times: calls in one run of the program.
      is_upper_bound: an operand had no blocks to count and counts once, in full.
      declared_flops: floating-point operations that it declares.
    """

    name: str
    read_bytes: int
    written_bytes: int
    declared_bytes: int
    times: int
    is_upper_bound: bool
    declared_flops: int = 0

    @property
    def undeclared_bytes(self) -> int:
        """What all its calls move beyond what was declared; negative where too much was."""
        return self.times * (self.read_bytes + self.written_bytes - self.declared_bytes)


class _Operand(NamedTuple):
    moved_bytes: int
    is_upper_bound: bool = False


class _Uncountable(Exception):
    """Which blocks are moved depends on values that only a run knows."""


def pallas_kernels(jaxpr: jex.ClosedJaxpr | jex.Jaxpr) -> list[Kernel]:
    """One entry per call of a kernel, calls in inner functions included.

    Args:
      jaxpr: of a traced function, `jax.jit(f).trace(...).jaxpr`. Within `jax.shard_map`, bytes are
        those of one device.
    """
    return list(_kernels(getattr(jaxpr, "jaxpr", jaxpr), times=1))


def _kernels(jaxpr: jex.Jaxpr, times: int) -> Iterator[Kernel]:
    for equation in jaxpr.eqns:
        if equation.primitive.name == "pallas_call":
            yield _kernel(equation, times)
            continue
        inner_times = times
        if equation.primitive.name == "scan":
            inner_times *= equation.params["length"]
        for inner in _inner_jaxprs(equation):
            yield from _kernels(inner, inner_times)


def _inner_jaxprs(equation) -> Iterator[jex.Jaxpr]:
    parameters = list(equation.params.values())
    for value in jax.tree.leaves(parameters, is_leaf=lambda value: hasattr(value, "eqns")):
        if hasattr(value, "eqns"):
            yield getattr(value, "jaxpr", value)


def _kernel(equation, times: int) -> Kernel:
    estimate = equation.params["cost_estimate"] or pl.CostEstimate(0, 0, 0)
    declared = partial(
        Kernel,
        name=equation.params.get("name") or "kernel",
        declared_bytes=int(estimate.bytes_accessed),
        declared_flops=int(estimate.flops),
        times=times,
    )
    if isinstance(equation.params["compiler_params"], plt.CompilerParams):
        return declared(
            read_bytes=int(estimate.bytes_accessed), written_bytes=0, is_upper_bound=False
        )

    mapping = equation.params["grid_mapping"]
    body = equation.params["jaxpr"]
    # Scalars that the index maps may read are fetched before the grid starts.
    prefetched = equation.invars[: mapping.num_index_operands]
    prefetched_bytes = sum(_bytes(variable.aval) for variable in prefetched)
    touched = _variables_read(body)
    operands = body.invars[mapping.num_index_operands :]
    counted = []
    for block, operand in zip(mapping.block_mappings, operands, strict=False):
        counted.append(_count_operand(mapping, block, is_touched=operand in touched))

    moved = [operand.moved_bytes for operand in counted]
    return declared(
        read_bytes=sum(moved[: mapping.num_inputs]) + prefetched_bytes,
        written_bytes=sum(moved[mapping.num_inputs :]),
        is_upper_bound=any(operand.is_upper_bound for operand in counted),
    )


def _count_operand(mapping, block, is_touched: bool) -> _Operand:
    array = block.array_aval
    in_memory = str(block.transformed_block_aval.memory_space) in ("any", "hbm")
    if in_memory and not is_touched:
        return _Operand(0)
    if in_memory:
        return _Operand(_bytes(array), is_upper_bound=True)

    block_shape = []
    counts_elements = []
    for axis in block.block_shape:
        block_shape.append(axis if isinstance(axis, int) else getattr(axis, "block_size", 1))
        counts_elements.append(type(axis).__name__ in ("Element", "BoundedSlice"))
    try:
        moved = crossing_bytes(
            mapping.grid,
            tuple(block_shape),
            array.shape,
            array.dtype.itemsize,
            _index_function(block.index_map_jaxpr, mapping.num_index_operands),
            tuple(counts_elements),
        )
    except _Uncountable:
        return _Operand(_bytes(array), is_upper_bound=True)
    return _Operand(moved)


def crossing_bytes(
    grid: tuple[int, ...],
    block: tuple[int, ...],
    array: tuple[int, ...],
    itemsize: float,
    index: Callable,
    counts_elements: tuple[bool, ...] = (),
) -> int:
    """Bytes of one operand that cross between memory and chip over the whole grid.

    Args:
      grid: number of steps along each axis, the last one running fastest.
      block: shape of a block.
      array: shape of the operand.
      itemsize: bytes of an element.
      index: maps the grid's coordinates, an `int [steps]` per grid axis, to a block's index, one
        per axis of the array.
      counts_elements: for each axis, whether `index` counts elements, not blocks; (): none does.
    """
    steps = math.prod(grid)
    coordinates = [axis.reshape(-1) for axis in np.indices(grid)]
    indices = np.zeros((steps, len(block)), np.int64)
    for axis, values in enumerate(index(*coordinates)):
        indices[:, axis] = values

    is_new = np.ones(steps, bool)
    is_new[1:] = np.any(indices[1:] != indices[:-1], axis=1)

    size = np.array(block, np.int64)
    stride = np.where(counts_elements, 1, size) if counts_elements else size
    start = indices[is_new] * stride
    inside = np.minimum(start + size, array) - np.maximum(start, 0)
    elements = np.prod(np.clip(inside, 0, None), axis=1).sum()
    return int(elements * itemsize)


def _index_function(index_map, prefetched: int) -> Callable:
    """An index map as a function of the grid's coordinates, for all grid steps at once."""
    evaluate = jex.jaxpr_as_fun(index_map)

    def index(*coordinates):
        scalars = index_map.jaxpr.invars[len(coordinates) :]
        if prefetched and not _variables_read(index_map.jaxpr).isdisjoint(scalars):
            raise _Uncountable
        unread = [np.zeros(scalar.aval.shape, np.int32) for scalar in scalars]
        if not coordinates:
            return evaluate(*unread)
        axes = [np.asarray(axis, np.int32) for axis in coordinates]
        return jax.vmap(lambda *step: evaluate(*step, *unread))(*axes)

    return index


def _variables_read(jaxpr: jex.Jaxpr) -> set:
    read = set()
    for equation in jaxpr.eqns:
        read.update(v for v in equation.invars if not isinstance(v, jex.Literal))
    return read


def _bytes(array) -> int:
    return array.size * array.dtype.itemsize
