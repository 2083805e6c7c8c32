"""Pallas kernels of a dense layer's 1x1 convolution, with the norm and ReLU before it.

Its result h, the layer's bottleneck, is kept for the layer's other kernels, or made again in each
of them of the layer's input x, which they read in its place.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl

from hpa_jax.models.fused.backend import LayerBackward, PartOfConv1x1
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
    slab_rows,
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


class _LayerRefs(NamedTuple):
    """What the backward kernel reads of one layer. `norm1` and `w1` are of the channels that it
    reads of the input."""

    grad_y_before: Any
    grad_y: Any
    grad_y_behind: Any
    factor1: Any
    shift1: Any
    w1: Any
    factor2: Any
    shift2: Any
    w2: Any
    coefficients: Any
    h: Any = None


def _backward_kernel(slabs: Slabs, own: slice, is_kept: tuple[bool, ...], *refs):
    x_ref, grad_x_ref, *refs = refs
    inputs = []
    for has_h in is_kept:
        count = len(_LayerRefs._fields) - (not has_h)
        inputs.append(_LayerRefs(*refs[:count]))
        refs = refs[count:]
    grad_x_out_ref, *results = refs
    zero_at_first_step(*results, axes=(0, 1))

    grad_x = grad_x_ref[...].astype(jnp.float32)
    for layer, grad_w_ref, sums_ref in zip(inputs, results[::2], results[1::2], strict=True):
        grad_x += _add_layer(slabs, own, x_ref, layer, grad_w_ref, sums_ref)
    grad_x_out_ref[...] = grad_x.astype(grad_x_out_ref.dtype)


def _add_layer(slabs: Slabs, own: slice, x_ref, layer: _LayerRefs, grad_w_ref, sums_ref):
    """Adds to the sums of one layer; what it adds to the gradient of x, float32 `[rows, slab]`."""
    dtype = x_ref.dtype
    over_pixels = (((1,), (1,)), ((), ()))
    over_features = (((0,), (0,)), ((), ()))
    if layer.h is None:
        # Of all channels that the layer reads.
        x = x_ref[: layer.w1.shape[0]]
        of_norm1 = normalized(x, layer.factor1, layer.shift1)
        a = jnp.maximum(of_norm1, 0).astype(dtype)
        h = lax.dot_general(layer.w1[...], a, over_features, preferred_element_type=jnp.float32)
        h = h.astype(dtype)
        x, of_norm1, a = x[own], of_norm1[own], a[own]
        w1, factor1 = layer.w1[own], layer.factor1[own]
    else:
        x = x_ref[own]
        of_norm1 = normalized(x, layer.factor1, layer.shift1)
        a = jnp.maximum(of_norm1, 0).astype(dtype)
        h = layer.h[...]
        w1, factor1 = layer.w1[...], layer.factor1[...]

    grad_y_parts = (layer.grad_y_before, layer.grad_y, layer.grad_y_behind)
    all_taps = taps_of_gradient(slabs, grad_y_parts, dtype)
    grad_z = gradient_before_conv3x3(all_taps, h, layer.factor2, layer.shift2, layer.w2)
    p, q, r = (layer.coefficients[:, k : k + 1] for k in range(3))
    grad_h = grad_z.astype(jnp.float32) * p + h.astype(jnp.float32) * q + r
    grad_h = grad_h.astype(dtype)

    grad_w_ref[...] += lax.dot_general(a, grad_h, over_pixels, preferred_element_type=jnp.float32)
    grad_a = jnp.dot(w1, grad_h, preferred_element_type=jnp.float32)
    grad_normalized = jnp.where(of_norm1 > 0, grad_a, 0)
    sums_ref[...] += two_sums(grad_normalized, grad_normalized * x.astype(jnp.float32))
    return grad_normalized * factor1


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
    layers: Sequence[LayerBackward],
    channels: slice,
    slabs: Slabs,
    *,
    interpret: bool = False,
) -> tuple[jax.Array, list[PartOfConv1x1]]:
    """Gradients of `conv1x1` of several layers for some channels, in one pass over them.

    grad_z is made again of the gradient of y: that has a quarter of the channels.

    Args:
      buffer: as in `conv1x1`.
      grad_buffer: `[C, P]`, to whose `channels` the gradients of x are added, in place.
      layers: with kernels `[c, n]` and `[9 g, n]` in the dtype of the buffer, the gradient of y
        `[g, P]`, and h `[n, P]` or None where it is not kept.
      channels: that all of the layers read; multiples of SUBLANES.
      slabs: of the pixels.
      interpret: as in `conv1x1`.

    Returns:
      `grad_buffer`; and of each layer the gradients for these channels.
    """
    pixels = buffer.shape[1]
    dtype = buffer.dtype
    # To make h again takes all that the layer reads.
    remade = [layer.channels for layer in layers if layer.h is None]
    read = slice(0, max([channels.stop, *remade])) if remade else channels
    own = slice(channels.start - read.start, channels.stop - read.start)
    rows = channels.stop - channels.start
    # Several layers keep more beside a block; a v4 has 16 MiB for all.
    share = 2 if len(layers) > 1 else 1
    slabs = slabs.smaller(pixels_per_block(pixels, share * (read.stop - read.start)))

    operands = [buffer, grad_buffer]
    grad_x_block = slab_rows(slabs, channels)
    blocks = [slab_rows(slabs, read), grad_x_block]
    result_blocks = [grad_x_block]
    result_shapes = [jax.ShapeDtypeStruct(grad_buffer.shape, dtype)]
    values_moved = pixels * (read.stop - read.start + 2 * rows)
    float32_values = 0
    products = 0
    for layer, grad_y, h, coefficients in layers:
        growth = grad_y.shape[0]
        features = coefficients.shape[0]
        of_norm1 = channels if h is not None else slice(0, layer.conv1.shape[0])
        constants = [
            as_column(layer.norm1.factor[of_norm1]),
            as_column(layer.norm1.shift[of_norm1]),
            layer.conv1[of_norm1],
            as_column(layer.norm2.factor),
            as_column(layer.norm2.shift),
            layer.conv2,
            coefficients,
        ]
        kept = [h] if h is not None else []
        operands += [*[grad_y] * 3, *constants, *kept]
        blocks += [
            *slab_blocks_with_edges(slabs, growth),
            *[constant_block(*constant.shape) for constant in constants],
            *[slab_block(slabs, features)] * len(kept),
        ]
        results = [(rows, features), (rows, 2)]
        result_blocks += [constant_block(*shape) for shape in results]
        result_shapes += [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in results]
        values_moved += (
            (pixels + slabs.edge_pixels) * growth
            + pixels * features * len(kept)
            + layer.conv1[of_norm1].size
            + layer.conv2.size
        )
        float32_values += 2 * layer.norm1.factor[of_norm1].size + 5 * features
        float32_values += rows * (features + 2)
        products += 2 * layer.conv2.size + 4 * rows * features
        if h is None:
            products += 2 * layer.conv1.size

    grad_buffer, *results = pl.pallas_call(
        partial(_backward_kernel, slabs, own, tuple(layer.h is not None for layer in layers)),
        grid=slabs.grid,
        in_specs=blocks,
        out_specs=result_blocks,
        out_shape=result_shapes,
        # The gradient of the buffer is updated in place; its other rows are not touched.
        input_output_aliases={1: 0},
        compiler_params=compiler_params(interpret),
        cost_estimate=cost_estimate(
            pixels * products,
            values=values_moved,
            dtype=dtype,
            float32_values=float32_values,
        ),
        interpret=interpret,
        name="dense_conv1x1_backward",
    )(*operands)
    parts = zip(results[::2], results[1::2], strict=True)
    return grad_buffer, [PartOfConv1x1(kernel, sums) for kernel, sums in parts]
