"""The two linear layers of every net: a matrix product over the channels, and a convolution, channels last.

Unusual: where the arithmetic is bfloat16, the gradient of a kernel is still summed in float32, within a chip and over
chips. Differentiated as it stands, `x @ kernel.astype(bfloat16)` gives the kernel a bfloat16 gradient, which XLA sums
over the devices as it is and widens only then. So the backward pass is written out: its products take bfloat16 factors,
as the forward ones do, and give float32 sums (`preferred_element_type`), which costs a matrix unit nothing. In float32
there is nothing to be gained, and JAX differentiates.

Names, shapes and starting values of parameters are those of flax.linen's Dense and Conv.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

LAYOUT = ("NHWC", "HWIO", "NHWC")
# The gradient of a kernel is a convolution of images over which the batch is summed as channels are in the forward one.
KERNEL_GRADIENT_LAYOUT = ("CHWN", "IHWO", "HWNC")

Pairs = tuple[tuple[int, int], tuple[int, int]]


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
        kernel = parameter(
            self, "kernel", nn.initializers.lecun_normal(), (x.shape[-1], self.features)
        )
        y = product(lax.convert_element_type(x, self.dtype), kernel)
        return _with_bias(self, y) if self.use_bias else y


class Conv(nn.Module):
    """A convolution over height and width.

    Attributes:
      features: channels of the result.
      kernel_size: height and width, px.
      strides: px, the same both ways.
      padding: rows and columns of zeros at each edge: one number, or (before, after) of height and of width.
      use_bias, dtype: as in `Dense`.
    """

    features: int
    kernel_size: tuple[int, int]
    strides: int = 1
    padding: int | Pairs = 0
    use_bias: bool = True
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """`[B, H, W, C]` to `dtype [B, h, w, features]`."""
        shape = (*self.kernel_size, x.shape[-1], self.features)
        kernel = parameter(self, "kernel", nn.initializers.lecun_normal(), shape)
        padding = self.padding
        pairs = (
            ((padding, padding),) * 2 if isinstance(padding, int) else tuple(map(tuple, padding))
        )
        y = convolution(x.astype(self.dtype), kernel, self.strides, pairs)
        return _with_bias(self, y) if self.use_bias else y


def _with_bias(layer: nn.Module, y: jax.Array) -> jax.Array:
    return add_bias(y, parameter(layer, "bias", nn.initializers.zeros, (layer.features,)))


def parameter(
    module: nn.Module, name: str, initializer: Callable, shape: tuple[int, ...]
) -> jax.Array:
    """`module.param(...)`, float32; of a net whose variables there are, without tracing the initialiser for its shape.

    Raises:
      ValueError: the variables are of a net with other shapes.
    """
    if not module.has_variable("params", name):
        return module.param(name, initializer, shape, jnp.float32)
    value = module.get_variable("params", name)
    if value.shape != shape:
        raise ValueError(
            f"{'/'.join(module.scope.path)}/{name} has the shape {value.shape}, and not {shape}"
        )
    return value


def product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`x [..., C] @ kernel [C, F]` in the dtype of `x`; the gradient of `kernel` is in the dtype of `kernel`."""
    return _product(x, kernel) if x.dtype == kernel.dtype else _narrow_product(x, kernel)


def convolution(x: jax.Array, kernel: jax.Array, stride: int, padding: Pairs) -> jax.Array:
    """`x [B, H, W, C]` with `kernel [height, width, C, F]`, likewise."""
    convolve = _convolve if x.dtype == kernel.dtype else _narrow_convolution
    return convolve(x, kernel, stride, padding)


def add_bias(y: jax.Array, bias: jax.Array) -> jax.Array:
    """`y [..., F] + bias [F]`, likewise."""
    return y + bias if y.dtype == bias.dtype else _narrow_bias(y, bias)


def _product(x, kernel):
    return lax.dot_general(x, kernel, (((x.ndim - 1,), (0,)), ((), ())))


@jax.custom_vjp
def _narrow_product(x, kernel):
    return _product(x, kernel.astype(x.dtype))


def _product_forward(x, kernel):
    return _narrow_product(x, kernel), (x, kernel)


def product_gradients(x: jax.Array, kernel: jax.Array, g: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Of `product`, given that of its result: of x in the dtype of `g`, of `kernel` summed in its own."""
    pixels = tuple(range(x.ndim - 1))
    to_kernel = lax.dot_general(
        x, g, ((pixels, pixels), ((), ())), preferred_element_type=kernel.dtype
    )
    return lax.dot_general(g, kernel.astype(g.dtype), (((g.ndim - 1,), (1,)), ((), ()))), to_kernel


_narrow_product.defvjp(_product_forward, lambda kept, g: product_gradients(*kept, g))


def _convolve(x, kernel, stride, padding):
    return lax.conv_general_dilated(x, kernel, (stride, stride), padding, dimension_numbers=LAYOUT)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _narrow_convolution(x, kernel, stride, padding):
    return _convolve(x, kernel.astype(x.dtype), stride, padding)


def _convolution_forward(x, kernel, stride, padding):
    return _narrow_convolution(x, kernel, stride, padding), (x, kernel)


def convolution_gradients(
    x: jax.Array, kernel: jax.Array, g: jax.Array, stride: int, padding: Pairs
) -> tuple[jax.Array, jax.Array]:
    """Of `convolution`, likewise."""
    narrow = kernel.astype(x.dtype)
    (to_x,) = jax.linear_transpose(lambda x: _convolve(x, narrow, stride, padding), x)(g)
    # As many zeros behind as leave one place for each of the kernel's; fewer than none where a stride skips the last.
    sides = zip(x.shape[1:3], g.shape[1:3], kernel.shape[:2], padding, strict=True)
    around = [
        (low, side + (out - 1) * stride - whole - low) for whole, out, side, (low, _) in sides
    ]
    to_kernel = lax.conv_general_dilated(
        x,
        g,
        (1, 1),
        around,
        rhs_dilation=(stride, stride),
        dimension_numbers=KERNEL_GRADIENT_LAYOUT,
        preferred_element_type=kernel.dtype,
    )
    return to_x, to_kernel


_narrow_convolution.defvjp(
    _convolution_forward,
    lambda stride, padding, kept, g: convolution_gradients(*kept, g, stride, padding),
)


@jax.custom_vjp
def _narrow_bias(y, bias):
    return y + bias.astype(y.dtype)


_narrow_bias.defvjp(
    lambda y, bias: (_narrow_bias(y, bias), None),
    lambda _, g: (g, jnp.sum(g, axis=tuple(range(g.ndim - 1)), dtype=jnp.float32)),
)
