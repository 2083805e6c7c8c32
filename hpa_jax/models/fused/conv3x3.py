"""The 3x3 convolution of a dense layer, and its gradients."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from hpa_jax.models.fused.blocks import LANES, at_first, column, cost, two_sums, whole

SLAB = 2048
"""Pixels in a block of the 3x3 convolutions."""
TAPS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
"""Of a 3x3 convolution: rows down, columns to the right."""


@dataclass(frozen=True)
class Window:
    """How the pixels of `fields` images of `height` x `width` are cut for the 3x3 convolutions.

    Attributes:
      slab: pixels in a block, a divisor of an image's.
      edge: pixels read before and behind it, at least one row of the image.
    """

    fields: int
    height: int
    width: int
    slab: int
    edge: int

    @property
    def pixels(self) -> int:
        return self.height * self.width

    @property
    def slabs(self) -> int:
        return self.pixels // self.slab


def window_of(fields: int, height: int, width: int) -> Window | None:
    """None where the kernels cannot cut the images so: rows and blocks must end with registers."""
    pixels, edge = height * width, -(-width // LANES) * LANES
    slabs = [slab for slab in range(edge, max(SLAB, edge) + 1, edge) if pixels % slab == 0]
    return Window(fields, height, width, slabs[-1], edge) if slabs and pixels % edge == 0 else None


def _slab_specs(window: Window, rows: int, block: int = 0) -> list[pl.BlockSpec]:
    """Blocks of `rows` channels, the `block`-th such rows: the pixels before a slab, the slab, the pixels behind."""
    per_edge, last = window.slab // window.edge, window.fields * window.pixels // window.edge - 1
    at = lambda b, s: b * window.slabs + s  # noqa: E731
    return [
        pl.BlockSpec(
            (rows, window.edge), lambda b, s: (block, jnp.maximum(at(b, s) * per_edge - 1, 0))
        ),
        pl.BlockSpec((rows, window.slab), lambda b, s: (block, at(b, s))),
        pl.BlockSpec(
            (rows, window.edge), lambda b, s: (block, jnp.minimum((at(b, s) + 1) * per_edge, last))
        ),
    ]


def _with_edges(window: Window, values: jax.Array) -> jax.Array:
    """`[C, edge + slab + edge]` with zeros for what lies above the image's first row or below its last."""
    lane = (
        lax.broadcasted_iota(jnp.int32, values.shape, 1)
        + pl.program_id(1) * window.slab
        - window.edge
    )
    return jnp.where((lane >= 0) & (lane < window.pixels), values, 0)


def _shifted(window: Window, values: jax.Array, dy: int, dx: int) -> jax.Array:
    """At each pixel of the slab the value `dy` rows below and `dx` columns to the right; 0 beyond the columns."""
    size = values.shape[1]
    moved = pltpu.roll(values, (-(dy * window.width + dx)) % size, axis=1) if dy or dx else values
    moved = lax.slice_in_dim(moved, window.edge, window.edge + window.slab, axis=1)
    if not dx:
        return moved
    column = lax.rem(lax.broadcasted_iota(jnp.int32, moved.shape, 1), window.width) + dx
    return jnp.where((column >= 0) & (column < window.width), moved, 0)


def _window(window, growth, before, here, behind, factor, shift, w, buffer, y, sums):
    @pl.when(at_first(0, 1))
    def _():
        sums[...] = jnp.zeros_like(sums)

    h = jnp.concatenate([before[...], here[...], behind[...]], axis=1)
    a = jnp.maximum(h.astype(jnp.float32) * factor[...] + shift[...], 0)
    a = _with_edges(window, a).astype(h.dtype)
    all_taps = jnp.dot(w[...], a, preferred_element_type=jnp.float32)
    made = sum(
        _shifted(window, all_taps[i * growth : (i + 1) * growth], dy, dx)
        for i, (dy, dx) in enumerate(TAPS)
    ).astype(y.dtype)
    y[...] = made
    wide = made.astype(jnp.float32)
    sums[...] += two_sums(wide, wide * wide)


