"""Which arrays fill the memory of a compiled program when it is fullest, read off its schedule.

The compiler does not return its own list. So the scheduled instructions are followed in their
order: an array lives from the instruction that makes it to the last use of it, or of a view of it,
and the set of live arrays with the largest sum is the answer. Arrays on the chip itself are left
out; sizes include the padding of an array's tiles.

This is an approximation: arrays that the compiler lets overwrite each other count twice. The sum
is a guide; the size of each single array is exact.
"""

import math
import re
from collections import Counter
from typing import NamedTuple

from hpa_jax.plan.hlo import DTYPE_BYTES, Array, Instruction

# Instructions that make no array: their result is an operand, or a part of one.
_VIEWS = (
    "bitcast",
    "tuple",
    "get-tuple-element",
    "optimization-barrier",
    "while",
    "conditional",
    "copy-done",
)


class _Lifetime(NamedTuple):
    """Positions in the schedule of the first and the last instruction that need an array."""

    first: int
    last: int


def padded_bytes(array: Array) -> int:
    """Bytes that an array takes in memory, where its minor axes fill tiles.

    A layout is written as `{2,1,0:T(8,128)(2,1)}`: axes from minor to major, then the tile.
    """
    minor_to_major = re.match(r"\{([\d,]*)", array.layout)
    tile = re.search(r"T\((\d+)(?:,(\d+))?\)", array.layout)
    shape = list(array.shape)
    if minor_to_major and tile:
        axes = [int(axis) for axis in minor_to_major.group(1).split(",") if axis]
        tile_sides = [int(side) for side in tile.groups() if side]
        for axis, side in zip(axes, reversed(tile_sides), strict=False):
            shape[axis] = math.ceil(shape[axis] / side) * side
    return math.prod(shape) * DTYPE_BYTES[array.dtype]


def largest_arrays(schedule: list[Instruction], limit: int = 5) -> list[dict]:
    """What is live when memory is fullest, arrays of one shape together, most bytes first.

    Args:
      schedule: the instructions of the entry computation, in their order.
      limit: number of shapes to return.

    Returns:
      Dicts of `array` (dtype and shape), `count`, `bytes` (of all of them together) and `op_name`
      (of one of them).
    """
    lifetimes = _lifetimes(schedule)
    arrays = {}
    for instruction in schedule:
        if instruction.name in lifetimes:
            arrays[instruction.name] = [a for a in instruction.arrays() if not a.on_chip]
    fullest = _fullest_position(lifetimes, arrays, len(schedule))

    count = Counter()
    total = Counter()
    op_names = {}
    for instruction in schedule:
        lifetime = lifetimes.get(instruction.name)
        if lifetime is None or not lifetime.first <= fullest <= lifetime.last:
            continue
        for array in arrays[instruction.name]:
            count[str(array)] += 1
            total[str(array)] += padded_bytes(array)
            op_names.setdefault(str(array), instruction.op_name)

    largest = []
    for name, size in total.most_common(limit):
        entry = {"array": name, "count": count[name], "bytes": size, "op_name": op_names[name]}
        largest.append(entry)
    return largest


def _lifetimes(schedule: list[Instruction]) -> dict[str, _Lifetime]:
    """Of each instruction that makes arrays; a use of a view is a use of its source."""
    sources: dict[str, set[str]] = {}
    lifetimes = {}
    for position, instruction in enumerate(schedule):
        used = set()
        for operand in instruction.operands:
            used |= sources.get(operand, set())
        for name in used:
            lifetimes[name] = lifetimes[name]._replace(last=position)
        if instruction.opcode in _VIEWS or instruction.opcode.endswith("-done"):
            sources[instruction.name] = used
        else:
            sources[instruction.name] = {instruction.name}
            lifetimes[instruction.name] = _Lifetime(position, position)
    return lifetimes


def _fullest_position(
    lifetimes: dict[str, _Lifetime], arrays: dict[str, list[Array]], length: int
) -> int:
    """The position in the schedule at which the live arrays take the most memory."""
    change = [0] * (length + 1)
    for name, lifetime in lifetimes.items():
        size = sum(padded_bytes(array) for array in arrays[name])
        change[lifetime.first] += size
        change[lifetime.last + 1] -= size
    fullest = 0
    most = -1
    live = 0
    for position in range(length):
        live += change[position]
        if live > most:
            fullest = position
            most = live
    return fullest
