"""The Pallas kernels of fused blocks: as XLA has it, on a TPU, and with the declared traffic."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.compiling import compile_quickly, relative_errors

from hpa_jax.models.fused.backend import Layer, LayerBackward
from hpa_jax.models.fused.dense_block import dense_blocks
from hpa_jax.models.fused.moments import Affine
from hpa_jax.models.fused.pallas import PallasBackend
from hpa_jax.models.fused.passes import TransitionParams
from hpa_jax.models.fused.slabs import plan_slabs
from hpa_jax.models.fused.stages import Stage
from hpa_jax.models.fused.transition import pixels_per_transition_block
from hpa_jax.models.fused.xla import XlaBackend
from hpa_jax.models.norm import MomentGradient, Moments
from hpa_jax.plan.pallas_traffic import pallas_kernels

float32 = partial(jax.ShapeDtypeStruct, dtype=jnp.float32)
bfloat16 = partial(jax.ShapeDtypeStruct, dtype=jnp.bfloat16)


def random_blocks(images, height, width, features):
    """The input and parameters of three layers, a transition and two more layers."""
    rng = np.random.default_rng(0)

    def draw(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    def norm(channels):
        return {"scale": 1 + 0.2 * draw(channels), "bias": 0.3 * draw(channels)}

    def layer(channels):
        return {
            "norm1": norm(channels),
            "norm2": norm(features),
            "conv1": {"kernel": draw(channels, features) / channels**0.5},
            "conv2": {"kernel": draw(3, 3, features, 16) / 20},
        }

    transition = TransitionParams(norm(64), {"kernel": draw(64, 32) / 8})
    first = (layer(16), layer(32), layer(48))
    second = (layer(32), layer(48))
    given = (draw(images, height, width, 16), first, second, transition)
    cotangents = (draw(images, height // 2, width // 2, 64), draw(64), draw(64))
    return given, cotangents


def run_blocks(backends, given, cotangents):
    """Both blocks with the transition: what they return, and the gradients of what is given."""
    stages = (Stage(backends[0], None, 64), Stage(backends[1], None, 64))

    def blocks(x, first, second, transition):
        moments = Moments(jnp.mean(x, (0, 1, 2)), jnp.var(x, (0, 1, 2)))
        buffer = backends[0].to_buffer(x, 64)
        buffer, found = dense_blocks(stages, 1e-5, buffer, moments, (first, second), (transition,))
        last = found[-1].maps
        return (backends[1].to_images(buffer), last.mean, last.var), found

    def run(given, cotangents):
        results, vjp, all_moments = jax.vjp(blocks, *given, has_aux=True)
        return results, all_moments, vjp(cotangents)

    return compile_quickly(run, given, cotangents)(given, cotangents)


# Rows narrower than, as wide as and wider than a register; several slabs per image, and one. The
# bottlenecks of all layers but the first are kept, or none is. Gradients of lower channels are
# added for one layer at a time, for a group and what is left, for all.
@pytest.mark.parametrize(
    ("shape", "features", "at_once"),
    [
        ((1, 16, 128), 16, 1),
        ((2, 32, 32), 16, 2),
        ((2, 8, 256), 16, 3),
        ((2, 8, 256), 64, 2),
        ((1, 16, 128), 64, 3),
    ],
)
def test_kernels_agree_with_xla(shape, features, at_once, monkeypatch):
    monkeypatch.setattr(PallasBackend, "layers_at_once", lambda *_: at_once)
    monkeypatch.setattr("hpa_jax.models.fused.slabs.MAX_SLAB_PIXELS", 512)
    images, height, width = shape
    create = partial(PallasBackend.create, growth=16, interpret=True)
    full = create(images, height, width, 16)
    halved = create(images, height // 2, width // 2, 32)
    assert full is not None and halved is not None and full.supports_transition(256)

    given, cotangents = random_blocks(*shape, features)
    expected = run_blocks((XlaBackend(), XlaBackend()), given, cotangents)
    found = run_blocks((full, halved), given, cotangents)
    assert relative_errors(expected[:2], found[:2]).max() < 1e-5
    gradients = relative_errors(expected[2], found[2])
    assert np.median(gradients) < 1e-5
    assert gradients.max() < 2e-2


def test_images_that_do_not_fill_registers_have_no_kernels():
    assert plan_slabs(1, 12, 12) is None
    assert plan_slabs(3, 7, 128) is not None
    assert PallasBackend.create(1, 32, 32, 40, growth=32) is None
    assert PallasBackend.create(1, 32, 32, 32, growth=8) is None


def backend_for(side):
    return PallasBackend.create(1, side, side, 64, growth=32)


SIDES = [side for side in range(32, 1300, 32) if backend_for(side)]


def lower_for_tpu(function, *arguments):
    """As far as JAX does it without a TPU; it refuses blocks that do not fill registers."""
    jax.jit(function).trace(*arguments).lower(lowering_platforms=("tpu",))


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("features", [16, 128])  # the bottleneck is kept, and made again
def test_what_kernels_take_can_be_lowered_for_a_tpu(side, features):
    backend = backend_for(side)
    pixels = side * side
    channels, growth = 64, 32

    def affine(channels):
        return Affine(float32((channels,)), float32((channels,)))

    buffer = bfloat16((channels + growth, pixels))
    h = None
    if backend.keeps_bottleneck(channels, features):
        h = bfloat16((features, pixels))
    layer = Layer(
        affine(channels),
        float32((channels, features)),
        affine(features),
        float32((3, 3, features, growth)),
    )
    grad_y = bfloat16((growth, pixels))
    coefficients = float32((features, 3))
    from_moments = MomentGradient(float32((growth,)), float32((growth,)))
    lower_for_tpu(backend.conv1x1, buffer, layer.norm1, layer.conv1)
    of_layer = LayerBackward(layer, grad_y, h, coefficients)
    for of_input in slice(0, channels), slice(32, channels), slice(16, channels):
        backward = partial(backend.conv1x1_backward, channels=of_input)
        lower_for_tpu(backward, buffer, buffer, [of_layer, of_layer])
    forward = partial(backend.conv3x3, channels=channels)
    backward = partial(backend.conv3x3_backward, channels=channels)
    lower_for_tpu(forward, h, layer, buffer)
    lower_for_tpu(backward, buffer, buffer, from_moments, h, layer)

    if backend.supports_transition(256):
        buffer = bfloat16((channels, pixels))
        next_buffer = bfloat16((channels, pixels // 4))
        kernel = float32((channels, channels // 2))
        forward = partial(backend.transition, channels=channels)
        lower_for_tpu(forward, buffer, affine(channels), kernel)
        lower_for_tpu(
            backend.transition_backward,
            buffer,
            next_buffer,
            next_buffer,
            from_moments,
            affine(channels),
            kernel,
        )


def test_transitions_of_other_widths_are_left_to_xla():
    assert pixels_per_transition_block(128) == 512
    assert pixels_per_transition_block(512) == 1024
    supported = [side for side in SIDES if backend_for(side).supports_transition(256)]
    assert supported[-4:] == [512, 768, 1024, 1280]


def test_blocks_of_a_transition_fit_into_a_small_memory():
    # Of images of 4,096 and 6,144 px: compiled for a v4, the second takes 18.6 of 16 MiB.
    for side, fits in ((1024, True), (1536, False)):
        on_v4 = PallasBackend.create(1, side, side, 64, growth=32, device_kind="TPU v4")
        assert on_v4.supports_transition(256) == fits
        assert backend_for(side).supports_transition(256)


def test_gradients_are_added_for_as_many_layers_at_once_as_move_least():
    def at_once(side, channels, layers):
        return backend_for(side).layers_at_once(channels, 32, 128, layers)

    # Of DenseNet-121 at 512 px.
    assert [at_once(128, 64, 6), at_once(64, 128, 12)] == [3, 4]
    assert [at_once(32, 256, 24), at_once(32, 512, 16)] == [4, 4]
    assert at_once(32, 512, 1) == 1
    assert XlaBackend().layers_at_once(64, 32, 128, 6) == 1


def test_kernels_move_what_they_declare():
    """The blocks that each kernel's grid moves against its cost estimate, for a net at 512 px."""
    depths, growth = (6, 2), 32
    stages = (
        Stage(PallasBackend.create(2, 128, 128, 64, growth=growth), None, 256),
        Stage(PallasBackend.create(2, 64, 64, 128, growth=growth), None, 192),
    )

    def norm(channels):
        return {"scale": float32((channels,)), "bias": float32((channels,))}

    def layer(channels):
        return {
            "norm1": norm(channels),
            "conv1": {"kernel": float32((channels, 128))},
            "norm2": norm(128),
            "conv2": {"kernel": float32((3, 3, 128, growth))},
        }

    blocks = []
    for stage, depth in zip(stages, depths, strict=True):
        first = stage.channels - growth * depth
        widths = range(first, stage.channels, growth)
        blocks.append(tuple(layer(channels) for channels in widths))
    transition = TransitionParams(norm(256), {"kernel": float32((256, 128))})

    def run(buffer, moments, blocks, transitions):
        buffer, found = dense_blocks(stages, 1e-5, buffer, moments, blocks, transitions)
        return jnp.sum(buffer.astype(jnp.float32)) + jnp.sum(found[-1].maps.mean)

    moments = Moments(float32((64,)), float32((64,)))
    buffer = bfloat16((256, 2 * 128 * 128))
    step = jax.make_jaxpr(jax.grad(run))(buffer, moments, tuple(blocks), (transition,))
    kernels = pallas_kernels(step)
    assert len(kernels) == 4 * sum(depths) + 2
    for kernel in kernels:
        assert not kernel.is_upper_bound and kernel.undeclared_bytes == 0, kernel
