"""What a backend of the fused blocks computes: three convolutions, each with a norm and a ReLU
before it, forward and backward.

A buffer holds the feature maps of one block, all layers' side by side along the channels; a layer's
input is a prefix of it. Its layout is the backend's own. Images are `[B, H, W, C]`; kernels are in
the layout of their parameters, `[C, F]` and `[3, 3, C, F]`, float32.

Forward passes return their result and, for the norm behind it, the sums of the result and of its
square over all pixels: `float32 [F, 2]`. Backward passes return `ConvGradients`.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import jax
from jax.sharding import PartitionSpec

from hpa_jax.models.fused.moments import Affine
from hpa_jax.models.norm import MomentGradient


class ConvGradients(NamedTuple):
    """Gradients of a convolution with a norm and a ReLU before it.

    Attributes:
      input: what the method says of it.
      kernel: in the kernel's shape; float32.
      sums: gradients of the norm's shift and of its factor, `float32 [C, 2]`.
    """

    input: jax.Array
    kernel: jax.Array
    sums: jax.Array


class Layer(NamedTuple):
    """A dense layer: each norm as the affine map that it is, and the convolution behind it."""

    norm1: Affine
    conv1: jax.Array
    norm2: Affine
    conv2: jax.Array


class LayerBackward(NamedTuple):
    """A layer whose backward pass has come to its 1x1 convolution.

    The gradient of h is `p * grad_z + q * h + r`, with grad_z that of `norm2(h)`.

    Attributes:
      layer: its norms and convolutions.
      of_conv3x3: the input's gradient from `conv3x3_backward`, of which grad_z is made.
      h: from `conv1x1`.
      coefficients: p, q and r; `float32 [F, 3]`.
    """

    layer: Layer
    of_conv3x3: jax.Array
    h: jax.Array | None
    coefficients: jax.Array

    @property
    def channels(self) -> int:
        """Of the layer's input."""
        return self.layer.conv1.shape[0]


class PartOfConv1x1(NamedTuple):
    """Gradients of a 1x1 convolution and of the norm before it, for some channels of the input.

    Attributes:
      kernel: `float32 [channels, F]`.
      sums: as of `ConvGradients`.
    """

    kernel: jax.Array
    sums: jax.Array


class Backend(Protocol):
    """See XlaBackend for what each of these is in plain JAX."""

    @property
    def sharding(self) -> PartitionSpec:
        """How buffers lie on the mesh where each device computes on its own images."""

    def supports_transition(self, channels: int) -> bool:
        """Whether `transition` can halve images of this size and so many channels."""

    def to_buffer(self, x: jax.Array, channels: int) -> jax.Array:
        """Images as the first channels of a buffer of `channels`, the others 0."""

    def to_images(self, buffer: jax.Array) -> jax.Array:
        """All channels of a buffer as images."""

    def num_channels(self, buffer: jax.Array) -> int:
        """Channels of a buffer."""

    def conv1x1(
        self, buffer: jax.Array, norm: Affine, kernel: jax.Array
    ) -> tuple[jax.Array | None, jax.Array]:
        """`h = conv1x1(relu(norm(x)))` of the first channels x of a buffer, and the sums of h.

        None in place of h where the backend makes it again of x wherever it is needed.
        """

    def conv3x3(
        self, h: jax.Array | None, layer: Layer, buffer: jax.Array, channels: int
    ) -> tuple[jax.Array, jax.Array]:
        """`y = conv3x3(relu(norm2(h)))`, written behind `channels` of the buffer; the sums of y."""

    def conv3x3_backward(
        self,
        grad_buffer: jax.Array,
        buffer: jax.Array,
        from_moments: MomentGradient,
        h: jax.Array | None,
        layer: Layer,
        channels: int,
    ) -> ConvGradients:
        """Of `conv3x3`, where the gradient of y is `grad_buffer + slope * buffer + offset`.

        Returns:
          With what `conv1x1_backward` needs of it as the input's.
        """

    def layers_at_once(self, channels: int, growth: int, features: int, layers: int) -> int:
        """Of how many layers `conv1x1_backward` should take the lower channels together.

        Args:
          channels: of a block's input.
          growth: channels that each layer adds.
          features: of each layer's h.
          layers: of the block.
        """

    def conv1x1_backward(
        self,
        buffer: jax.Array,
        grad_buffer: jax.Array,
        layers: Sequence[LayerBackward],
        channels: slice,
    ) -> tuple[jax.Array, list[PartOfConv1x1]]:
        """Of `conv1x1` of one or several layers, for some channels that all of them read.

        Args:
          buffer: as in `conv1x1`.
          grad_buffer: gradient of the buffer so far.
          layers: one or several.
          channels: of the buffer.

        Returns:
          `grad_buffer`, with the gradients of all layers added at these channels; and what
          parameters of each layer meet these channels.
        """

    def transition(
        self, buffer: jax.Array, norm: Affine, kernel: jax.Array, channels: int
    ) -> tuple[jax.Array, jax.Array]:
        """`y = conv1x1(mean2x2(relu(norm(x))))` of a complete buffer x.

        Returns:
          The next block's buffer, of `channels` with y in its first ones; and the sums of y.
        """

    def transition_backward(
        self,
        buffer: jax.Array,
        grad_next_buffer: jax.Array,
        next_buffer: jax.Array,
        from_moments: MomentGradient,
        norm: Affine,
        kernel: jax.Array,
    ) -> ConvGradients:
        """Of `transition`, where the gradient of y is that of `next_buffer` and from its moments.

        That is, `grad_next_buffer + slope * next_buffer + offset` at the channels of y.

        Returns:
          With the gradient of the complete buffer as the input's.
        """
