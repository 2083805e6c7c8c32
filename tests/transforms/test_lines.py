"""Lines that move by distances of their own: the kernels for a TPU beside XLA's operations."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hpa_jax.parallel.mesh import batch_sharding, make_mesh
from hpa_jax.plan.pallas_traffic import pallas_kernels
from hpa_jax.transforms.line_kernels import (
    line_mover,
    move_lines_by_kernel,
    move_lines_of_shards,
)
from hpa_jax.transforms.lines import move_lines, pack, unpack


def drawn(images, height, width, axis, limit):
    """Words of four channels, and how far their lines move, `limit` either way among them."""
    rng = np.random.default_rng(0)
    words = pack(jnp.asarray(rng.uniform(0, 255, (4, images, height, width)), jnp.float32))
    shift = rng.uniform(-limit, limit, (images, width if axis == 1 else height))
    shift[:, :2] = limit, -limit
    return words, jnp.asarray(np.expand_dims(shift, axis), jnp.float32)


# Along columns and rows; longer than a register of a TPU, and no multiple of one.
SHAPES = [
    (72, 72, 72, 2, 9.3),
    (72, 72, 64, 1, 20.1),
    (33, 47, 33, 2, 5.0),
    (47, 33, 30, 1, 13.0),
    (200, 200, 200, 2, 53.0),
]


@pytest.mark.parametrize(("height", "width", "size", "axis", "limit"), SHAPES)
@pytest.mark.parametrize("as_words", [True, False])
def test_kernels_move_lines_as_xla_does(height, width, size, axis, limit, as_words):
    words, shift = drawn(2, height, width, axis, limit)
    given = {"limit": limit, "size": size, "axis": axis, "as_words": as_words}
    expected = jax.jit(partial(move_lines, **given))(words, shift)
    found = jax.jit(partial(move_lines_by_kernel, interpret=True, **given))(words, shift)
    assert len(found) == len(expected) == (2 if as_words else 4)
    for one, other in zip(expected, found, strict=True):
        assert one.shape == other.shape and one.dtype == other.dtype
        for place in range(2) if as_words else [None]:
            values = [array if place is None else unpack(array, place) for array in (one, other)]
            # A value may round to the next of the steps of 1/256.
            np.testing.assert_allclose(*values, atol=1.01 / 256 if as_words else 1e-4)


@pytest.mark.parametrize("edge", [33, 512, 1400, 4346])
@pytest.mark.parametrize("axis", [1, 2])
def test_kernels_can_be_lowered_for_a_tpu_and_move_what_they_declare(edge, axis):
    word = jax.ShapeDtypeStruct((1, edge, edge), jnp.uint32)
    shift = jax.ShapeDtypeStruct((1, 1, edge) if axis == 1 else (1, edge, 1), jnp.float32)
    move = partial(
        move_lines_by_kernel, limit=edge / 5, size=edge * 3 // 4, axis=axis, as_words=True
    )
    traced = jax.jit(move).trace([word, word], shift)
    traced.lower(lowering_platforms=("tpu",))
    (kernel,) = pallas_kernels(traced.jaxpr)
    assert not kernel.is_upper_bound and kernel.undeclared_bytes == 0


def test_each_device_moves_the_lines_of_its_own_images():
    mesh = make_mesh(jax.devices()[:2], 1)
    words, shift = drawn(4, 40, 40, 2, 7.0)
    given = {"limit": 7.0, "size": 40, "axis": 2, "as_words": False}
    sharded = jax.device_put((words, shift), batch_sharding(mesh))
    step = jax.jit(partial(move_lines_of_shards, mesh, interpret=True, **given))
    compiled = step.lower(*sharded).compile()
    assert "all-" not in compiled.as_text()
    for one, other in zip(move_lines(words, shift, **given), step(*sharded), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_kernels_are_for_tpus_with_complete_images():
    assert line_mover(None) is move_lines
    assert line_mover(make_mesh(jax.devices()[:2], 1)) is move_lines
    assert line_mover(make_mesh(jax.devices()[:2], 2)) is move_lines
