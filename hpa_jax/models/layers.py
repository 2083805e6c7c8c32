"""The two linear layers of every net, channels last: a matrix product over the channels and a
convolution.

Design: where the arithmetic is bfloat16, the gradient of a kernel is still summed in float32, both
within a device and over devices. Differentiated as it stands, `x @ kernel.astype(bfloat16)` gives
the kernel a bfloat16 gradient, which XLA sums over the devices as it is and widens only afterwards.
So the backward pass is written out: its products take bfloat16 factors, as the forward ones do, and
return float32 sums (`preferred_element_type`), which costs a matrix unit nothing. On a GPU the
sums of convolutions are float32 over devices alone (`_narrow_sums`). In float32 there is nothing to
gain, and JAX differentiates; only that both products of a backward pass read one gradient
(`_gradient_computed_once`).

Names, shapes and initializers of the parameters are those of flax.linen's Dense and Conv.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec

LAYOUT = ("NHWC", "HWIO", "NHWC")
# The gradient of a kernel is a convolution of images that sums over the batch as the forward
# convolution sums over the channels.
KERNEL_GRADIENT_LAYOUT = ("CHWN", "IHWO", "HWNC")

Padding = tuple[tuple[int, int], tuple[int, int]]
"""Zeros (before, after) the height and the width."""


class Dense(nn.Module):
    """`x @ kernel + bias` over the last axis: on images, a 1x1 convolution.

    Attributes:
      features: channels of the result.
      use_bias: whether there is a bias.
      dtype: of the arithmetic and the result; parameters and their gradients are float32.
    """

    features: int
    use_bias: bool = True
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """`[..., C]` to `dtype [..., features]`."""
        shape = (x.shape[-1], self.features)
        kernel = parameter(self, "kernel", nn.initializers.lecun_normal(), shape)
        y = matmul(lax.convert_element_type(x, self.dtype), kernel)
        return _with_bias(self, y)


class Conv(nn.Module):
    """A convolution over height and width.

    Attributes:
      features: channels of the result.
      kernel_size: height and width, px.
      strides: px, the same in both directions.
      padding: rows and columns of zeros at each edge: one number, or (before, after) of the height
        and of the width.
      use_bias: whether there is a bias.
      dtype: of the arithmetic and the result; parameters and their gradients are float32.
    """

    features: int
    kernel_size: tuple[int, int]
    strides: int = 1
    padding: int | Padding = 0
    use_bias: bool = True
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """`[B, H, W, C]` to `dtype [B, h, w, features]`."""
        shape = (*self.kernel_size, x.shape[-1], self.features)
        kernel = parameter(self, "kernel", nn.initializers.lecun_normal(), shape)
        y = convolution(x.astype(self.dtype), kernel, self.strides, _as_pairs(self.padding))
        return _with_bias(self, y)


def _as_pairs(padding: int | Padding) -> Padding:
    if isinstance(padding, int):
        return ((padding, padding), (padding, padding))
    return tuple(map(tuple, padding))


def _with_bias(layer: Dense | Conv, y: jax.Array) -> jax.Array:
    if not layer.use_bias:
        return y
    bias = parameter(layer, "bias", nn.initializers.zeros, (layer.features,))
    return add_bias(y, bias)


def parameter(
    module: nn.Module, name: str, initializer: Callable, shape: tuple[int, ...]
) -> jax.Array:
    """`module.param(...)` in float32, without tracing the initializer where a value exists.

    Flax traces it at every call to compare shapes, which takes 11 % of the time to trace a
    DenseNet. Here the shapes are compared directly.

    Raises:
      ValueError: the variables belong to a net with other shapes.
    """
    if not module.has_variable("params", name):
        return module.param(name, initializer, shape, jnp.float32)
    value = module.get_variable("params", name)
    if value.shape != shape:
        full_name = "/".join(module.scope.path)
        raise ValueError(f"{full_name}/{name} has the shape {value.shape}, and not {shape}")
    return value


@jax.custom_vjp
def _gradient_computed_once(y: jax.Array) -> jax.Array:
    """`y`, whose gradient is in memory before it is read.

    XLA's CPU backend would compute it twice, with the norm before it, and once of that transposed,
    number by number.
    """
    return y


def _gradient_computed_once_forward(y):
    return y, None


def _gradient_computed_once_backward(_, g):
    return (lax.optimization_barrier(g),)


_gradient_computed_once.defvjp(_gradient_computed_once_forward, _gradient_computed_once_backward)


def matmul(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`x @ kernel`, whose gradient of the kernel is summed in the kernel's dtype.

    Args:
      x: `[..., C]`.
      kernel: `[C, F]`, of the dtype of `x` or a wider one.

    Returns:
      `[..., F]` in the dtype of `x`.
    """
    if x.dtype == kernel.dtype:
        return _gradient_computed_once(_matmul(x, kernel))
    return _narrow_matmul(x, kernel)


