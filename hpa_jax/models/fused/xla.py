"""The products of a dense layer as arrays of XLA, channels last: fused_block.py on CPUs, GPUs and split images.

The same functions as in kernels/, with the same arguments.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import lax

from hpa_jax.models.layers import convolution, convolution_gradients, product, product_gradients

AROUND = ((1, 1), (1, 1))
"""Zeros around the images for a 3x3 convolution."""


def _sums(a: jax.Array, b: jax.Array) -> jax.Array:
    """Sums of each channel of `[B, H, W, c]`: float32 `[c, 2]`."""
    return jnp.stack([jnp.sum(a, (0, 1, 2)), jnp.sum(b, (0, 1, 2))], axis=1)


def _squares(x: jax.Array) -> jax.Array:
    wide = x.astype(jnp.float32)
    return _sums(wide, jnp.square(wide))


def _halved(x: jax.Array) -> jax.Array:
    """Means of 2x2 pixels, `[B, H, W, C]` to `[B, H / 2, W / 2, C]`; an odd row or column is left out."""
    fields, height, width, channels = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2].reshape(
        fields, height // 2, 2, width // 2, 2, channels
    )
    return jnp.mean(x.astype(jnp.float32), axis=(2, 4)).astype(x.dtype)


@dataclass(frozen=True)
class Arrays:
    """Stateless; see the module."""

    def halves(self):
        return True

    def begin(self, x, total):
        return (
            x if total == x.shape[-1] else jnp.pad(x, ((0, 0),) * 3 + ((0, total - x.shape[-1]),))
        )

    def end(self, buffer):
        return buffer

    def channels_of(self, buffer):
        return buffer.shape[-1]

    def product(self, buffer, factor, shift, kernel):
        x = buffer[..., : kernel.shape[0]]
        a = jnp.maximum(x.astype(jnp.float32) * factor + shift, 0).astype(x.dtype)
        h = product(a, kernel)
        return h, _squares(h)

    def window(self, h, factor, shift, kernel, buffer, channels):
        a = jnp.maximum(h.astype(jnp.float32) * factor + shift, 0).astype(h.dtype)
        y = convolution(a, kernel, 1, AROUND)
        return lax.dynamic_update_slice_in_dim(buffer, y, channels, axis=3), _squares(y)

    def window_backward(self, gbuffer, buffer, q, r, h, factor, shift, kernel, channels):
        last = channels + kernel.shape[3]
        gy, y = (
            lax.slice_in_dim(b, channels, last, axis=3).astype(jnp.float32)
            for b in (gbuffer, buffer)
        )
        gy = (gy + q * y + r).astype(h.dtype)
        wide = h.astype(jnp.float32)
        out = wide * factor + shift
        ga, gk = convolution_gradients(jnp.maximum(out, 0).astype(h.dtype), kernel, gy, 1, AROUND)
        gz = jnp.where(out > 0, ga, 0)
        made = gz.astype(jnp.float32)
        return gz, gk, _sums(made, made * wide)

    def product_backward(self, buffer, gbuffer, gz, h, factor, shift, kernel, coefficients):
        channels, (p, q, r) = kernel.shape[0], coefficients.T
        gh = (gz.astype(jnp.float32) * p + h.astype(jnp.float32) * q + r).astype(h.dtype)
        wide = buffer[..., :channels].astype(jnp.float32)
        out = wide * factor + shift
        a = jnp.maximum(out, 0).astype(h.dtype)
        ga, gk = product_gradients(a, kernel, gh)
        ga = jnp.where(out > 0, ga.astype(jnp.float32), 0)
        part = gbuffer[..., :channels].astype(jnp.float32) + ga * factor
        gbuffer = lax.dynamic_update_slice_in_dim(gbuffer, part.astype(gbuffer.dtype), 0, axis=3)
        return gbuffer, gk, _sums(ga, ga * wide)

    def transition(self, buffer, factor, shift, kernel, total):
        a = jnp.maximum(buffer.astype(jnp.float32) * factor + shift, 0).astype(buffer.dtype)
        y = product(_halved(a), kernel)
        return self.begin(y, total), _squares(y)

    def transition_backward(self, buffer, gbuffer, next_buffer, q, r, factor, shift, kernel):
        made = kernel.shape[1]
        gy = (gbuffer[..., :made].astype(jnp.float32) + q * next_buffer[..., :made] + r).astype(
            buffer.dtype
        )
        wide = buffer.astype(jnp.float32)
        out = wide * factor + shift
        mean, widened = jax.vjp(_halved, jnp.maximum(out, 0).astype(buffer.dtype))
        gmean, gk = product_gradients(mean, kernel, gy)
        (ga,) = widened(gmean)
        ga = jnp.where(out > 0, ga.astype(jnp.float32), 0)
        return (ga * factor).astype(buffer.dtype), gk, _sums(ga, ga * wide)
