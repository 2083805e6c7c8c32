"""Pallas kernels of a dense layer's 1x1 convolution, with the norm and ReLU before it.

Its result h, the layer's bottleneck, is kept for the layer's other kernels, or made again in each
of them of the layer's input x, which they read in its place.
"""

from collections.abc import Sequence
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
    pixel_block,
    pixels_per_block,
    two_sums,
    zero_at_first_step,
)
from hpa_jax.models.fused.moments import Affine
from hpa_jax.models.fused.slabs import (
    TAPS,
    Slabs,
    shifted,
    slab_block,
    slab_blocks_with_edges,
    zero_outside,
)


def normalized(x: jax.Array, factor_ref, shift_ref) -> jax.Array:
    """A block of values through a norm, float32."""
    return x.astype(jnp.float32) * factor_ref[...] + shift_ref[...]


def bottleneck(x: jax.Array, factor_ref, shift_ref, w_ref) -> jax.Array:
    """h of a block of the input, rounded to the dtype of the input."""
    a = jnp.maximum(normalized(x, factor_ref, shift_ref), 0).astype(x.dtype)
    return jnp.dot(w_ref[...], a, preferred_element_type=jnp.float32).astype(x.dtype)


def _forward_kernel(x_ref, factor_ref, shift_ref, w_ref, *out_refs):
    *h_ref, sums_ref = out_refs
    zero_at_first_step(sums_ref, axes=(0,))

    h = bottleneck(x_ref[...], factor_ref, shift_ref, w_ref)
    for ref in h_ref:
        ref[...] = h
    # The sums are of h as it is stored, rounded, since that is what the next norm reads.
    wide_h = h.astype(jnp.float32)
    sums_ref[...] += two_sums(wide_h, wide_h * wide_h)


