"""Pallas kernels of a dense layer's 3x3 convolution, with the norm and ReLU before it.

A kernel multiplies the pixels of a slab and its edges (slabs.py) by the nine taps in one matrix
product, shifts the nine results by whole pixels, and adds them. Where the layer's bottleneck h is
not kept, it reads the layer's input, and makes h again of it (conv1x1.py).
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl

from hpa_jax.models.fused.backend import Layer
from hpa_jax.models.fused.blocks import (
    as_column,
    compiler_params,
    constant_block,
    cost_estimate,
    two_sums,
    zero_at_first_step,
)
from hpa_jax.models.fused.conv1x1 import (
    bottleneck,
    gradient_before_conv3x3,
    normalized,
    taps_of_gradient,
)
from hpa_jax.models.fused.slabs import (
    TAPS,
    Slabs,
    in_place,
    read_with_edges,
    shifted,
    slab_block,
    slab_blocks_with_edges,
    window_block,
    zero_outside,
)
from hpa_jax.models.norm import MomentGradient


def _remaking(layer: Layer) -> tuple[list[jax.Array], list[pl.BlockSpec]]:
    """What h is made of, besides the layer's input: operands and their blocks."""
    operands = [as_column(layer.norm1.factor), as_column(layer.norm1.shift), layer.conv1]
    return operands, [constant_block(*operand.shape) for operand in operands]


