"""A DenseNet's blocks in training, computed so that few bytes move: one growing buffer each, forward and backward.

The plain form (densenet.py) concatenates before each layer and lets JAX derive the backward pass. The same numbers come
out of this one, to rounding:

- each layer writes its new maps into one buffer, of which every layer's input is a prefix; nothing is concatenated;
- moments of a map are computed once; the gradients of all norms that used them are added up and applied once;
- for the backward pass are kept that buffer and the layers' bottlenecks before their norm (128 channels each), not the
  many normalised inputs, which are made again where they are read;
- a transition pools before its 1x1 convolution, which is linear: a quarter of the work;
- on a TPU each product is one kernel (kernels/), from the stem's maps to the last block's; elsewhere, and where
  an image is split or too small for them, they are arrays of XLA (block_arrays.py);
- gradients of weights are summed in float32, within a device and over them.

Unusual: all blocks and transitions have one derivative of their own (`jax.custom_vjp`), with which a transition finds
what it made in the next block's buffer and keeps no copy. Gradients of running statistics, which training does not ask
for, are taken as 0.
"""

from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from hpa_jax.models.fused.pallas import PallasBackend
from hpa_jax.models.fused.xla import Arrays
from hpa_jax.models.norm import Moments, concat_moments

Layer = dict[str, dict[str, jax.Array]]
PIXELS, WHOLE = P(None, "data"), P()
"""How arrays lie on the mesh where kernels take each device's part: buffers cut along their pixels, all else whole."""


@dataclass(frozen=True)
class Stage:
    """How a block is computed.

    Attributes:
      way: of its products, `PallasBackend` or `Arrays`.
      mesh: over which each device takes its part by hand; None where XLA cuts the arrays, or there is one device.
      total: channels of its buffer, those of all its maps.
    """

    way: PallasBackend | Arrays
    mesh: Mesh | None
    total: int

    def on_devices(self, function, cut_in: tuple, cut_out: tuple, *arguments):
        """`function(..., axes)` of each device's part; `cut_in` and `cut_out` say PIXELS or WHOLE of each array."""
        if self.mesh is None:
            return function(*arguments, axes=())
        local = partial(function, axes=self.mesh.axis_names)
        return jax.shard_map(
            local, mesh=self.mesh, in_specs=cut_in, out_specs=cut_out, check_vma=False
        )(*arguments)


def stages_of(
    shape: tuple[int, int, int, int], depths: tuple[int, ...], growth: int, mesh: Mesh | None
) -> tuple[Stage, ...]:
    """Of the blocks of a net whose first block is given maps `[B, H, W, C]` that lie on `mesh`."""
    (fields, height, width, channels), stages = shape, []
    for depth in depths:
        total = channels + depth * growth
        way = backend_of(fields, height, width, channels, growth, mesh)
        stages.append(Stage(Arrays(), None, total) if way is None else Stage(way, mesh, total))
        height, width, channels = height // 2, width // 2, total // 2
    return tuple(stages)


def backend_of(
    fields: int,
    height: int,
    width: int,
    channels: int,
    growth: int,
    mesh: Mesh | None,
    interpret: bool = False,
) -> PallasBackend | None:
    """Those for a block's input of this size; None where there is no TPU, or where they do not fit."""
    devices = 1 if mesh is None else mesh.size
    on_tpu = (jax.devices()[0] if mesh is None else mesh.devices.flat[0]).platform == "tpu"
    whole_fields = (mesh is None or mesh.shape["data"] == devices) and fields % devices == 0
    if not whole_fields or not (on_tpu or interpret):
        return None
    return PallasBackend.of(
        fields // devices, height, width, channels, growth=growth, interpret=interpret
    )


def _between(before: Stage, behind: Stage) -> Stage:
    """How the transition from one block to the next is computed, in the form of the first if that is the second's."""
    if isinstance(behind.way, type(before.way)) and before.way.halves():
        return replace(before, total=behind.total)
    return Stage(Arrays(), None, behind.total)


