"""What a compiled program says about itself: memory, traffic, arithmetic, and what crosses devices.

Design, beyond the compiler's own counts:
- Pallas kernels count with the blocks that their grids move, not with what they declare
  (pallas_traffic.py);
- the compiler counts the body of a loop once, however often it runs: where the net itself runs in
  a loop, the notes say that traffic and arithmetic are lower bounds.

The roofline bound (Williams, Waterman and Patterson 2009, doi:10.1145/1498765.1498785) follows:
no step is faster than its arithmetic, its memory traffic or its links at their peak.
"""

from typing import NamedTuple

import jax
from jax.extend import core as jex

from hpa_jax.parallel.chips import Chip
from hpa_jax.plan import hlo, memory
from hpa_jax.plan.instruction_cost import is_product, program_cost
from hpa_jax.plan.pallas_traffic import Kernel, pallas_kernels

LIMITS = ("arithmetic", "memory", "links")


class ProgramFacts(NamedTuple):
    """About one run of a program on one device; sizes in bytes.

    Attributes:
      peak: free memory that it needs: arguments, temporaries, results that overwrite neither.
      live: the part of it that is in use at the fullest time; the rest is lost to fragmentation.
      temporaries, arguments, aliased: parts of it; `aliased` are results in place of arguments.
      traffic: between memory and chip.
      flops: floating-point operations.
      collectives: by kind, as `hlo.summarize_collectives` returns them.
      kernels: the Pallas kernels together: calls, bytes read and written, bytes declared.
      products: number of convolutions and matrix products by the dtype of their first factor.
      largest: arrays when memory is fullest, as `memory.largest_arrays` returns them.
      notes: what could not be counted.
    """

    peak: int
    live: int
    temporaries: int
    arguments: int
    aliased: int
    traffic: float
    flops: float
    collectives: dict
    kernels: dict
    products: dict
    largest: list
    notes: list


def read_program(
    program: jax.stages.Compiled, jaxpr: jex.ClosedJaxpr, devices: int
) -> ProgramFacts:
    """Reads a compiled program.

    Where the backend reports no cost (GPUs), instruction_cost.py counts it.

    Args:
      program: compiled.
      jaxpr: of the function that it was compiled from (`jitted.trace(...).jaxpr`).
      devices: that it runs on.
    """
    text = program.as_text()
    instructions = hlo.parse_instructions(text)
    entry = hlo.entry_of(text)
    sizes = program.memory_analysis()
    cost = program.cost_analysis() or {}
    kernels = pallas_kernels(jaxpr)

    if "bytes accessed" not in cost:
        counted = program_cost(instructions, hlo.count_runs(text, instructions))
        # A program for GPUs does not repeat what its kernels declare.
        declared_bytes = sum(kernel.times * kernel.declared_bytes for kernel in kernels)
        declared_flops = sum(kernel.times * kernel.declared_flops for kernel in kernels)
        cost = {
            "bytes accessed": counted.bytes + declared_bytes,
            "flops": counted.flops + declared_flops,
        }
    # The compiler believes what a kernel declares: replace that by what its grid moves.
    undeclared = sum(kernel.undeclared_bytes for kernel in kernels)
    new_results = max(0, sizes.output_size_in_bytes - sizes.alias_size_in_bytes)
    return ProgramFacts(
        peak=sizes.argument_size_in_bytes + new_results + sizes.temp_size_in_bytes,
        live=getattr(sizes, "peak_memory_in_bytes", 0),
        temporaries=sizes.temp_size_in_bytes,
        arguments=sizes.argument_size_in_bytes,
        aliased=sizes.alias_size_in_bytes,
        traffic=cost["bytes accessed"] + undeclared,
        flops=cost.get("flops", 0.0),
        collectives=hlo.summarize_collectives(hlo.find_collectives(text, devices)),
        kernels=_sum_kernels(kernels),
        products=_count_products(instructions),
        largest=memory.largest_arrays([i for i in instructions if i.computation == entry]),
        notes=_notes(kernels, instructions),
    )


def _sum_kernels(kernels: list[Kernel]) -> dict[str, int]:
    return {
        "calls": sum(kernel.times for kernel in kernels),
        "read_bytes": sum(kernel.times * kernel.read_bytes for kernel in kernels),
        "written_bytes": sum(kernel.times * kernel.written_bytes for kernel in kernels),
        "declared_bytes": sum(kernel.times * kernel.declared_bytes for kernel in kernels),
    }


def _count_products(instructions: list[hlo.Instruction]) -> dict[str, int]:
    by_name = {(i.computation, i.name): i for i in instructions}
    counts = {}
    for instruction in instructions:
        if not is_product(instruction):
            continue
        factor = by_name.get((instruction.computation, instruction.operands[0]))
        if factor is None or not factor.arrays():
            continue
        dtype = factor.arrays()[0].dtype
        counts[dtype] = counts.get(dtype, 0) + 1
    return dict(sorted(counts.items()))


def _notes(kernels: list[Kernel], instructions: list[hlo.Instruction]) -> list[str]:
    notes = []
    uncounted = sorted({kernel.name for kernel in kernels if kernel.is_upper_bound})
    if uncounted:
        notes.append(
            "operands counted in full, as the grid does not say which blocks move: "
            + ", ".join(uncounted)
        )
    if _has_products_in_loops(instructions):
        notes.append(
            "traffic and arithmetic are lower bounds: the net runs in a loop, whose body the "
            "compiler counts once"
        )
    return notes


def _has_products_in_loops(instructions: list[hlo.Instruction]) -> bool:
    """Whether a loop does more than a search or a counter: it holds convolutions or products."""
    loops = [instruction for instruction in instructions if instruction.opcode == "while"]
    in_loops = hlo.reachable_from(loops, hlo.by_computation(instructions))
    return any(is_product(i) and i.computation in in_loops for i in instructions)


def roofline(facts: ProgramFacts, chip: Chip | None, devices: int, batch_size: int) -> dict:
    """What a step costs per image, in one device's time.

    Args:
      facts: of one device's step.
      chip: whose peaks apply; None: not known, and no times are given.
      devices: that share a step.
      batch_size: images of a step, over all devices.

    Returns:
      `hbm_gb_per_image`, `flops_per_image` (of all devices together), `limits_ms` (milliseconds of
      one device per image, for each of LIMITS), `ms_per_image` (the largest of these), `binds`
      (the limit that it comes from).
    """
    devices_per_image = devices / batch_size
    row = {
        "hbm_gb_per_image": facts.traffic * devices_per_image / 1e9,
        "flops_per_image": facts.flops * devices_per_image,
        "limits_ms": None,
        "ms_per_image": None,
        "binds": None,
    }
    if chip is None:
        return row
    sent = sum(kind["sent_bytes"] for kind in facts.collectives.values())
    seconds = {
        "arithmetic": facts.flops / chip.flops_bf16,
        "memory": facts.traffic / chip.hbm_bytes_per_s,
        "links": 0.0,
    }
    if chip.ici_bytes_per_s:
        seconds["links"] = sent / chip.ici_bytes_per_s
    limits = {name: 1e3 * seconds[name] * devices_per_image for name in LIMITS}
    row["limits_ms"] = limits
    row["binds"] = max(LIMITS, key=limits.get)
    row["ms_per_image"] = limits[row["binds"]]
    return row


def hours_per_epoch(ms_per_image: float | None, images: int, devices: int) -> float | None:
    """Hours of an epoch at least: training steps alone, each at its roofline bound."""
    if ms_per_image is None:
        return None
    return ms_per_image * images / devices / 3.6e6
