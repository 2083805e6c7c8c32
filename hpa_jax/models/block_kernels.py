"""A DenseNet's dense layers and transitions, forward and backward, as Pallas kernels for a TPU.

    product        h = w @ relu(norm1(x)), with the sums that norm2 needs; backward: gradients, added into the buffer's
    window         y = conv3x3(relu(norm2(h))), written behind x into the block's buffer, with its sums
    transition     y = w @ mean2x2(relu(norm(x))), the beginning of the next block's buffer, with its sums

Arrays lie with the channels first and all pixels of all fields in one row, `[C, B * H * W]`: what a layer reads is then
the first rows of the buffer and not one byte more, and what it adds are the next 32 rows. With channels last, 32 of
them fill a quarter of a register of 128.

Unusual:
- XLA gives a product no second output (sums), and no input that it adds to in place: it makes several passes where
  these kernels make one. DenseNets are bound by such passes;
- a 3x3 convolution is one product with all nine taps, whose nine results are shifted by whole pixels and added; the
  pixels above and below a block are read with it;
- what each kernel moves is declared (`CostEstimate`) as the blocks that its grid reads and writes.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

LANES = 128
"""Pixels in a register of a TPU: blocks hold a multiple of it."""
SUBLANES = 16
"""Channels in a register, of bfloat16: blocks begin and end at a multiple of it."""
BLOCK = 2**19
"""Values in the largest block of a kernel: with its gradient, both twice, and what is computed, under 16 MiB."""
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


def _lanes(pixels: int, channels: int) -> int:
    """Pixels in a block of a product over so many channels."""
    most = max(LANES, BLOCK // channels)
    return max(n for n in range(LANES, min(most, pixels, 2 * SLAB) + 1, LANES) if pixels % n == 0)


def _column(values: jax.Array) -> jax.Array:
    return values[:, None]


def _whole(*shape: int) -> pl.BlockSpec:
    """The same block at every place of the grid: read once, or written once."""
    return pl.BlockSpec(shape, lambda *_: (0,) * len(shape))


def _cost(flops: int, *arrays: tuple[int, jnp.dtype]) -> pl.CostEstimate:
    moved = sum(size * jnp.dtype(dtype).itemsize for size, dtype in arrays)
    return pl.CostEstimate(flops=flops, bytes_accessed=moved, transcendentals=0)


def _first(*axes: int) -> jax.Array:
    at = [pl.program_id(axis) == 0 for axis in axes]
    return at[0] if len(at) == 1 else at[0] & at[1]


def _sums(a: jax.Array, b: jax.Array) -> jax.Array:
    """Sums over the pixels of a and of b: two columns."""
    return jnp.concatenate([jnp.sum(a, axis=1, keepdims=True), jnp.sum(b, axis=1, keepdims=True)], axis=1)


def _product(x, factor, shift, w, h, sums):
    @pl.when(_first(0))
    def _():
        sums[...] = jnp.zeros_like(sums)

    a = jnp.maximum(x[...].astype(jnp.float32) * factor[...] + shift[...], 0).astype(x.dtype)
    made = jnp.dot(w[...], a, preferred_element_type=jnp.float32).astype(h.dtype)
    h[...] = made
    wide = made.astype(jnp.float32)
    sums[...] += _sums(wide, wide * wide)


def product(buffer, factor, shift, w, *, interpret=False):
    """`h = w @ relu(x * factor + shift)` with x the first rows of the buffer.

    Args:
      buffer: `[C, P]`.
      factor, shift: float32 `[c]`.
      w: `[n, c]`, the buffer's dtype.

    Returns:
      h `[n, P]`, and the sums of h and of h squared: float32 `[n, 2]`.
    """
    pixels, (made, channels), dtype = buffer.shape[1], w.shape, buffer.dtype
    lanes = _lanes(pixels, channels)
    cut = lambda rows: pl.BlockSpec((rows, lanes), lambda i: (0, i))  # noqa: E731
    read = (pixels * channels, dtype), (w.size, dtype), (2 * channels, jnp.float32)
    written = (pixels * made, dtype), (2 * made, jnp.float32)
    return pl.pallas_call(
        _product,
        grid=(pixels // lanes,),
        in_specs=[cut(channels), _whole(channels, 1), _whole(channels, 1), _whole(made, channels)],
        out_specs=[cut(made), _whole(made, 2)],
        out_shape=[jax.ShapeDtypeStruct((made, pixels), dtype), jax.ShapeDtypeStruct((made, 2), jnp.float32)],
        cost_estimate=_cost(2 * pixels * channels * made, *read, *written),
        interpret=interpret,
        name="dense_product",
    )(buffer, _column(factor), _column(shift), w)


def _product_backward(x, gx, gz, h, factor, shift, w, coefficients, gx_out, gw, sums):
    @pl.when(_first(0))
    def _():
        sums[...] = jnp.zeros_like(sums)
        gw[...] = jnp.zeros_like(gw)

    p, q, r = (coefficients[:, k : k + 1] for k in range(3))
    gh = (gz[...].astype(jnp.float32) * p + h[...].astype(jnp.float32) * q + r).astype(x.dtype)
    wide = x[...].astype(jnp.float32)
    out = wide * factor[...] + shift[...]
    a = jnp.maximum(out, 0).astype(x.dtype)
    gw[...] += lax.dot_general(gh, a, (((1,), (1,)), ((), ())), preferred_element_type=jnp.float32)
    ga = lax.dot_general(w[...], gh, (((0,), (0,)), ((), ())), preferred_element_type=jnp.float32)
    ga = jnp.where(out > 0, ga, 0)
    sums[...] += _sums(ga, ga * wide)
    gx_out[...] = (gx[...].astype(jnp.float32) + ga * factor[...]).astype(gx_out.dtype)


def product_backward(buffer, gbuffer, gz, h, factor, shift, w, coefficients, *, interpret=False):
    """Gradients of `product`, given `gh = p * gz + q * h + r`, the gradient of h.

    Args:
      buffer, factor, shift, w: as in `product`.
      gbuffer: `[C, P]`, to whose first rows the gradient of x is added, in place.
      gz, h: `[n, P]`.
      coefficients: p, q, r, float32 `[n, 3]`.

    Returns:
      gbuffer; the gradient of w, float32 `[n, c]`; and of shift and factor, float32 `[c, 2]`.
    """
    pixels, (made, channels), dtype = buffer.shape[1], w.shape, buffer.dtype
    lanes = _lanes(pixels, channels)
    cut = lambda rows: pl.BlockSpec((rows, lanes), lambda i: (0, i))  # noqa: E731
    read = (pixels * 2 * (channels + made), dtype), (w.size, dtype), (2 * channels + 3 * made, jnp.float32)
    written = (pixels * channels, dtype), (w.size + 2 * channels, jnp.float32)
    return pl.pallas_call(
        _product_backward,
        grid=(pixels // lanes,),
        in_specs=[cut(channels), cut(channels), cut(made), cut(made)]
        + [_whole(channels, 1), _whole(channels, 1), _whole(made, channels), _whole(made, 3)],
        out_specs=[cut(channels), _whole(made, channels), _whole(channels, 2)],
        out_shape=[
            jax.ShapeDtypeStruct(gbuffer.shape, dtype),
            jax.ShapeDtypeStruct((made, channels), jnp.float32),
            jax.ShapeDtypeStruct((channels, 2), jnp.float32),
        ],
        input_output_aliases={1: 0},
        cost_estimate=_cost(4 * pixels * channels * made, *read, *written),
        interpret=interpret,
        name="dense_product_backward",
    )(buffer, gbuffer, gz, h, _column(factor), _column(shift), w, coefficients)


def _slab_specs(window: Window, rows: int, block: int = 0) -> list[pl.BlockSpec]:
    """Blocks of `rows` channels, the `block`-th such rows: the pixels before a slab, the slab, the pixels behind."""
    per_edge, last = window.slab // window.edge, window.fields * window.pixels // window.edge - 1
    at = lambda b, s: b * window.slabs + s  # noqa: E731
    return [
        pl.BlockSpec((rows, window.edge), lambda b, s: (block, jnp.maximum(at(b, s) * per_edge - 1, 0))),
        pl.BlockSpec((rows, window.slab), lambda b, s: (block, at(b, s))),
        pl.BlockSpec((rows, window.edge), lambda b, s: (block, jnp.minimum((at(b, s) + 1) * per_edge, last))),
    ]


def _with_edges(window: Window, values: jax.Array) -> jax.Array:
    """`[C, edge + slab + edge]` with zeros for what lies above the image's first row or below its last."""
    lane = lax.broadcasted_iota(jnp.int32, values.shape, 1) + pl.program_id(1) * window.slab - window.edge
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
    @pl.when(_first(0, 1))
    def _():
        sums[...] = jnp.zeros_like(sums)

    h = jnp.concatenate([before[...], here[...], behind[...]], axis=1)
    a = jnp.maximum(h.astype(jnp.float32) * factor[...] + shift[...], 0)
    a = _with_edges(window, a).astype(h.dtype)
    all_taps = jnp.dot(w[...], a, preferred_element_type=jnp.float32)
    made = sum(
        _shifted(window, all_taps[i * growth : (i + 1) * growth], dy, dx) for i, (dy, dx) in enumerate(TAPS)
    ).astype(y.dtype)
    y[...] = made
    wide = made.astype(jnp.float32)
    sums[...] += _sums(wide, wide * wide)


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
        in_specs=[*_slab_specs(cut, narrow), _whole(narrow, 1), _whole(narrow, 1), _whole(*w.shape)]
        + [pl.BlockSpec(memory_space=pl.ANY)],
        out_specs=[_slab_specs(cut, growth, row)[1], _whole(growth, 2)],
        out_shape=[jax.ShapeDtypeStruct(buffer.shape, dtype), jax.ShapeDtypeStruct((growth, 2), jnp.float32)],
        input_output_aliases={6: 0},
        cost_estimate=_cost(2 * (pixels + edges) * w.size, *read, *written),
        interpret=interpret,
        name="dense_window",
    )(h, h, h, _column(factor), _column(shift), w, buffer)


