"""Which arrays fill the memory of a compiled program when it is fullest, read off its schedule.

The compiler's own list is not part of what it returns. So the scheduled instructions are gone through in their order:
an array lives from where it is made to where it, or a view of it, is last used, and the set that is largest in sum is
the answer. Arrays on the chip itself are left out; sizes are those of the tiles that an array fills.

Unusual: an approximation. Arrays that the compiler writes over each other count twice; the sum is a guide, the sizes of
the single arrays are exact.
"""

import math
import re
from collections import Counter, defaultdict

from hpa_jax.plan.hlo import DTYPE_BYTES, Array, Instruction

# These make no array: their result is (part of) an operand.
_VIEWS = (
    "bitcast",
    "tuple",
    "get-tuple-element",
    "optimization-barrier",
    "while",
    "conditional",
    "copy-done",
)


def padded_bytes(array: Array) -> int:
    """Bytes that an array takes in memory, where its last two axes fill tiles: `{2,1,0:T(8,128)(2,1)}`."""
    order = re.match(r"\{([\d,]*)", array.layout)
    tile = re.search(r"T\((\d+)(?:,(\d+))?\)", array.layout)
    shape = list(array.shape)
    if order and tile and shape:
        sides = [int(n) for n in tile.groups() if n]
        for axis, side in zip(
            [int(n) for n in order.group(1).split(",") if n], reversed(sides), strict=False
        ):
            shape[axis] = -(-shape[axis] // side) * side
    return math.prod(shape) * DTYPE_BYTES[array.dtype]


def largest_arrays(schedule: list[Instruction], most: int = 5) -> list[dict]:
    """What is live when memory is fullest, arrays of one shape together, the most bytes first.

    Args:
      schedule: the instructions of the entry computation, in their order.
      most: shapes to give.

    Returns:
      Dicts of `array` (dtype and shape), `count`, `bytes` (of all of them together) and `op_name` (of one of them).
    """
    sources, made, last = {}, {}, {}
    for now, one in enumerate(schedule):
        inputs = (
            set().union(*(sources.get(name, set()) for name in one.operands))
            if one.operands
            else set()
        )
        for source in inputs:
            last[source] = now
        if one.opcode in _VIEWS or one.opcode.endswith("-done"):
            sources[one.name] = inputs
        else:
            sources[one.name] = {one.name}
            made[one.name] = last[one.name] = now
    arrays = {
        one.name: [a for a in one.arrays() if not a.on_chip] for one in schedule if one.name in made
    }
    change = defaultdict(int)
    for name, begin in made.items():
        size = sum(map(padded_bytes, arrays[name]))
        change[begin] += size
        change[last[name] + 1] -= size
    fullest, level, best = 0, 0, -1
    for now in range(len(schedule)):
        level += change[now]
        if level > best:
            fullest, best = now, level
    live = [
        one for one in schedule if one.name in made and made[one.name] <= fullest <= last[one.name]
    ]
    count, total, origin = Counter(), Counter(), {}
    for one in live:
        for array in arrays[one.name]:
            count[str(array)] += 1
            total[str(array)] += padded_bytes(array)
            origin.setdefault(str(array), one.op_name)
    return [
        {"array": name, "count": count[name], "bytes": size, "op_name": origin[name]}
        for name, size in total.most_common(most)
    ]
