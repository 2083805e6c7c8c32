"""What a backend of the fused blocks computes: three convolutions, each with a norm and a ReLU
before it, forward and backward.

A buffer holds the feature maps of one block, all layers' side by side along the channels; a layer's
input is a prefix of it. Its layout is the backend's own. Images are `[B, H, W, C]`; kernels are in
the layout of their parameters, `[C, F]` and `[3, 3, C, F]`, float32.

Forward passes return their result and, for the norm behind it, the sums of the result and of its
square over all pixels: `float32 [F, 2]`. Backward passes return `ConvGradients`.
"""

from typing import NamedTuple, Protocol

import jax

from hpa_jax.models.fused.moments import Affine, MomentGradient


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


class Backend(Protocol):
    """See XlaBackend for what each of these is in plain JAX."""

    def supports_transition(self) -> bool:
        """Whether `transition` can halve images of this size."""

    def to_buffer(self, x: jax.Array, channels: int) -> jax.Array:
        """Images as the first channels of a buffer of `channels`, the others 0."""

    def to_images(self, buffer: jax.Array) -> jax.Array:
        """All channels of a buffer as images."""

    def num_channels(self, buffer: jax.Array) -> int:
        """Channels of a buffer."""

    def conv1x1(
        self, buffer: jax.Array, norm: Affine, kernel: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """`h = conv1x1(relu(norm(x)))` of the first channels x of a buffer, and the sums of h."""

    def conv1x1_backward(
        self,
        buffer: jax.Array,
        grad_buffer: jax.Array,
        grad_z: jax.Array,
        h: jax.Array,
        norm: Affine,
        kernel: jax.Array,
        coefficients: jax.Array,
    ) -> ConvGradients:
        """Of `conv1x1`, where the gradient of h is `p * grad_z + q * h + r`.

        Args:
          buffer: as in `conv1x1`.
          grad_buffer: gradient of the buffer so far.
          grad_z: gradient of the normalized h, from `conv3x3_backward`.
          h: the result of `conv1x1`.
          norm: as in `conv1x1`.
          kernel: as in `conv1x1`.
          coefficients: p, q and r; `float32 [F, 3]`.

        Returns:
          With `grad_buffer` as the input's gradient, to whose first channels that of x is added.
        """

    def conv3x3(
        self, h: jax.Array, norm: Affine, kernel: jax.Array, buffer: jax.Array, channels: int
    ) -> tuple[jax.Array, jax.Array]:
        """`y = conv3x3(relu(norm(h)))`, written behind `channels` of the buffer; the sums of y."""

    def conv3x3_backward(
        self,
        grad_buffer: jax.Array,
        buffer: jax.Array,
        from_moments: MomentGradient,
        h: jax.Array,
        norm: Affine,
        kernel: jax.Array,
        channels: int,
    ) -> ConvGradients:
        """Of `conv3x3`, where the gradient of y is `grad_buffer + slope * buffer + offset`.

        Returns:
          With the gradient of the normalized h, `grad_z`, as the input's.
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
