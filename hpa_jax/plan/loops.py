"""What the turns of loops cost after the first one, which is all that XLA's cost analysis counts of a loop.

Unusual: bytes follow XLA's own rule (what each instruction reads and writes, a fusion being one instruction, a slice
reading what it takes), written down again here; of arithmetic, convolutions and matrix products alone are counted.
"""

import json
import math
import re
from typing import NamedTuple

import numpy as np

from hpa_jax.plan.hlo import Array, Instruction, trip_count
from hpa_jax.plan.memory import padded_bytes

_FREE = (
    *(
        "parameter",
        "constant",
        "tuple",
        "get-tuple-element",
        "bitcast",
        "while",
        "conditional",
        "call",
        "after-all",
    ),
    *("partition-id", "replica-id", "opt-barrier", "optimization-barrier"),
)


class More(NamedTuple):
    bytes: float
    flops: float
    notes: tuple[str, ...]


def uncounted(parsed: list[Instruction], times: dict[str, int]) -> More:
    """Bytes and FLOP of all turns but the first of a program's loops.

    Args:
      parsed: the program's instructions (hlo.instructions).
      times: how often each computation runs (hlo.computations).
    """
    within: dict[str, list[Instruction]] = {}
    for one in parsed:
        within.setdefault(one.computation, []).append(one)
    bodies = _bodies(parsed, within)
    moved = flops = 0.0
    for name in bodies:
        turns = times.get(name, 0) - 1
        if turns > 0:
            body_bytes, body_flops = cost_of(within[name], within)
            moved, flops = moved + turns * body_bytes, flops + turns * body_flops
    silent = [
        one.name for one in parsed if one.opcode == "while" and trip_count(one, within) is None
    ]
    notes = (
        [f"loops that do not say how often they turn count once: {', '.join(silent)}"]
        if silent
        else []
    )
    return More(moved, flops, tuple(notes))


def _bodies(parsed: list[Instruction], within: dict) -> set[str]:
    """Computations that a loop runs, its condition apart, with those that they call in turn; fused ones are no such."""
    open_, found = [], set()
    for one in parsed:
        if one.opcode == "while":
            open_ += re.findall(r"body=%?([\w.\-]+)", one.attributes)
    while open_:
        name = open_.pop()
        if name in found:
            continue
        found.add(name)
        for one in within.get(name, []):
            if one.opcode in ("while", "conditional", "call"):
                open_ += re.findall(
                    r"(?:body|to_apply|\w+_computation)=%?([\w.\-]+)", one.attributes
                )
                branches = re.search(r"branch_computations=\{([^}]*)\}", one.attributes)
                open_ += (
                    [b.strip().lstrip("%") for b in branches.group(1).split(",")]
                    if branches
                    else []
                )
    return found & set(within)


def cost_of(
    instructions: list[Instruction], within: dict[str, list[Instruction]]
) -> tuple[float, float]:
    """Bytes and FLOP of one run of a computation, loops in it left out.

    Args:
      instructions: its own.
      within: those of every computation, by its name.
    """
    by_name = {one.name: one for one in instructions}
    moved = flops = 0.0
    for one in instructions:
        if one.opcode in _FREE or one.opcode.endswith("-done"):
            continue
        if one.opcode == "custom-call" and '"cost_estimate"' in one.attributes:
            text = one.attributes[
                one.attributes.index("backend_config=") + len("backend_config=") :
            ]
            estimate = json.loads(text)["custom_call_config"].get("cost_estimate", {})
            moved, flops = (
                moved + int(estimate.get("bytes_accessed", 0)),
                flops + int(estimate.get("flops", 0)),
            )
            continue
        inputs = [_size(by_name[o]) for o in one.operands if o in by_name]
        output = _size(one)
        fused = within.get(_called(one), []) if one.opcode == "fusion" else []
        if fused:
            inputs, output = _fusion_bytes(fused, inputs, output)
        elif one.opcode in ("dynamic-slice", "slice", "gather"):
            inputs = [output]
        elif one.opcode == "dynamic-update-slice":
            inputs, output = [inputs[1]], inputs[1]
        moved += sum(inputs) + output
        inner = {other.name: other for other in fused} if fused else by_name
        flops += sum(_product_flops(other, inner) for other in (fused or [one]))
    return moved, flops


def _size(one: Instruction) -> int:
    return sum(map(padded_bytes, one.arrays()))


def _called(one: Instruction) -> str:
    found = re.search(r"calls=%?([\w.\-]+)", one.attributes)
    return found.group(1) if found else ""


def _fusion_bytes(
    fused: list[Instruction], inputs: list[int], output: int
) -> tuple[list[int], int]:
    """What a fusion reads of each operand and writes: slices alone where it takes slices."""
    by_name, inputs = {one.name: one for one in fused}, list(inputs)
    for parameter in (one for one in fused if one.opcode == "parameter"):
        number = int(parameter.operands[0])
        users = [one for one in fused if parameter.name in one.operands]
        if number >= len(inputs) or not users:
            continue
        if all(one.opcode in ("dynamic-slice", "slice") for one in users):
            inputs[number] = min(inputs[number], sum(map(_size, users)))
        elif all(
            one.opcode == "dynamic-update-slice" and one.operands[0] == parameter.name
            for one in users
        ):
            written = sum(_size(by_name[one.operands[1]]) for one in users)
            output, inputs[number] = output - inputs[number] + written, 0
    return inputs, max(output, 0)


def _product_flops(one: Instruction, by_name: dict[str, Instruction]) -> float:
    if one.opcode not in ("convolution", "dot") or any(
        name not in by_name for name in one.operands[:2]
    ):
        return 0.0
    left, right = (by_name[name].arrays()[0] for name in one.operands[:2])
    out = one.arrays()[0]
    if one.opcode == "dot":
        axes = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", one.attributes)
        summed = [int(n) for n in axes.group(1).split(",") if n] if axes else []
        return 2.0 * math.prod(out.shape) * math.prod(left.shape[axis] for axis in summed)
    return _convolution_flops(one.attributes, left, right, out)


def _convolution_flops(attributes: str, left: Array, right: Array, out: Array) -> float:
    """Products that meet a number, not padding or the gaps of a dilated input, as XLA counts them."""
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", attributes)
    if not labels:
        return 0.0
    lhs, rhs, result = labels.groups()
    window = dict(
        re.findall(r"(\w+)=([\dx_\-]+)", (re.search(r"window=\{([^}]*)\}", attributes) or [""])[0])
    )
    pairs = 1.0
    for axis in sorted(letter for letter in lhs if letter.isdigit()):
        at = int(axis)
        of = lambda name, default, at=at: (  # noqa: E731
            window[name].split("x")[at] if name in window else default
        )
        size, stride, before = (
            int(of("size", "1")),
            int(of("stride", "1")),
            int(of("pad", "0_0").split("_")[0]),
        )
        spread, gap = int(of("rhs_dilate", "1")), int(of("lhs_dilate", "1"))
        o, w = np.arange(out.shape[result.index(axis)])[:, None], np.arange(size)[None]
        position = o * stride - before + w * spread
        inside = (
            (position >= 0)
            & (position <= (left.shape[lhs.index(axis)] - 1) * gap)
            & (position % gap == 0)
        )
        pairs *= int(inside.sum())
    spatial = math.prod(out.shape[result.index(letter)] for letter in result if letter.isdigit())
    return 2.0 * pairs * math.prod(out.shape) / max(1, spatial) * right.shape[rhs.index("i")]