def _in_form(buffer: jax.Array, given: Stage, wanted: Stage) -> jax.Array:
    if isinstance(wanted.way, type(given.way)):
        return buffer
    return wanted.way.begin(given.way.end(buffer), given.way.channels_of(buffer))


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def dense_blocks(stages: tuple[Stage, ...], epsilon: float, buffer, moments, blocks, transitions):
    """All blocks of a net and the transitions between them, in training mode.

    Args:
      stages: of `stages_of`.
      epsilon: of the norms.
      buffer: the input, float32 or bfloat16, as the first stage's `way.begin` gives it.
      moments: of the input, over the whole batch; float32 `[C]` each.
      blocks: of each block, of each layer its parameters: `norm1`, `norm2` (`scale`, `bias`), `conv1` `[c, 4 g]` and
        `conv2` `[3, 3, 4 g, g]` (`kernel`); float32.
      transitions: of each a norm's and a convolution's, `[C, C / 2]`.

    Returns:
      The last block's buffer; and for each block the moments of all its maps, and of each layer's bottleneck. Of the
      latter, and of all but the last block's, no gradient is taken.
    """
    return _forward(stages, epsilon, buffer, moments, blocks, transitions)[0]


def _forward(stages, epsilon, buffer, moments, blocks, transitions):
    kept, found = [], []
    for number, (stage, layers) in enumerate(zip(stages, blocks, strict=True)):
        part, out = partial(_block_forward, stage.way, epsilon), (PIXELS, WHOLE, PIXELS, WHOLE)
        done = stage.on_devices(part, (PIXELS, WHOLE, WHOLE), out, buffer, moments, layers)
        buffer, moments, narrow, narrow_moments = done
        kept.append((buffer, narrow))
        found.append((moments, narrow_moments))
        if number < len(transitions):
            following = stages[number + 1]
            between = _between(stage, following)
            buffer = _in_form(buffer, stage, between)
            part = partial(_transition_forward, between.way, epsilon, between.total)
            given = (buffer, moments, *transitions[number])
            buffer, moments = between.on_devices(
                part, (PIXELS, WHOLE, WHOLE, WHOLE), (PIXELS, WHOLE), *given
            )
            buffer = _in_form(buffer, between, following)
    return (buffer, tuple(found)), (tuple(kept), tuple(found), blocks, transitions)


def _backward(stages, epsilon, everything, gradients):
    kept, found, blocks, transitions = everything
    gbuffer, to_moments = gradients[0], gradients[1][-1][0]
    gblocks, gtransitions = [], []
    for number in reversed(range(len(stages))):
        stage, (moments, narrow_moments) = stages[number], found[number]
        part = partial(_block_backward, stage.way, epsilon)
        cut_in = (PIXELS, PIXELS, WHOLE, WHOLE, WHOLE, PIXELS, WHOLE)
        given = (*kept[number], moments, narrow_moments, blocks[number], gbuffer, to_moments)
        gbuffer, to_moments, glayers = stage.on_devices(
            part, cut_in, (PIXELS, WHOLE, WHOLE), *given
        )
        gblocks.append(glayers)
        if number:
            before = stages[number - 1]
            between = _between(before, stage)
            # What the transition made is the beginning of this block's buffer.
            buffer = _in_form(kept[number - 1][0], before, between)
            made, gmade = (_in_form(b, stage, between) for b in (kept[number][0], gbuffer))
            moments = found[number - 1][0], tuple(v[: to_moments[0].size] for v in moments)
            part, cut_in = (
                partial(_transition_backward, between.way, epsilon),
                (PIXELS,) * 3 + (WHOLE,) * 4,
            )
            given = (buffer, made, gmade, moments, to_moments, *transitions[number - 1])
            done = between.on_devices(part, cut_in, (PIXELS, WHOLE, WHOLE), *given)
            gbuffer, to_moments, gtransition = done
            gbuffer = _in_form(gbuffer, between, before)
            gtransitions.append(gtransition)
    return gbuffer, to_moments, tuple(gblocks[::-1]), tuple(gtransitions[::-1])


dense_blocks.defvjp(_forward, _backward)


def _affine(
    norm: dict, mean: jax.Array, var: jax.Array, *, epsilon: float
) -> tuple[jax.Array, jax.Array]:
    """Factor and shift that stand for a norm with these moments."""
    factor = norm["scale"] * lax.rsqrt(var + epsilon)
    return factor, norm["bias"] - mean * factor


def _moments_of(sums: jax.Array, pixels: int) -> Moments:
    """Of the sums of values and of their squares, `[c, 2]`."""
    mean = sums[:, 0] / pixels
    return mean, jnp.maximum(sums[:, 1] / pixels - jnp.square(mean), 0)


def _through_moments(
    moments: Moments, gradients: Moments, pixels: int
) -> tuple[jax.Array, jax.Array]:
    """What the gradients of a map's moments add to that of each of its values x: q and r of `q * x + r`."""
    (mean, var), (to_mean, to_var) = moments, gradients
    to_var = jnp.where(var > 0, to_var, 0)
    return 2 * to_var / pixels, (to_mean - 2 * mean * to_var) / pixels


