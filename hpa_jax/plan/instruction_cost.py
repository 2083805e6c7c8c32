"""Bytes and floating-point operations of a program, instruction by instruction.

For programs whose compiler reports no cost of its own (GPUs). Bytes follow XLA's rule: what each
instruction reads and writes, a fusion being one instruction and a slice reading what it takes, also
where a fusion slices what it computes. Of arithmetic, convolutions and matrix products alone are
counted, as XLA counts them; those that are calls of a library (cuDNN, cuBLAS) by the shapes that go
in and come out.
"""

import json
import math
import re
from typing import NamedTuple

import numpy as np

from hpa_jax.plan.hlo import Array, Instruction, by_computation
from hpa_jax.plan.memory import padded_bytes

# Instructions that move nothing themselves.
_FREE = (
    "parameter",
    "constant",
    "tuple",
    "get-tuple-element",
    "bitcast",
    "while",
    "conditional",
    "call",
    "after-all",
    "partition-id",
    "replica-id",
    "opt-barrier",
    "optimization-barrier",
)
_SLICES = ("dynamic-slice", "slice")

# The target of a Pallas kernel, which says nothing of its cost; pallas_traffic.py counts it.
_KERNEL = "__gpu$xla.gpu.triton"

# Targets of custom calls begin with these.
_LIBRARY_PRODUCTS = ("__cudnn$conv", "__cublas$gemm", "__cublas$lt$matmul")


class Cost(NamedTuple):
    """Bytes moved between memory and chip, and floating-point operations."""

    bytes: float
    flops: float


def program_cost(instructions: list[Instruction], runs: dict[str, int]) -> Cost:
    """The cost of one run of a program, the body of a loop counted once.

    Args:
      instructions: of the whole program (hlo.parse_instructions).
      runs: how often each computation runs (hlo.count_runs).
    """
    computations = by_computation(instructions)
    # Computations inside a fusion are part of the fusion's own cost.
    fused = {_called(i) for i in instructions if i.opcode == "fusion"}
    applied = {_applied(i) for i in instructions if i.opcode not in ("call", "while")}
    total_bytes = 0.0
    total_flops = 0.0
    for name, times in runs.items():
        if name in fused or name in applied:
            continue
        cost = computation_cost(computations.get(name, []), computations)
        total_bytes += times * cost.bytes
        total_flops += times * cost.flops
    return Cost(total_bytes, total_flops)


def computation_cost(
    instructions: list[Instruction], computations: dict[str, list[Instruction]]
) -> Cost:
    """The cost of one run of a computation, without the computations that it calls.

    Args:
      instructions: its own.
      computations: those of every computation, by its name.
    """
    by_name = {instruction.name: instruction for instruction in instructions}
    total_bytes = 0.0
    total_flops = 0.0
    for instruction in instructions:
        if instruction.opcode in _FREE or instruction.opcode.endswith("-done"):
            continue
        declared = _declared_cost(instruction)
        if declared is not None:
            total_bytes += declared.bytes
            total_flops += declared.flops
            continue
        fused = []
        if instruction.opcode == "fusion":
            fused = computations.get(_called(instruction), [])
        total_bytes += _moved_bytes(instruction, by_name, fused)
        if fused:
            names_inside = {inner.name: inner for inner in fused}
            total_flops += sum(_product_flops(inner, names_inside) for inner in fused)
        else:
            total_flops += _product_flops(instruction, by_name)
    return Cost(total_bytes, total_flops)


def _declared_cost(instruction: Instruction) -> Cost | None:
    """What a custom call declares (`pl.CostEstimate`); None of other instructions."""
    if instruction.opcode != "custom-call":
        return None
    if _KERNEL in instruction.attributes:
        return Cost(0, 0)
    if '"cost_estimate"' not in instruction.attributes:
        return None
    text = instruction.attributes.partition("backend_config=")[2]
    estimate = json.loads(text)["custom_call_config"].get("cost_estimate", {})
    return Cost(int(estimate.get("bytes_accessed", 0)), int(estimate.get("flops", 0)))


def _moved_bytes(
    instruction: Instruction, by_name: dict[str, Instruction], fused: list[Instruction]
) -> int:
    inputs = [_size(by_name[name]) for name in instruction.operands if name in by_name]
    output = _size(instruction)
    if fused:
        return _fusion_bytes(fused, inputs, output)
    if instruction.opcode in (*_SLICES, "gather"):
        return 2 * output
    if instruction.opcode == "dynamic-update-slice":
        update = inputs[1]
        return 2 * update
    return sum(inputs) + output


def _fusion_bytes(fused: list[Instruction], inputs: list[int], output: int) -> int:
    """What a fusion reads and writes: of an operand, what its results are made of."""
    by_name = {instruction.name: instruction for instruction in fused}
    taken = _taken_fractions(fused, by_name)
    read = list(inputs)
    for parameter in fused:
        if parameter.opcode != "parameter":
            continue
        number = int(parameter.operands[0])
        users = [user for user in fused if parameter.name in user.operands]
        if number >= len(read) or not users:
            continue
        if not all(_updates(user, parameter) for user in users):
            read[number] = math.ceil(read[number] * taken[parameter.name])
        else:
            # Updated in place: only the new slices are written, and nothing of the rest is read.
            updates = sum(_size(by_name[user.operands[1]]) for user in users)
            output += updates - read[number]
            read[number] = 0
    return sum(read) + max(output, 0)


