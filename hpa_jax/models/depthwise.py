"""A depthwise convolution: each channel by itself, with a square kernel of its own.

Design: XLA's CPU backend takes 8 to 29 times as long for a convolution of as many groups as
channels as for the same sum over the taps of its kernel, written out, and up to 100 times for the
gradient of the kernel (benchmarks/depthwise.py). So a CPU gets the sums, and every other platform a
convolution. As in layers.py, the gradient of the kernel is summed in float32.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from hpa_jax.models.layers import KERNEL_GRADIENT_LAYOUT, LAYOUT, add_bias, parameter


class DepthwiseConv(nn.Module):
    """A convolution of each channel, padded with zeros so that the image keeps its size.

    Attributes:
      side: of the kernel, px; odd.
      dtype: of the arithmetic and the result; parameters and their gradients are float32.
    """

    side: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """`[B, H, W, C]` to `dtype [B, H, W, C]`."""
        channels = x.shape[-1]
        shape = (self.side, self.side, 1, channels)
        kernel = parameter(self, "kernel", nn.initializers.lecun_normal(), shape)
        bias = parameter(self, "bias", nn.initializers.zeros, (channels,))
        return add_bias(depthwise(x.astype(self.dtype), kernel), bias)


@jax.custom_vjp
def depthwise(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Each channel of `x` convolved with its own kernel.

    Args:
      x: `[B, H, W, C]`.
      kernel: `[side, side, 1, C]`, of the dtype of `x` or a wider one; its side is odd.

    Returns:
      `[B, H, W, C]` in the dtype of `x`.
    """
    return lax.platform_dependent(x, kernel, cpu=sum_of_taps, default=convolution)


def convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`depthwise` as a convolution of as many groups as channels."""
    return lax.conv_general_dilated(
        x,
        kernel.astype(x.dtype),
        window_strides=(1, 1),
        padding=_padding(kernel),
        dimension_numbers=LAYOUT,
        feature_group_count=x.shape[-1],
    )


def sum_of_taps(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`depthwise` as products of the kernel's taps and shifted images, summed in float32."""
    height, width = x.shape[1:3]
    padded = _padded(x, kernel)
    wide_kernel = kernel.astype(jnp.float32)
    total = jnp.zeros(x.shape, jnp.float32)
    for row in range(kernel.shape[0]):
        for column in range(kernel.shape[1]):
            shifted = padded[:, row : row + height, column : column + width]
            total += shifted.astype(jnp.float32) * wide_kernel[row, column, 0]
    return total.astype(x.dtype)


def convolution_kernel_gradient(x: jax.Array, g: jax.Array, kernel: jax.Array) -> jax.Array:
    """The gradient of the kernel as a convolution.

    Args:
      x: `[B, H, W, C]`.
      g: gradient of the result, `[B, H, W, C]`.
      kernel: for its shape and dtype.

    Returns:
      `[side, side, 1, C]` in the dtype of `kernel`.
    """
    return lax.conv_general_dilated(
        x,
        g,
        window_strides=(1, 1),
        padding=_padding(kernel),
        dimension_numbers=KERNEL_GRADIENT_LAYOUT,
        batch_group_count=x.shape[-1],
        preferred_element_type=kernel.dtype,
    )


def tap_kernel_gradient(x: jax.Array, g: jax.Array, kernel: jax.Array) -> jax.Array:
    """`convolution_kernel_gradient` as sums of products of shifted images.

    The columns are gone through in a loop, since all taps at once compile five times as long. The
    rows are not: images may be sharded by rows (parallel/mesh.py), and a slice that starts at a
    computed row would gather them.
    """
    height = x.shape[1]
    padded = _padded(x, kernel)
    wide_g = g.astype(jnp.float32)

    def column_of_taps(column: jax.Array) -> jax.Array:
        shifted = lax.dynamic_slice_in_dim(padded, column, x.shape[2], axis=2)
        taps = []
        for row in range(kernel.shape[0]):
            products = shifted[:, row : row + height].astype(jnp.float32) * wide_g
            taps.append(jnp.sum(products, axis=(0, 1, 2)))
        return jnp.stack(taps)

    by_column = lax.map(column_of_taps, jnp.arange(kernel.shape[1]))
    gradient = by_column.swapaxes(0, 1)[:, :, jnp.newaxis]
    return gradient.astype(kernel.dtype)


def _padding(kernel: jax.Array) -> tuple[tuple[int, int], tuple[int, int]]:
    reach = kernel.shape[0] // 2
    return ((reach, reach), (reach, reach))


def _padded(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return jnp.pad(x, ((0, 0), *_padding(kernel), (0, 0)))


def _forward(x, kernel):
    return depthwise(x, kernel), (x, kernel)


def _backward(residuals, g):
    x, kernel = residuals
    # A pixel reaches the pixels around it, through the taps that lie on the other side.
    turned = kernel[::-1, ::-1]
    grad_x = depthwise(g, turned)
    grad_kernel = lax.platform_dependent(
        x,
        g,
        cpu=partial(tap_kernel_gradient, kernel=kernel),
        default=partial(convolution_kernel_gradient, kernel=kernel),
    )
    return grad_x, grad_kernel


depthwise.defvjp(_forward, _backward)