def _pixels(buffer: jax.Array, channels: int, axes: tuple[str, ...]) -> int:
    """Of a buffer with so many channels, on all devices."""
    return buffer.size // channels * lax.psum(1, axes)


def _block_forward(way, epsilon: float, buffer, moments, layers, *, axes: tuple[str, ...]):
    channels, growth = moments[0].size, layers[0]["conv2"]["kernel"].shape[-1]
    pixels, over_devices = (
        _pixels(buffer, channels + len(layers) * growth, axes),
        partial(lax.psum, axis_name=axes),
    )
    narrow, narrow_moments = [], []
    for layer in layers:
        h, sums = way.product(
            buffer, *_affine(layer["norm1"], *moments, epsilon=epsilon), layer["conv1"]["kernel"]
        )
        own = _moments_of(over_devices(sums), pixels)
        affine = _affine(layer["norm2"], *own, epsilon=epsilon)
        buffer, sums = way.window(h, *affine, layer["conv2"]["kernel"], buffer, channels)
        moments = concat_moments(moments, _moments_of(over_devices(sums), pixels))
        narrow.append(h)
        narrow_moments.append(own)
        channels += growth
    return buffer, moments, tuple(narrow), tuple(narrow_moments)


def _block_backward(
    way,
    epsilon: float,
    buffer,
    narrow,
    moments,
    narrow_moments,
    layers,
    gbuffer,
    to_moments,
    *,
    axes: tuple[str, ...],
):
    channels, growth = moments[0].size, layers[0]["conv2"]["kernel"].shape[-1]
    pixels, over_devices = _pixels(buffer, channels, axes), partial(lax.psum, axis_name=axes)
    found = []
    for layer, h, own in zip(layers[::-1], narrow[::-1], narrow_moments[::-1], strict=True):
        # What later layers said of this one's maps, and of their moments, is complete.
        mine = slice(channels - growth, channels)
        q, r = _through_moments(
            *(tuple(v[mine] for v in pair) for pair in (moments, to_moments)), pixels
        )
        channels -= growth
        affine, back = jax.vjp(partial(_affine, epsilon=epsilon), layer["norm2"], *own)
        kernel = layer["conv2"]["kernel"]
        gz, gk2, sums = way.window_backward(gbuffer, buffer, q, r, h, *affine, kernel, channels)
        sums = over_devices(sums)
        gnorm2, *to_own = back((sums[:, 1], sums[:, 0]))

        coefficients = jnp.stack([affine[0], *_through_moments(own, to_own, pixels)], axis=1)
        before = tuple(v[:channels] for v in moments)
        affine, back = jax.vjp(partial(_affine, epsilon=epsilon), layer["norm1"], *before)
        kernel = layer["conv1"]["kernel"]
        gbuffer, gk1, sums = way.product_backward(
            buffer, gbuffer, gz, h, *affine, kernel, coefficients
        )
        sums = over_devices(sums)
        gnorm1, *to_before = back((sums[:, 1], sums[:, 0]))
        to_moments = tuple(v[:channels] + g for v, g in zip(to_moments, to_before, strict=True))
        gk1, gk2 = over_devices(gk1), over_devices(gk2)
        found.append(
            {"norm1": gnorm1, "conv1": {"kernel": gk1}, "norm2": gnorm2, "conv2": {"kernel": gk2}}
        )
    return gbuffer, to_moments, tuple(found[::-1])


def _transition_forward(
    way, epsilon: float, total: int, buffer, moments, norm, conv, *, axes: tuple[str, ...]
):
    made, sums = way.transition(
        buffer, *_affine(norm, *moments, epsilon=epsilon), conv["kernel"], total
    )
    return made, _moments_of(lax.psum(sums, axes), _pixels(made, total, axes))


def _transition_backward(
    way, epsilon, buffer, made, gmade, moments, to_moments, norm, conv, *, axes: tuple[str, ...]
):
    before, own = moments
    q, r = _through_moments(own, to_moments, _pixels(made, way.channels_of(made), axes))
    affine, back = jax.vjp(partial(_affine, epsilon=epsilon), norm, *before)
    gx, gk, sums = way.transition_backward(buffer, gmade, made, q, r, *affine, conv["kernel"])
    sums = lax.psum(sums, axes)
    gnorm, *to_before = back((sums[:, 1], sums[:, 0]))
    return gx, tuple(to_before), (gnorm, {"kernel": lax.psum(gk, axes)})
