"""What a compiled program says of itself: memory, traffic, arithmetic, what crosses between devices.

Unusual, in what is added to the compiler's own counts:
- Pallas kernels count with the blocks that they move, not with what they declare (kernels.py);
- the compiler counts a loop's body once however often it runs: here it counts as often (loops.py).
"""

from typing import NamedTuple

import jax

from hpa_jax.plan import hlo, loops, memory
from hpa_jax.plan import pallas_traffic as kernels


class Facts(NamedTuple):
    """Of one run of a program on one device; bytes and FLOP.

    Attributes:
      peak: that must be free for it: arguments, results that do not overwrite them, temporaries.
      live: of that, what is in use at one time when most is; the rest is lost to where arrays lie.
      temporaries, arguments, aliased: parts of it; `aliased` are results in the place of arguments.
      traffic: between memory and chip.
      flops: of the arithmetic.
      collectives: by kind, `hlo.sums`.
      kernels: Pallas kernels, together: calls, bytes read and written, bytes declared.
      products: convolutions and matrix products by the dtype of what they multiply.
      largest: arrays when memory is fullest, `memory.largest_arrays`.
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


def facts(program: jax.stages.Compiled, devices: int) -> Facts:
    """Reads a compiled program; of an asked-for figure that its backend does not give, 0."""
    text, size = program.as_text(), program.memory_analysis()
    cost = program.cost_analysis() or {}
    parsed = hlo.instructions(text)
    times = hlo.computations(text, parsed)
    called = kernels.program_kernels(parsed, times)
    more = loops.uncounted(parsed, times)
    notes = list(more.notes)
    if whole := sorted({kernel.name for kernel in called if kernel.whole}):
        notes.append(
            f"counted whole, since their grids do not say which blocks they move: {', '.join(whole)}"
        )
    results = size.output_size_in_bytes - size.alias_size_in_bytes
    entry = hlo.entry_of(text)
    by_name = {(one.computation, one.name): one for one in parsed}
    factors = [
        by_name.get((i.computation, i.operands[0]))
        for i in parsed
        if i.opcode in ("convolution", "dot")
    ]
    products = [array.dtype for factor in factors if factor for array in factor.arrays()[:1]]
    return Facts(
        peak=size.argument_size_in_bytes + max(0, results) + size.temp_size_in_bytes,
        live=getattr(size, "peak_memory_in_bytes", 0),
        temporaries=size.temp_size_in_bytes,
        arguments=size.argument_size_in_bytes,
        aliased=size.alias_size_in_bytes,
        traffic=cost.get("bytes accessed", 0.0)
        + more.bytes
        + sum(k.undeclared_bytes for k in called),
        flops=cost.get("flops", 0.0) + more.flops,
        collectives=hlo.sums(hlo.collectives(text, devices)),
        kernels={
            "calls": sum(k.times for k in called),
            "read_bytes": sum(k.times * k.read_bytes for k in called),
            "written_bytes": sum(k.times * k.written_bytes for k in called),
            "declared_bytes": sum(k.times * k.declared_bytes for k in called),
        },
        products={dtype: products.count(dtype) for dtype in sorted(set(products))},
        largest=memory.largest_arrays([one for one in parsed if one.computation == entry]),
        notes=notes,
    )