def _window_backward(window, *refs):
    (gy, x), (h, factor, shift, w, q, r), (gz, gw, sums) = (refs[:3], refs[3:6]), refs[6:12], refs[12:]

    @pl.when(_first(0, 1))
    def _():
        sums[...] = jnp.zeros_like(sums)
        gw[...] = jnp.zeros_like(gw)

    gy, x = (jnp.concatenate([ref[...] for ref in part], axis=1).astype(jnp.float32) for part in (gy, x))
    # Rounded as it is where the gradient is an array of its own; shifted as float32, as registers are.
    gy = _with_edges(window, gy + q[...] * x + r[...]).astype(h.dtype).astype(jnp.float32)
    every = jnp.concatenate([_shifted(window, gy, -dy, -dx) for dy, dx in TAPS], axis=0).astype(h.dtype)
    wide = h[...].astype(jnp.float32)
    out = wide * factor[...] + shift[...]
    a = jnp.maximum(out, 0).astype(h.dtype)
    gw[...] += lax.dot_general(every, a, (((1,), (1,)), ((), ())), preferred_element_type=jnp.float32)
    ga = lax.dot_general(w[...], every, (((0,), (0,)), ((), ())), preferred_element_type=jnp.float32)
    made = jnp.where(out > 0, ga, 0).astype(gz.dtype)
    gz[...] = made
    made = made.astype(jnp.float32)
    sums[...] += _sums(made, made * wide)


