"""Pallas kernels of a dense layer's 1x1 convolution, with the norm and ReLU before it."""

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl

from hpa_jax.models.fused.blocks import (
    as_column,
    constant_block,
    cost_estimate,
    pixel_block,
    pixels_per_block,
    two_sums,
    zero_at_first_step,
)
from hpa_jax.models.fused.moments import Affine


def _forward_kernel(x_ref, factor_ref, shift_ref, w_ref, h_ref, sums_ref):
    zero_at_first_step(sums_ref, axes=(0,))

    x = x_ref[...]
    normalized = x.astype(jnp.float32) * factor_ref[...] + shift_ref[...]
    a = jnp.maximum(normalized, 0).astype(x.dtype)
    h = jnp.dot(w_ref[...], a, preferred_element_type=jnp.float32).astype(h_ref.dtype)
    h_ref[...] = h
    # The sums are of h as it was stored, rounded, since that is what the next norm reads.
    wide_h = h.astype(jnp.float32)
    sums_ref[...] += two_sums(wide_h, wide_h * wide_h)


def conv1x1(
    buffer: jax.Array, norm: Affine, w: jax.Array, *, interpret: bool = False
) -> tuple[jax.Array, jax.Array]:
    """`h = w @ relu(x * factor + shift)` with x the first rows of the buffer.

    Args:
      buffer: `[C, P]`, channels and pixels.
      norm: `float32 [c]` each.
      w: `[n, c]`, in the dtype of the buffer.
      interpret: run the kernel as JAX operations, on any device.

    Returns:
      h `[n, P]`, and the sums of h and of its square: `float32 [n, 2]`.
    """
    pixels = buffer.shape[1]
    features, channels = w.shape
    dtype = buffer.dtype
    block = pixels_per_block(pixels, channels)
    return pl.pallas_call(
        _forward_kernel,
        grid=(pixels // block,),
        in_specs=[
            pixel_block(channels, block),
            constant_block(channels, 1),
            constant_block(channels, 1),
            constant_block(features, channels),
        ],
        out_specs=[pixel_block(features, block), constant_block(features, 2)],
        out_shape=[
            jax.ShapeDtypeStruct((features, pixels), dtype),
            jax.ShapeDtypeStruct((features, 2), jnp.float32),
        ],
        cost_estimate=cost_estimate(
            2 * pixels * channels * features,
            values=pixels * (channels + features) + w.size,
            dtype=dtype,
            float32_values=2 * channels + 2 * features,
        ),
        interpret=interpret,
        name="dense_conv1x1",
    )(buffer, as_column(norm.factor), as_column(norm.shift), w)


def _backward_kernel(
    x_ref,
    grad_x_ref,
    grad_z_ref,
    h_ref,
    factor_ref,
    shift_ref,
    w_ref,
    coefficients_ref,
    grad_x_out_ref,
    grad_w_ref,
    sums_ref,
):
    zero_at_first_step(sums_ref, grad_w_ref, axes=(0,))

    p, q, r = (coefficients_ref[:, k : k + 1] for k in range(3))
    grad_h = grad_z_ref[...].astype(jnp.float32) * p + h_ref[...].astype(jnp.float32) * q + r
    grad_h = grad_h.astype(x_ref.dtype)

    x = x_ref[...].astype(jnp.float32)
    normalized = x * factor_ref[...] + shift_ref[...]
    a = jnp.maximum(normalized, 0).astype(x_ref.dtype)
    over_pixels = (((1,), (1,)), ((), ()))
    over_features = (((0,), (0,)), ((), ()))
    grad_w_ref[...] += lax.dot_general(grad_h, a, over_pixels, preferred_element_type=jnp.float32)
    grad_a = lax.dot_general(w_ref[...], grad_h, over_features, preferred_element_type=jnp.float32)
    grad_normalized = jnp.where(normalized > 0, grad_a, 0)
    sums_ref[...] += two_sums(grad_normalized, grad_normalized * x)
    grad_x = grad_x_ref[...].astype(jnp.float32) + grad_normalized * factor_ref[...]
    grad_x_out_ref[...] = grad_x.astype(grad_x_out_ref.dtype)


def conv1x1_backward(
    buffer: jax.Array,
    grad_buffer: jax.Array,
    grad_z: jax.Array,
    h: jax.Array,
    norm: Affine,
    w: jax.Array,
    coefficients: jax.Array,
    *,
    interpret: bool = False,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Gradients of `conv1x1`, given `p * grad_z + q * h + r`, the gradient of h.

    Args:
      buffer: as in `conv1x1`.
      grad_buffer: `[C, P]`, to whose first rows the gradient of x is added, in place.
      grad_z: `[n, P]`.
      h: `[n, P]`.
      norm: as in `conv1x1`.
      w: as in `conv1x1`.
      coefficients: p, q and r; `float32 [n, 3]`.
      interpret: as in `conv1x1`.

    Returns:
      `grad_buffer`; the gradient of w, `float32 [n, c]`; and those of shift and factor,
      `float32 [c, 2]`.
    """
    pixels = buffer.shape[1]
    features, channels = w.shape
    dtype = buffer.dtype
    block = pixels_per_block(pixels, channels)
    values_read = 2 * pixels * (channels + features) + w.size
    return pl.pallas_call(
        _backward_kernel,
        grid=(pixels // block,),
        in_specs=[
            pixel_block(channels, block),
            pixel_block(channels, block),
            pixel_block(features, block),
            pixel_block(features, block),
            constant_block(channels, 1),
            constant_block(channels, 1),
            constant_block(features, channels),
            constant_block(features, 3),
        ],
        out_specs=[
            pixel_block(channels, block),
            constant_block(features, channels),
            constant_block(channels, 2),
        ],
        out_shape=[
            jax.ShapeDtypeStruct(grad_buffer.shape, dtype),
            jax.ShapeDtypeStruct((features, channels), jnp.float32),
            jax.ShapeDtypeStruct((channels, 2), jnp.float32),
        ],
        # The gradient of the buffer is updated in place; its other rows are not touched.
        input_output_aliases={1: 0},
        cost_estimate=cost_estimate(
            4 * pixels * channels * features,
            values=values_read + pixels * channels,
            dtype=dtype,
            float32_values=4 * channels + 3 * features + w.size,
        ),
        interpret=interpret,
        name="dense_conv1x1_backward",
    )(
        buffer,
        grad_buffer,
        grad_z,
        h,
        as_column(norm.factor),
        as_column(norm.shift),
        w,
        coefficients,
    )