def _taken_fractions(fused: list[Instruction], by_name: dict[str, Instruction]) -> dict[str, float]:
    """Of each instruction of a fusion, the fraction of its values that the results are made of.

    Arithmetic on an array of which a slice is taken is done for the slice alone. Of arrays that are
    put together before, each is taken to be read in proportion to its size.
    """
    taken = {}
    # Operands come before what uses them, and the result last.
    for user in reversed(fused):
        size = _values(user)
        values = size * min(1, taken.get(user.name, 1))
        for name in user.operands:
            operand = by_name.get(name)
            if operand is None or not _values(operand):
                continue
            of_operand = _values(operand)
            needed = of_operand
            if user.opcode in _SLICES or user.opcode == "broadcast" or of_operand == size:
                needed = values
            elif user.opcode == "concatenate":
                needed = values * of_operand / size
            taken[name] = min(1, taken.get(name, 0) + needed / of_operand)
    return taken


def _values(instruction: Instruction) -> int:
    """Elements of its first array."""
    arrays = instruction.arrays()
    return math.prod(arrays[0].shape) if arrays else 0


def _updates(instruction: Instruction, parameter: Instruction) -> bool:
    is_update = instruction.opcode == "dynamic-update-slice"
    return is_update and instruction.operands[0] == parameter.name


def _size(instruction: Instruction) -> int:
    return sum(padded_bytes(array) for array in instruction.arrays())


def _called(instruction: Instruction) -> str:
    found = re.search(r"calls=%?([\w.\-]+)", instruction.attributes)
    return found.group(1) if found else ""


def _applied(instruction: Instruction) -> str:
    found = re.search(r"to_apply=%?([\w.\-]+)", instruction.attributes)
    return found.group(1) if found else ""


def is_product(instruction: Instruction) -> bool:
    """Whether it is a convolution or a matrix product, of XLA or of a library."""
    return instruction.opcode in ("convolution", "dot") or bool(_library_product(instruction))


def _library_product(instruction: Instruction) -> str:
    """The name of the library's function, where the instruction is such a call."""
    if instruction.opcode != "custom-call":
        return ""
    target = re.search(r'custom_call_target="([^"]+)"', instruction.attributes)
    if target and target.group(1).startswith(_LIBRARY_PRODUCTS):
        return target.group(1)
    return ""


def _product_flops(instruction: Instruction, by_name: dict[str, Instruction]) -> float:
    if not is_product(instruction):
        return 0.0
    factors = [by_name.get(name) for name in instruction.operands[:2]]
    if None in factors:
        return 0.0
    left, right = (factor.arrays()[0] for factor in factors)
    result = instruction.arrays()[0]
    attributes = instruction.attributes
    function = _library_product(instruction)
    # A gradient's attributes are those of the convolution that it is the gradient of.
    if function.startswith("__cudnn$convBackwardInput"):
        return _convolution_flops(attributes, result, right, left)
    if function.startswith("__cudnn$convBackwardFilter"):
        return _convolution_flops(attributes, left, result, right)
    if instruction.opcode == "convolution" or function.startswith("__cudnn$conv"):
        return _convolution_flops(attributes, left, right, result)
    contracted = _contracted_axes(attributes)
    terms = math.prod(left.shape[axis] for axis in contracted)
    return 2.0 * math.prod(result.shape) * terms


def _contracted_axes(attributes: str) -> list[int]:
    """Of the first factor of a matrix product; the library's as JSON, with numbers in quotes."""
    forms = (
        r"lhs_contracting_dims=\{([\d,]*)\}",
        r'"lhs_contracting_dimensions":\[([\d,"]*)\]',
    )
    for form in forms:
        found = re.search(form, attributes)
        if found:
            return [int(axis) for axis in found.group(1).replace('"', "").split(",") if axis]
    return []


def _convolution_flops(attributes: str, left: Array, right: Array, result: Array) -> float:
    """Products with an element of the input, not with padding or the gaps of a dilated input."""
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", attributes)
    if labels is None:
        return 0.0
    left_axes, right_axes, result_axes = labels.groups()
    window = re.search(r"window=\{([^}]*)\}", attributes)
    settings = {}
    if window:
        settings = dict(re.findall(r"(\w+)=([\dx_\-]+)", window.group(1)))

    def setting(name: str, axis: int, default: str) -> str:
        if name not in settings:
            return default
        return settings[name].split("x")[axis]

    pairs = 1
    for letter in sorted(letter for letter in left_axes if letter.isdigit()):
        axis = int(letter)
        stride = int(setting("stride", axis, "1"))
        padding = int(setting("pad", axis, "0_0").split("_")[0])
        kernel_dilation = int(setting("rhs_dilate", axis, "1"))
        input_dilation = int(setting("lhs_dilate", axis, "1"))

        output = np.arange(result.shape[result_axes.index(letter)])[:, None]
        tap = np.arange(int(setting("size", axis, "1")))[None]
        position = output * stride - padding + tap * kernel_dilation
        last = (left.shape[left_axes.index(letter)] - 1) * input_dilation
        meets_input = (position >= 0) & (position <= last) & (position % input_dilation == 0)
        pairs *= int(meets_input.sum())

    spatial = [result.shape[result_axes.index(axis)] for axis in result_axes if axis.isdigit()]
    outputs = math.prod(result.shape) / max(1, math.prod(spatial))
    return 2.0 * pairs * outputs * right.shape[right_axes.index("i")]