def window(h, factor, shift, w, buffer, channels: int, cut: Window, *, interpret=False):
    """`y = conv3x3(relu(h * factor + shift))`, written into the buffer's rows from `channels` on.

    Args:
      h: `[n, P]`.
      factor, shift: float32 `[n]`.
      w: `[9 * g, n]`: the taps by rows, then columns, of each the kernel from n to g.
      buffer: `[C, P]`, written in place.
      channels: a multiple of g.
      cut: of the pixels.

    Returns:
      The buffer, and the sums of y and of y squared: float32 `[g, 2]`.
    """
    (narrow, pixels), dtype, growth = h.shape, h.dtype, w.shape[0] // 9
    grid = (cut.fields, cut.slabs)
    edges = cut.fields * cut.slabs * 2 * cut.edge
    read = ((pixels + edges) * narrow, dtype), (w.size, dtype), (2 * narrow, jnp.float32)
    written = (pixels * growth, dtype), (2 * growth, jnp.float32)
    row = channels // growth
    return pl.pallas_call(
        partial(_window, cut, growth),
        grid=grid,
        in_specs=[*_slab_specs(cut, narrow), whole(narrow, 1), whole(narrow, 1), whole(*w.shape)]
        + [pl.BlockSpec(memory_space=pl.ANY)],
        out_specs=[_slab_specs(cut, growth, row)[1], whole(growth, 2)],
        out_shape=[
            jax.ShapeDtypeStruct(buffer.shape, dtype),
            jax.ShapeDtypeStruct((growth, 2), jnp.float32),
        ],
        input_output_aliases={6: 0},
        cost_estimate=cost(2 * (pixels + edges) * w.size, *read, *written),
        interpret=interpret,
        name="dense_window",
    )(h, h, h, column(factor), column(shift), w, buffer)


def _window_backward(window, *refs):
    (gy, x), (h, factor, shift, w, q, r), (gz, gw, sums) = (
        (refs[:3], refs[3:6]),
        refs[6:12],
        refs[12:],
    )

    @pl.when(at_first(0, 1))
    def _():
        sums[...] = jnp.zeros_like(sums)
        gw[...] = jnp.zeros_like(gw)

    gy, x = (
        jnp.concatenate([ref[...] for ref in part], axis=1).astype(jnp.float32) for part in (gy, x)
    )
    # Rounded as it is where the gradient is an array of its own; shifted as float32, as registers are.
    gy = _with_edges(window, gy + q[...] * x + r[...]).astype(h.dtype).astype(jnp.float32)
    every = jnp.concatenate([_shifted(window, gy, -dy, -dx) for dy, dx in TAPS], axis=0).astype(
        h.dtype
    )
    wide = h[...].astype(jnp.float32)
    out = wide * factor[...] + shift[...]
    a = jnp.maximum(out, 0).astype(h.dtype)
    gw[...] += lax.dot_general(
        every, a, (((1,), (1,)), ((), ())), preferred_element_type=jnp.float32
    )
    ga = lax.dot_general(
        w[...], every, (((0,), (0,)), ((), ())), preferred_element_type=jnp.float32
    )
    made = jnp.where(out > 0, ga, 0).astype(gz.dtype)
    gz[...] = made
    made = made.astype(jnp.float32)
    sums[...] += two_sums(made, made * wide)


def window_backward(
    gbuffer, buffer, q, r, h, factor, shift, w, channels: int, cut: Window, *, interpret=False
):
    """Gradients of `window`, given that of y: `gbuffer + q * buffer + r` in the rows from `channels` on.

    Args:
      gbuffer, buffer: `[C, P]`.
      q, r: float32 `[g]`.
      h, factor, shift, w, channels, cut: as in `window`.

    Returns:
      gz `[n, P]`, the gradient of `h * factor + shift`; that of w, float32 `[9 * g, n]`; and of shift and factor,
      float32 `[n, 2]`.
    """
    (narrow, pixels), dtype, growth = h.shape, h.dtype, w.shape[0] // 9
    edges = cut.fields * cut.slabs * 2 * cut.edge
    row = channels // growth
    rows = _slab_specs(cut, growth, row)
    here = _slab_specs(cut, narrow)[1]
    read = (
        (2 * (pixels + edges) * growth + pixels * narrow + w.size, dtype),
        (2 * (narrow + growth), jnp.float32),
    )
    written = (pixels * narrow, dtype), (w.size + 2 * narrow, jnp.float32)
    return pl.pallas_call(
        partial(_window_backward, cut),
        grid=(cut.fields, cut.slabs),
        in_specs=[*rows, *rows, here, whole(narrow, 1), whole(narrow, 1), whole(*w.shape)]
        + [whole(growth, 1), whole(growth, 1)],
        out_specs=[here, whole(*w.shape), whole(narrow, 2)],
        out_shape=[
            jax.ShapeDtypeStruct(h.shape, dtype),
            jax.ShapeDtypeStruct(w.shape, jnp.float32),
            jax.ShapeDtypeStruct((narrow, 2), jnp.float32),
        ],
        cost_estimate=cost(4 * pixels * w.size, *read, *written),
        interpret=interpret,
        name="dense_window_backward",
    )(*[gbuffer] * 3, *[buffer] * 3, h, column(factor), column(shift), w, column(q), column(r))
