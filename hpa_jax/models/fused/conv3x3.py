"""Pallas kernels of a dense layer's 3x3 convolution, with the norm and ReLU before it.

The pixels of an image are processed in slabs of complete rows. A kernel reads a slab and the pixels
before and behind it (its edges), multiplies all of them by the nine taps in one matrix product,
shifts the nine results by whole pixels, and adds them.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl

from hpa_jax.models.fused.blocks import (
    as_column,
    constant_block,
    cost_estimate,
    two_sums,
    zero_at_first_step,
)
from hpa_jax.models.fused.moments import Affine, MomentGradient
from hpa_jax.models.fused.slabs import (
    TAPS,
    Slabs,
    read_with_edges,
    shifted,
    slab_block,
    slab_blocks_with_edges,
    zero_outside,
)


def _forward_kernel(
    slabs: Slabs,
    growth: int,
    h_before_ref,
    h_ref,
    h_behind_ref,
    factor_ref,
    shift_ref,
    w_ref,
    buffer_ref,
    y_ref,
    sums_ref,
):
    zero_at_first_step(sums_ref, axes=(0, 1))

    h = read_with_edges(h_before_ref, h_ref, h_behind_ref)
    normalized = h.astype(jnp.float32) * factor_ref[...] + shift_ref[...]
    a = zero_outside(slabs, jnp.maximum(normalized, 0)).astype(h.dtype)
    all_taps = jnp.dot(w_ref[...], a, preferred_element_type=jnp.float32)
    y = 0
    for number, (dy, dx) in enumerate(TAPS):
        of_tap = all_taps[number * growth : (number + 1) * growth]
        y = y + shifted(slabs, of_tap, dy, dx, keep=slabs.inner)
    y = y.astype(y_ref.dtype)
    y_ref[...] = y
    # Of y as it was stored, rounded, since that is what the next norms read.
    wide_y = y.astype(jnp.float32)
    sums_ref[...] += two_sums(wide_y, wide_y * wide_y)


def conv3x3(
    h: jax.Array,
    norm: Affine,
    w: jax.Array,
    buffer: jax.Array,
    channels: int,
    slabs: Slabs,
    *,
    interpret: bool = False,
) -> tuple[jax.Array, jax.Array]:
    """`y = conv3x3(relu(h * factor + shift))`, written into the buffer's rows from `channels` on.

    Args:
      h: `[n, P]`, channels and pixels.
      norm: `float32 [n]` each.
      w: `[9 * g, n]`: the taps by rows, then columns, of each the kernel from n to g.
      buffer: `[C, P]`, written in place.
      channels: a multiple of g.
      slabs: of the pixels.
      interpret: run the kernel as JAX operations, on any device.

    Returns:
      The buffer, and the sums of y and of its square: `float32 [g, 2]`.
    """
    features, pixels = h.shape
    growth = w.shape[0] // 9
    dtype = h.dtype
    pixels_read = pixels + slabs.edge_pixels
    return pl.pallas_call(
        partial(_forward_kernel, slabs, growth),
        grid=slabs.grid,
        in_specs=[
            *slab_blocks_with_edges(slabs, features),
            constant_block(features, 1),
            constant_block(features, 1),
            constant_block(*w.shape),
            # The buffer is only written to: none of it is fetched.
            pl.BlockSpec(memory_space=pl.ANY),
        ],
        out_specs=[slab_block(slabs, growth, channels // growth), constant_block(growth, 2)],
        out_shape=[
            jax.ShapeDtypeStruct(buffer.shape, dtype),
            jax.ShapeDtypeStruct((growth, 2), jnp.float32),
        ],
        input_output_aliases={6: 0},
        cost_estimate=cost_estimate(
            2 * pixels_read * w.size,
            values=pixels_read * features + w.size + pixels * growth,
            dtype=dtype,
            float32_values=2 * features + 2 * growth,
        ),
        interpret=interpret,
        name="dense_conv3x3",
    )(h, h, h, as_column(norm.factor), as_column(norm.shift), w, buffer)


def _backward_kernel(
    slabs: Slabs,
    grad_y_before_ref,
    grad_y_ref,
    grad_y_behind_ref,
    y_before_ref,
    y_ref,
    y_behind_ref,
    h_ref,
    factor_ref,
    shift_ref,
    w_ref,
    slope_ref,
    offset_ref,
    grad_z_ref,
    grad_w_ref,
    sums_ref,
):
    zero_at_first_step(sums_ref, grad_w_ref, axes=(0, 1))
    dtype = h_ref.dtype

    grad_y = read_with_edges(grad_y_before_ref, grad_y_ref, grad_y_behind_ref).astype(jnp.float32)
    y = read_with_edges(y_before_ref, y_ref, y_behind_ref).astype(jnp.float32)
    grad_y = zero_outside(slabs, grad_y + slope_ref[...] * y + offset_ref[...])
    # Rounded as where this gradient is an array of its own; shifted as float32, as registers are.
    grad_y = grad_y.astype(dtype).astype(jnp.float32)
    # A tap that reads from (dy, dx) sends its gradient back from there.
    by_tap = [shifted(slabs, grad_y, -dy, -dx, keep=slabs.inner) for dy, dx in TAPS]
    all_taps = jnp.concatenate(by_tap, axis=0).astype(dtype)

    h = h_ref[...].astype(jnp.float32)
    normalized = h * factor_ref[...] + shift_ref[...]
    a = jnp.maximum(normalized, 0).astype(dtype)
    over_pixels = (((1,), (1,)), ((), ()))
    over_features = (((0,), (0,)), ((), ()))
    grad_w_ref[...] += lax.dot_general(all_taps, a, over_pixels, preferred_element_type=jnp.float32)
    grad_a = lax.dot_general(
        w_ref[...], all_taps, over_features, preferred_element_type=jnp.float32
    )
    grad_z = jnp.where(normalized > 0, grad_a, 0).astype(grad_z_ref.dtype)
    grad_z_ref[...] = grad_z
    wide_grad_z = grad_z.astype(jnp.float32)
    sums_ref[...] += two_sums(wide_grad_z, wide_grad_z * h)


def conv3x3_backward(
    grad_buffer: jax.Array,
    buffer: jax.Array,
    from_moments: MomentGradient,
    h: jax.Array,
    norm: Affine,
    w: jax.Array,
    channels: int,
    slabs: Slabs,
    *,
    interpret: bool = False,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Gradients of `conv3x3`, given that of y: `grad_buffer + slope * buffer + offset`.

    Args:
      grad_buffer: `[C, P]`; that of y is read from its rows from `channels` on.
      buffer: `[C, P]`; y is read from the same rows.
      from_moments: slope and offset, `float32 [g]` each.
      h: as in `conv3x3`.
      norm: as in `conv3x3`.
      w: as in `conv3x3`.
      channels: as in `conv3x3`.
      slabs: as in `conv3x3`.
      interpret: as in `conv3x3`.

    Returns:
      The gradient of `h * factor + shift`, `[n, P]`; that of w, `float32 [9 * g, n]`; and those of
      shift and factor, `float32 [n, 2]`.
    """
    features, pixels = h.shape
    growth = w.shape[0] // 9
    dtype = h.dtype
    y_blocks = slab_blocks_with_edges(slabs, growth, channels // growth)
    h_block = slab_block(slabs, features)
    values_read = 2 * (pixels + slabs.edge_pixels) * growth + pixels * features + w.size
    return pl.pallas_call(
        partial(_backward_kernel, slabs),
        grid=slabs.grid,
        in_specs=[
            *y_blocks,
            *y_blocks,
            h_block,
            constant_block(features, 1),
            constant_block(features, 1),
            constant_block(*w.shape),
            constant_block(growth, 1),
            constant_block(growth, 1),
        ],
        out_specs=[h_block, constant_block(*w.shape), constant_block(features, 2)],
        out_shape=[
            jax.ShapeDtypeStruct(h.shape, dtype),
            jax.ShapeDtypeStruct(w.shape, jnp.float32),
            jax.ShapeDtypeStruct((features, 2), jnp.float32),
        ],
        cost_estimate=cost_estimate(
            4 * pixels * w.size,
            values=values_read + pixels * features,
            dtype=dtype,
            float32_values=4 * features + 2 * growth + w.size,
        ),
        interpret=interpret,
        name="dense_conv3x3_backward",
    )(
        *[grad_buffer] * 3,
        *[buffer] * 3,
        h,
        as_column(norm.factor),
        as_column(norm.shift),
        w,
        as_column(from_moments.slope),
        as_column(from_moments.offset),
    )
