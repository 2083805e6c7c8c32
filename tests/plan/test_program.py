"""What the plan reads off compiled programs: collectives, loops, live arrays, arithmetic.

On text as compilers write it, and on programs of the CPU's own compiler.
"""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P

from hpa_jax.parallel.mesh import make_mesh
from hpa_jax.plan import hlo, instruction_cost, memory
from hpa_jax.plan.estimate import memory_in_refusal
from hpa_jax.plan.program import read_program

# As TPU and GPU compilers write them; shortened.
COLLECTIVES = """
HloModule step, is_scheduled=true

%region (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %s = f32[] add(%a, %b)
}

ENTRY %main (p: f32[16,128]) -> f32[16,128] {
  %p = f32[16,128]{1,0:T(8,128)} parameter(0)
  %both = (f32[16]{0:T(128)}, bf16[8,4]{1,0}) all-reduce(%p, /*index=1*/%p), replica_groups=mesh['x'=4,'y'=2] {'x'}
  %start = f32[32]{0} all-reduce-start(%p), replica_groups={{0,1,2,3},{4,5,6,7}}, to_apply=%region
  %done = f32[32]{0} all-reduce-done(%start)
  %halo = (bf16[2,8]{1,0}, bf16[2,8]{1,0}, u32[]{:S(2)}) collective-permute-start(%p), source_target_pairs={{0,1},{1,0}}
  %halo-done = bf16[2,8]{1,0} collective-permute-done(%halo)
  %gather = (f32[2,128]{1,0}, f32[16,128]{1,0}) all-gather-start(%p), replica_groups=[1,8]<=[8], dimensions={0}
  %gathered = f32[16,128]{1,0} all-gather-done(%gather)
  ROOT %scatter = f32[4,128]{1,0} reduce-scatter(%gathered), replica_groups=[2,4]<=[8], dimensions={0}, to_apply=%region
}
"""  # noqa: E501


def test_collectives_by_kind_with_bytes():
    table = hlo.summarize_collectives(hlo.find_collectives(COLLECTIVES, devices=8))
    assert list(table) == ["all-reduce", "all-gather", "reduce-scatter", "collective-permute"]
    reduced = table["all-reduce"]  # a pair counts once; one of three forms of groups each
    assert (reduced["count"], reduced["bytes"]) == (2, 16 * 4 + 32 * 2 + 32 * 4)
    assert reduced["dtypes"] == {"bf16": 64, "f32": 64 + 128} and reduced["largest"] == "f32[32]"
    assert reduced["sent_bytes"] == 2 * 3 / 4 * (64 + 64 + 128)  # rings of four
    assert table["all-gather"]["bytes"] == 16 * 128 * 4
    assert table["all-gather"]["sent_bytes"] == 7 / 8 * 16 * 128 * 4
    assert table["reduce-scatter"]["bytes"] == 16 * 128 * 4  # four parts go in
    assert (
        table["collective-permute"]["sent_bytes"]
        == table["collective-permute"]["bytes"]
        == 2 * 8 * 2
    )


LOOP = """
HloModule loop, is_scheduled=true

%body (c: (s32[], f32[64,64])) -> (s32[], f32[64,64]) {
  %c = (s32[], f32[64,64]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%c), index=0
  %x = f32[64,64]{1,0} get-tuple-element(%c), index=1
  %y = f32[64,64]{1,0} dot(%x, %x), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  %z = f32[64,64]{1,0} all-reduce(%y), replica_groups={}, to_apply=%sum
  ROOT %t = (s32[], f32[64,64]{1,0}) tuple(%i, %z)
}

%condition (c: (s32[], f32[64,64])) -> pred[] {
  %c.1 = (s32[], f32[64,64]{1,0}) parameter(0)
  %i.1 = s32[] get-tuple-element(%c.1), index=0
  %n = s32[] constant(10)
  ROOT %less = pred[] compare(%i.1, %n), direction=LT
}

ENTRY %main (p: (s32[], f32[64,64])) -> (s32[], f32[64,64]) {
  %p = (s32[], f32[64,64]{1,0}) parameter(0)
  ROOT %w = (s32[], f32[64,64]{1,0}) while(%p), condition=%condition, body=%body
}
"""