def _forward_kernel(slabs: Slabs, growth: int, is_kept: bool, *refs):
    if is_kept:
        before_ref, slab_ref, behind_ref, buffer_ref, *refs = refs
        del buffer_ref
        h = read_with_edges(before_ref, slab_ref, behind_ref)
    else:
        window_ref, *remaking_refs = refs[:4]
        refs = refs[4:]
        remade = bottleneck(window_ref[...], *remaking_refs)
        h = in_place(slabs, remade.astype(jnp.float32)).astype(remade.dtype)
    factor_ref, shift_ref, w_ref, y_ref, sums_ref = refs
    zero_at_first_step(sums_ref, axes=(0, 1))

    activated = jnp.maximum(normalized(h, factor_ref, shift_ref), 0)
    a = zero_outside(slabs, activated).astype(h.dtype)
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
    h: jax.Array | None,
    layer: Layer,
    buffer: jax.Array,
    channels: int,
    slabs: Slabs,
    *,
    interpret: bool = False,
) -> tuple[jax.Array, jax.Array]:
    """`y = conv3x3(relu(h * factor + shift))`, written into the buffer's rows from `channels` on.

    Args:
      h: `[n, P]`, channels and pixels; None: it is made again of the first rows of the buffer.
      layer: with kernels `[n, channels]` and `[9 g, n]`, in the dtype of the buffer.
      buffer: `[C, P]`, written in place.
      channels: a multiple of g.
      slabs: of the pixels; without h of those that have windows.
      interpret: run the kernel as JAX operations, on any device.

    Returns:
      The buffer, and the sums of y and of its square: `float32 [g, 2]`.
    """
    pixels = buffer.shape[1]
    w = layer.conv2
    features = w.shape[1]
    growth = w.shape[0] // 9
    dtype = buffer.dtype
    pixels_read = pixels + slabs.edge_pixels
    if h is not None:
        sources = [h, h, h, buffer]
        # The buffer is only written to: none of it is fetched.
        source_blocks = [
            *slab_blocks_with_edges(slabs, features),
            pl.BlockSpec(memory_space=pl.ANY),
        ]
        written = 3
        values_read = pixels_read * features + w.size
        products = w.size
        factors = 2 * features
    else:
        remaking, remaking_blocks = _remaking(layer)
        sources = [buffer, *remaking]
        source_blocks = [window_block(slabs, channels), *remaking_blocks]
        written = 0
        values_read = pixels_read * channels + w.size + layer.conv1.size
        products = w.size + layer.conv1.size
        factors = 2 * features + 2 * channels
    return pl.pallas_call(
        partial(_forward_kernel, slabs, growth, h is not None),
        grid=slabs.grid,
        in_specs=[
            *source_blocks,
            constant_block(features, 1),
            constant_block(features, 1),
            constant_block(*w.shape),
        ],
        out_specs=[slab_block(slabs, growth, channels // growth), constant_block(growth, 2)],
        out_shape=[
            jax.ShapeDtypeStruct(buffer.shape, dtype),
            jax.ShapeDtypeStruct((growth, 2), jnp.float32),
        ],
        input_output_aliases={written: 0},
        compiler_params=compiler_params(interpret),
        cost_estimate=cost_estimate(
            2 * pixels_read * products,
            values=values_read + pixels * growth,
            dtype=dtype,
            float32_values=factors + 2 * growth,
        ),
        interpret=interpret,
        name="dense_conv3x3",
    )(*sources, as_column(layer.norm2.factor), as_column(layer.norm2.shift), w)


def _backward_kernel(
    slabs: Slabs,
    grad_y_before_ref,
    grad_y_ref,
    grad_y_behind_ref,
    y_before_ref,
    y_ref,
    y_behind_ref,
    source_ref,
    factor_ref,
    shift_ref,
    w_ref,
    slope_ref,
    offset_ref,
    *refs,
):
    *remaking_refs, grad_y_out_ref, grad_w_ref, sums_ref = refs
    zero_at_first_step(sums_ref, grad_w_ref, axes=(0, 1))
    dtype = source_ref.dtype

    h = source_ref[...]
    if remaking_refs:
        h = bottleneck(h, *remaking_refs)

    complete = []
    grad_y_refs = (grad_y_before_ref, grad_y_ref, grad_y_behind_ref)
    y_refs = (y_before_ref, y_ref, y_behind_ref)
    for of_grad_y, of_y in zip(grad_y_refs, y_refs, strict=True):
        grad_y = of_grad_y[...].astype(jnp.float32)
        grad_y = grad_y + slope_ref[...] * of_y[...].astype(jnp.float32) + offset_ref[...]
        # Rounded as where this gradient is an array of its own.
        complete.append(grad_y.astype(dtype))
    grad_y_out_ref[...] = complete[1]

    all_taps = taps_of_gradient(slabs, complete, dtype)
    a = jnp.maximum(normalized(h, factor_ref, shift_ref), 0).astype(dtype)
    over_pixels = (((1,), (1,)), ((), ()))
    grad_w_ref[...] += lax.dot_general(all_taps, a, over_pixels, preferred_element_type=jnp.float32)
    grad_z = gradient_before_conv3x3(all_taps, h, factor_ref, shift_ref, w_ref)
    wide_grad_z = grad_z.astype(jnp.float32)
    sums_ref[...] += two_sums(wide_grad_z, wide_grad_z * h.astype(jnp.float32))


def conv3x3_backward(
    grad_buffer: jax.Array,
    buffer: jax.Array,
    from_moments: MomentGradient,
    h: jax.Array | None,
    layer: Layer,
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
      layer: as in `conv3x3`.
      channels: as in `conv3x3`.
      slabs: as in `conv3x3`.
      interpret: as in `conv3x3`.

    Returns:
      The complete gradient of y, `[g, P]`; that of w, `float32 [9 * g, n]`; and those of shift and
      factor, `float32 [n, 2]`.
    """
    pixels = buffer.shape[1]
    w = layer.conv2
    features = w.shape[1]
    growth = w.shape[0] // 9
    dtype = buffer.dtype
    rows = features
    source = h
    remaking, remaking_blocks = [], []
    if h is None:
        rows = channels
        source = buffer
        remaking, remaking_blocks = _remaking(layer)
    remade_values = layer.conv1.size if remaking else 0
    y_blocks = slab_blocks_with_edges(slabs, growth, channels // growth)
    values_moved = (
        2 * (pixels + slabs.edge_pixels) * growth
        + pixels * (rows + growth)
        + w.size
        + remade_values
    )
    return pl.pallas_call(
        partial(_backward_kernel, slabs),
        grid=slabs.grid,
        in_specs=[
            *y_blocks,
            *y_blocks,
            slab_block(slabs, rows),
            constant_block(features, 1),
            constant_block(features, 1),
            constant_block(*w.shape),
            constant_block(growth, 1),
            constant_block(growth, 1),
            *remaking_blocks,
        ],
        out_specs=[
            slab_block(slabs, growth),
            constant_block(*w.shape),
            constant_block(features, 2),
        ],
        out_shape=[
            jax.ShapeDtypeStruct((growth, pixels), dtype),
            jax.ShapeDtypeStruct(w.shape, jnp.float32),
            jax.ShapeDtypeStruct((features, 2), jnp.float32),
        ],
        compiler_params=compiler_params(interpret),
        cost_estimate=cost_estimate(
            pixels * (4 * w.size + 2 * remade_values),
            values=values_moved,
            dtype=dtype,
            float32_values=4 * features + 2 * growth + w.size + 2 * channels * bool(remaking),
        ),
        interpret=interpret,
        name="dense_conv3x3_backward",
    )(
        *[grad_buffer] * 3,
        *[buffer] * 3,
        source,
        as_column(layer.norm2.factor),
        as_column(layer.norm2.shift),
        w,
        as_column(from_moments.slope),
        as_column(from_moments.offset),
        *remaking,
    )
