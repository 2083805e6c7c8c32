"""The stem's kernels: the layout of the images, and the declared traffic."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hpa_jax.models.fused.pallas import PallasBackend
from hpa_jax.models.fused.stages import Stage
from hpa_jax.models.fused.stem import StemParams, fused_stem, plan_stem
from hpa_jax.models.fused.stem_kernels import to_cells
from hpa_jax.plan.pallas_traffic import pallas_kernels


# Rows of several chunks of 512 px, of one, and of none.
@pytest.mark.parametrize("shape", [(2, 8, 1024, 3), (3, 4, 512, 1), (1, 16, 64, 4), (1, 4, 528, 2)])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_cells_are_the_pixels_of_the_image(shape, dtype):
    images = jnp.asarray(np.random.default_rng(0).normal(size=shape), dtype)
    batch, height, width, channels = shape
    cells = np.asarray(images).reshape(batch, height // 4, 4, width // 4, 4, channels)
    expected = cells.transpose(2, 4, 5, 0, 1, 3).reshape(16 * channels, -1)
    np.testing.assert_array_equal(to_cells(images), expected)


def test_kernels_move_what_they_declare():
    stage = Stage(PallasBackend.create(2, 128, 128, 64, growth=32), None, 256)
    shape = (2, 512, 512, 4)
    slabs = plan_stem(shape, stage, None)
    norm = {"scale": jnp.ones(64), "bias": jnp.zeros(64)}
    params = StemParams(norm, {"kernel": jnp.zeros((7, 7, 4, 64))})

    def loss(params, images):
        outputs = fused_stem(stage, slabs, 1e-5, images, params)
        return jnp.sum(outputs.buffer.astype(jnp.float32)) + jnp.sum(outputs.maps.mean)

    images = jax.ShapeDtypeStruct(shape, jnp.bfloat16)
    kernels = pallas_kernels(jax.make_jaxpr(jax.grad(loss))(params, images))
    assert [kernel.name for kernel in kernels] == ["stem_moments", "stem_pool", "stem_backward"]
    for kernel in kernels:
        assert not kernel.is_upper_bound
        assert kernel.undeclared_bytes == 0, kernel


def test_images_that_are_no_complete_cells_have_no_kernels():
    stage = Stage(PallasBackend.create(1, 32, 32, 64, growth=32), None, 96)
    assert plan_stem((1, 128, 128, 4), stage, None) is not None
    assert plan_stem((1, 128, 126, 4), stage, None) is None
