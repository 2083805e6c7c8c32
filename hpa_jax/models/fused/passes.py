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

from hpa_jax.models.fused.backend import Backend, Layer, LayerBackward
from hpa_jax.models.fused.moments import (
    affine_gradient,
    moments_from_sums,
    norm_as_affine,
    slice_channels,
)
from hpa_jax.models.norm import Moments, concat_moments, moment_gradient

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

    A layer needs that of its own maps complete, from all layers above. So the layers of a group add
    that of their inputs one by one above the input of the first of them, and together below it.

    Args:
      backend: of the convolutions.
      outputs: of the forward pass.
      params: of each layer.
      grad_buffer: gradient of all feature maps of the block, to which the layers add.
      grad_moments: gradient of the moments of these maps, which grows likewise.
      epsilon: of the norms.
      axes: to sum over.
    """
    features, growth = params[0]["conv2"]["kernel"].shape[2:]
    input_channels = params[0]["conv1"]["kernel"].shape[0]
    at_once = backend.layers_at_once(input_channels, growth, features, len(params))
    so_far = _SoFar(grad_buffer, grad_moments)
    grad_params = []
    for first in reversed(range(0, len(params), at_once)):
        base = input_channels + first * growth
        group = range(first, min(first + at_once, len(params)))
        layers = []
        grad_layers = []
        for number in reversed(group):
            layer, grad_layer = _conv3x3_backward(
                backend, outputs, number, params[number], so_far, epsilon=epsilon, axes=axes
            )
            above = []
            if layer.channels > base:
                so_far, above = _conv1x1_backward(
                    backend,
                    outputs,
                    [layer],
                    [params[number]["norm1"]],
                    so_far,
                    slice(base, layer.channels),
                    epsilon=epsilon,
                    axes=axes,
                )
            layers.append(layer)
            grad_layers.append((grad_layer, above))

        so_far, below = _conv1x1_backward(
            backend,
            outputs,
            layers,
            [params[number]["norm1"] for number in reversed(group)],
            so_far,
            slice(0, base),
            epsilon=epsilon,
            axes=axes,
        )
        for (grad_layer, above), of_base in zip(grad_layers, below, strict=True):
            grad_layer |= jax.tree.map(lambda *parts: jnp.concatenate(parts), of_base, *above)
            grad_layer["conv1"] = {"kernel": lax.psum(grad_layer["conv1"]["kernel"], axes)}
            grad_params.append(grad_layer)
    of_input = slice_channels(so_far.moments, slice(input_channels))
    return Gradients(so_far.buffer, of_input, tuple(reversed(grad_params)))


class _SoFar(NamedTuple):
    """Gradients of all feature maps of a block, and of their moments, from the layers so far."""

    buffer: jax.Array
    moments: Moments


def _conv3x3_backward(
    backend: Backend,
    outputs: BlockOutputs,
    number: int,
    params: LayerParams,
    so_far: _SoFar,
    *,
    epsilon: float,
    axes: tuple[str, ...],
) -> tuple[LayerBackward, dict]:
    """Of `y = conv3x3(relu(norm2(h)))` of layer `number`, the gradient of y being complete.

    Returns:
      What the backward pass of the 1x1 convolution needs; and gradients of `norm2` and `conv2`.
    """
    moments = outputs.moments
    channels, _ = params["conv1"]["kernel"].shape
    growth = params["conv2"]["kernel"].shape[-1]
    count = _values_per_channel(outputs.buffer, moments.maps.mean.size, axes)
    own = slice(channels, channels + growth)
    from_moments = moment_gradient(
        slice_channels(moments.maps, own), slice_channels(so_far.moments, own), count
    )
    h = outputs.bottlenecks[number]
    h_moments = moments.bottlenecks[number]
    x_moments = slice_channels(moments.maps, slice(channels))
    norm1 = norm_as_affine(params["norm1"], x_moments, epsilon)
    as_affine = partial(norm_as_affine, epsilon=epsilon)
    norm2, norm2_vjp = jax.vjp(as_affine, params["norm2"], h_moments)
    layer = Layer(norm1, params["conv1"]["kernel"], norm2, params["conv2"]["kernel"])
    of_conv3x3, grad_conv2, sums = backend.conv3x3_backward(
        so_far.buffer, outputs.buffer, from_moments, h, layer, channels
    )
    grad_norm2, grad_h_moments = norm2_vjp(affine_gradient(lax.psum(sums, axes)))

    # The gradient of h comes through norm2 and through its moments.
    from_h_moments = moment_gradient(h_moments, grad_h_moments, count)
    coefficients = jnp.stack([norm2.factor, *from_h_moments], axis=1)
    grad_layer = {"norm2": grad_norm2, "conv2": {"kernel": lax.psum(grad_conv2, axes)}}
    return LayerBackward(layer, of_conv3x3, h, coefficients), grad_layer


def _conv1x1_backward(
    backend: Backend,
    outputs: BlockOutputs,
    layers: list[LayerBackward],
    norms: list[dict],
    so_far: _SoFar,
    channels: slice,
    *,
    epsilon: float,
    axes: tuple[str, ...],
) -> tuple[_SoFar, list[dict]]:
    """Of `h = conv1x1(relu(norm1(x)))` of some layers, for some channels of the buffer.

    Args:
      layers: of the group.
      norms: parameters of `norm1` of each.
      so_far: to which the gradients of x and of its moments are added.
      channels: of the buffer, a part of the input of each of the layers.

    Returns:
      The gradients so far; and of each layer those of what parameters of `norm1` and `conv1` meet
      these channels, on this device alone for `conv1`.
    """
    grad_buffer, parts = backend.conv1x1_backward(outputs.buffer, so_far.buffer, layers, channels)
    all_sums = lax.psum([part.sums for part in parts], axes)
    x_moments = slice_channels(outputs.moments.maps, channels)
    as_affine = partial(norm_as_affine, epsilon=epsilon)
    grad_moments = so_far.moments
    gradients = []
    for norm, part, sums in zip(norms, parts, all_sums, strict=True):
        of_channels = {name: values[channels] for name, values in norm.items()}
        _, norm_vjp = jax.vjp(as_affine, of_channels, x_moments)
        grad_norm, grad_x_moments = norm_vjp(affine_gradient(sums))
        # Other layers have used the same moments.
        grad_moments = Moments(
            grad_moments.mean.at[channels].add(grad_x_moments.mean),
            grad_moments.var.at[channels].add(grad_x_moments.var),
        )
        gradients.append({"norm1": grad_norm, "conv1": {"kernel": part.kernel}})
    return _SoFar(grad_buffer, grad_moments), gradients


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
