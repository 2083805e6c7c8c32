"""Every way to compute dense blocks gives the same logits, gradients and batch statistics."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hpa_jax.errors import InputError
from hpa_jax.models import create_model, densenet, init_variables
from hpa_jax.models.classifier import BACKBONES
from hpa_jax.models.fused import dense_block
from hpa_jax.models.fused.conv3x3 import window_of
from hpa_jax.models.fused.dense_block import Stage, backend_of, dense_blocks
from hpa_jax.models.fused.pallas import PallasBackend
from hpa_jax.models.fused.transition import pooled_pixels
from hpa_jax.models.fused.xla import Arrays
from hpa_jax.plan.pallas_traffic import pallas_traffic

NET = partial(densenet.DenseNet, depths=(2, 1, 1), growth=16, stem=32)
"""Channels that fill the kernels' registers, with two transitions."""


def quickly(function, *arguments):
    """Compiled without optimisation, which would take longer than it saves."""
    program = (
        jax.jit(function)
        .lower(*arguments)
        .compile(compiler_options={"xla_backend_optimization_level": 0})
    )
    return program(*arguments)


@pytest.fixture
def by_kernels(monkeypatch):
    """The kernels, interpreted, wherever they fit: at 128 px the first two blocks, not the last."""
    used = []

    def interpreted(*arguments):
        kernels = backend_of(*arguments, interpret=True)
        used.append(kernels is not None)
        return kernels

    monkeypatch.setattr(dense_block, "kernels_of", interpreted)
    return used


def step(block, *, size=128, fields=4, dtype="float32", backbone=NET, seed=0):
    """`((loss, (logits, batch statistics)), gradients)` of one training step of a net with random weights."""
    BACKBONES["densenet_fit"] = backbone
    try:
        model = create_model(
            "densenet_fit", head="linear", num_labels=5, dropout=0.0, dtype=dtype, block=block
        )
        rng = np.random.default_rng(seed)
        noisy = lambda a: (a + 0.1 * rng.normal(size=a.shape)).astype(np.float32)  # noqa: E731
        variables = init_variables(model, (size, size, 4), seed)
        images = rng.normal(size=(fields, size, size, 4)).astype(np.float32)
        targets = rng.integers(0, 2, (fields, 5))

        def loss(params):
            given = {"params": params, "batch_stats": variables["batch_stats"]}
            logits, updates = model.apply(given, images, train=True, mutable=["batch_stats"])
            return jnp.mean(jnp.logaddexp(0, logits) - targets * logits), (
                logits,
                updates["batch_stats"],
            )

        return quickly(
            jax.value_and_grad(loss, has_aux=True), jax.tree.map(noisy, variables["params"])
        )
    finally:
        del BACKBONES["densenet_fit"]


def errors(expected, found):
    """Largest error of each array, as a share of its largest value."""
    assert jax.tree.structure(expected) == jax.tree.structure(found)
    pairs = zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True)
    return np.array([np.max(np.abs(a - b)) / (np.max(np.abs(a)) + 1e-9) for a, b in pairs])


def check(expected, found):
    """To float32 rounding. Where a rectifier's input is within rounding of 0, a few gradients differ by more."""
    assert errors(expected[0], found[0]).max() < 2e-5
    gradients = errors(expected[1], found[1])
    assert np.median(gradients) < 2e-5 and gradients.max() < 2e-2, np.sort(gradients)[-5:]


@pytest.mark.parametrize("block", ["remat", "fused"])
@pytest.mark.parametrize("size", [64, 72])  # 72: odd maps
def test_a_step_is_the_plain_one(block, size):
    check(step("plain", size=size), step(block, size=size))


def test_kernels_take_the_same_step(by_kernels):
    check(step("plain"), step("fused"))
    assert by_kernels == [True, True, False]  # and what is too small for them goes on without


def test_channels_that_do_not_fill_registers_go_without_kernels(by_kernels):
    tiny = BACKBONES["densenet_tiny"]
    check(step("plain", size=64, backbone=tiny), step("fused", size=64, backbone=tiny))
    assert not any(by_kernels)


