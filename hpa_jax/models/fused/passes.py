"""Forward and backward pass of one dense block and of one transition, on one device's images.

`axes` are the mesh axes over which a device's sums have to be added up; () where the arrays are
complete. A layer is, with x the buffer's channels so far,

    h = conv1x1(relu(norm1(x)))        the bottleneck, 4 times the growth wide
    y = conv3x3(relu(norm2(h)))        appended to the buffer
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from hpa_jax.models.fused.backend import Backend, Layer
from hpa_jax.models.fused.moments import (
    affine_gradient,
    moment_gradient,
    moments_from_sums,
    norm_as_affine,
    slice_channels,
)
from hpa_jax.models.norm import Moments, concat_moments

LayerParams = dict[str, dict[str, jax.Array]]
"""`norm1`, `norm2` (each `scale`, `bias`), `conv1` `[c, 4 g]` and `conv2` `[3, 3, 4 g, g]` (each
`kernel`); float32."""


class TransitionParams(NamedTuple):
    """`scale` and `bias` of the norm, `kernel` `[C, C / 2]` of the convolution; float32."""

    norm: dict[str, jax.Array]
    conv: dict[str, jax.Array]


class BlockMoments(NamedTuple):
    """Moments over the batch.

    Attributes:
      maps: of all feature maps of a block.
      bottlenecks: of each layer's h.
    """

    maps: Moments
    bottlenecks: tuple[Moments, ...]


class BlockOutputs(NamedTuple):
    """What a block's forward pass computes, all of which its backward pass reads.

    Attributes:
      buffer: all feature maps of the block.
      bottlenecks: each layer's h; None where the backend makes it again.
      moments: of both.
    """

    buffer: jax.Array
    bottlenecks: tuple[jax.Array | None, ...]
    moments: BlockMoments


class Gradients(NamedTuple):
    """Of what a block or a transition was given.

    Attributes:
      buffer: of its input; of a block, in the first channels of the block's buffer.
      moments: of the moments of its input.
      params: of its parameters.
    """

    buffer: jax.Array
    moments: Moments
    params: tuple


def block_forward(
    backend: Backend,
    buffer: jax.Array,
    moments: Moments,
    params: tuple[LayerParams, ...],
    *,
    epsilon: float,
    axes: tuple[str, ...],
) -> BlockOutputs:
    """All layers of a block.

    Args:
      backend: of the convolutions.
      buffer: with the block's input in its first channels.
      moments: of the input.
      params: of each layer.
      epsilon: of the norms.
      axes: to sum over.
    """
    channels = moments.mean.size
    growth = params[0]["conv2"]["kernel"].shape[-1]
    count = _values_per_channel(buffer, channels + len(params) * growth, axes)
    bottlenecks = []
    bottleneck_moments = []
    for layer in params:
        norm1 = norm_as_affine(layer["norm1"], moments, epsilon)
        h, sums = backend.conv1x1(buffer, norm1, layer["conv1"]["kernel"])
        # Over all devices, so that the batch statistics are global.
        h_moments = moments_from_sums(lax.psum(sums, axes), count)

        norm2 = norm_as_affine(layer["norm2"], h_moments, epsilon)
        normed = Layer(norm1, layer["conv1"]["kernel"], norm2, layer["conv2"]["kernel"])
        buffer, sums = backend.conv3x3(h, normed, buffer, channels)
        y_moments = moments_from_sums(lax.psum(sums, axes), count)

        bottlenecks.append(h)
        bottleneck_moments.append(h_moments)
        moments = concat_moments(moments, y_moments)
        channels += growth
    all_moments = BlockMoments(moments, tuple(bottleneck_moments))
    return BlockOutputs(buffer, tuple(bottlenecks), all_moments)


def block_backward(
    backend: Backend,
    outputs: BlockOutputs,
    params: tuple[LayerParams, ...],
    grad_buffer: jax.Array,
    grad_moments: Moments,
    *,
    epsilon: float,
    axes: tuple[str, ...],
) -> Gradients:
    """The gradients of `block_forward`, last layer first.

    Args:
      backend: of the convolutions.
      outputs: of the forward pass.
      params: of each layer.
      grad_buffer: gradient of all feature maps of the block. Each layer adds that of its input to
        the first channels, so that a layer finds that of its own maps complete.
      grad_moments: gradient of the moments of these maps, which grows likewise.
      epsilon: of the norms.
      axes: to sum over.
    """
    buffer, bottlenecks, moments = outputs
    channels = moments.maps.mean.size
    growth = params[0]["conv2"]["kernel"].shape[-1]
    count = _values_per_channel(buffer, channels, axes)
    as_affine = partial(norm_as_affine, epsilon=epsilon)
    grad_params = []
    for number in reversed(range(len(params))):
        layer = params[number]
        h = bottlenecks[number]
        h_moments = moments.bottlenecks[number]
        own = slice(channels - growth, channels)
        channels -= growth

        # y = conv3x3(relu(norm2(h))). Its gradient is complete: all later layers have added theirs.
        own_moments = slice_channels(moments.maps, own)
        from_moments = moment_gradient(own_moments, slice_channels(grad_moments, own), count)
        before = slice(channels)
        x_moments = slice_channels(moments.maps, before)
        norm1, norm1_vjp = jax.vjp(as_affine, layer["norm1"], x_moments)
        norm2, norm2_vjp = jax.vjp(as_affine, layer["norm2"], h_moments)
        normed = Layer(norm1, layer["conv1"]["kernel"], norm2, layer["conv2"]["kernel"])
        of_conv3x3, grad_conv2, sums = backend.conv3x3_backward(
            grad_buffer, buffer, from_moments, h, normed, channels
        )
        grad_norm2, grad_h_moments = norm2_vjp(affine_gradient(lax.psum(sums, axes)))

        # h = conv1x1(relu(norm1(x))). Its gradient comes through norm2 and through its moments.
        from_h_moments = moment_gradient(h_moments, grad_h_moments, count)
        coefficients = jnp.stack([norm2.factor, *from_h_moments], axis=1)
        grad_buffer, grad_conv1, sums = backend.conv1x1_backward(
            buffer, grad_buffer, of_conv3x3, h, normed, coefficients
        )
        grad_norm1, grad_x_moments = norm1_vjp(affine_gradient(lax.psum(sums, axes)))

        # Earlier layers' moments were used here too; the gradients of this layer's are spent.
        grad_moments = Moments(
            grad_moments.mean[before] + grad_x_moments.mean,
            grad_moments.var[before] + grad_x_moments.var,
        )
        grad_layer = {
            "norm1": grad_norm1,
            "conv1": {"kernel": lax.psum(grad_conv1, axes)},
            "norm2": grad_norm2,
            "conv2": {"kernel": lax.psum(grad_conv2, axes)},
        }
        grad_params.append(grad_layer)
    return Gradients(grad_buffer, grad_moments, tuple(reversed(grad_params)))


def transition_forward(
    backend: Backend,
    buffer: jax.Array,
    moments: Moments,
    params: TransitionParams,
    *,
    channels: int,
    epsilon: float,
    axes: tuple[str, ...],
) -> tuple[jax.Array, Moments]:
    """The next block's input.

    Args:
      backend: of the convolution.
      buffer: of the block before.
      moments: of its feature maps.
      params: of the transition.
      channels: of the next block's buffer.
      epsilon: of the norm.
      axes: to sum over.

    Returns:
      The next block's buffer, with its input in the first channels; and the moments of that input.
    """
    norm = norm_as_affine(params.norm, moments, epsilon)
    next_buffer, sums = backend.transition(buffer, norm, params.conv["kernel"], channels)
    sums = lax.psum(sums, axes)
    count = _values_per_channel(next_buffer, channels, axes)
    return next_buffer, moments_from_sums(sums, count)


def transition_backward(
    backend: Backend,
    buffer: jax.Array,
    next_buffer: jax.Array,
    grad_next_buffer: jax.Array,
    moments: Moments,
    next_moments: Moments,
    grad_next_moments: Moments,
    params: TransitionParams,
    *,
    epsilon: float,
    axes: tuple[str, ...],
) -> Gradients:
    """The gradients of `transition_forward`.

    Args:
      backend: of the convolution.
      buffer: of the block before.
      next_buffer: of the next block, whose first channels are the transition's result.
      grad_next_buffer: its gradient.
      moments: of the feature maps of the block before.
      next_moments: of the transition's result.
      grad_next_moments: their gradient.
      params: of the transition.
      epsilon: of the norm.
      axes: to sum over.
    """
    count = _values_per_channel(next_buffer, backend.num_channels(next_buffer), axes)
    from_moments = moment_gradient(next_moments, grad_next_moments, count)
    as_affine = partial(norm_as_affine, epsilon=epsilon)
    norm, norm_vjp = jax.vjp(as_affine, params.norm, moments)
    grad_buffer, grad_conv, sums = backend.transition_backward(
        buffer, grad_next_buffer, next_buffer, from_moments, norm, params.conv["kernel"]
    )
    grad_norm, grad_moments = norm_vjp(affine_gradient(lax.psum(sums, axes)))
    grad_params = TransitionParams(grad_norm, {"kernel": lax.psum(grad_conv, axes)})
    return Gradients(grad_buffer, grad_moments, grad_params)


def _values_per_channel(buffer: jax.Array, channels: int, axes: tuple[str, ...]) -> int:
    """Pixels of all images on all devices."""
    return buffer.size // channels * lax.psum(1, axes)
