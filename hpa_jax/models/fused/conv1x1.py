"""The 1x1 convolution of a dense layer, and its gradients."""

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl

from hpa_jax.models.fused.blocks import at_first, block_lanes, column, cost, two_sums, whole


def _product(x, factor, shift, w, h, sums):
    @pl.when(at_first(0))
    def _():
        sums[...] = jnp.zeros_like(sums)

    a = jnp.maximum(x[...].astype(jnp.float32) * factor[...] + shift[...], 0).astype(x.dtype)
    made = jnp.dot(w[...], a, preferred_element_type=jnp.float32).astype(h.dtype)
    h[...] = made
    wide = made.astype(jnp.float32)
    sums[...] += two_sums(wide, wide * wide)


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
    lanes = block_lanes(pixels, channels)
    cut = lambda rows: pl.BlockSpec((rows, lanes), lambda i: (0, i))  # noqa: E731
    read = (pixels * channels, dtype), (w.size, dtype), (2 * channels, jnp.float32)
    written = (pixels * made, dtype), (2 * made, jnp.float32)
    return pl.pallas_call(
        _product,
        grid=(pixels // lanes,),
        in_specs=[cut(channels), whole(channels, 1), whole(channels, 1), whole(made, channels)],
        out_specs=[cut(made), whole(made, 2)],
        out_shape=[
            jax.ShapeDtypeStruct((made, pixels), dtype),
            jax.ShapeDtypeStruct((made, 2), jnp.float32),
        ],
        cost_estimate=cost(2 * pixels * channels * made, *read, *written),
        interpret=interpret,
        name="dense_product",
    )(buffer, column(factor), column(shift), w)


def _product_backward(x, gx, gz, h, factor, shift, w, coefficients, gx_out, gw, sums):
    @pl.when(at_first(0))
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
    sums[...] += two_sums(ga, ga * wide)
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
    lanes = block_lanes(pixels, channels)
    cut = lambda rows: pl.BlockSpec((rows, lanes), lambda i: (0, i))  # noqa: E731
    read = (
        (pixels * 2 * (channels + made), dtype),
        (w.size, dtype),
        (2 * channels + 3 * made, jnp.float32),
    )
    written = (pixels * channels, dtype), (w.size + 2 * channels, jnp.float32)
    return pl.pallas_call(
        _product_backward,
        grid=(pixels // lanes,),
        in_specs=[cut(channels), cut(channels), cut(made), cut(made)]
        + [whole(channels, 1), whole(channels, 1), whole(made, channels), whole(made, 3)],
        out_specs=[cut(channels), whole(made, channels), whole(channels, 2)],
        out_shape=[
            jax.ShapeDtypeStruct(gbuffer.shape, dtype),
            jax.ShapeDtypeStruct((made, channels), jnp.float32),
            jax.ShapeDtypeStruct((channels, 2), jnp.float32),
        ],
        input_output_aliases={1: 0},
        cost_estimate=cost(4 * pixels * channels * made, *read, *written),
        interpret=interpret,
        name="dense_product_backward",
    )(buffer, gbuffer, gz, h, column(factor), column(shift), w, coefficients)
