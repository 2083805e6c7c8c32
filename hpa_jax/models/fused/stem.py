"""A DenseNet's stem in training, with a backward pass of its own (stem_kernels.py).

    y = conv7x7(images)                 each second pixel
    maps = max3x3(relu(norm(y)))        each second pixel, the start of the first block's buffer

Neither y nor anything of its size is kept: the backward pass computes it again from the images, of
which alone it is made.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh

from hpa_jax.models.fused.moments import (
    affine_gradient,
    moments_from_sums,
    norm_as_affine,
)
from hpa_jax.models.fused.pallas import PallasBackend
from hpa_jax.models.fused.slabs import Slabs
from hpa_jax.models.fused.stages import PIXELS, REPLICATED, Stage
from hpa_jax.models.fused.stem_kernels import (
    CELL,
    PLACES,
    arrange_kernel,
    plan_stem_slabs,
    stem_backward,
    stem_moments,
    stem_pool,
    to_cells,
)
from hpa_jax.models.norm import Moments, moment_gradient


class StemParams(NamedTuple):
    """`scale` and `bias` of the norm, `kernel` `[7, 7, C, F]` of the convolution; float32."""

    norm: dict[str, jax.Array]
    conv: dict[str, jax.Array]


class StemOutputs(NamedTuple):
    """What the stem computes.

    Attributes:
      buffer: of the first block, with the stem's maps in its first channels.
      maps: moments of these.
      convolved: moments of the convolution's result, for the running statistics.
    """

    buffer: jax.Array
    maps: Moments
    convolved: Moments


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def fused_stem(
    stage: Stage, slabs: Slabs, epsilon: float, images: jax.Array, params: StemParams
) -> StemOutputs:
    """The stem of a net whose first block is computed by Pallas kernels.

    The images have no gradient, and neither have the moments of the convolution's result.

    Args:
      stage: of the first block.
      slabs: of the images of a device (`plan_stem_slabs`).
      epsilon: of the norm.
      images: `[B, H, W, C]`, normalized, in the dtype of the arithmetic.
      params: of the stem.
    """
    outputs, _ = _forward(stage, slabs, epsilon, images, params)
    return outputs


def _forward(stage, slabs, epsilon, images, params):
    cells = to_cells(images)
    run = stage.per_device(
        partial(_stem_forward, slabs=slabs, channels=stage.channels, epsilon=epsilon),
        in_specs=(PIXELS, REPLICATED),
        out_specs=StemOutputs(buffer=PIXELS, maps=REPLICATED, convolved=REPLICATED),
    )
    outputs = run(cells, params)
    return outputs, (cells, params, outputs.maps, outputs.convolved)


def _stem_forward(
    backend, cells: jax.Array, params: StemParams, *, slabs, channels, epsilon, axes
) -> StemOutputs:
    w = arrange_kernel(params.conv["kernel"]).astype(cells.dtype)
    interpret = backend.interpret
    pixels = cells.shape[1] * lax.psum(1, axes)
    sums = lax.psum(_over_places(stem_moments(cells, w, slabs, interpret=interpret)), axes)
    convolved = moments_from_sums(sums, len(PLACES) * pixels)
    norm = norm_as_affine(params.norm, convolved, epsilon)
    buffer, sums = stem_pool(cells, w, norm, slabs, channels, interpret=interpret)
    return StemOutputs(buffer, moments_from_sums(lax.psum(sums, axes), pixels), convolved)


def _backward(stage, slabs, epsilon, residuals, cotangents: StemOutputs):
    cells, params, maps, convolved = residuals
    run = stage.per_device(
        partial(_stem_backward, slabs=slabs, epsilon=epsilon),
        in_specs=(PIXELS, PIXELS, REPLICATED, REPLICATED, REPLICATED, REPLICATED),
        out_specs=REPLICATED,
    )
    grad_params = run(cells, cotangents.buffer, params, maps, convolved, cotangents.maps)
    height = slabs.height * CELL
    width = slabs.width * CELL
    shape = (-1, height, width, cells.shape[0] // CELL**2)
    return jnp.zeros_like(cells).reshape(shape), grad_params


def _stem_backward(
    backend,
    cells: jax.Array,
    grad_buffer: jax.Array,
    params: StemParams,
    maps: Moments,
    convolved: Moments,
    grad_maps: Moments,
    *,
    slabs,
    epsilon,
    axes,
) -> StemParams:
    kernel = params.conv["kernel"]
    w = arrange_kernel(kernel).astype(cells.dtype)
    pixels = cells.shape[1] * lax.psum(1, axes)
    from_maps = moment_gradient(maps, grad_maps, pixels)
    as_affine = partial(norm_as_affine, epsilon=epsilon)
    norm, norm_vjp = jax.vjp(as_affine, params.norm, convolved)
    grad_products, y_products, cells_sums, sums = stem_backward(
        cells, grad_buffer, from_maps, w, norm, slabs, interpret=backend.interpret
    )
    sums = lax.psum(_over_places(sums), axes)
    grad_norm, grad_convolved = norm_vjp(affine_gradient(sums))
    from_convolved = moment_gradient(convolved, grad_convolved, len(PLACES) * pixels)

    factor, slope, offset = (
        jnp.tile(values, len(PLACES))[:, None] for values in (norm.factor, *from_convolved)
    )
    grad_w = factor * grad_products + slope * y_products + offset * cells_sums.T
    (grad_kernel,) = jax.linear_transpose(arrange_kernel, kernel)(grad_w)
    return StemParams(grad_norm, {"kernel": lax.psum(grad_kernel, axes)})


def _over_places(sums: jax.Array) -> jax.Array:
    """Sums of `[4 F, 2]` over the places of a pixel: `[F, 2]`."""
    return jnp.sum(sums.reshape(len(PLACES), -1, 2), axis=0)


fused_stem.defvjp(_forward, _backward)


def plan_stem(shape: tuple[int, int, int, int], stage: Stage, mesh: Mesh | None) -> Slabs | None:
    """How the images of a device are divided; None where the kernels do not fit.

    Args:
      shape: of the images, `[B, H, W, C]`.
      stage: of the first block.
      mesh: over which the images are sharded.
    """
    if not isinstance(stage.backend, PallasBackend):
        return None
    images, height, width, _ = shape
    num_devices = 1 if mesh is None else mesh.size
    return plan_stem_slabs(images // num_devices, height, width)