def test_the_body_of_a_loop_counts_once():
    """As the compiler's own cost analysis counts it; the plan says so in its notes."""
    collectives = hlo.find_collectives(LOOP, devices=4)
    assert hlo.summarize_collectives(collectives)["all-reduce"]["count"] == 1
    instructions = hlo.parse_instructions(LOOP)
    cost = instruction_cost.program_cost(instructions, hlo.count_runs(LOOP, instructions))
    map_bytes = 64 * 64 * 4
    compare_bytes = 4 + 4 + 1
    assert cost.flops == 2 * 64**3
    assert cost.bytes == (3 + 2) * map_bytes + compare_bytes


LIVE = """
HloModule live, is_scheduled=true

ENTRY %main (p: bf16[8,128]) -> f32[4] {
  %p = bf16[8,128]{1,0:T(8,128)(2,1)} parameter(0)
  %early = f32[512,128]{1,0:T(8,128)} copy(%p), metadata={op_name="jit(f)/early"}
  %view = f32[65536]{0:T(128)} bitcast(%early)
  %narrow = f32[1024,4]{1,0:T(8,128)} negate(%p), metadata={op_name="jit(f)/state[\\'a\\']"}
  %chip = f32[4096,128]{1,0:T(8,128)S(1)} copy(%p)
  %used = f32[4]{0:T(128)} reduce(%view, %narrow, %chip)
  ROOT %late = f32[4]{0:T(128)} add(%used, %used)
}
"""


def test_largest_arrays_are_those_live_when_memory_is_fullest():
    found = memory.largest_arrays(hlo.parse_instructions(LIVE), limit=2)
    # Four columns fill tiles of 128; a view keeps its source; arrays on the chip take no memory.
    assert [(a["array"], a["bytes"]) for a in found] == [
        ("f32[1024,4]", 1024 * 128 * 4),
        ("f32[512,128]", 512 * 128 * 4),
    ]
    assert found[0]["op_name"] == "jit(f)/state['a']"


@pytest.mark.parametrize(
    "text, gib",
    [
        ("... HLO temporaries (22.52G) exceeds available HBM (15.75G).", (22.52, 15.75)),
        (
            "... memory space hbm. Used 176.02G of 15.75G hbm. Exceeded hbm capacity by 160.27G.",
            (176.02, 15.75),
        ),
    ],
)
def test_what_the_compiler_says_of_a_program_that_is_too_large(text, gib):
    assert memory_in_refusal(text) == tuple(round(value * 2**30) for value in gib)
    assert memory_in_refusal(
        "Ran out of memory in memory space vmem. Used 20.0M of 16.00M vmem."
    ) == (0, 0)


def read(function, *shapes, devices=1):
    jitted = jax.jit(function)
    program = jitted.lower(*shapes).compile()
    return read_program(program, jitted.trace(*shapes).jaxpr, devices), program


def unrolled(x, w):
    for _ in range(8):
        x = jnp.tanh(x @ w)
    return x


def looped(x, w):
    return jax.lax.scan(lambda x, _: (jnp.tanh(x @ w), None), x, None, length=8)[0]


MATRICES = [jax.ShapeDtypeStruct((256, 256), jnp.float32)] * 2


def test_arithmetic_and_memory_of_a_program():
    facts, _ = read(unrolled, *MATRICES)
    assert facts.flops == pytest.approx(8 * 2 * 256**3, rel=0.05)
    assert facts.arguments == 2 * 256 * 256 * 4
    assert facts.products == {"f32": 8} and facts.notes == []


