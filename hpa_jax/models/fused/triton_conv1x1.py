"""Kernels for NVIDIA GPUs of a dense layer's 1x1 convolution, with the norm and ReLU before it."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plt

from hpa_jax.models.fused.backend import LayerBackward, PartOfConv1x1
from hpa_jax.models.fused.blocks import cost_estimate
from hpa_jax.models.fused.moments import Affine
from hpa_jax.models.fused.triton_blocks import (
    EVERYTHING,
    LEAST_PIXELS,
    PROGRAMS,
    Tiles,
    as_rows,
    as_sizes,
    block_pixels,
    compiler_params,
    indices,
    load,
    plan_span,
    store,
)


def _forward_kernel(
    sizes_ref,
    x_ref,
    factor_ref,
    shift_ref,
    w_ref,
    h_ref,
    sums_ref,
    *,
    block: int,
    chunk: int,
    growth: int,
):
    features = w_ref.shape[1]
    channels = sizes_ref[0] * growth
    program = pl.program_id(0)
    rows = indices(program * block, block)
    all_features = indices(0, features)

    def add_chunk(number, h):
        columns = indices(number * chunk, chunk)
        x = load(x_ref, rows, columns, (columns < channels)[None, :])
        normalized = x.astype(jnp.float32) * factor_ref[columns] + shift_ref[columns]
        a = jnp.maximum(normalized, 0).astype(x.dtype)
        # Behind the last channel w is 0.
        return h + plt.dot(a, load(w_ref, columns, all_features))

    nothing = jnp.zeros((block, features), jnp.float32)
    h = lax.fori_loop(0, sizes_ref[1], add_chunk, nothing).astype(h_ref.dtype)
    store(h_ref, rows, all_features, h)
    # The sums are of h as it is stored, rounded, since that is what the next norm reads.
    wide_h = h.astype(jnp.float32)
    sums_ref[program, 0, all_features] = jnp.sum(wide_h, axis=0)
    sums_ref[program, 1, all_features] = jnp.sum(wide_h * wide_h, axis=0)


def conv1x1(
    buffer: jax.Array, norm: Affine, w: jax.Array, *, growth: int, interpret: bool = False
) -> tuple[jax.Array, jax.Array]:
    """`h = relu(x * factor + shift) @ w` with x the first channels of the buffer.

    Args:
      buffer: `[B, H, W, C]`.
      norm: `float32 [c]` each.
      w: `[c, n]`, in the dtype of the buffer.
      growth: a power of two that divides c.
      interpret: run the kernel as JAX operations, on any device.

    Returns:
      h `[B, H, W, n]`; and the sums of h and of its square: `float32 [n, 2]`.
    """
    x = as_rows(buffer)
    pixels = x.shape[0]
    channels, features = w.shape
    dtype = buffer.dtype
    block = block_pixels(pixels)
    programs = pixels // block
    # As much of x and of w as three stages of loads have room for in shared memory.
    chunk = growth * 4 // dtype.itemsize
    chunks = pl.cdiv(channels, chunk)
    read = chunks * chunk
    # As large for every layer of a block.
    norm, w = _padded(norm, w, max(read, x.shape[1]))
    h, sums = pl.pallas_call(
        partial(_forward_kernel, block=block, chunk=chunk, growth=growth),
        grid=(programs,),
        in_specs=[EVERYTHING] * 5,
        out_specs=[EVERYTHING] * 2,
        out_shape=[
            jax.ShapeDtypeStruct((pixels, features), dtype),
            jax.ShapeDtypeStruct((programs, 2, features), jnp.float32),
        ],
        compiler_params=compiler_params(stages=3),
        cost_estimate=cost_estimate(
            2 * pixels * read * features,
            values=pixels * (channels + features) + read * features,
            dtype=dtype,
            float32_values=2 * read + 2 * programs * features,
        ),
        interpret=interpret,
        name="dense_conv1x1",
    )(as_sizes(channels // growth, chunks), x, norm.factor, norm.shift, w)
    return h.reshape(*buffer.shape[:3], features), jnp.sum(sums, axis=0).T


def _padded(norm: Affine, w: jax.Array, channels: int) -> tuple[Affine, jax.Array]:
    """A norm and `w` `[c, n]` for so many channels, those that are missing 0."""
    missing = channels - w.shape[0]
    factor = jnp.pad(norm.factor, (0, missing))
    shift = jnp.pad(norm.shift, (0, missing))
    return Affine(factor, shift), jnp.pad(w, ((0, missing), (0, 0)))


def _backward_kernel(
    sizes_ref,
    x_ref,
    grad_x_ref,
    h_ref,
    grad_z_ref,
    factor_ref,
    shift_ref,
    w_ref,
    coefficients_ref,
    grad_x_out_ref,
    grad_w_ref,
    sums_ref,
    *,
    block: int,
    chunk: int,
    growth: int,
):
    features = w_ref.shape[1]
    channels = sizes_ref[0] * growth
    steps = sizes_ref[1]
    program = pl.program_id(0)
    number = pl.program_id(1)
    columns = indices(number * chunk, chunk)
    all_features = indices(0, features)
    is_inside = (columns < channels)[None, :]

    w = load(w_ref, columns, all_features)
    factor = factor_ref[columns]
    shift = shift_ref[columns]
    p = coefficients_ref[0, all_features]
    q = coefficients_ref[1, all_features]
    r = coefficients_ref[2, all_features]

    def add_block(step, sums):
        grad_w, sum_1, sum_x = sums
        rows = indices((program * steps + step) * block, block)
        h = load(h_ref, rows, all_features)
        grad_z = load(grad_z_ref, rows, all_features)
        grad_h = grad_z.astype(jnp.float32) * p + h.astype(jnp.float32) * q + r
        grad_h = grad_h.astype(h.dtype)

        x = load(x_ref, rows, columns, is_inside)
        grad_x = load(grad_x_ref, rows, columns, is_inside)
        wide_x = x.astype(jnp.float32)
        normalized = wide_x * factor + shift
        a = jnp.maximum(normalized, 0).astype(x.dtype)
        # Transposed it needs fewer registers, which would not suffice.
        grad_a = plt.dot(w, grad_h, trans_b=True).T
        grad_normalized = jnp.where(normalized > 0, grad_a, 0)
        complete = grad_x.astype(jnp.float32) + grad_normalized * factor
        store(grad_x_out_ref, rows, columns, complete, is_inside)

        grad_w += plt.dot(a, grad_h, trans_a=True)
        sum_1 += jnp.sum(grad_normalized, axis=0)
        sum_x += jnp.sum(grad_normalized * wide_x, axis=0)
        return grad_w, sum_1, sum_x

    nothing = jnp.zeros((chunk,), jnp.float32)
    no_products = jnp.zeros((chunk, features), jnp.float32)
    sums = (no_products, nothing, nothing)
    grad_w, sum_1, sum_x = lax.fori_loop(0, steps, add_block, sums)
    part = program * pl.num_programs(1) + number
    store(grad_w_ref, indices(part * chunk, chunk), all_features, grad_w)
    sums_ref[2 * part, indices(0, chunk)] = sum_1
    sums_ref[2 * part + 1, indices(0, chunk)] = sum_x


def conv1x1_backward(
    buffer: jax.Array,
    grad_buffer: jax.Array,
    of_layer: LayerBackward,
    channels: int,
    tiles: Tiles,
    *,
    interpret: bool = False,
) -> tuple[jax.Array, PartOfConv1x1]:
    """Gradients of `conv1x1`, that of x added to the gradient of the buffer in place.

    Programs share the pixels in `splits` and the channels in chunks. Each chunk reads h and its
    gradient again, which together are twice as wide as a large chunk, of which three times its
    width is read and written: x, and the gradient before and after.

    Args:
      buffer: `[B, H, W, C]`.
      grad_buffer: `[B, H, W, C]`, written in place.
      of_layer: with kernels as parameters have them, float32; `of_conv3x3` is the gradient of
        `norm2(h)`, `[B, H, W, n]`.
      channels: of x.
      tiles: for the device.
      interpret: as in `conv1x1`.
    """
    x = as_rows(buffer)
    h = as_rows(of_layer.h)
    pixels, features = h.shape
    growth = of_layer.layer.conv2.shape[-1]
    dtype = buffer.dtype
    chunk = min(tiles.channels, pl.next_power_of_2(channels))
    chunks = pl.cdiv(channels, chunk)
    span = plan_span(
        pixels,
        most_programs=pl.cdiv(PROGRAMS, chunks),
        least_pixels=LEAST_PIXELS,
        block=tiles.block_bytes // dtype.itemsize,
    )
    splits = span.programs
    w = of_layer.layer.conv1.astype(dtype)
    norm, w = _padded(of_layer.layer.norm1, w, chunks * chunk)

    grad_x, grad_w, sums = pl.pallas_call(
        partial(_backward_kernel, block=span.block, chunk=chunk, growth=growth),
        # The last axis runs fastest: programs of the same pixels run side by side.
        grid=(splits, chunks),
        in_specs=[EVERYTHING] * 9,
        out_specs=[EVERYTHING] * 3,
        out_shape=[
            jax.ShapeDtypeStruct(x.shape, dtype),
            jax.ShapeDtypeStruct((splits * w.shape[0], features), jnp.float32),
            jax.ShapeDtypeStruct((splits * chunks * 2, chunk), jnp.float32),
        ],
        input_output_aliases={2: 0},
        compiler_params=compiler_params(stages=2),
        cost_estimate=cost_estimate(
            4 * pixels * w.size,
            values=pixels * (3 * channels + chunks * 2 * features) + w.size,
            dtype=dtype,
            float32_values=2 * w.shape[0] + 3 * features + splits * (w.size + 2 * w.shape[0]),
        ),
        interpret=interpret,
        name="dense_conv1x1_backward",
    )(
        as_sizes(channels // growth, span.steps),
        x,
        as_rows(grad_buffer),
        h,
        as_rows(of_layer.of_conv3x3),
        norm.factor,
        norm.shift,
        w,
        of_layer.coefficients.T,
    )
    grad_w = jnp.sum(grad_w.reshape(splits, *w.shape), axis=0)
    sums = jnp.sum(sums.reshape(splits, chunks, 2, chunk), axis=0)
    sums = sums.swapaxes(1, 2).reshape(-1, 2)
    return grad_x.reshape(buffer.shape), PartOfConv1x1(grad_w[:channels], sums[:channels])
