"""The dense blocks of a DenseNet in training, computed so that few bytes move.

The plain form (densenet.py) concatenates before each layer and lets JAX derive the backward pass.
This one returns the same numbers, up to rounding.

The algorithm, with what each part saves:

One growing buffer. A block allocates the buffer of all its feature maps at once. Each layer reads a
prefix of it and writes its own maps behind that prefix; nothing is ever concatenated. The backward
pass has one buffer of gradients of the same shape. Going from the last layer to the first, each
layer takes the gradient of its own maps from it, by then complete, and adds that of its input into
the prefix. On a TPU several layers at a time do so together for the channels that all of them read,
which are the most; one by one they add only what the others of them wait for.

Moments once. Every later layer normalizes the same maps by the same moments, so a layer computes
the moments of its maps once, as sums that its convolution returns along with them. Backward, the
gradients of these moments are added up over all the norms that used them, and are applied to the
maps once.

What is kept and what is recomputed. For the backward pass (`Residuals`) are kept the buffers and
each layer's bottleneck before its norm (128 channels; on a TPU only where the layer's input has
twice as many or more), with the moments of both. Normalized and
rectified inputs, the bulk of what JAX would keep, are computed again where they are read: they are
an affine map and a maximum of what is kept. A transition keeps nothing, since its input is one
block's buffer and its result the start of the next one's; so all blocks and transitions share one
`jax.custom_vjp`.

Where it runs. On a TPU each convolution, with the norm and ReLU before it and the sums behind it,
is one Pallas kernel (pallas.py), and on NVIDIA GPUs each of a layer (triton.py). On other devices,
and where images are split over devices or do not fit the kernels, it is XLA's (xla.py). stages.py
decides that for each block, passes.py has the layers. Gradients of kernels are summed in float32,
within a device and over devices.

Running statistics take no gradient in training, so those of the returned moments are ignored,
except of the last block's maps, which the final norm uses.
"""

from functools import partial
from typing import NamedTuple

import jax

from hpa_jax.models.fused.moments import slice_channels
from hpa_jax.models.fused.passes import (
    BlockMoments,
    BlockOutputs,
    Gradients,
    LayerParams,
    TransitionParams,
    block_backward,
    block_forward,
    transition_backward,
    transition_forward,
)
from hpa_jax.models.fused.stages import (
    PIXELS,
    REPLICATED,
    Stage,
    convert_buffer,
    transition_stage,
)
from hpa_jax.models.norm import Moments

OUTPUT_SPECS = BlockOutputs(buffer=PIXELS, bottlenecks=PIXELS, moments=REPLICATED)
GRADIENT_SPECS = Gradients(buffer=PIXELS, moments=REPLICATED, params=REPLICATED)


class Residuals(NamedTuple):
    """What is kept for the backward pass.

    Attributes:
      outputs: of each block.
      blocks: parameters of each block.
      transitions: parameters of each transition.
    """

    outputs: tuple[BlockOutputs, ...]
    blocks: tuple[tuple[LayerParams, ...], ...]
    transitions: tuple[TransitionParams, ...]


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def dense_blocks(
    stages: tuple[Stage, ...],
    epsilon: float,
    buffer: jax.Array,
    moments: Moments,
    blocks: tuple[tuple[LayerParams, ...], ...],
    transitions: tuple[TransitionParams, ...],
) -> tuple[jax.Array, tuple[BlockMoments, ...]]:
    """All blocks of a net and the transitions between them, in training.

    Args:
      stages: from `plan_stages`.
      epsilon: of the norms.
      buffer: the input, float32 or bfloat16, from the first stage's `backend.to_buffer`.
      moments: of the input, over the batch on all devices.
      blocks: of each block the parameters of each layer.
      transitions: of each transition the parameters.

    Returns:
      The last block's buffer, and the moments of each block. Gradients are taken of the buffer and
      of the moments of the last block's maps; the other moments have none.
    """
    result, _ = _forward(stages, epsilon, buffer, moments, blocks, transitions)
    return result


