"""What lies between two blocks, and its gradients."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import pallas as pl

from hpa_jax.models.fused.blocks import LANES, at_first, column, cost, two_sums, whole


def pooled_pixels(width: int) -> int:
    """Pixels in a block of a transition: whole pairs of rows, of which a quarter fills whole registers."""
    return max(4 * LANES, 2 * width)


def _pooling(width: int, dtype) -> jax.Array:
    """`[n, n / 4]`: the mean of each 2x2 pixels of `n = pooled_pixels(width)`, as a product; 1/4 is exact."""
    pixel = np.arange(pooled_pixels(width))
    to = pixel // (2 * width) * (width // 2) + pixel % width // 2
    return jnp.asarray(np.where(to[:, None] == np.arange(len(pixel) // 4), 0.25, 0), dtype)


def _transition(x, factor, shift, w, pooling, y, sums):
    @pl.when(at_first(0))
    def _():
        sums[...] = jnp.zeros_like(sums)

    a = jnp.maximum(x[...].astype(jnp.float32) * factor[...] + shift[...], 0).astype(x.dtype)
    mean = jnp.dot(a, pooling[...], preferred_element_type=jnp.float32).astype(x.dtype)
    made = jnp.dot(w[...], mean, preferred_element_type=jnp.float32).astype(y.dtype)
    y[...] = made
    wide = made.astype(jnp.float32)
    sums[...] += two_sums(wide, wide * wide)


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
    pixels, (made, channels), dtype, lanes = (
        buffer.shape[1],
        w.shape,
        buffer.dtype,
        pooled_pixels(width),
    )
    cut = lambda rows, lanes: pl.BlockSpec((rows, lanes), lambda i: (0, i))  # noqa: E731
    pooling = _pooling(width, dtype)
    read = (pixels * channels + w.size + pooling.size, dtype), (2 * channels, jnp.float32)
    written = (pixels // 4 * made, dtype), (2 * made, jnp.float32)
    return pl.pallas_call(
        _transition,
        grid=(pixels // lanes,),
        in_specs=[cut(channels, lanes), whole(channels, 1), whole(channels, 1), whole(*w.shape)]
        + [whole(*pooling.shape)],
        out_specs=[cut(made, lanes // 4), whole(made, 2)],
        out_shape=[
            jax.ShapeDtypeStruct((total, pixels // 4), dtype),
            jax.ShapeDtypeStruct((made, 2), jnp.float32),
        ],
        cost_estimate=cost(pixels * channels * (lanes // 2 + made // 2), *read, *written),
        interpret=interpret,
        name="dense_transition",
    )(buffer, column(factor), column(shift), w, pooling)


def _transition_backward(x, gy, y, q, r, factor, shift, w, pooling, gx, gw, sums):
    @pl.when(at_first(0))
    def _():
        sums[...] = jnp.zeros_like(sums)
        gw[...] = jnp.zeros_like(gw)

    whole = gy[...].astype(jnp.float32) + q[...] * y[...].astype(jnp.float32) + r[...]
    whole = whole.astype(x.dtype)
    wide = x[...].astype(jnp.float32)
    out = wide * factor[...] + shift[...]
    a = jnp.maximum(out, 0).astype(x.dtype)
    mean = jnp.dot(a, pooling[...], preferred_element_type=jnp.float32).astype(x.dtype)
    gw[...] += lax.dot_general(
        whole, mean, (((1,), (1,)), ((), ())), preferred_element_type=jnp.float32
    )
    gmean = lax.dot_general(
        w[...], whole, (((0,), (0,)), ((), ())), preferred_element_type=jnp.float32
    )
    ga = lax.dot_general(
        gmean.astype(x.dtype),
        pooling[...],
        (((1,), (1,)), ((), ())),
        preferred_element_type=jnp.float32,
    )
    ga = jnp.where(out > 0, ga, 0)
    sums[...] += two_sums(ga, ga * wide)
    gx[...] = (ga * factor[...]).astype(gx.dtype)


def transition_backward(
    buffer, gbuffer, next_buffer, q, r, factor, shift, w, width: int, *, interpret=False
):
    """Gradients of `transition`, given that of y: `gbuffer + q * next_buffer + r` in their first rows.

    Args:
      buffer, factor, shift, w, width: as in `transition`.
      gbuffer, next_buffer: `[total, P / 4]`.
      q, r: float32 `[n]`.

    Returns:
      The gradient of x, `[C, P]`; of w, float32 `[n, C]`; and of shift and factor, float32 `[C, 2]`.
    """
    pixels, (made, channels), dtype, lanes = (
        buffer.shape[1],
        w.shape,
        buffer.dtype,
        pooled_pixels(width),
    )
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
        in_specs=[
            cut(channels, lanes),
            cut(made, lanes // 4),
            cut(made, lanes // 4),
            whole(made, 1),
            whole(made, 1),
        ]
        + [whole(channels, 1), whole(channels, 1), whole(*w.shape), whole(*pooling.shape)],
        out_specs=[cut(channels, lanes), whole(*w.shape), whole(channels, 2)],
        out_shape=[
            jax.ShapeDtypeStruct(buffer.shape, dtype),
            jax.ShapeDtypeStruct(w.shape, jnp.float32),
            jax.ShapeDtypeStruct((channels, 2), jnp.float32),
        ],
        cost_estimate=cost(pixels * channels * (lanes + made), *read, *written),
        interpret=interpret,
        name="dense_transition_backward",
    )(buffer, gbuffer, next_buffer, column(q), column(r), column(factor), column(shift), w, pooling)
