"""A DenseNet's dense layers and transitions, forward and backward, as Pallas kernels for a TPU.

    product        h = w @ relu(norm1(x)), with the sums that norm2 needs; backward: gradients, added into the buffer's
    window         y = conv3x3(relu(norm2(h))), written behind x into the block's buffer, with its sums
    transition     y = w @ mean2x2(relu(norm(x))), the beginning of the next block's buffer, with its sums

Arrays lie with the channels first and all pixels of all fields in one row, `[C, B * H * W]`: what a layer reads is then
the first rows of the buffer and not one byte more, and what it adds are the next 32 rows. With channels last, 32 of
them fill a quarter of a register of 128.

Unusual:
- XLA gives a product no second output (sums), and no input that it adds to in place: it makes several passes where
  these kernels make one. DenseNets are bound by such passes;
- a 3x3 convolution is one product with all nine taps, whose nine results are shifted by whole pixels and added; the
  pixels above and below a block are read with it;
- what each kernel moves is declared (`CostEstimate`) as the blocks that its grid reads and writes.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from hpa_jax.models.fused.blocks import LANES, SUBLANES
from hpa_jax.models.fused.conv1x1 import product, product_backward
from hpa_jax.models.fused.conv3x3 import Window, window, window_backward, window_of
from hpa_jax.models.fused.transition import pooled_pixels, transition, transition_backward


@dataclass(frozen=True)
class PallasBackend:
    """The way of fused_block.py that consists of these kernels, for one device's images."""

    cut: Window
    interpret: bool = False

    @classmethod
    def of(
        cls,
        fields: int,
        height: int,
        width: int,
        channels: int,
        *,
        growth: int,
        interpret: bool = False,
    ):
        """None where the images or the channels do not fill registers."""
        cut = window_of(fields, height, width)
        fits = channels % growth == 0 and growth % SUBLANES == 0
        return cls(cut, interpret) if cut is not None and fits else None

    def halves(self) -> bool:
        """Whether `transition` can halve such images."""
        group, two_rows, cut = pooled_pixels(self.cut.width), 2 * self.cut.width, self.cut
        even = (
            cut.height % 2 == 0
            and cut.width % 2 == 0
            and group % two_rows == 0
            and group % (4 * LANES) == 0
        )
        return even and cut.fields * cut.pixels % group == 0

    def begin(self, x: jax.Array, total: int) -> jax.Array:
        """`[B, H, W, c]` as the first rows of `[total, B * H * W]`."""
        rows = x.reshape(-1, x.shape[-1]).T
        return rows if total == x.shape[-1] else jnp.pad(rows, ((0, total - x.shape[-1]), (0, 0)))

    def end(self, buffer: jax.Array) -> jax.Array:
        """All rows as `[B, H, W, C]`."""
        return buffer.T.reshape(-1, self.cut.height, self.cut.width, buffer.shape[0])

    def channels_of(self, buffer):
        return buffer.shape[0]

    def product(self, buffer, factor, shift, kernel):
        return product(
            buffer, factor, shift, kernel.T.astype(buffer.dtype), interpret=self.interpret
        )

    def product_backward(self, buffer, gbuffer, gz, h, factor, shift, kernel, coefficients):
        w, how = kernel.T.astype(buffer.dtype), self.interpret
        made = product_backward(
            buffer, gbuffer, gz, h, factor, shift, w, coefficients, interpret=how
        )
        return made[0], made[1].T, made[2]

    def window(self, h, factor, shift, kernel, buffer, channels):
        w = _all_taps(kernel).astype(h.dtype)
        return window(h, factor, shift, w, buffer, channels, self.cut, interpret=self.interpret)

    def window_backward(self, gbuffer, buffer, q, r, h, factor, shift, kernel, channels):
        w, how = _all_taps(kernel).astype(h.dtype), self.interpret
        gz, gw, sums = window_backward(
            gbuffer, buffer, q, r, h, factor, shift, w, channels, self.cut, interpret=how
        )
        return gz, gw.reshape(3, 3, kernel.shape[3], kernel.shape[2]).swapaxes(2, 3), sums

    def transition(self, buffer, factor, shift, kernel, total):
        w = kernel.T.astype(buffer.dtype)
        return transition(buffer, factor, shift, w, self.cut.width, total, interpret=self.interpret)

    def transition_backward(self, buffer, gbuffer, next_buffer, q, r, factor, shift, kernel):
        w, how = kernel.T.astype(buffer.dtype), self.interpret
        given = (buffer, gbuffer, next_buffer, q, r, factor, shift, w)
        gx, gw, sums = transition_backward(*given, self.cut.width, interpret=how)
        return gx, gw.T, sums


def _all_taps(kernel: jax.Array) -> jax.Array:
    """`[3, 3, n, g]` to `[9 g, n]`."""
    return kernel.swapaxes(2, 3).reshape(-1, kernel.shape[2])