def _forward(stages, epsilon, buffer, moments, blocks, transitions):
    outputs = []
    for number, stage in enumerate(stages):
        if number > 0:
            previous = stages[number - 1]
            params = transitions[number - 1]
            buffer, moments = _run_transition(previous, stage, epsilon, buffer, moments, params)
        run_block = stage.per_device(
            partial(block_forward, epsilon=epsilon),
            in_specs=(PIXELS, REPLICATED, REPLICATED),
            out_specs=OUTPUT_SPECS,
        )
        of_block = run_block(buffer, moments, blocks[number])
        buffer = of_block.buffer
        moments = of_block.moments.maps
        outputs.append(of_block)
    all_moments = tuple(of_block.moments for of_block in outputs)
    return (buffer, all_moments), Residuals(tuple(outputs), blocks, transitions)


def _run_transition(
    before: Stage,
    behind: Stage,
    epsilon: float,
    buffer: jax.Array,
    moments: Moments,
    params: TransitionParams,
) -> tuple[jax.Array, Moments]:
    """The buffer of the stage behind, with that block's input; and the moments of the input."""
    stage = transition_stage(before, behind)
    run = stage.per_device(
        partial(transition_forward, channels=stage.channels, epsilon=epsilon),
        in_specs=(PIXELS, REPLICATED, REPLICATED),
        out_specs=(PIXELS, REPLICATED),
    )
    buffer, moments = run(convert_buffer(buffer, before, stage), moments, params)
    return convert_buffer(buffer, stage, behind), moments


def _backward(stages, epsilon, residuals: Residuals, cotangents):
    grad_buffer, grad_all_moments = cotangents
    grad_moments = grad_all_moments[-1].maps
    grad_blocks = []
    grad_transitions = []
    for number in reversed(range(len(stages))):
        run_block = stages[number].per_device(
            partial(block_backward, epsilon=epsilon),
            in_specs=(OUTPUT_SPECS, REPLICATED, PIXELS, REPLICATED),
            out_specs=GRADIENT_SPECS,
        )
        outputs = residuals.outputs[number]
        params = residuals.blocks[number]
        of_block = run_block(outputs, params, grad_buffer, grad_moments)
        grad_blocks.append(of_block.params)
        grad_buffer = of_block.buffer
        grad_moments = of_block.moments
        if number > 0:
            of_transition = _run_transition_backward(
                stages, epsilon, residuals, number, grad_buffer, grad_moments
            )
            grad_transitions.append(of_transition.params)
            grad_buffer = of_transition.buffer
            grad_moments = of_transition.moments
    return (
        grad_buffer,
        grad_moments,
        tuple(reversed(grad_blocks)),
        tuple(reversed(grad_transitions)),
    )


def _run_transition_backward(
    stages: tuple[Stage, ...],
    epsilon: float,
    residuals: Residuals,
    number: int,
    grad_buffer: jax.Array,
    grad_moments: Moments,
) -> Gradients:
    """Of the transition into block `number`, given the gradients of that block's input."""
    before = stages[number - 1]
    behind = stages[number]
    stage = transition_stage(before, behind)
    outputs_before = residuals.outputs[number - 1]
    outputs_behind = residuals.outputs[number]

    buffer = convert_buffer(outputs_before.buffer, before, stage)
    # What the transition computed is the start of this block's buffer, and of its moments.
    next_buffer = convert_buffer(outputs_behind.buffer, behind, stage)
    grad_next_buffer = convert_buffer(grad_buffer, behind, stage)
    next_moments = slice_channels(outputs_behind.moments.maps, slice(grad_moments.mean.size))
    run = stage.per_device(
        partial(transition_backward, epsilon=epsilon),
        in_specs=(PIXELS, PIXELS, PIXELS, REPLICATED, REPLICATED, REPLICATED, REPLICATED),
        out_specs=GRADIENT_SPECS,
    )
    gradients = run(
        buffer,
        next_buffer,
        grad_next_buffer,
        outputs_before.moments.maps,
        next_moments,
        grad_moments,
        residuals.transitions[number - 1],
    )
    return gradients._replace(buffer=convert_buffer(gradients.buffer, stage, before))


dense_blocks.defvjp(_forward, _backward)