def test_a_program_with_a_loop_says_that_its_figures_are_lower_bounds():
    facts, _ = read(looped, *MATRICES)
    assert len(facts.notes) == 1 and "lower bounds" in facts.notes[0]
    # A loop that only searches is none of the net's.
    table = jax.ShapeDtypeStruct((1000,), jnp.float32)
    facts, program = read(jnp.searchsorted, table, table)
    assert " while(" in program.as_text() and facts.notes == []


def test_counting_instructions_gives_what_the_compiler_counts():
    """For programs whose compiler reports no cost: bytes by XLA's rule, products exactly."""

    def convolved(x, kernel):
        layout = ("NHWC", "HWIO", "NHWC")
        y = jax.lax.conv_general_dilated(x, kernel, (2, 2), "SAME", dimension_numbers=layout)
        return jnp.tanh(y)

    images = jax.ShapeDtypeStruct((4, 32, 32, 8), jnp.float32)
    kernel = jax.ShapeDtypeStruct((3, 3, 8, 16), jnp.float32)
    for function, shapes in ((unrolled, MATRICES), (convolved, (images, kernel))):
        facts, program = read(function, *shapes)
        text = program.as_text()
        instructions = hlo.parse_instructions(text)
        counted = instruction_cost.program_cost(instructions, hlo.count_runs(text, instructions))
        assert counted.flops == pytest.approx(facts.flops, rel=0.05), function
        assert counted.bytes == pytest.approx(facts.traffic, rel=0.2), function


# Of parameters that lie in one array for the arithmetic, a slice is computed.
PACKED = """
%fused (a: f32[30,128], b: f32[70,128], c: f32[100,128], s: f32[]) -> f32[25,128] {
  %a = f32[30,128]{1,0} parameter(0)
  %b = f32[70,128]{1,0} parameter(1)
  %ab = f32[100,128]{1,0} concatenate(%a, %b), dimensions={0}
  %c = f32[100,128]{1,0} parameter(2)
  %sum = f32[100,128]{1,0} add(%ab, %c)
  %s = f32[] parameter(3)
  %factor = f32[100,128]{1,0} broadcast(%s), dimensions={}
  %product = f32[100,128]{1,0} multiply(%sum, %factor)
  ROOT %slice = f32[25,128]{1,0} slice(%product), slice={[0:25], [0:128]}
}

ENTRY %main (a: f32[30,128], b: f32[70,128], c: f32[100,128], s: f32[]) -> f32[25,128] {
  %a.1 = f32[30,128]{1,0} parameter(0)
  %b.1 = f32[70,128]{1,0} parameter(1)
  %c.1 = f32[100,128]{1,0} parameter(2)
  %s.1 = f32[] parameter(3)
  ROOT %f = f32[25,128]{1,0} fusion(%a.1, %b.1, %c.1, %s.1), kind=kLoop, calls=%fused
}
"""


def test_a_fusion_reads_what_its_slices_are_made_of():
    instructions = hlo.parse_instructions(PACKED)
    counted = instruction_cost.program_cost(instructions, hlo.count_runs(PACKED, instructions))
    # As many rows of a and b together as of c, and as are written; and the scalar.
    rows = 7.5 + 17.5 + 25 + 25
    assert counted.bytes == rows * 128 * 4 + 4


def test_a_sum_over_devices_is_seen_with_its_bytes():
    mesh = make_mesh()
    summed = jax.shard_map(
        lambda x: jax.lax.psum(x, "data"), mesh=mesh, in_specs=P("data"), out_specs=P()
    )
    facts, _ = read(summed, jax.ShapeDtypeStruct((8, 1000), jnp.float32), devices=mesh.size)
    found = facts.collectives
    assert found["all-reduce"]["count"] == 1 and found["all-reduce"]["bytes"] == 4000
    assert found["all-reduce"]["sent_bytes"] == 2 * 7 / 8 * 4000