def window_backward(gbuffer, buffer, q, r, h, factor, shift, w, channels: int, cut: Window, *, interpret=False):
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
    read = (2 * (pixels + edges) * growth + pixels * narrow + w.size, dtype), (2 * (narrow + growth), jnp.float32)
    written = (pixels * narrow, dtype), (w.size + 2 * narrow, jnp.float32)
    return pl.pallas_call(
        partial(_window_backward, cut),
        grid=(cut.fields, cut.slabs),
        in_specs=[*rows, *rows, here, _whole(narrow, 1), _whole(narrow, 1), _whole(*w.shape)]
        + [_whole(growth, 1), _whole(growth, 1)],
        out_specs=[here, _whole(*w.shape), _whole(narrow, 2)],
        out_shape=[
            jax.ShapeDtypeStruct(h.shape, dtype),
            jax.ShapeDtypeStruct(w.shape, jnp.float32),
            jax.ShapeDtypeStruct((narrow, 2), jnp.float32),
        ],
        cost_estimate=_cost(4 * pixels * w.size, *read, *written),
        interpret=interpret,
        name="dense_window_backward",
    )(*[gbuffer] * 3, *[buffer] * 3, h, _column(factor), _column(shift), w, _column(q), _column(r))


def pooled_pixels(width: int) -> int:
    """Pixels in a block of a transition: whole pairs of rows, of which a quarter fills whole registers."""
    return max(4 * LANES, 2 * width)