def test_in_bfloat16_a_step_differs_by_its_rounding():
    expected, found = step("plain"), step("fused", dtype="bfloat16")
    rounded = errors(expected, step("plain", dtype="bfloat16"))
    assert np.median(errors(expected, found)) < 2 * np.median(rounded)
    assert all(a.dtype == np.float32 for a in jax.tree.leaves(found))


def block_case(fields, height, width, seed=0):
    """Two layers, a transition and one more, with the gradients that come from behind them."""
    rng = np.random.default_rng(seed)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
    norm = lambda c: {"scale": 1 + 0.2 * draw(c), "bias": 0.3 * draw(c)}  # noqa: E731

    def layer(c):
        convs = {
            "conv1": {"kernel": draw(c, 64) / c**0.5},
            "conv2": {"kernel": draw(3, 3, 64, 16) / 20},
        }
        return {"norm1": norm(c), "norm2": norm(64), **convs}

    ahead = (norm(64), {"kernel": draw(64, 32) / 8})
    given = (draw(fields, height, width, 32), (layer(32), layer(48)), (layer(32),), ahead)
    return given, (draw(fields, height // 2, width // 2, 48), draw(48), draw(48))


def run_blocks(ways, given, gradient):
    """Two blocks and the transition between them: what they give, and the gradients."""
    stages = tuple(Stage(way, None, total) for way, total in zip(ways, (64, 48), strict=True))

    def blocks(x, layers, behind, ahead):
        moments = tuple(f(x, (0, 1, 2)) for f in (jnp.mean, jnp.var))
        begun = stages[0].way.begin(x, 64)
        buffer, found = dense_blocks(stages, 1e-5, begun, moments, (layers, behind), (ahead,))
        return (stages[1].way.end(buffer), *found[1][0]), found

    def run(given, gradient):
        made, back, aux = jax.vjp(blocks, *given, has_aux=True)
        return made, aux, back(gradient)

    return quickly(run, given, gradient)


# Rows narrower than, as wide as and wider than a register; several blocks of pixels an image, and one.
@pytest.mark.parametrize("shape", [(2, 32, 32), (1, 16, 128), (2, 8, 256)])
def test_kernels_agree_with_arrays(shape, monkeypatch):
    monkeypatch.setattr("hpa_jax.models.fused.conv3x3.SLAB", 512)
    fields, height, width = shape
    case = block_case(*shape)
    kernels = PallasBackend.of(*shape, 32, growth=16, interpret=True)
    halved = PallasBackend.of(fields, height // 2, width // 2, 32, growth=16, interpret=True)
    assert kernels is not None and kernels.halves() and halved is not None
    expected, found = (
        run_blocks(ways, *case) for ways in ((Arrays(), Arrays()), (kernels, halved))
    )
    assert errors(expected[:2], found[:2]).max() < 1e-5
    gradients = errors(expected[2], found[2])
    assert np.median(gradients) < 1e-5 and gradients.max() < 2e-2


def test_images_that_kernels_cannot_cut_are_left_to_arrays():
    assert window_of(1, 12, 12) is None and window_of(3, 7, 128) is not None
    assert (
        PallasBackend.of(1, 32, 32, 40, growth=32) is None
        and PallasBackend.of(1, 32, 32, 32, growth=8) is None
    )
    assert pooled_pixels(128) == 512 and pooled_pixels(512) == 1024


def lowered(call, *arguments):
    """Made into a TPU's instructions as far as JAX does it, which refuses blocks that do not fill registers."""
    return jax.jit(call).trace(*arguments).lower(lowering_platforms=("tpu",))


SIDES = [side for side in range(32, 1300, 32) if PallasBackend.of(1, side, side, 64, growth=32)]


@pytest.mark.parametrize("side", SIDES)
def test_what_is_left_to_kernels_can_be_lowered_for_a_tpu(side):
    kernels, pixels, made, growth = (
        PallasBackend.of(1, side, side, 64, growth=32),
        side * side,
        16,
        32,
    )
    rows = lambda channels: jax.ShapeDtypeStruct((channels, pixels), jnp.bfloat16)  # noqa: E731
    wide = partial(jax.ShapeDtypeStruct, dtype=jnp.float32)
    norm, inner, outer = ([wide((channels,))] * 2 for channels in (64, made, growth))
    buffer, h, product, taps = (
        rows(64 + growth),
        rows(made),
        wide((64, made)),
        wide((3, 3, made, growth)),
    )
    lowered(kernels.product, buffer, *norm, product)
    lowered(kernels.product_backward, buffer, buffer, h, h, *norm, product, wide((made, 3)))
    lowered(partial(kernels.window, channels=64), h, *inner, taps, buffer)
    lowered(partial(kernels.window_backward, channels=64), buffer, buffer, *outer, h, *inner, taps)
    if kernels.halves():
        behind, half = jax.ShapeDtypeStruct((64, pixels // 4), jnp.bfloat16), wide((64, 32))
        lowered(partial(kernels.transition, total=64), rows(64), *norm, half)
        lowered(kernels.transition_backward, rows(64), behind, behind, *outer, *norm, half)


def test_transitions_of_any_other_width_are_left_to_arrays():
    assert [side for side in SIDES if PallasBackend.of(1, side, side, 64, growth=32).halves()][
        -4:
    ] == [512, 768, 1024, 1280]


def test_blocks_are_a_densenets():
    with pytest.raises(InputError, match="config.model.block='fused'.*resnet50"):
        create_model("resnet50", head="pooled", num_labels=28, block="fused", dtype="float32")
    with pytest.raises(
        InputError, match="config.model.block='quick' is unknown; choose one of plain, remat, fused"
    ):
        create_model("densenet121", head="pooled", num_labels=28, block="quick", dtype="float32")


def test_evaluation_is_the_plain_one():
    plain, fused = (
        create_model("densenet_tiny", head="pooled", num_labels=3, block=b, dtype="float32")
        for b in ("plain", "fused")
    )
    variables = init_variables(plain, (64, 64, 4), 0)
    image = jax.ShapeDtypeStruct((2, 64, 64, 4), jnp.float32)
    programs = [
        str(jax.make_jaxpr(partial(m.apply, train=False))(variables, image)) for m in (plain, fused)
    ]
    assert programs[0] == programs[1]


def test_kernels_move_what_they_declare():
    """Each kernel's blocks, counted over its grid, against its cost estimate: a net at 512 px, in bfloat16."""
    depths, draw = (6, 2), jax.ShapeDtypeStruct
    stages = tuple(
        Stage(PallasBackend.of(2, side, side, channels, growth=32), None, total)
        for side, channels, total in ((128, 64, 256), (64, 128, 192))
    )
    norm = lambda c: {name: draw((c,), jnp.float32) for name in ("scale", "bias")}  # noqa: E731
    conv = lambda *shape: {"kernel": draw(shape, jnp.float32)}  # noqa: E731
    blocks = tuple(
        tuple(
            {
                "norm1": norm(c),
                "conv1": conv(c, 128),
                "norm2": norm(128),
                "conv2": conv(3, 3, 128, 32),
            }
            for c in range(stage.total - 32 * depth, stage.total, 32)
        )
        for stage, depth in zip(stages, depths, strict=True)
    )

    def run(buffer, moments, blocks, transitions):
        buffer, found = dense_blocks(stages, 1e-5, buffer, moments, blocks, transitions)
        return jnp.sum(buffer.astype(jnp.float32)) + jnp.sum(found[-1][0][0])

    moments, buffer = (draw((64,), jnp.float32),) * 2, draw((256, 2 * 128 * 128), jnp.bfloat16)
    step = jax.make_jaxpr(jax.grad(run))(buffer, moments, blocks, ((norm(256), conv(256, 128)),))
    found = pallas_traffic(step)
    assert len(found) == 4 * sum(depths) + 2
    for kernel in found:
        counted = kernel["read_bytes"] + kernel["written_bytes"]
        assert kernel["declared_bytes"] == pytest.approx(counted, rel=0.01), kernel