def conv1x1(
    buffer: jax.Array, norm: Affine, w: jax.Array, *, keep: bool, interpret: bool = False
) -> tuple[jax.Array | None, jax.Array]:
    """`h = w @ relu(x * factor + shift)` with x the first rows of the buffer.

    Args:
      buffer: `[C, P]`, channels and pixels.
      norm: `float32 [c]` each.
      w: `[n, c]`, in the dtype of the buffer.
      keep: whether h is kept.
      interpret: run the kernel as JAX operations, on any device.

    Returns:
      h `[n, P]`, None where it is not kept; and the sums of h and of its square: `float32 [n, 2]`.
    """
    pixels = buffer.shape[1]
    features, channels = w.shape
    dtype = buffer.dtype
    block = pixels_per_block(pixels, channels)
    found = pl.pallas_call(
        _forward_kernel,
        grid=(pixels // block,),
        in_specs=[
            pixel_block(channels, block),
            constant_block(channels, 1),
            constant_block(channels, 1),
            constant_block(features, channels),
        ],
        out_specs=[pixel_block(features, block)] * keep + [constant_block(features, 2)],
        out_shape=[jax.ShapeDtypeStruct((features, pixels), dtype)] * keep
        + [jax.ShapeDtypeStruct((features, 2), jnp.float32)],
        cost_estimate=cost_estimate(
            2 * pixels * channels * features,
            values=pixels * (channels + features * keep) + w.size,
            dtype=dtype,
            float32_values=2 * channels + 2 * features,
        ),
        interpret=interpret,
        name="dense_conv1x1",
    )(buffer, as_column(norm.factor), as_column(norm.shift), w)
    *h, sums = found
    return (h[0] if keep else None), sums


def _backward_kernel(
    slabs: Slabs,
    is_kept: bool,
    grad_y_before_ref,
    grad_y_ref,
    grad_y_behind_ref,
    x_ref,
    grad_x_ref,
    factor1_ref,
    shift1_ref,
    w1_ref,
    factor2_ref,
    shift2_ref,
    w2_ref,
    coefficients_ref,
    *refs,
):
    *h_ref, grad_x_out_ref, grad_w_ref, sums_ref = refs
    zero_at_first_step(sums_ref, grad_w_ref, axes=(0, 1))
    dtype = x_ref.dtype

    x = x_ref[...]
    of_norm1 = normalized(x, factor1_ref, shift1_ref)
    a = jnp.maximum(of_norm1, 0).astype(dtype)
    if is_kept:
        h = h_ref[0][...]
    else:
        h = jnp.dot(w1_ref[...], a, preferred_element_type=jnp.float32).astype(dtype)

    all_taps = taps_of_gradient(slabs, (grad_y_before_ref, grad_y_ref, grad_y_behind_ref), dtype)
    grad_z = gradient_before_conv3x3(all_taps, h, factor2_ref, shift2_ref, w2_ref)
    p, q, r = (coefficients_ref[:, k : k + 1] for k in range(3))
    grad_h = grad_z.astype(jnp.float32) * p + h.astype(jnp.float32) * q + r
    grad_h = grad_h.astype(dtype)

    over_pixels = (((1,), (1,)), ((), ()))
    over_features = (((0,), (0,)), ((), ()))
    grad_w_ref[...] += lax.dot_general(grad_h, a, over_pixels, preferred_element_type=jnp.float32)
    grad_a = lax.dot_general(w1_ref[...], grad_h, over_features, preferred_element_type=jnp.float32)
    grad_normalized = jnp.where(of_norm1 > 0, grad_a, 0)
    sums_ref[...] += two_sums(grad_normalized, grad_normalized * x.astype(jnp.float32))
    grad_x = grad_x_ref[...].astype(jnp.float32) + grad_normalized * factor1_ref[...]
    grad_x_out_ref[...] = grad_x.astype(dtype)


def taps_of_gradient(slabs: Slabs, grad_y_parts: Sequence, dtype) -> jax.Array:
    """The gradient of y of a slab, from where each of the nine taps sends it.

    Args:
      slabs: of the image.
      grad_y_parts: before the slab, in it, behind it; `[g, pixels]` each.
      dtype: of the result.

    Returns:
      `[9 g, slab]`.
    """
    grad_y = jnp.concatenate([part[...] for part in grad_y_parts], axis=1)
    # Shifted as float32, as registers are.
    grad_y = zero_outside(slabs, grad_y.astype(jnp.float32))
    # A tap that reads from (dy, dx) sends its gradient back from there.
    by_tap = [shifted(slabs, grad_y, -dy, -dx, keep=slabs.inner) for dy, dx in TAPS]
    return jnp.concatenate(by_tap, axis=0).astype(dtype)


def gradient_before_conv3x3(
    all_taps: jax.Array, h: jax.Array, factor_ref, shift_ref, w_ref
) -> jax.Array:
    """The gradient of `norm2(h)`, rounded to the dtype of h: `[n, slab]`."""
    over_features = (((0,), (0,)), ((), ()))
    grad_a = lax.dot_general(
        w_ref[...], all_taps, over_features, preferred_element_type=jnp.float32
    )
    return jnp.where(normalized(h, factor_ref, shift_ref) > 0, grad_a, 0).astype(h.dtype)


def conv1x1_backward(
    buffer: jax.Array,
    grad_buffer: jax.Array,
    grad_y: jax.Array,
    h: jax.Array | None,
    layer: Layer,
    coefficients: jax.Array,
    slabs: Slabs,
    *,
    interpret: bool = False,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Gradients of `conv1x1`, given `p * grad_z + q * h + r`, the gradient of h.

    grad_z, that of `norm2(h)`, is made again of grad_y: it has four times the channels.

    Args:
      buffer: as in `conv1x1`.
      grad_buffer: `[C, P]`, to whose first rows the gradient of x is added, in place.
      grad_y: `[g, P]`, of the layer's result.
      h: `[n, P]`, or None where it is not kept.
      layer: with kernels `[n, c]` and `[9 g, n]` in the dtype of the buffer.
      coefficients: p, q and r; `float32 [n, 3]`.
      slabs: of the pixels.
      interpret: as in `conv1x1`.

    Returns:
      `grad_buffer`; the gradient of w, `float32 [n, c]`; and those of shift and factor,
      `float32 [c, 2]`.
    """
    pixels = buffer.shape[1]
    w1, w2 = layer.conv1, layer.conv2
    features, channels = w1.shape
    growth = grad_y.shape[0]
    dtype = buffer.dtype
    slabs = slabs.smaller(pixels_per_block(pixels, channels))
    is_kept = h is not None
    x_block = slab_block(slabs, channels)
    values_moved = (
        (pixels + slabs.edge_pixels) * growth
        + pixels * (3 * channels + features * is_kept)
        + w1.size
        + w2.size
    )
    products = 2 * w2.size + (4 if is_kept else 6) * w1.size
    return pl.pallas_call(
        partial(_backward_kernel, slabs, is_kept),
        grid=slabs.grid,
        in_specs=[
            *slab_blocks_with_edges(slabs, growth),
            x_block,
            x_block,
            constant_block(channels, 1),
            constant_block(channels, 1),
            constant_block(*w1.shape),
            constant_block(features, 1),
            constant_block(features, 1),
            constant_block(*w2.shape),
            constant_block(features, 3),
            *[slab_block(slabs, features)] * is_kept,
        ],
        out_specs=[x_block, constant_block(*w1.shape), constant_block(channels, 2)],
        out_shape=[
            jax.ShapeDtypeStruct(grad_buffer.shape, dtype),
            jax.ShapeDtypeStruct(w1.shape, jnp.float32),
            jax.ShapeDtypeStruct((channels, 2), jnp.float32),
        ],
        # The gradient of the buffer is updated in place; its other rows are not touched.
        input_output_aliases={4: 0},
        compiler_params=compiler_params(interpret),
        cost_estimate=cost_estimate(
            pixels * products,
            values=values_moved,
            dtype=dtype,
            float32_values=4 * channels + 5 * features + w1.size,
        ),
        interpret=interpret,
        name="dense_conv1x1_backward",
    )(
        *[grad_y] * 3,
        buffer,
        grad_buffer,
        as_column(layer.norm1.factor),
        as_column(layer.norm1.shift),
        w1,
        as_column(layer.norm2.factor),
        as_column(layer.norm2.shift),
        w2,
        coefficients,
        *[h] * is_kept,
    )
