"""Pallas kernels of the transition between two blocks: norm, ReLU, 2x2 mean, 1x1 convolution.

Both the mean and the convolution are linear, so the mean comes first: the convolution is then a
quarter of the work.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import pallas as pl

from hpa_jax.models.fused.blocks import (
    LANES,
    as_column,
    compiler_params,
    constant_block,
    cost_estimate,
    pixel_block,
    two_sums,
    zero_at_first_step,
)
from hpa_jax.models.fused.moments import Affine
from hpa_jax.models.norm import MomentGradient


def pixels_per_transition_block(width: int) -> int:
    """Pixels in a block: complete pairs of rows, of which a quarter fills complete registers."""
    return max(4 * LANES, 2 * width)


def _pooling_matrix(width: int, dtype) -> jax.Array:
    """The mean of each 2x2 pixels of a block as a matrix product: `[n, n / 4]`; 1/4 is exact."""
    size = pixels_per_transition_block(width)
    pixel = np.arange(size)
    pair_of_rows = pixel // (2 * width)
    column = pixel % width // 2
    pooled_pixel = pair_of_rows * (width // 2) + column
    is_pooled_into = pooled_pixel[:, None] == np.arange(size // 4)
    return jnp.asarray(np.where(is_pooled_into, 0.25, 0), dtype)


def _forward_kernel(x_ref, factor_ref, shift_ref, w_ref, pooling_ref, y_ref, sums_ref):
    zero_at_first_step(sums_ref, axes=(0,))

    x = x_ref[...]
    normalized = x.astype(jnp.float32) * factor_ref[...] + shift_ref[...]
    a = jnp.maximum(normalized, 0).astype(x.dtype)
    mean = jnp.dot(a, pooling_ref[...], preferred_element_type=jnp.float32).astype(x.dtype)
    y = jnp.dot(w_ref[...], mean, preferred_element_type=jnp.float32).astype(y_ref.dtype)
    y_ref[...] = y
    # Of y as it was stored, rounded, since that is what the next norms read.
    wide_y = y.astype(jnp.float32)
    sums_ref[...] += two_sums(wide_y, wide_y * wide_y)


def transition(
    buffer: jax.Array,
    norm: Affine,
    w: jax.Array,
    width: int,
    next_channels: int,
    *,
    interpret: bool = False,
) -> tuple[jax.Array, jax.Array]:
    """`y = w @ mean2x2(relu(x * factor + shift))`.

    Args:
      buffer: x, `[C, P]`, channels and pixels.
      norm: `float32 [C]` each.
      w: `[n, C]`.
      width: of the images, px.
      next_channels: rows of the next block's buffer.
      interpret: run the kernel as JAX operations, on any device.

    Returns:
      That buffer, `[next_channels, P / 4]`, with y in its first rows and the others not yet
      written; and the sums of y and of its square, `float32 [n, 2]`.
    """
    pixels = buffer.shape[1]
    features, channels = w.shape
    dtype = buffer.dtype
    block = pixels_per_transition_block(width)
    pooling = _pooling_matrix(width, dtype)
    return pl.pallas_call(
        _forward_kernel,
        grid=(pixels // block,),
        in_specs=[
            pixel_block(channels, block),
            constant_block(channels, 1),
            constant_block(channels, 1),
            constant_block(*w.shape),
            constant_block(*pooling.shape),
        ],
        out_specs=[pixel_block(features, block // 4), constant_block(features, 2)],
        out_shape=[
            jax.ShapeDtypeStruct((next_channels, pixels // 4), dtype),
            jax.ShapeDtypeStruct((features, 2), jnp.float32),
        ],
        cost_estimate=cost_estimate(
            pixels * channels * (block // 2 + features // 2),
            values=pixels * channels + w.size + pooling.size + pixels // 4 * features,
            dtype=dtype,
            float32_values=2 * channels + 2 * features,
        ),
        interpret=interpret,
        name="dense_transition",
    )(buffer, as_column(norm.factor), as_column(norm.shift), w, pooling)


def _backward_kernel(
    x_ref,
    grad_y_ref,
    y_ref,
    slope_ref,
    offset_ref,
    factor_ref,
    shift_ref,
    w_ref,
    pooling_ref,
    grad_x_ref,
    grad_w_ref,
    sums_ref,
):
    zero_at_first_step(sums_ref, grad_w_ref, axes=(0,))
    dtype = x_ref.dtype

    grad_y = grad_y_ref[...].astype(jnp.float32)
    grad_y = grad_y + slope_ref[...] * y_ref[...].astype(jnp.float32) + offset_ref[...]
    grad_y = grad_y.astype(dtype)

    x = x_ref[...].astype(jnp.float32)
    normalized = x * factor_ref[...] + shift_ref[...]
    a = jnp.maximum(normalized, 0).astype(dtype)
    mean = jnp.dot(a, pooling_ref[...], preferred_element_type=jnp.float32).astype(dtype)
    over_pixels = (((1,), (1,)), ((), ()))
    over_features = (((0,), (0,)), ((), ()))
    grad_w_ref[...] += lax.dot_general(
        grad_y, mean, over_pixels, preferred_element_type=jnp.float32
    )
    grad_mean = lax.dot_general(
        w_ref[...], grad_y, over_features, preferred_element_type=jnp.float32
    )
    grad_a = lax.dot_general(
        grad_mean.astype(dtype),
        pooling_ref[...],
        over_pixels,
        preferred_element_type=jnp.float32,
    )
    grad_normalized = jnp.where(normalized > 0, grad_a, 0)
    sums_ref[...] += two_sums(grad_normalized, grad_normalized * x)
    grad_x_ref[...] = (grad_normalized * factor_ref[...]).astype(grad_x_ref.dtype)


def transition_backward(
    buffer: jax.Array,
    grad_next_buffer: jax.Array,
    next_buffer: jax.Array,
    from_moments: MomentGradient,
    norm: Affine,
    w: jax.Array,
    width: int,
    *,
    interpret: bool = False,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Gradients of `transition`, given that of y.

    The gradient of y is `grad_next_buffer + slope * next_buffer + offset`.

    Args:
      buffer: as in `transition`.
      grad_next_buffer: `[next_channels, P / 4]`; that of y is read from its first rows.
      next_buffer: `[next_channels, P / 4]`; y is read from its first rows.
      from_moments: slope and offset, `float32 [n]` each.
      norm: as in `transition`.
      w: as in `transition`.
      width: as in `transition`.
      interpret: as in `transition`.

    Returns:
      The gradient of x, `[C, P]`; that of w, `float32 [n, C]`; and those of shift and factor,
      `float32 [C, 2]`.
    """
    pixels = buffer.shape[1]
    features, channels = w.shape
    dtype = buffer.dtype
    block = pixels_per_transition_block(width)
    pooling = _pooling_matrix(width, dtype)
    values_read = pixels * channels + pixels // 2 * features + w.size + pooling.size
    return pl.pallas_call(
        _backward_kernel,
        grid=(pixels // block,),
        in_specs=[
            pixel_block(channels, block),
            pixel_block(features, block // 4),
            pixel_block(features, block // 4),
            constant_block(features, 1),
            constant_block(features, 1),
            constant_block(channels, 1),
            constant_block(channels, 1),
            constant_block(*w.shape),
            constant_block(*pooling.shape),
        ],
        out_specs=[
            pixel_block(channels, block),
            constant_block(*w.shape),
            constant_block(channels, 2),
        ],
        out_shape=[
            jax.ShapeDtypeStruct(buffer.shape, dtype),
            jax.ShapeDtypeStruct(w.shape, jnp.float32),
            jax.ShapeDtypeStruct((channels, 2), jnp.float32),
        ],
        # Of wide images a block is large.
        compiler_params=compiler_params(interpret),
        cost_estimate=cost_estimate(
            pixels * channels * (block + features),
            values=values_read + pixels * channels,
            dtype=dtype,
            float32_values=4 * channels + 2 * features + w.size,
        ),
        interpret=interpret,
        name="dense_transition_backward",
    )(
        buffer,
        grad_next_buffer,
        next_buffer,
        as_column(from_moments.slope),
        as_column(from_moments.offset),
        as_column(norm.factor),
        as_column(norm.shift),
        w,
        pooling,
    )
