"""The convolutions of fused blocks as Pallas kernels for a TPU.

    conv1x1       h = w @ relu(norm1(x)), with the sums that norm2 needs
    conv3x3       y = conv3x3(relu(norm2(h))), written behind x into the buffer, with its sums
    transition    y = w @ mean2x2(relu(norm(x))), the start of the next buffer, with its sums

A buffer is `[C, B * H * W]`: the channels first, and all pixels of all images in one row. What a
layer reads is then the first rows of the buffer and not one byte more, and what it adds are the
next 32 rows. With channels last, 32 of them fill a quarter of a register of 128.

Design:
- XLA gives a matrix product no second output (the sums), and no input that it adds to in place: it
  makes several passes over memory where these kernels make one. DenseNets are bound by such passes;
- a 3x3 convolution is one matrix product with all nine taps, whose nine results are shifted and
  added (conv3x3.py);
- the bottleneck h is not kept where the layer's input has fewer channels than twice its own, and
  the gradient of what is normalized of it nowhere: both are made again in the chip's memory where
  they are needed (conv1x1.py);
- the gradient of a layer's input is added to those of all layers above. One layer at a time that
  is three passes over nearly the whole buffer, so several layers share them (`layers_at_once`);
- what each kernel moves is declared (`CostEstimate`) as the blocks that its grid reads and writes.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P

from hpa_jax.models.fused import conv1x1, conv3x3, transition
from hpa_jax.models.fused.backend import ConvGradients, Layer
from hpa_jax.models.fused.blocks import LANES, SUBLANES
from hpa_jax.models.fused.slabs import Slabs, plan_slabs
from hpa_jax.models.fused.transition import pixels_per_transition_block

MAX_LAYERS_AT_ONCE = 4
"""Of which one kernel adds the gradients: their weights and sums lie in the chip's memory, of which
a v4 has 16 MiB."""


SMALL_MEMORIES = ("TPU v2", "TPU v3", "TPU v4")
"""Chips of which a core has 16 MiB for a kernel."""
MAX_TRANSITION_VALUES = 2**19
"""In a block of a transition that such a core has room for, beside what is made of it."""


@dataclass(frozen=True)
class PallasBackend:
    """A `Backend` (backend.py) for the images of one device.

    Attributes:
      slabs: how their pixels are divided.
      has_small_memory: whether the device is one of SMALL_MEMORIES.
      interpret: run the kernels as JAX operations, on any device; for tests.
    """

    slabs: Slabs
    has_small_memory: bool = False
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
        device_kind: str = "",
        interpret: bool = False,
    ) -> "PallasBackend | None":
        """For the block whose input has this size; None where it does not fill registers."""
        slabs = plan_slabs(images, height, width)
        if slabs is None or channels % growth or growth % SUBLANES:
            return None
        return cls(slabs, device_kind in SMALL_MEMORIES, interpret)

    @property
    def sharding(self) -> P:
        return P(None, "data")

    def supports_transition(self, channels: int) -> bool:
        slabs = self.slabs
        block = pixels_per_transition_block(slabs.width)
        if self.has_small_memory and block * channels > MAX_TRANSITION_VALUES:
            return False
        has_even_sides = slabs.height % 2 == 0 and slabs.width % 2 == 0
        fills_registers = block % (2 * slabs.width) == 0 and block % (4 * LANES) == 0
        pixels = slabs.images * slabs.pixels_per_image
        return has_even_sides and fills_registers and pixels % block == 0

    def to_buffer(self, x: jax.Array, channels: int) -> jax.Array:
        rows = x.reshape(-1, x.shape[-1]).T
        missing = channels - x.shape[-1]
        if missing == 0:
            return rows
        return jnp.pad(rows, ((0, missing), (0, 0)))

    def to_images(self, buffer: jax.Array) -> jax.Array:
        return buffer.T.reshape(-1, self.slabs.height, self.slabs.width, buffer.shape[0])

    def num_channels(self, buffer):
        return buffer.shape[0]

    def keeps_bottleneck(self, channels: int, features: int) -> bool:
        """Whether h, of so many features, is kept, of an input of so many channels.

        Kept, it is written once and read three times; else the input is read once more forward,
        and once more backward.
        """
        return channels >= 2 * features or self.slabs.with_windows() is None

    def conv1x1(self, buffer, norm, kernel):
        w = kernel.T.astype(buffer.dtype)
        keep = self.keeps_bottleneck(*kernel.shape)
        return conv1x1.conv1x1(buffer, norm, w, keep=keep, interpret=self.interpret)

    def conv3x3(self, h, layer, buffer, channels):
        layer = _arranged(layer, buffer.dtype)
        slabs = self.slabs if h is not None else self.slabs.with_windows()
        return conv3x3.conv3x3(h, layer, buffer, channels, slabs, interpret=self.interpret)

    def conv3x3_backward(self, grad_buffer, buffer, from_moments, h, layer, channels):
        """With the complete gradient of y as the input's."""
        grad_y, grad_w, sums = conv3x3.conv3x3_backward(
            grad_buffer,
            buffer,
            from_moments,
            h,
            _arranged(layer, buffer.dtype),
            channels,
            self.slabs,
            interpret=self.interpret,
        )
        features, growth = layer.conv2.shape[2:]
        grad_kernel = grad_w.reshape(3, 3, growth, features).swapaxes(2, 3)
        return ConvGradients(grad_y, grad_kernel, sums)

    def layers_at_once(self, channels, growth, features, layers):
        """That with which the block's kernels read and write least."""

        def channels_moved(at_once: int) -> int:
            moved = 0
            for first in range(0, layers, at_once):
                base = channels + first * growth
                last = min(first + at_once, layers)
                inputs = range(base, channels + last * growth, growth)
                moved += self._channels_moved(base, inputs, 0, growth, features)
                for of_layer in inputs[1:]:
                    moved += self._channels_moved(of_layer, [of_layer], base, growth, features)
            return moved

        return min(range(1, MAX_LAYERS_AT_ONCE + 1), key=channels_moved)

    def _channels_moved(self, stop, inputs, start, growth, features) -> int:
        """Of all pixels, by `conv1x1_backward` for channels from `start` to `stop`."""
        rows = stop - start
        moved = 2 * rows
        remade = [rows]
        for channels in inputs:
            moved += growth
            if self.keeps_bottleneck(channels, features):
                moved += features
            else:
                remade.append(channels)
        return moved + max(remade)

    def conv1x1_backward(self, buffer, grad_buffer, layers, channels):
        dtype = buffer.dtype
        arranged = []
        for of_layer in layers:
            layer = _arranged(of_layer.layer, dtype)._replace(
                conv1=of_layer.layer.conv1.astype(dtype)
            )
            arranged.append(of_layer._replace(layer=layer))
        return conv1x1.conv1x1_backward(
            buffer, grad_buffer, arranged, channels, self.slabs, interpret=self.interpret
        )

    def transition(self, buffer, norm, kernel, channels):
        w = kernel.T.astype(buffer.dtype)
        return transition.transition(
            buffer, norm, w, self.slabs.width, channels, interpret=self.interpret
        )

    def transition_backward(
        self, buffer, grad_next_buffer, next_buffer, from_moments, norm, kernel
    ):
        w = kernel.T.astype(buffer.dtype)
        grad_x, grad_w, sums = transition.transition_backward(
            buffer,
            grad_next_buffer,
            next_buffer,
            from_moments,
            norm,
            w,
            self.slabs.width,
            interpret=self.interpret,
        )
        return ConvGradients(grad_x, grad_w.T, sums)


def _arranged(layer: Layer, dtype) -> Layer:
    """With kernels as the Pallas kernels take them: `[n, c]` and, all taps, `[9 g, n]`."""
    features = layer.conv2.shape[2]
    all_taps = layer.conv2.swapaxes(2, 3).reshape(-1, features)
    return layer._replace(conv1=layer.conv1.T.astype(dtype), conv2=all_taps.astype(dtype))
