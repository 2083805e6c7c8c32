"""Kernels for NVIDIA GPUs of a dense layer's 3x3 convolution, with the norm and ReLU before it.

Pixels lie in rows, so a tap's input is a block of pixels further on, with a mask for what lies
outside the image: images of every size fit, and a block may hold the end of one and the start of
the next. A program takes its blocks one after the other, so that what neighbouring blocks share is
still in the multiprocessor's cache.
"""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plt

from hpa_jax.models.fused.backend import Layer
from hpa_jax.models.fused.blocks import cost_estimate
from hpa_jax.models.fused.triton_blocks import (
    EVERYTHING,
    LEAST_PIXELS,
    PROGRAMS,
    Span,
    Tiles,
    as_rows,
    as_sizes,
    compiler_params,
    indices,
    load,
    plan_span,
    store,
)
from hpa_jax.models.norm import MomentGradient


@cache
def pixels_with_edges(span: Span, height: int, width: int) -> int:
    """Pixels that all programs read together: each program its own, and those around them, once."""
    edge = width + 1
    total = 0
    for program in range(span.programs):
        first = program * span.pixels
        own = np.arange(first, first + span.pixels)
        is_read = np.zeros(span.pixels + 2 * edge, bool)
        for tap in range(9):
            x = own % width + tap % 3 - 1
            y = own // width % height + tap // 3 - 1
            is_inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            at_tap = own + (tap // 3 - 1) * width + tap % 3 - 1
            is_read[at_tap[is_inside] - first + edge] = True
        total += int(is_read.sum())
    return total


def _at_tap(rows: jax.Array, tap, sign: int, height: int, width: int):
    """Pixels from where a tap reads, or to where it sends a gradient back (`sign` -1).

    Returns:
      The pixels, 0 for those outside of the image; and which lie in it, `[block, 1]`.
    """
    dy = sign * (lax.div(tap, 3) - 1)
    dx = sign * (lax.rem(tap, 3) - 1)
    x = lax.rem(rows, width) + dx
    y = lax.rem(lax.div(rows, width), height) + dy
    is_inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return jnp.where(is_inside, rows + dy * width + dx, 0), is_inside[:, None]


def _forward_kernel(
    sizes_ref,
    h_ref,
    factor_ref,
    shift_ref,
    w_ref,
    buffer_ref,
    y_ref,
    sums_ref,
    *,
    size: tuple[int, int],
    span: Span,
):
    del buffer_ref  # Written through `y_ref`, and not read.
    features = h_ref.shape[1]
    growth = w_ref.shape[1]
    channels = sizes_ref[0] * growth
    program = pl.program_id(0)
    all_features = indices(0, features)
    maps = indices(0, growth)
    factor = factor_ref[all_features]
    shift = shift_ref[all_features]

    def add_block(step, sums):
        rows = indices((program * span.steps + step) * span.block, span.block)

        def add_tap(tap, y):
            at_tap, is_inside = _at_tap(rows, tap, 1, *size)
            h = load(h_ref, at_tap, all_features, is_inside)
            normalized = h.astype(jnp.float32) * factor + shift
            # What is around an image is 0 behind the norm.
            a = jnp.where(is_inside, jnp.maximum(normalized, 0), 0).astype(h.dtype)
            return y + plt.dot(a, load(w_ref, tap * features + all_features, maps))

        nothing = jnp.zeros((span.block, growth), jnp.float32)
        y = lax.fori_loop(0, 9, add_tap, nothing).astype(y_ref.dtype)
        store(y_ref, rows, channels + maps, y)
        # Of y as it was stored, rounded, since that is what the next norms read.
        wide_y = y.astype(jnp.float32)
        sum_1, sum_y = sums
        return sum_1 + jnp.sum(wide_y, axis=0), sum_y + jnp.sum(wide_y * wide_y, axis=0)

    nothing = jnp.zeros((growth,), jnp.float32)
    sum_1, sum_y = lax.fori_loop(0, span.steps, add_block, (nothing, nothing))
    sums_ref[program, 0, maps] = sum_1
    sums_ref[program, 1, maps] = sum_y


def conv3x3(
    h: jax.Array,
    layer: Layer,
    buffer: jax.Array,
    channels: int,
    *,
    interpret: bool = False,
) -> tuple[jax.Array, jax.Array]:
    """`y = conv3x3(relu(h * factor + shift))`, written behind `channels` of the buffer, in place.

    Args:
      h: `[B, H, W, n]`.
      layer: with kernels as parameters have them, float32.
      buffer: `[B, H, W, C]`, written in place.
      channels: of the layer's input.
      interpret: run the kernel as JAX operations, on any device.

    Returns:
      The buffer, and the sums of y and of its square: `float32 [g, 2]`.
    """
    _, height, width, features = h.shape
    growth = layer.conv2.shape[-1]
    dtype = buffer.dtype
    w = layer.conv2.reshape(-1, growth).astype(dtype)
    rows = as_rows(buffer)
    pixels = rows.shape[0]
    span = plan_span(pixels, most_programs=2 * PROGRAMS, block=128 // dtype.itemsize)
    new_rows, sums = pl.pallas_call(
        partial(_forward_kernel, size=(height, width), span=span),
        grid=(span.programs,),
        in_specs=[EVERYTHING] * 6,
        out_specs=[EVERYTHING] * 2,
        out_shape=[
            jax.ShapeDtypeStruct(rows.shape, dtype),
            jax.ShapeDtypeStruct((span.programs, 2, growth), jnp.float32),
        ],
        input_output_aliases={5: 0},
        compiler_params=compiler_params(stages=3, warps=4),
        cost_estimate=cost_estimate(
            2 * pixels * w.size,
            values=pixels_with_edges(span, height, width) * features + w.size + pixels * growth,
            dtype=dtype,
            float32_values=2 * features + 2 * span.programs * growth,
        ),
        interpret=interpret,
        name="dense_conv3x3",
    )(
        as_sizes(channels // growth),
        as_rows(h),
        layer.norm2.factor,
        layer.norm2.shift,
        w,
        rows,
    )
    return new_rows.reshape(buffer.shape), jnp.sum(sums, axis=0).T


def _backward_kernel(
    sizes_ref,
    grad_buffer_ref,
    buffer_ref,
    slope_ref,
    offset_ref,
    h_ref,
    factor_ref,
    shift_ref,
    w_ref,
    grad_z_ref,
    grad_w_ref,
    sums_ref,
    *,
    size: tuple[int, int],
    chunk: int,
    span: Span,
):
    growth, features = w_ref.shape[0] // 9, w_ref.shape[1]
    channels = sizes_ref[0] * growth
    program = pl.program_id(0)
    own = indices(pl.program_id(1) * chunk, chunk)
    maps = indices(0, growth)
    factor = factor_ref[own]
    shift = shift_ref[own]
    slope = slope_ref[maps]
    offset = offset_ref[maps]

    def add_block(step, sums):
        all_grad_w, sum_1, sum_h = sums
        rows = indices((program * span.steps + step) * span.block, span.block)
        h = load(h_ref, rows, own)
        wide_h = h.astype(jnp.float32)
        normalized = wide_h * factor + shift
        a = jnp.maximum(normalized, 0).astype(h.dtype)

        grad_a = jnp.zeros((span.block, chunk), jnp.float32)
        new_grad_w = []
        for tap, grad_w in enumerate(all_grad_w):
            # A tap that reads from (dy, dx) sends its gradient back from there.
            at_tap, is_inside = _at_tap(rows, tap, -1, *size)
            grad_y = load(grad_buffer_ref, at_tap, channels + maps, is_inside)
            y = load(buffer_ref, at_tap, channels + maps, is_inside)
            complete = grad_y.astype(jnp.float32) + slope * y.astype(jnp.float32) + offset
            grad_y = jnp.where(is_inside, complete, 0).astype(h.dtype)
            grad_a += plt.dot(grad_y, load(w_ref, tap * growth + maps, own))
            new_grad_w.append(grad_w + plt.dot(a, grad_y, trans_a=True))

        grad_z = jnp.where(normalized > 0, grad_a, 0).astype(h.dtype)
        store(grad_z_ref, rows, own, grad_z)
        wide_grad_z = grad_z.astype(jnp.float32)
        sum_1 += jnp.sum(wide_grad_z, axis=0)
        sum_h += jnp.sum(wide_grad_z * wide_h, axis=0)
        return tuple(new_grad_w), sum_1, sum_h

    nothing = jnp.zeros((chunk,), jnp.float32)
    no_products = (jnp.zeros((chunk, growth), jnp.float32),) * 9
    sums = (no_products, nothing, nothing)
    all_grad_w, sum_1, sum_h = lax.fori_loop(0, span.steps, add_block, sums)
    for tap, grad_w in enumerate(all_grad_w):
        grad_w_ref[program, (tap * features + own)[:, None], maps[None, :]] = grad_w
    sums_ref[program, 0, own] = sum_1
    sums_ref[program, 1, own] = sum_h


def conv3x3_backward(
    grad_buffer: jax.Array,
    buffer: jax.Array,
    from_moments: MomentGradient,
    h: jax.Array,
    layer: Layer,
    channels: int,
    tiles: Tiles,
    *,
    interpret: bool = False,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Gradients of `conv3x3`, given that of y: `grad_buffer + slope * buffer + offset`.

    Args:
      grad_buffer: `[B, H, W, C]`; that of y is read from its channels from `channels` on.
      buffer: `[B, H, W, C]`; y is read from the same channels.
      from_moments: slope and offset, `float32 [g]` each.
      h: as in `conv3x3`.
      layer: as in `conv3x3`.
      channels: as in `conv3x3`.
      tiles: for the device.
      interpret: as in `conv3x3`.

    Returns:
      That of `norm2(h)`, `[B, H, W, n]`; that of the kernel, `float32 [3, 3, n, g]`; and those of
      shift and factor, `float32 [n, 2]`.
    """
    _, height, width, features = h.shape
    growth = layer.conv2.shape[-1]
    dtype = buffer.dtype
    w = layer.conv2.swapaxes(2, 3).reshape(-1, features).astype(dtype)
    rows = as_rows(h)
    pixels = rows.shape[0]
    chunk = min(tiles.features, features)
    chunks = features // chunk
    span = plan_span(
        pixels,
        most_programs=PROGRAMS // chunks,
        least_pixels=LEAST_PIXELS,
        block=tiles.block_bytes // dtype.itemsize,
    )
    read_around = pixels_with_edges(span, height, width)
    grad_z, grad_w, sums = pl.pallas_call(
        partial(_backward_kernel, size=(height, width), chunk=chunk, span=span),
        grid=(span.programs, chunks),
        in_specs=[EVERYTHING] * 9,
        out_specs=[EVERYTHING] * 3,
        out_shape=[
            jax.ShapeDtypeStruct(rows.shape, dtype),
            jax.ShapeDtypeStruct((span.programs, 9 * features, growth), jnp.float32),
            jax.ShapeDtypeStruct((span.programs, 2, features), jnp.float32),
        ],
        compiler_params=compiler_params(stages=2),
        cost_estimate=cost_estimate(
            4 * pixels * w.size,
            values=chunks * 2 * read_around * growth + 2 * pixels * features + w.size,
            dtype=dtype,
            float32_values=2 * growth + 2 * features + span.programs * (w.size + 2 * features),
        ),
        interpret=interpret,
        name="dense_conv3x3_backward",
    )(
        as_sizes(channels // growth),
        as_rows(grad_buffer),
        as_rows(buffer),
        from_moments.slope,
        from_moments.offset,
        rows,
        layer.norm2.factor,
        layer.norm2.shift,
        w,
    )
    grad_kernel = jnp.sum(grad_w, axis=0).reshape(3, 3, features, growth)
    return grad_z.reshape(h.shape), grad_kernel, jnp.sum(sums, axis=0).T