def _pooling(width: int, dtype) -> jax.Array:
    """`[n, n / 4]`: the mean of each 2x2 pixels of `n = pooled_pixels(width)`, as a product; 1/4 is exact."""
    pixel = np.arange(pooled_pixels(width))
    to = pixel // (2 * width) * (width // 2) + pixel % width // 2
    return jnp.asarray(np.where(to[:, None] == np.arange(len(pixel) // 4), 0.25, 0), dtype)


def _transition(x, factor, shift, w, pooling, y, sums):
    @pl.when(_first(0))
    def _():
        sums[...] = jnp.zeros_like(sums)

    a = jnp.maximum(x[...].astype(jnp.float32) * factor[...] + shift[...], 0).astype(x.dtype)
    mean = jnp.dot(a, pooling[...], preferred_element_type=jnp.float32).astype(x.dtype)
    made = jnp.dot(w[...], mean, preferred_element_type=jnp.float32).astype(y.dtype)
    y[...] = made
    wide = made.astype(jnp.float32)
    sums[...] += _sums(wide, wide * wide)


def transition(buffer, factor, shift, w, width: int, total: int, *, interpret=False):
    """`y = w @ mean2x2(relu(x * factor + shift))`: pooled before the product, which then is a quarter.

    Args:
      buffer: x, `[C, P]`.
      factor, shift: float32 `[C]`.
      w: `[n, C]`.
      width: of the images.
      total: rows of the next block's buffer.

    Returns:
      That buffer, `[total, P / 4]`, with y in its first rows and nothing yet in the others; and the sums of y and of
      y squared, float32 `[n, 2]`.
    """
    pixels, (made, channels), dtype, lanes = buffer.shape[1], w.shape, buffer.dtype, pooled_pixels(width)
    cut = lambda rows, lanes: pl.BlockSpec((rows, lanes), lambda i: (0, i))  # noqa: E731
    pooling = _pooling(width, dtype)
    read = (pixels * channels + w.size + pooling.size, dtype), (2 * channels, jnp.float32)
    written = (pixels // 4 * made, dtype), (2 * made, jnp.float32)
    return pl.pallas_call(
        _transition,
        grid=(pixels // lanes,),
        in_specs=[cut(channels, lanes), _whole(channels, 1), _whole(channels, 1), _whole(*w.shape)]
        + [_whole(*pooling.shape)],
        out_specs=[cut(made, lanes // 4), _whole(made, 2)],
        out_shape=[jax.ShapeDtypeStruct((total, pixels // 4), dtype), jax.ShapeDtypeStruct((made, 2), jnp.float32)],
        cost_estimate=_cost(pixels * channels * (lanes // 2 + made // 2), *read, *written),
        interpret=interpret,
        name="dense_transition",
    )(buffer, _column(factor), _column(shift), w, pooling)


def _transition_backward(x, gy, y, q, r, factor, shift, w, pooling, gx, gw, sums):
    @pl.when(_first(0))
    def _():
        sums[...] = jnp.zeros_like(sums)
        gw[...] = jnp.zeros_like(gw)

    whole = gy[...].astype(jnp.float32) + q[...] * y[...].astype(jnp.float32) + r[...]
    whole = whole.astype(x.dtype)
    wide = x[...].astype(jnp.float32)
    out = wide * factor[...] + shift[...]
    a = jnp.maximum(out, 0).astype(x.dtype)
    mean = jnp.dot(a, pooling[...], preferred_element_type=jnp.float32).astype(x.dtype)
    gw[...] += lax.dot_general(whole, mean, (((1,), (1,)), ((), ())), preferred_element_type=jnp.float32)
    gmean = lax.dot_general(w[...], whole, (((0,), (0,)), ((), ())), preferred_element_type=jnp.float32)
    ga = lax.dot_general(
        gmean.astype(x.dtype), pooling[...], (((1,), (1,)), ((), ())), preferred_element_type=jnp.float32
    )
    ga = jnp.where(out > 0, ga, 0)
    sums[...] += _sums(ga, ga * wide)
    gx[...] = (ga * factor[...]).astype(gx.dtype)


def transition_backward(buffer, gbuffer, next_buffer, q, r, factor, shift, w, width: int, *, interpret=False):
    """Gradients of `transition`, given that of y: `gbuffer + q * next_buffer + r` in their first rows.

    Args:
      buffer, factor, shift, w, width: as in `transition`.
      gbuffer, next_buffer: `[total, P / 4]`.
      q, r: float32 `[n]`.

    Returns:
      The gradient of x, `[C, P]`; of w, float32 `[n, C]`; and of shift and factor, float32 `[C, 2]`.
    """
    pixels, (made, channels), dtype, lanes = buffer.shape[1], w.shape, buffer.dtype, pooled_pixels(width)
    cut = lambda rows, lanes: pl.BlockSpec((rows, lanes), lambda i: (0, i))  # noqa: E731
    pooling = _pooling(width, dtype)
    read = (
        (pixels * channels + pixels // 2 * made + w.size + pooling.size, dtype),
        (2 * channels + 2 * made, jnp.float32),
    )
    written = (pixels * channels, dtype), (w.size + 2 * channels, jnp.float32)
    return pl.pallas_call(
        _transition_backward,
        grid=(pixels // lanes,),
        in_specs=[cut(channels, lanes), cut(made, lanes // 4), cut(made, lanes // 4), _whole(made, 1), _whole(made, 1)]
        + [_whole(channels, 1), _whole(channels, 1), _whole(*w.shape), _whole(*pooling.shape)],
        out_specs=[cut(channels, lanes), _whole(*w.shape), _whole(channels, 2)],
        out_shape=[
            jax.ShapeDtypeStruct(buffer.shape, dtype),
            jax.ShapeDtypeStruct(w.shape, jnp.float32),
            jax.ShapeDtypeStruct((channels, 2), jnp.float32),
        ],
        cost_estimate=_cost(pixels * channels * (lanes + made), *read, *written),
        interpret=interpret,
        name="dense_transition_backward",
    )(buffer, gbuffer, next_buffer, _column(q), _column(r), _column(factor), _column(shift), w, pooling)


@dataclass(frozen=True)
class Kernels:
    """The way of fused_block.py that consists of these kernels, for one device's images."""

    cut: Window
    interpret: bool = False

    @classmethod
    def of(cls, fields: int, height: int, width: int, channels: int, *, growth: int, interpret: bool = False):
        """None where the images or the channels do not fill registers."""
        cut = window_of(fields, height, width)
        fits = channels % growth == 0 and growth % SUBLANES == 0
        return cls(cut, interpret) if cut is not None and fits else None

    def halves(self) -> bool:
        """Whether `transition` can halve such images."""
        group, two_rows, cut = pooled_pixels(self.cut.width), 2 * self.cut.width, self.cut
        even = cut.height % 2 == 0 and cut.width % 2 == 0 and group % two_rows == 0
        return even and cut.fields * cut.pixels % group == 0

    def begin(self, x: jax.Array, total: int) -> jax.Array:
        """`[B, H, W, c]` as the first rows of `[total, B * H * W]`."""
        rows = x.reshape(-1, x.shape[-1]).T
        return rows if total == x.shape[-1] else jnp.pad(rows, ((0, total - x.shape[-1]), (0, 0)))

    def end(self, buffer: jax.Array) -> jax.Array:
        """All rows as `[B, H, W, C]`."""
        return buffer.T.reshape(-1, self.cut.height, self.cut.width, buffer.shape[0])

    def channels_of(self, buffer):
        return buffer.shape[0]

    def product(self, buffer, factor, shift, kernel):
        return product(buffer, factor, shift, kernel.T.astype(buffer.dtype), interpret=self.interpret)

    def product_backward(self, buffer, gbuffer, gz, h, factor, shift, kernel, coefficients):
        w, how = kernel.T.astype(buffer.dtype), self.interpret
        made = product_backward(buffer, gbuffer, gz, h, factor, shift, w, coefficients, interpret=how)
        return made[0], made[1].T, made[2]

    def window(self, h, factor, shift, kernel, buffer, channels):
        w = _all_taps(kernel).astype(h.dtype)
        return window(h, factor, shift, w, buffer, channels, self.cut, interpret=self.interpret)

    def window_backward(self, gbuffer, buffer, q, r, h, factor, shift, kernel, channels):
        w, how = _all_taps(kernel).astype(h.dtype), self.interpret
        gz, gw, sums = window_backward(gbuffer, buffer, q, r, h, factor, shift, w, channels, self.cut, interpret=how)
        return gz, gw.reshape(3, 3, kernel.shape[3], kernel.shape[2]).swapaxes(2, 3), sums

    def transition(self, buffer, factor, shift, kernel, total):
        w = kernel.T.astype(buffer.dtype)
        return transition(buffer, factor, shift, w, self.cut.width, total, interpret=self.interpret)

    def transition_backward(self, buffer, gbuffer, next_buffer, q, r, factor, shift, kernel):
        w, how = kernel.T.astype(buffer.dtype), self.interpret
        given = (buffer, gbuffer, next_buffer, q, r, factor, shift, w)
        gx, gw, sums = transition_backward(*given, self.cut.width, interpret=how)
        return gx, gw.T, sums


def _all_taps(kernel: jax.Array) -> jax.Array:
    """`[3, 3, n, g]` to `[9 g, n]`."""
    return kernel.swapaxes(2, 3).reshape(-1, kernel.shape[2])
