"""What the Pallas kernels of a program move between memory and the chip, counted block by block.

A kernel tells XLA what it moves (`pl.CostEstimate`), and XLA believes it. Here nothing is believed: the grid and the
maps from grid steps to blocks are read, and a block counts as moved whenever its index differs from that of the step
before, which is when the pipeline fetches or writes it. Two sources that know nothing of each other: the kernels that a
compiled program carries (`program_kernels`, through mosaic.py), and the function that was traced (`pallas_traffic`).

Unusual:
- a block that sticks out of its array counts with what lies inside it;
- an operand that stays in memory and is copied by the kernel itself (`memory_space=ANY`), or whose index map reads
  values that only a run knows, has no blocks to count: it counts once, whole, and its kernel says `whole`. One that
  the kernel never touches, being there to be written over, counts nothing.
"""

import json
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import numpy as np
from jax.extend import core as jex

from hpa_jax.plan.hlo import Instruction
from hpa_jax.plan.mosaic import Uncountable, Window, read_kernel


class Kernel(NamedTuple):
    """
    Attributes:
      name: of the kernel.
      read_bytes, written_bytes: that one call moves from and to memory.
      declared_bytes: what it told XLA.
      times: calls in one run of the program.
      whole: an operand had no blocks to count and counts once, whole.
    """

    name: str
    read_bytes: int
    written_bytes: int
    declared_bytes: int
    times: int = 1
    whole: bool = False

    @property
    def undeclared_bytes(self) -> int:
        """What all its calls move beyond what was declared of them; below 0 where too much was."""
        return self.times * (self.read_bytes + self.written_bytes - self.declared_bytes)


def crossing_bytes(
    grid: tuple[int, ...],
    block: tuple[int, ...],
    array: tuple[int, ...],
    itemsize: float,
    index: Callable,
    by_element: tuple[bool, ...] = (),
) -> int:
    """Bytes of one operand that cross over the whole grid.

    Args:
      grid: steps along each axis, the last one running fastest.
      block: its shape.
      array: shape of the operand.
      itemsize: bytes of an element.
      index: the grid's coordinates, an `int [steps]` for each axis of it, to a block's, one for each axis of the array.
      by_element: whether an axis of `index` counts elements, not blocks; (): none does.
    """
    steps = math.prod(grid)
    coordinates = [axis.reshape(-1) for axis in np.indices(grid)]
    at = [np.broadcast_to(np.asarray(axis, np.int64), (steps,)) for axis in index(*coordinates)]
    blocks = np.stack(at, axis=1) if at else np.zeros((steps, 0), np.int64)
    fresh = np.concatenate([[True], np.any(blocks[1:] != blocks[:-1], axis=1)])[:steps]
    size = np.array(block, np.int64)
    begin = blocks[fresh] * np.where(by_element or np.zeros(len(block), bool), 1, size)
    inside = np.clip(np.minimum(begin + size, array) - np.maximum(begin, 0), 0, None)
    return int(np.prod(inside, axis=1).sum() * itemsize)


def program_kernels(parsed: list[Instruction], times: dict[str, int]) -> list[Kernel]:
    """The kernels of a compiled program.

    Args:
      parsed: its instructions (hlo.instructions).
      times: how often each computation runs (hlo.computations).
    """
    by_name = {(one.computation, one.name): one for one in parsed}
    found = []
    for one in parsed:
        if (
            one.opcode != "custom-call"
            or '"tpu_custom_call"' not in one.attributes
            or not times.get(one.computation)
        ):
            continue
        config = json.loads(
            one.attributes[one.attributes.index("backend_config=") + len("backend_config=") :]
        )
        config = config["custom_call_config"]
        operands = [a for name in one.operands for a in by_name[one.computation, name].arrays()]
        results = one.arrays()
        grid, windows = read_kernel(config["body"])
        if len(windows) != len(operands) + len(results):
            windows = [None] * (len(operands) + len(results))
        counted = [
            _window_bytes(grid, w, a.shape, a.bytes)
            for w, a in zip(windows, operands + results, strict=True)
        ]
        moved = [bytes_ for bytes_, _ in counted]
        declared = int(config.get("cost_estimate", {}).get("bytes_accessed", 0))
        sides = sum(moved[: len(operands)]), sum(moved[len(operands) :])
        found.append(
            Kernel(
                one.name,
                *sides,
                declared,
                times[one.computation],
                any(whole for _, whole in counted),
            )
        )
    return found


