"""The convolutions of fused blocks as XLA arrays, channels last: on CPUs, and wherever the Pallas
kernels do not fit."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec as P

from hpa_jax.models.fused.backend import ConvGradients, PartOfConv1x1
from hpa_jax.models.fused.moments import Affine
from hpa_jax.models.layers import convolution, convolution_gradients, matmul, matmul_gradients

PADDING_3X3 = ((1, 1), (1, 1))


@dataclass(frozen=True)
class XlaBackend:
    """A `Backend` (backend.py) without state; a buffer is `[B, H, W, C]`."""

    @property
    def sharding(self):
        return P("data")

    def supports_transition(self, channels):
        return True

    def to_buffer(self, x, channels):
        missing = channels - x.shape[-1]
        if missing == 0:
            return x
        return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, missing)))

    def to_images(self, buffer):
        return buffer

    def num_channels(self, buffer):
        return buffer.shape[-1]

    def read_again(self, buffer: jax.Array) -> jax.Array:
        """The same, for a second pass over a buffer."""
        return buffer

    def conv1x1(self, buffer, norm, kernel):
        x = buffer[..., : kernel.shape[0]]
        h = matmul(_norm_relu(x, norm), kernel)
        return h, _sums_of_powers(h)

    def conv3x3(self, h, layer, buffer, channels):
        y = convolution(_norm_relu(h, layer.norm2), layer.conv2, 1, PADDING_3X3)
        buffer = lax.dynamic_update_slice_in_dim(buffer, y, channels, axis=3)
        return buffer, _sums_of_powers(y)

    def conv3x3_backward(self, grad_buffer, buffer, from_moments, h, layer, channels):
        """With the gradient of `norm2(h)` as the input's."""
        kernel = layer.conv2
        stop = channels + kernel.shape[3]
        grad_y = lax.slice_in_dim(grad_buffer, channels, stop, axis=3).astype(jnp.float32)
        y = lax.slice_in_dim(buffer, channels, stop, axis=3).astype(jnp.float32)
        grad_y = grad_y + from_moments.slope * y + from_moments.offset
        grad_y = grad_y.astype(h.dtype)

        wide_h = h.astype(jnp.float32)
        normalized = wide_h * layer.norm2.factor + layer.norm2.shift
        a = jnp.maximum(normalized, 0).astype(h.dtype)
        grad_a, grad_kernel = convolution_gradients(a, kernel, grad_y, 1, PADDING_3X3)
        grad_z = jnp.where(normalized > 0, grad_a, 0)
        wide_grad_z = grad_z.astype(jnp.float32)
        sums = _two_sums(wide_grad_z, wide_grad_z * wide_h)
        return ConvGradients(grad_z, grad_kernel, sums)

    def layers_at_once(self, channels, growth, features, layers):
        """XLA has no use for it: what one layer adds is in memory before the next one's."""
        return 1

    def conv1x1_backward(self, buffer, grad_buffer, layers, channels):
        x = buffer[..., channels].astype(jnp.float32)
        grad_x = grad_buffer[..., channels].astype(jnp.float32)
        parts = []
        for layer, grad_z, h, coefficients in layers:
            p, q, r = coefficients.T
            grad_h = grad_z.astype(jnp.float32) * p + h.astype(jnp.float32) * q + r
            grad_h = grad_h.astype(h.dtype)

            factor = layer.norm1.factor[channels]
            normalized = x * factor + layer.norm1.shift[channels]
            a = jnp.maximum(normalized, 0).astype(h.dtype)
            grad_a, grad_kernel = matmul_gradients(a, layer.conv1[channels], grad_h)
            grad_normalized = jnp.where(normalized > 0, grad_a.astype(jnp.float32), 0)
            grad_x = grad_x + grad_normalized * factor
            sums = _two_sums(grad_normalized, grad_normalized * x)
            parts.append(PartOfConv1x1(grad_kernel, sums))

        grad_x = grad_x.astype(grad_buffer.dtype)
        grad_buffer = lax.dynamic_update_slice_in_dim(grad_buffer, grad_x, channels.start, axis=3)
        # Else XLA for GPUs adds up anew what all layers have added, wherever the buffer is read.
        return lax.optimization_barrier(grad_buffer), parts

    def transition(self, buffer, norm, kernel, channels):
        y = matmul(_mean_2x2(_norm_relu(buffer, norm)), kernel)
        return self.to_buffer(y, channels), _sums_of_powers(y)

    def transition_backward(
        self, buffer, grad_next_buffer, next_buffer, from_moments, norm, kernel
    ):
        features = kernel.shape[1]
        grad_y = grad_next_buffer[..., :features].astype(jnp.float32)
        grad_y = grad_y + from_moments.slope * next_buffer[..., :features] + from_moments.offset
        grad_y = grad_y.astype(buffer.dtype)

        mean, mean_vjp = jax.vjp(_mean_2x2, _norm_relu(buffer, norm))
        grad_mean, grad_kernel = matmul_gradients(mean, kernel, grad_y)
        (grad_a,) = mean_vjp(grad_mean)
        x = self.read_again(buffer).astype(jnp.float32)
        normalized = x * norm.factor + norm.shift
        grad_normalized = jnp.where(normalized > 0, grad_a.astype(jnp.float32), 0)
        grad_x = (grad_normalized * norm.factor).astype(buffer.dtype)
        sums = _two_sums(grad_normalized, grad_normalized * x)
        return ConvGradients(grad_x, grad_kernel, sums)


def _norm_relu(x: jax.Array, norm: Affine) -> jax.Array:
    normalized = x.astype(jnp.float32) * norm.factor + norm.shift
    return jnp.maximum(normalized, 0).astype(x.dtype)


def _mean_2x2(x: jax.Array) -> jax.Array:
    """`[B, H, W, C]` to `[B, H // 2, W // 2, C]`; an odd last row or column is left out."""
    batch, height, width, channels = x.shape
    rows = height // 2
    columns = width // 2
    x = x[:, : 2 * rows, : 2 * columns]
    x = x.reshape(batch, rows, 2, columns, 2, channels)
    return jnp.mean(x.astype(jnp.float32), axis=(2, 4)).astype(x.dtype)


def _sums_of_powers(x: jax.Array) -> jax.Array:
    """Sums of each channel of `[B, H, W, C]` and of its square: `float32 [C, 2]`."""
    x = x.astype(jnp.float32)
    return _two_sums(x, jnp.square(x))


def _two_sums(a: jax.Array, b: jax.Array) -> jax.Array:
    """Sums of each channel of two `[B, H, W, C]`: `float32 [C, 2]`."""
    over_pixels = (0, 1, 2)
    return jnp.stack([jnp.sum(a, over_pixels), jnp.sum(b, over_pixels)], axis=1)
