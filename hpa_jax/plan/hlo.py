"""A compiled program's text (scheduled HLO) as instructions: shapes and bytes, collectives, loops, and what is live.

Pure functions on text: nothing here imports JAX or knows of devices.

Unusual: a loop's body stands in the text once and runs many times; `computations` says how often each part runs, from
the trip count that the text states or the constant that the loop's condition compares with.
"""

import math
import re
from collections import defaultdict
from typing import NamedTuple

DTYPE_BYTES = {
    **dict.fromkeys(
        (
            "pred",
            "s8",
            "u8",
            "f8e4m3fn",
            "f8e5m2",
            "f8e4m3",
            "f8e4m3b11fnuz",
            "s4",
            "u4",
            "s2",
            "u2",
        ),
        1,
    ),
    **dict.fromkeys(("s16", "u16", "f16", "bf16"), 2),
    **dict.fromkeys(("s32", "u32", "f32"), 4),
    **dict.fromkeys(("s64", "u64", "f64", "c64"), 8),
    "c128": 16,
}
COLLECTIVES = (
    *("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "ragged-all-to-all"),
    *("collective-permute", "collective-broadcast"),
)


class Array(NamedTuple):
    """One array of an instruction's result: dtype, dimensions, and its layout as written (may be '')."""

    dtype: str
    shape: tuple[int, ...]
    layout: str = ""

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * DTYPE_BYTES.get(self.dtype, 0)

    @property
    def on_chip(self) -> bool:
        """In the chip's own memory (VMEM, SMEM), not in HBM."""
        return "S(" in self.layout

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"


class Instruction(NamedTuple):
    name: str
    opcode: str
    result: str  # the type as written
    operands: tuple[str, ...]  # names
    attributes: str  # what follows the operands
    computation: str

    def arrays(self) -> list[Array]:
        return arrays_of(self.result)

    @property
    def op_name(self) -> str:
        """The path of the function that it came from."""
        found = re.search(r'op_name="([^"]*)"', self.attributes)
        return found.group(1).replace("\\'", "'") if found else ""


class Collective(NamedTuple):
    """
    Attributes:
      kind: one of COLLECTIVES.
      payload: bytes that a device holds of the result (of a reduce-scatter: of what goes in).
      group: devices that take part together.
      times: how often it runs.
      arrays: what the payload consists of.
    """

    kind: str
    payload: int
    group: int
    times: int
    arrays: tuple[Array, ...]

    @property
    def sent(self) -> float:
        """Bytes that a device sends in one run: rings, which move the least that is possible."""
        share = (self.group - 1) / max(self.group, 1)
        return {"all-reduce": 2 * share, "collective-permute": 1.0}.get(
            self.kind, share
        ) * self.payload


_ARRAY = re.compile(r"([a-z][a-z0-9]*)\[([\d,<=]*)\](\{[^}]*\})?")
_COMMENT = re.compile(r"/\*.*?\*/")
_HEAD = re.compile(r"^\s*(?:ROOT )?%?([\w.\-]+) = ")
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\) -> .*\{\s*$")
_CALLED = re.compile(
    r"(body|condition|calls|to_apply|true_computation|false_computation)=%?([\w.\-]+)"
)


def arrays_of(text: str) -> list[Array]:
    """Every array in a type as written, tuples flattened; opaque tokens are none."""
    return [
        Array(dtype, tuple(int(n.lstrip("<=")) for n in dims.split(",") if n), layout)
        for dtype, dims, layout in _ARRAY.findall(text)
        if dtype in DTYPE_BYTES
    ]


def _closing(text: str, opening: int) -> int:
    """Where the bracket that opens at `opening` closes."""
    depth = 0
    for position in range(opening, len(text)):
        depth += (text[position] in "([{") - (text[position] in ")]}")
        if depth == 0:
            return position
    return len(text) - 1


def _parts(text: str) -> list[str]:
    """Splits at the commas outside all brackets."""
    parts, depth, begin = [], 0, 0
    for position, letter in enumerate(text):
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            parts.append(text[begin:position])
            begin = position + 1
    return [part.strip() for part in (*parts, text[begin:]) if part.strip()]


def instructions(text: str) -> list[Instruction]:
    """All instructions of a module, in the order of the text: in a scheduled module, that of execution."""
    found, computation = [], ""
    for line in text.splitlines():
        if opened := _COMPUTATION.match(line):
            computation = opened.group(2)
        elif head := _HEAD.match(line):
            rest = _COMMENT.sub("", line[head.end() :])
            end = _closing(rest, 0) + 1 if rest.startswith("(") else rest.find(" ")
            result, rest = rest[:end], rest[end:].lstrip()
            opening = rest.find("(")
            if end <= 0 or opening <= 0:
                continue
            closing = _closing(rest, opening)
            names = tuple(
                part.split(" ")[-1].lstrip("%") for part in _parts(rest[opening + 1 : closing])
            )
            found.append(
                Instruction(
                    head.group(1), rest[:opening], result, names, rest[closing + 1 :], computation
                )
            )
    return found


def entry_of(text: str) -> str:
    """The name of the computation that a module begins with."""
    return re.search(r"^ENTRY %?([\w.\-]+)", text, re.MULTILINE).group(1)


def trip_count(loop: Instruction, by_computation: dict[str, list[Instruction]]) -> int | None:
    """How often a while loop's body runs; None where the text does not say."""
    stated = re.search(r'known_trip_count["\\]*:\{["\\]*n["\\]*:["\\]*(\d+)', loop.attributes)
    if stated:
        return int(stated.group(1))
    called = dict(_CALLED.findall(loop.attributes))
    inside = [*by_computation.get(called.get("condition", ""), [])]
    for one in list(inside):
        inside += by_computation.get(dict(_CALLED.findall(one.attributes)).get("calls", ""), [])
    # A counted loop compares a counter that begins at 0 with one whole number.
    numbers = [
        int(i.operands[0])
        for i in inside
        if i.opcode == "constant" and i.operands and i.operands[0].isdigit()
    ]
    less_than = any(i.opcode == "compare" and "direction=LT" in i.attributes for i in inside)
    return numbers[0] if less_than and len(numbers) == 1 else None


def computations(text: str, parsed: list[Instruction] | None = None) -> dict[str, int]:
    """How often each computation runs in one run of the program; a loop that does not say counts as one turn."""
    by_computation = defaultdict(list)
    for one in instructions(text) if parsed is None else parsed:
        by_computation[one.computation].append(one)
    times: dict[str, int] = defaultdict(int)

    def visit(name: str, runs: int) -> None:
        times[name] += runs
        for one in by_computation.get(name, []):
            called = _CALLED.findall(one.attributes)
            if "branch_computations=" in one.attributes:
                branches = re.search(r"branch_computations=\{([^}]*)\}", one.attributes).group(1)
                called += [("branch", branch.strip().lstrip("%")) for branch in branches.split(",")]
            turns = (trip_count(one, by_computation) or 1) if one.opcode == "while" else 1
            for how, inner in called:
                visit(inner, runs * (turns if how in ("body", "condition") else 1))

    visit(entry_of(text), 1)
    return dict(times)


def collectives(text: str, devices: int) -> list[Collective]:
    """What crosses between the devices; of an asynchronous pair, its start.

    Args:
      text: of the module.
      devices: that the program is for: the group where the text names none.
    """
    parsed = instructions(text)
    times, found = computations(text, parsed), []
    for one in parsed:
        kind = one.opcode.removesuffix("-start")
        if kind not in COLLECTIVES or not times.get(one.computation):
            continue
        arrays, group = one.arrays(), _group(one.attributes, devices)
        if one.opcode.endswith("-start") and kind != "all-reduce" and one.result.startswith("("):
            arrays = arrays_of(
                _parts(one.result[1:-1])[1]
            )  # (what goes in, what comes out, counters)
        payload = sum(array.bytes for array in arrays) * (group if kind == "reduce-scatter" else 1)
        found.append(Collective(kind, payload, group, times[one.computation], tuple(arrays)))
    return found


def _group(attributes: str, devices: int) -> int:
    """Devices of one replica group, in any of the four ways in which HLO writes them."""
    if axes := re.search(r"replica_groups=mesh\[([^\]]*)\]\s*\{([^}]*)\}", attributes):
        sizes = {name: int(size) for name, size in re.findall(r"'(\w+)'=(\d+)", axes.group(1))}
        part = {
            name: int(size) for name, size in re.findall(r"'(\w+)':\(\d+\)(\d+)", axes.group(2))
        }
        return math.prod(
            part.get(name, sizes[name]) for name in re.findall(r"'(\w+)'", axes.group(2))
        )
    if iota := re.search(r"replica_groups=\[(\d+),(\d+)\]<=", attributes):
        return int(iota.group(2))
    if listed := re.search(r"replica_groups=\{\{([\d,]*)\}", attributes):
        return len(listed.group(1).split(","))
    return devices


def sums(collected: list[Collective]) -> dict[str, dict]:
    """By kind: how many run, the bytes that they deliver (also by dtype), the bytes that a device sends, the largest
    array."""
    table = {}
    for kind in COLLECTIVES:
        those = [c for c in collected if c.kind == kind]
        if those:
            arrays = [(array, c.times) for c in those for array in c.arrays]
            table[kind] = {
                "count": sum(c.times for c in those),
                "bytes": sum(c.times * c.payload for c in those),
                "sent_bytes": round(sum(c.times * c.sent for c in those)),
                "dtypes": {
                    dtype: sum(
                        times * array.bytes for array, times in arrays if array.dtype == dtype
                    )
                    for dtype in sorted({array.dtype for array, _ in arrays})
                },
                "largest": str(
                    max((array for array, _ in arrays), key=lambda array: array.bytes, default="")
                ),
            }
    return table
