"""All forms of dense blocks take the same training step: logits, gradients and batch statistics."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.compiling import compile_quickly, relative_errors

from hpa_jax.errors import InputError
from hpa_jax.models import create_model, densenet, init_variables
from hpa_jax.models.classifier import BACKBONES
from hpa_jax.models.fused import stages
from hpa_jax.parallel.mesh import make_mesh

NET = partial(densenet.DenseNet, depths=(2, 1, 1), growth=16, stem=32)
"""Channels that fill the kernels' registers, with two transitions."""


@pytest.fixture
def with_kernels(monkeypatch):
    """A TPU's kernels, interpreted, wherever they fit: at 128 px in the first two blocks.

    Returns a list of whether each block had them.
    """
    return interpret_kernels("tpu", monkeypatch)


@pytest.fixture
def with_gpu_kernels(monkeypatch):
    """Those of NVIDIA GPUs."""
    return interpret_kernels("gpu", monkeypatch)


def interpret_kernels(platform, monkeypatch):
    used = []
    original = stages.backend_of

    def interpreted(*arguments):
        backend = original(*arguments, interpret=platform)
        used.append(backend is not None)
        return backend

    monkeypatch.setattr(stages, "backend_of", interpreted)
    return used


def training_step(block, *, size=128, dtype="float32", backbone=NET, mesh=None):
    """`((loss, (logits, batch statistics)), gradients)` of a net with random weights."""
    num_images = 4
    BACKBONES["densenet_test"] = backbone
    try:
        model = create_model(
            "densenet_test",
            head="linear",
            num_labels=5,
            dropout=0.0,
            dtype=dtype,
            block=block,
            mesh=mesh,
        )
        rng = np.random.default_rng(0)
        variables = init_variables(model, (size, size, 4), seed=0)
        images = rng.normal(size=(num_images, size, size, 4)).astype(np.float32)
        targets = rng.integers(0, 2, (num_images, 5))

        def with_noise(leaf):
            return (leaf + 0.1 * rng.normal(size=leaf.shape)).astype(np.float32)

        params = jax.tree.map(with_noise, variables["params"])

        def loss(params):
            given = {"params": params, "batch_stats": variables["batch_stats"]}
            logits, updates = model.apply(given, images, train=True, mutable=["batch_stats"])
            value = jnp.mean(jnp.logaddexp(0, logits) - targets * logits)
            return value, (logits, updates["batch_stats"])

        step = jax.value_and_grad(loss, has_aux=True)
        return compile_quickly(step, params)(params)
    finally:
        del BACKBONES["densenet_test"]


@cache
def plain_step(size=128):
    """What every form is compared with."""
    return training_step("plain", size=size)


def check_same_step(expected, found):
    """Up to float32 rounding.

    Where the input of a ReLU is within rounding of 0, a few gradients differ by more.
    """
    assert relative_errors(expected[0], found[0]).max() < 2e-5
    gradients = relative_errors(expected[1], found[1])
    assert np.median(gradients) < 2e-5
    assert gradients.max() < 2e-2, np.sort(gradients)[-5:]


@pytest.mark.parametrize("block", ["remat", "fused"])
@pytest.mark.parametrize("size", [64, 72])  # 72: odd feature maps
def test_every_form_takes_the_step_of_the_plain_one(block, size):
    check_same_step(plain_step(size), training_step(block, size=size))


def test_kernels_take_the_same_step(with_kernels):
    check_same_step(plain_step(), training_step("fused"))
    assert with_kernels == [True, True, False]  # the last block is too small for them


def test_kernels_of_gpus_take_the_same_step(with_gpu_kernels):
    mesh = make_mesh(jax.devices()[:2])
    check_same_step(plain_step(64), training_step("fused", size=64, mesh=mesh))
    assert with_gpu_kernels == [True, True, False]  # 24 channels are no multiple of 16


def test_channels_that_do_not_fill_registers_have_no_kernels(with_kernels):
    narrow = partial(densenet.DenseNet, depths=(1, 1), growth=8, stem=16)
    expected = training_step("plain", size=64, backbone=narrow)
    check_same_step(expected, training_step("fused", size=64, backbone=narrow))
    assert with_kernels == [False, False]


def test_in_bfloat16_a_step_differs_by_its_rounding():
    expected = plain_step()
    found = training_step("fused", dtype="bfloat16")
    rounded = relative_errors(expected, training_step("plain", dtype="bfloat16"))
    assert np.median(relative_errors(expected, found)) < 2 * np.median(rounded)
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(found))


def test_evaluation_is_the_plain_one():
    programs = []
    for block in ("plain", "fused"):
        model = create_model("densenet_tiny", num_labels=3, dtype="float32", block=block)
        variables = init_variables(model, (64, 64, 4), seed=0)
        images = jax.ShapeDtypeStruct((2, 64, 64, 4), jnp.float32)
        programs.append(str(jax.make_jaxpr(partial(model.apply, train=False))(variables, images)))
    assert programs[0] == programs[1]


def test_only_densenets_have_forms_of_blocks():
    with pytest.raises(InputError, match="config.model.block='fused'.*resnet50"):
        create_model("resnet50", block="fused")
    unknown = "config.model.block='quick' is unknown; choose one of plain, remat, fused"
    with pytest.raises(InputError, match=unknown):
        create_model("densenet121", block="quick")