def matmul_gradients(x: jax.Array, kernel: jax.Array, g: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Gradients of `matmul`.

    Args:
      x: `[..., C]`.
      kernel: `[C, F]`.
      g: gradient of the result, `[..., F]`.

    Returns:
      The gradient of `x` in the dtype of `g`, and that of `kernel` in the dtype of `kernel`.
    """
    pixels = tuple(range(x.ndim - 1))
    over_pixels = ((pixels, pixels), ((), ()))
    grad_kernel = lax.dot_general(x, g, over_pixels, preferred_element_type=kernel.dtype)
    over_features = (((g.ndim - 1,), (1,)), ((), ()))
    grad_x = lax.dot_general(g, kernel.astype(g.dtype), over_features)
    return grad_x, grad_kernel


def _matmul(x, kernel):
    over_channels = (((x.ndim - 1,), (0,)), ((), ()))
    return lax.dot_general(x, kernel, over_channels)


@jax.custom_vjp
def _narrow_matmul(x, kernel):
    return _matmul(x, kernel.astype(x.dtype))


def _narrow_matmul_forward(x, kernel):
    return _narrow_matmul(x, kernel), (x, kernel)


def _narrow_matmul_backward(residuals, g):
    return matmul_gradients(*residuals, g)


_narrow_matmul.defvjp(_narrow_matmul_forward, _narrow_matmul_backward)


def convolution(x: jax.Array, kernel: jax.Array, stride: int, padding: Padding) -> jax.Array:
    """A convolution whose gradient of the kernel is summed in the kernel's dtype.

    Args:
      x: `[B, H, W, C]`.
      kernel: `[height, width, C, F]`, of the dtype of `x` or a wider one.
      stride: px, the same in both directions.
      padding: zeros around the images.

    Returns:
      `[B, h, w, F]` in the dtype of `x`.
    """
    if x.dtype == kernel.dtype:
        return _gradient_computed_once(_convolve(x, kernel, stride, padding))
    return _narrow_convolution(x, kernel, stride, padding)


def convolution_gradients(
    x: jax.Array, kernel: jax.Array, g: jax.Array, stride: int, padding: Padding
) -> tuple[jax.Array, jax.Array]:
    """Gradients of `convolution`.

    Args:
      x: `[B, H, W, C]`.
      kernel: `[height, width, C, F]`.
      g: gradient of the result, `[B, h, w, F]`.
      stride: px, the same in both directions.
      padding: zeros around the images.

    Returns:
      The gradient of `x` in its dtype, and that of `kernel` in the dtype of `kernel`.
    """
    narrow = kernel.astype(x.dtype)
    (grad_x,) = jax.linear_transpose(lambda x: _convolve(x, narrow, stride, padding), x)(g)
    grad_padding = []
    for axis in (0, 1):
        size, out = x.shape[1 + axis], g.shape[1 + axis]
        before = padding[axis][0]
        # As many zeros after the image as leave one position for each tap of the kernel. Negative
        # where the stride skips the last row or column.
        after = kernel.shape[axis] + (out - 1) * stride - size - before
        grad_padding.append((before, after))
    convolve = partial(
        lax.conv_general_dilated,
        window_strides=(1, 1),
        padding=grad_padding,
        rhs_dilation=(stride, stride),
        dimension_numbers=KERNEL_GRADIENT_LAYOUT,
    )
    wide_sums = partial(convolve, preferred_element_type=kernel.dtype)
    if x.dtype == kernel.dtype:
        return grad_x, wide_sums(x, g)
    narrow_sums = _narrow_sums(convolve, kernel.dtype)
    return grad_x, lax.platform_dependent(x, g, cuda=narrow_sums or wide_sums, default=wide_sums)


def _narrow_sums(convolve: Callable, dtype: jnp.dtype) -> Callable | None:
    """The gradient of a kernel for a GPU: summed in the dtype of its factors within a device.

    cuDNN has no such convolution of narrow factors with a wide result: XLA widens the factors, and
    twice as many bytes are read for products at a fraction of the speed. cuDNN's own sums are
    wide; each device's are rounded once. Over devices they are summed in `dtype`, for which each
    has to convolve its own images.

    Args:
      convolve: images and the gradient of the result to that of the kernel.
      dtype: of the kernel.

    Returns:
      None where it is not known which images lie where, or an image is split over devices.
    """

    def of_device(x: jax.Array, g: jax.Array) -> jax.Array:
        return convolve(x, g).astype(dtype)

    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return None
    if mesh.size == 1 or mesh.manual_axes:
        # The arrays are this device's alone.
        return of_device
    if mesh.shape["data"] != mesh.size:
        return None

    def summed(x: jax.Array, g: jax.Array) -> jax.Array:
        return lax.psum(of_device(x, g), "data")

    images = PartitionSpec("data")
    return jax.shard_map(summed, in_specs=images, out_specs=PartitionSpec())


def _convolve(x, kernel, stride, padding):
    strides = (stride, stride)
    return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=LAYOUT)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _narrow_convolution(x, kernel, stride, padding):
    return _convolve(x, kernel.astype(x.dtype), stride, padding)


def _narrow_convolution_forward(x, kernel, stride, padding):
    return _narrow_convolution(x, kernel, stride, padding), (x, kernel)


def _narrow_convolution_backward(stride, padding, residuals, g):
    return convolution_gradients(*residuals, g, stride, padding)


_narrow_convolution.defvjp(_narrow_convolution_forward, _narrow_convolution_backward)


def add_bias(y: jax.Array, bias: jax.Array) -> jax.Array:
    """`y [..., F] + bias [F]`, whose gradient of the bias is summed in float32."""
    if y.dtype == bias.dtype:
        return y + bias
    return _add_narrow_bias(y, bias)


@jax.custom_vjp
def _add_narrow_bias(y, bias):
    return y + bias.astype(y.dtype)


def _add_narrow_bias_forward(y, bias):
    return _add_narrow_bias(y, bias), None


def _add_narrow_bias_backward(_, g):
    all_but_channels = tuple(range(g.ndim - 1))
    return g, jnp.sum(g, axis=all_but_channels, dtype=jnp.float32)


_add_narrow_bias.defvjp(_add_narrow_bias_forward, _add_narrow_bias_backward)