def _window_bytes(grid: tuple, window: Window | None, shape: tuple, size: int) -> tuple[int, bool]:
    """Bytes of one operand, and whether it could not be counted."""
    if window is None:
        return size, True
    if (
        window.block is None
    ):  # whole on the chip, fetched or written once; or there to be written over
        return (size if window.used else 0), False
    try:
        itemsize = size / max(1, math.prod(shape))
        return crossing_bytes(
            grid, window.block, shape, itemsize, window.index, window.by_element
        ), False
    except Uncountable:
        return size, True


def pallas_traffic(jaxpr: jex.ClosedJaxpr | jex.Jaxpr) -> list[dict]:
    """The same of a traced function (`jax.jit(f).trace(...).jaxpr`): one entry a call, inner functions' included.

    Returns:
      A list of `{name, read_bytes, written_bytes, declared_bytes, times, whole}`. Within `jax.shard_map` the figures
      are those of one device.
    """
    return [kernel._asdict() for kernel in _traced(getattr(jaxpr, "jaxpr", jaxpr), 1)]


def _traced(jaxpr: jex.Jaxpr, times: int) -> Iterator[Kernel]:
    for equation in jaxpr.eqns:
        if equation.primitive.name == "pallas_call":
            yield _traced_kernel(equation, times)
            continue
        turns = equation.params["length"] if equation.primitive.name == "scan" else 1
        for inner in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda p: hasattr(p, "eqns")
        ):
            if hasattr(inner, "eqns"):
                yield from _traced(getattr(inner, "jaxpr", inner), times * turns)


def _traced_kernel(equation, times: int) -> Kernel:
    mapping, estimate = equation.params["grid_mapping"], equation.params["cost_estimate"]
    counted, touched = [], _read(equation.params["jaxpr"])
    operands = equation.params["jaxpr"].invars[mapping.num_index_operands :]
    for block, operand in zip(mapping.block_mappings, operands, strict=False):
        array = block.array_aval
        size = array.size * array.dtype.itemsize
        window = None if operand in touched else Window(None, used=False)
        if str(block.transformed_block_aval.memory_space) not in ("any", "hbm"):
            sizes = tuple(
                getattr(d, "block_size", 1) if not isinstance(d, int) else d
                for d in block.block_shape
            )
            by_element = tuple(
                type(d).__name__ in ("Element", "BoundedSlice") for d in block.block_shape
            )
            window = Window(
                sizes, _evaluated(block.index_map_jaxpr, mapping.num_index_operands), by_element
            )
        counted.append(_window_bytes(mapping.grid, window, array.shape, size))
    moved = [bytes_ for bytes_, _ in counted]
    prefetched = equation.invars[: mapping.num_index_operands]
    read = sum(moved[: mapping.num_inputs]) + sum(
        v.aval.size * v.aval.dtype.itemsize for v in prefetched
    )
    declared = 0 if estimate is None else int(estimate.bytes_accessed)
    name = equation.params.get("name") or "kernel"
    return Kernel(
        name,
        read,
        sum(moved[mapping.num_inputs :]),
        declared,
        times,
        any(whole for _, whole in counted),
    )


def _evaluated(index_map, prefetched: int) -> Callable:
    def index(*coordinates):
        if prefetched and any(
            v in _read(index_map.jaxpr) for v in index_map.jaxpr.invars[len(coordinates) :]
        ):
            raise Uncountable
        unread = [
            np.zeros(v.aval.shape, np.int32) for v in index_map.jaxpr.invars[len(coordinates) :]
        ]
        run = (
            jex.jaxpr_as_fun(index_map)
            if not unread
            else lambda *c: jex.jaxpr_as_fun(index_map)(*c, *unread)
        )
        return (
            jax.vmap(run)(*(np.asarray(axis, np.int32) for axis in coordinates))
            if coordinates
            else run()
        )

    return index


def _read(jaxpr: jex.Jaxpr) -> set:
    return {v for equation in jaxpr.eqns for v in equation.invars if not isinstance(v, jex.Literal)}
