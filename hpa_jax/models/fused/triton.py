"""The convolutions of fused blocks as Pallas kernels for NVIDIA GPUs.

    conv1x1       h = relu(norm1(x)) @ w, with the sums that norm2 needs
    conv3x3       y = conv3x3(relu(norm2(h))), written behind x into the buffer, with its sums

A buffer is XLA's, `[B, H, W, C]`, and so is the rest: transitions, and what is around the blocks.

Design:
- XLA normalizes and rectifies into an array that its product reads again, and sums up what the
  product wrote in another pass; so do its gradients. Each kernel here makes one pass;
- Pallas has two ways to a GPU. These kernels take the one through Triton, which runs on every GPU
  since the A100 (compute capability 8.0), whose tensor cores were the first with bfloat16;
- nothing is added up by atomic operations, whose order is another one each time: every program
  writes its own sums;
- a kernel declares (`CostEstimate`) what its programs read and write at least: every value once for
  each program that needs it, weights once in all, since they stay in the GPU's cache.
"""

from dataclasses import dataclass

from jax import lax

from hpa_jax.models.fused import triton_conv1x1, triton_conv3x3
from hpa_jax.models.fused.backend import ConvGradients
from hpa_jax.models.fused.triton_blocks import (
    LARGE_TILES,
    MIN_BLOCK_PIXELS,
    SMALL_TILES,
    Tiles,
)
from hpa_jax.models.fused.xla import XlaBackend

LEAST_CAPABILITY = 8
"""Compute capability of a GPU, the number before the point."""
LARGE_CAPABILITIES = (9, 10)
"""Those with LARGE_TILES. 12 is later, but its tensor cores are those of 8."""
GROWTHS = (16, 32)
"""Channels that a layer may add: a power of two, as all sizes of Triton are, that a tensor core
takes, and with four times as many in registers."""


@dataclass(frozen=True)
class TritonBackend(XlaBackend):
    """A `Backend` (backend.py) for the images of one device; a buffer is `[B, H, W, C]`.

    Attributes:
      growth: channels that a layer adds.
      tiles: of the kernels.
      interpret: run the kernels as JAX operations, on any device; for tests.
    """

    growth: int
    tiles: Tiles
    interpret: bool = False

    @classmethod
    def create(
        cls,
        images: int,
        height: int,
        width: int,
        channels: int,
        *,
        growth: int,
        capability: int,
        interpret: bool = False,
    ) -> "TritonBackend | None":
        """For the block whose input has this size, on a GPU of this compute capability.

        None where one of both does not fit.
        """
        if capability < LEAST_CAPABILITY:
            return None
        if growth not in GROWTHS or channels % growth:
            return None
        if images * height * width % MIN_BLOCK_PIXELS:
            return None
        tiles = LARGE_TILES if capability in LARGE_CAPABILITIES else SMALL_TILES
        return cls(growth, tiles, interpret)

    def read_again(self, buffer):
        # Else the first pass writes for the second one, a byte a value, what was above 0.
        return lax.optimization_barrier(buffer)

    def conv1x1(self, buffer, norm, kernel):
        w = kernel.astype(buffer.dtype)
        return triton_conv1x1.conv1x1(buffer, norm, w, growth=self.growth, interpret=self.interpret)

    def conv3x3(self, h, layer, buffer, channels):
        return triton_conv3x3.conv3x3(h, layer, buffer, channels, interpret=self.interpret)

    def conv3x3_backward(self, grad_buffer, buffer, from_moments, h, layer, channels):
        """With the gradient of `norm2(h)` as the input's, as XLA's."""
        found = triton_conv3x3.conv3x3_backward(
            grad_buffer,
            buffer,
            from_moments,
            h,
            layer,
            channels,
            self.tiles,
            interpret=self.interpret,
        )
        return ConvGradients(*found)

    def conv1x1_backward(self, buffer, grad_buffer, layers, channels):
        # `layers_at_once` is XLA's, 1: so it is one layer, and its complete input.
        (layer,) = layers
        grad_buffer, part = triton_conv1x1.conv1x1_backward(
            buffer, grad_buffer, layer, channels.stop, self.tiles, interpret=self.interpret
        )
        return grad_buffer, [part]
