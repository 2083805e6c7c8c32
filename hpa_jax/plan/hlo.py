"""The text of a compiled program (scheduled HLO) as instructions, and what crosses between devices.

Pure functions on text: nothing here imports JAX or knows about devices.
"""

import math
import re
from typing import NamedTuple

DTYPE_BYTES = {
    "pred": 1,
    "s2": 1,
    "s4": 1,
    "s8": 1,
    "u2": 1,
    "u4": 1,
    "u8": 1,
    "f8e4m3": 1,
    "f8e4m3b11fnuz": 1,
    "f8e4m3fn": 1,
    "f8e5m2": 1,
    "s16": 2,
    "u16": 2,
    "f16": 2,
    "bf16": 2,
    "s32": 4,
    "u32": 4,
    "f32": 4,
    "s64": 8,
    "u64": 8,
    "f64": 8,
    "c64": 8,
    "c128": 16,
}
COLLECTIVES = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "ragged-all-to-all",
    "collective-permute",
    "collective-broadcast",
)

_ARRAY = re.compile(r"([a-z][a-z0-9]*)\[([\d,<=]*)\](\{[^}]*\})?")
_COMMENT = re.compile(r"/\*.*?\*/")
_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.\-]+) = ")
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\) -> .*\{\s*$")
_CALLED = re.compile(
    r"(?:body|condition|calls|to_apply|true_computation|false_computation)=%?([\w.\-]+)"
)
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")


class Array(NamedTuple):
    """One array of an instruction's result: dtype, shape, and its layout as written (may be '')."""

    dtype: str
    shape: tuple[int, ...]
    layout: str = ""

    @property
    def bytes(self) -> int:
        """Size of its elements, without padding."""
        return math.prod(self.shape) * DTYPE_BYTES.get(self.dtype, 0)

    @property
    def on_chip(self) -> bool:
        """Whether it lies in the chip's own memory (VMEM, SMEM), not in HBM."""
        return "S(" in self.layout

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"


class Instruction(NamedTuple):
    """
    Attributes:
      name, opcode: as written.
      result: its type, as written.
      operands: names.
      attributes: what follows the operands.
      computation: name of the computation that it stands in.
    """

    name: str
    opcode: str
    result: str
    operands: tuple[str, ...]
    attributes: str
    computation: str

    def arrays(self) -> list[Array]:
        """The arrays of its result."""
        return parse_arrays(self.result)

    @property
    def op_name(self) -> str:
        """The path of the function that it comes from."""
        found = re.search(r'op_name="([^"]*)"', self.attributes)
        if found is None:
            return ""
        return found.group(1).replace("\\'", "'")


class Collective(NamedTuple):
    """
    Attributes:
      kind: one of COLLECTIVES.
      payload: bytes of the result that a device holds (of a reduce-scatter: of what goes in).
      group: number of devices that take part together.
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
        """Bytes that a device sends in one run: rings, which send the least that is possible."""
        if self.kind == "collective-permute":
            return float(self.payload)
        of_a_ring = (self.group - 1) / max(self.group, 1)
        if self.kind == "all-reduce":
            return 2 * of_a_ring * self.payload
        return of_a_ring * self.payload


def parse_arrays(text: str) -> list[Array]:
    """Every array in a type as written, tuples flattened; opaque tokens are left out."""
    arrays = []
    for dtype, dimensions, layout in _ARRAY.findall(text):
        if dtype in DTYPE_BYTES:
            shape = tuple(int(n.lstrip("<=")) for n in dimensions.split(",") if n)
            arrays.append(Array(dtype, shape, layout))
    return arrays


def parse_instructions(text: str) -> list[Instruction]:
    """All instructions of a module, in the order of the text.

    In a scheduled module that is the order of execution.
    """
    instructions = []
    computation = ""
    for line in text.splitlines():
        opened = _COMPUTATION.match(line)
        if opened:
            computation = opened.group(2)
            continue
        head = _INSTRUCTION.match(line)
        if head:
            rest = _COMMENT.sub("", line[head.end() :])
            instruction = _parse_instruction(head.group(1), rest, computation)
            if instruction is not None:
                instructions.append(instruction)
    return instructions


def _parse_instruction(name: str, rest: str, computation: str) -> Instruction | None:
    """`rest` is `RESULT OPCODE(OPERANDS)ATTRIBUTES`, where RESULT may be a tuple."""
    result_end = rest.find(" ")
    if rest.startswith("("):
        result_end = _closing_bracket(rest, 0) + 1
    if result_end <= 0:
        return None
    result = rest[:result_end]
    call = rest[result_end:].lstrip()
    opening = call.find("(")
    if opening <= 0:
        return None
    closing = _closing_bracket(call, opening)
    operands = []
    for operand in _split_at_commas(call[opening + 1 : closing]):
        operands.append(operand.split(" ")[-1].lstrip("%"))
    return Instruction(
        name, call[:opening], result, tuple(operands), call[closing + 1 :], computation
    )


def _closing_bracket(text: str, opening: int) -> int:
    """Where the bracket that opens at `opening` closes."""
    depth = 0
    for position in range(opening, len(text)):
        if text[position] in "([{":
            depth += 1
        elif text[position] in ")]}":
            depth -= 1
        if depth == 0:
            return position
    return len(text) - 1


def _split_at_commas(text: str) -> list[str]:
    """Splits at the commas outside all brackets; empty parts are left out."""
    parts = []
    depth = 0
    start = 0
    for position, letter in enumerate(text):
        if letter in "([{":
            depth += 1
        elif letter in ")]}":
            depth -= 1
        elif letter == "," and depth == 0:
            parts.append(text[start:position])
            start = position + 1
    parts.append(text[start:])
    return [part.strip() for part in parts if part.strip()]


def entry_of(text: str) -> str:
    """The name of the computation that a module starts with."""
    return re.search(r"^ENTRY %?([\w.\-]+)", text, re.MULTILINE).group(1)


def by_computation(instructions: list[Instruction]) -> dict[str, list[Instruction]]:
    """The instructions of each computation, by its name."""
    found: dict[str, list[Instruction]] = {}
    for instruction in instructions:
        found.setdefault(instruction.computation, []).append(instruction)
    return found


def called_by(instruction: Instruction) -> list[str]:
    """Names of the computations that an instruction calls, branches of a conditional included."""
    names = _CALLED.findall(instruction.attributes)
    branches = _BRANCHES.search(instruction.attributes)
    if branches:
        names += [branch.strip().lstrip("%") for branch in branches.group(1).split(",")]
    return names


def reachable_from(
    callers: list[Instruction], computations: dict[str, list[Instruction]]
) -> set[str]:
    """Names of the computations that instructions call, directly or through others."""
    found: set[str] = set()
    waiting = list(callers)
    while waiting:
        for name in called_by(waiting.pop()):
            if name not in found:
                found.add(name)
                waiting += computations.get(name, [])
    return found


def count_runs(text: str, instructions: list[Instruction]) -> dict[str, int]:
    """How often each computation runs in one run of the program, the body of a loop once."""
    inside = by_computation(instructions)
    runs: dict[str, int] = {}

    def visit(name: str) -> None:
        runs[name] = runs.get(name, 0) + 1
        for instruction in inside.get(name, []):
            for called in called_by(instruction):
                visit(called)

    visit(entry_of(text))
    return runs


def find_collectives(text: str, devices: int) -> list[Collective]:
    """What crosses between the devices; of an asynchronous pair, its start.

    Args:
      text: of the module.
      devices: that the program is for: the group where the text names none.
    """
    instructions = parse_instructions(text)
    runs = count_runs(text, instructions)
    found = []
    for instruction in instructions:
        kind = instruction.opcode.removesuffix("-start")
        if kind not in COLLECTIVES or not runs.get(instruction.computation):
            continue
        arrays = instruction.arrays()
        is_start = instruction.opcode.endswith("-start")
        if is_start and kind != "all-reduce" and instruction.result.startswith("("):
            # The result of a start is (what goes in, what comes out, counters).
            arrays = parse_arrays(_split_at_commas(instruction.result[1:-1])[1])
        group = _group_size(instruction.attributes, devices)
        payload = sum(array.bytes for array in arrays)
        if kind == "reduce-scatter":
            payload *= group
        times = runs[instruction.computation]
        found.append(Collective(kind, payload, group, times, tuple(arrays)))
    return found


def _group_size(attributes: str, devices: int) -> int:
    """Devices of one replica group, in any of the four notations of HLO."""
    axes = re.search(r"replica_groups=mesh\[([^\]]*)\]\s*\{([^}]*)\}", attributes)
    if axes:
        mesh, used = axes.groups()
        sizes = {name: int(size) for name, size in re.findall(r"'(\w+)'=(\d+)", mesh)}
        # Parts of axes: 'x':(2)4 stands for four devices along x.
        sizes |= {name: int(size) for name, size in re.findall(r"'(\w+)':\(\d+\)(\d+)", used)}
        return math.prod(sizes[name] for name in re.findall(r"'(\w+)'", used))
    iota = re.search(r"replica_groups=\[(\d+),(\d+)\]<=", attributes)
    if iota:
        return int(iota.group(2))
    listed = re.search(r"replica_groups=\{\{([\d,]*)\}", attributes)
    if listed:
        return len(listed.group(1).split(","))
    return devices


def summarize_collectives(collectives: list[Collective]) -> dict[str, dict]:
    """By kind: `count` of runs, `bytes` that they deliver, `sent_bytes` of a device, `dtypes`
    (the bytes by dtype), and the `largest` array."""
    table = {}
    for kind in COLLECTIVES:
        of_kind = [collective for collective in collectives if collective.kind == kind]
        if of_kind:
            table[kind] = _summarize_kind(of_kind)
    return table


def _summarize_kind(collectives: list[Collective]) -> dict:
    dtypes: dict[str, int] = {}
    arrays = []
    for collective in collectives:
        arrays += collective.arrays
        for array in collective.arrays:
            delivered = collective.times * array.bytes
            dtypes[array.dtype] = dtypes.get(array.dtype, 0) + delivered
    largest = max(arrays, key=lambda array: array.bytes, default="")
    return {
        "count": sum(c.times for c in collectives),
        "bytes": sum(c.times * c.payload for c in collectives),
        "sent_bytes": round(sum(c.times * c.sent for c in collectives)),
        "dtypes": dict(sorted(dtypes.items())),
        "largest": str(largest),
    }
