"""Pallas kernels of a DenseNet's stem: 7x7 convolution, norm, ReLU, 3x3 maximum, each second pixel.

    moments   sums over the convolution's result and over its square, for the norm
    pool      the maximum of relu(norm(convolution)), the start of the first buffer, with its sums
    backward  what the gradients of kernel and norm follow from

Together the convolution and the maximum make one pixel of 4x4 pixels of the image. So the image is
laid out as `[16 C, P]`: each of P pixels of the result has the 16 pixels, of C channels, that it
stands for (`to_cells`). In this layout

- a pixel of the result needs 3x3 such cells for the convolution at its four places (2x2). That is
  one matrix product, whose rows are the places and the features (`arrange_kernel`);
- the maximum over 3x3 places is one over these four rows, and those of the cells above and to the
  left.

The convolution's result, sixteen times the image's bytes in the layout of a TPU, is in no memory:
every kernel computes it again from the image, which is small. No gradient of the image is computed.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import pallas as pl

from hpa_jax.models.fused.blocks import (
    LANES,
    as_column,
    compiler_params,
    constant_block,
    cost_estimate,
    two_sums,
    zero_at_first_step,
)
from hpa_jax.models.fused.moments import Affine
from hpa_jax.models.fused.slabs import (
    TAPS,
    Slabs,
    is_inside,
    plan_slabs,
    read_with_edges,
    shifted,
    slab_block,
    slab_blocks_with_edges,
    zero_outside,
)
from hpa_jax.models.norm import MomentGradient

CELL = 4
"""Pixels a side of the image for one of the result."""

PLACES = [(0, 0), (0, 1), (1, 0), (1, 1)]
"""Where the convolution is computed for one pixel of the result: row and column."""

KERNEL_SIDE = 7
_CELLS_SIDE = 3 * CELL  # of the 3x3 cells that a pixel needs
_MAX_SLAB_PIXELS = 1024
# A pixel needs the maximum's row above it, and that the convolution's; backward as much below it.
_ROWS = 2
# Less than any value after a ReLU: of places beyond the image, which no maximum is.
_NOWHERE = -1.0

# Of a pixel's nine places of the maximum, in the order of rows: the cell that each is in (rows
# down, columns to the right), and its place there.
_WINDOW = []
for _row in (-1, 0, 1):
    for _column in (-1, 0, 1):
        _cell = (-1 if _row < 0 else 0, -1 if _column < 0 else 0)
        _WINDOW.append((_cell, PLACES.index((_row % 2, _column % 2))))


def plan_stem_slabs(images: int, height: int, width: int) -> Slabs | None:
    """For images of so many px, by pixels of the result; None where they do not fit."""
    if height % CELL or width % CELL:
        return None
    return plan_slabs(images, height // CELL, width // CELL, rows=_ROWS, most=_MAX_SLAB_PIXELS)


def to_cells(images: jax.Array) -> jax.Array:
    """`[B, H, W, C]` to `[16 C, B * H / 4 * W / 4]`: rows and columns of a cell, then channels.

    A matrix product takes each fourth pixel of a row, exactly: as a transposition, XLA lays the
    images out with their few channels, or the batch, along a register, which fills eight times
    their bytes.
    """
    batch, height, width, channels = images.shape
    chunk = min(width, CELL * LANES)
    if width % chunk:
        chunk = width
    pixel = np.arange(chunk)
    column_first = pixel % CELL * (chunk // CELL) + pixel // CELL
    permutation = jnp.asarray(column_first[:, None] == pixel, images.dtype)
    precision = None if images.dtype == jnp.bfloat16 else lax.Precision.HIGHEST
    chunks = images.reshape(batch, height // CELL, CELL, width // chunk, chunk, channels)
    permuted = jnp.einsum("bhykpc,pq->bhykcq", chunks, permutation, precision=precision)
    cells = permuted.reshape(*permuted.shape[:-1], CELL, chunk // CELL)
    return cells.transpose(2, 5, 4, 0, 1, 3, 6).reshape(CELL * CELL * channels, -1)


def arrange_kernel(kernel: jax.Array) -> jax.Array:
    """The convolution as a matrix product over 3x3 cells.

    Args:
      kernel: `[7, 7, C, F]`.

    Returns:
      `[4 F, 9 * 16 C]`: rows are PLACES and features, columns TAPS and the rows of `to_cells`.
    """
    channels, features = kernel.shape[2:]
    by_place = []
    for row, column in PLACES:
        # At place 0 the kernel begins 3 px above the cell: that is px 1 of the cell above.
        above = 2 * row + 1
        left = 2 * column + 1
        below = _CELLS_SIDE - KERNEL_SIDE - above
        right = _CELLS_SIDE - KERNEL_SIDE - left
        by_place.append(jnp.pad(kernel, ((above, below), (left, right), (0, 0), (0, 0))))
    w = jnp.stack(by_place).reshape(len(PLACES), 3, CELL, 3, CELL, channels, features)
    return w.transpose(0, 6, 1, 3, 2, 4, 5).reshape(len(PLACES) * features, -1)


def _neighbourhoods(slabs: Slabs, cells_refs: tuple, dtype) -> jax.Array:
    """Of each pixel the 3x3 cells around it, `[9 * 16 C, edge + slab + edge]`."""
    cells = zero_outside(slabs, read_with_edges(*cells_refs).astype(jnp.float32))
    by_tap = [shifted(slabs, cells, dy, dx) for dy, dx in TAPS]
    return jnp.concatenate(by_tap, axis=0).astype(dtype)


def _convolved(w_ref, neighbourhoods: jax.Array) -> jax.Array:
    """The convolution, rounded as where it is an array of its own; float32 `[4 F, pixels]`."""
    y = jnp.dot(w_ref[...], neighbourhoods, preferred_element_type=jnp.float32)
    return y.astype(neighbourhoods.dtype).astype(jnp.float32)


def _activated(slabs: Slabs, y: jax.Array, factor_ref, shift_ref, dtype) -> list[jax.Array]:
    """`relu(norm(y))` at each of PLACES, rounded likewise; `_NOWHERE` outside of the image."""
    z = jnp.maximum(y * factor_ref[...] + shift_ref[...], 0).astype(dtype).astype(jnp.float32)
    z = jnp.where(is_inside(slabs, z.shape), z, _NOWHERE)
    return jnp.split(z, len(PLACES))


def _window(slabs: Slabs, z: list[jax.Array]) -> list[jax.Array]:
    """The nine values of which each pixel is the maximum, in the order of rows."""
    found = []
    for (down, right), place in _WINDOW:
        found.append(shifted(slabs, z[place], down, right, outside=_NOWHERE))
    return found


def _moments_kernel(slabs: Slabs, before_ref, cells_ref, behind_ref, w_ref, sums_ref):
    zero_at_first_step(sums_ref, axes=(0, 1))
    neighbourhoods = _neighbourhoods(slabs, (before_ref, cells_ref, behind_ref), w_ref.dtype)
    y = _convolved(w_ref, neighbourhoods[:, slabs.inner])
    sums_ref[...] += two_sums(y, y * y)


def stem_moments(
    cells: jax.Array, w: jax.Array, slabs: Slabs, *, interpret: bool = False
) -> jax.Array:
    """Sums of the convolution's result and of its square, at each of PLACES.

    Args:
      cells: `[16 C, P]`, of `to_cells`.
      w: `[4 F, 9 * 16 C]`, of `arrange_kernel`, in the dtype of the cells.
      slabs: of `plan_stem_slabs`.
      interpret: run the kernel as JAX operations, on any device.

    Returns:
      float32 `[4 F, 2]`.
    """
    rows, pixels = cells.shape
    return pl.pallas_call(
        partial(_moments_kernel, slabs),
        grid=slabs.grid,
        in_specs=[*slab_blocks_with_edges(slabs, rows), constant_block(*w.shape)],
        out_specs=constant_block(w.shape[0], 2),
        out_shape=jax.ShapeDtypeStruct((w.shape[0], 2), jnp.float32),
        compiler_params=compiler_params(interpret),
        cost_estimate=cost_estimate(
            2 * pixels * w.size,
            values=(pixels + slabs.edge_pixels) * rows + w.size,
            dtype=cells.dtype,
            float32_values=2 * w.shape[0],
        ),
        interpret=interpret,
        name="stem_moments",
    )(cells, cells, cells, w)


def _pool_kernel(
    slabs: Slabs,
    before_ref,
    cells_ref,
    behind_ref,
    w_ref,
    factor_ref,
    shift_ref,
    pooled_ref,
    sums_ref,
):
    zero_at_first_step(sums_ref, axes=(0, 1))
    dtype = w_ref.dtype
    neighbourhoods = _neighbourhoods(slabs, (before_ref, cells_ref, behind_ref), dtype)
    # A maximum needs what is above it, and nothing below.
    y = _convolved(w_ref, neighbourhoods[:, : slabs.inner.stop])
    z = _activated(slabs, y, factor_ref, shift_ref, dtype)
    largest = z[0]
    for values in _window(slabs, z):
        largest = jnp.maximum(largest, values)
    largest = largest[:, slabs.inner]
    pooled_ref[...] = largest.astype(pooled_ref.dtype)
    sums_ref[...] += two_sums(largest, largest * largest)


def stem_pool(
    cells: jax.Array,
    w: jax.Array,
    norm: Affine,
    slabs: Slabs,
    channels: int,
    *,
    interpret: bool = False,
) -> tuple[jax.Array, jax.Array]:
    """The maximum of `relu(y * factor + shift)`, y the convolution's result.

    Args:
      cells: as in `stem_moments`.
      w: as in `stem_moments`.
      norm: `float32 [F]` each.
      slabs: as in `stem_moments`.
      channels: of the first block's buffer.
      interpret: as in `stem_moments`.

    Returns:
      That buffer, `[channels, P]`, with the maximum in its first F rows and the others not yet
      written; and the sums of the maximum and of its square, float32 `[F, 2]`.
    """
    rows, pixels = cells.shape
    features = norm.factor.size
    pixels_read = pixels + slabs.edge_pixels
    pixels_convolved = pixels + slabs.edge_pixels // 2
    return pl.pallas_call(
        partial(_pool_kernel, slabs),
        grid=slabs.grid,
        in_specs=[
            *slab_blocks_with_edges(slabs, rows),
            constant_block(*w.shape),
            constant_block(w.shape[0], 1),
            constant_block(w.shape[0], 1),
        ],
        out_specs=[slab_block(slabs, features), constant_block(features, 2)],
        out_shape=[
            jax.ShapeDtypeStruct((channels, pixels), cells.dtype),
            jax.ShapeDtypeStruct((features, 2), jnp.float32),
        ],
        compiler_params=compiler_params(interpret),
        cost_estimate=cost_estimate(
            2 * pixels_convolved * w.size,
            values=pixels_read * rows + w.size + pixels * features,
            dtype=cells.dtype,
            float32_values=2 * w.shape[0] + 2 * features,
        ),
        interpret=interpret,
        name="stem_pool",
    )(cells, cells, cells, w, *_at_places(norm))


def _backward_kernel(
    slabs: Slabs,
    before_ref,
    cells_ref,
    behind_ref,
    grad_before_ref,
    grad_ref,
    grad_behind_ref,
    w_ref,
    factor_ref,
    shift_ref,
    slope_ref,
    offset_ref,
    grad_products_ref,
    y_products_ref,
    cells_sums_ref,
    sums_ref,
):
    zero_at_first_step(grad_products_ref, y_products_ref, cells_sums_ref, sums_ref, axes=(0, 1))
    dtype = w_ref.dtype
    neighbourhoods = _neighbourhoods(slabs, (before_ref, cells_ref, behind_ref), dtype)
    y = _convolved(w_ref, neighbourhoods)
    z = _activated(slabs, y, factor_ref, shift_ref, dtype)

    # The gradient of a maximum goes to the first of the largest.
    window = _window(slabs, z)
    largest = window[0]
    first = jnp.zeros_like(largest)
    for number, values in enumerate(window[1:], start=1):
        is_larger = values > largest
        largest = jnp.where(is_larger, values, largest)
        first = jnp.where(is_larger, float(number), first)

    grad = read_with_edges(grad_before_ref, grad_ref, grad_behind_ref).astype(jnp.float32)
    grad = grad + slope_ref[...] * largest + offset_ref[...]
    grad = grad.astype(dtype).astype(jnp.float32)
    # A largest value of 0 is one that the ReLU has cut off.
    grad = jnp.where((largest > 0) & is_inside(slabs, grad.shape), grad, 0)
    by_place = [jnp.zeros_like(grad) for _ in PLACES]
    for number, ((down, right), place) in enumerate(_WINDOW):
        sent = jnp.where(first == float(number), grad, 0)
        by_place[place] += shifted(slabs, sent, -down, -right)
    grad_z = jnp.concatenate(by_place)[:, slabs.inner]

    y = y[:, slabs.inner]
    inner = neighbourhoods[:, slabs.inner]
    over_pixels = (((1,), (1,)), ((), ()))
    product = partial(lax.dot_general, dimension_numbers=over_pixels)
    product = partial(product, preferred_element_type=jnp.float32)
    grad_products_ref[...] += product(grad_z.astype(dtype), inner)
    y_products_ref[...] += product(y.astype(dtype), inner)
    cells_sums_ref[...] += jnp.sum(inner.astype(jnp.float32), axis=1, keepdims=True)
    sums_ref[...] += two_sums(grad_z, grad_z * y)


def stem_backward(
    cells: jax.Array,
    grad_buffer: jax.Array,
    from_moments: MomentGradient,
    w: jax.Array,
    norm: Affine,
    slabs: Slabs,
    *,
    interpret: bool = False,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Of `stem_pool`, given the gradient of the maximum m: `grad_buffer + slope * m + offset`.

    The gradient of the convolution's result y is `factor * grad_z + q * y + r`, with q and r of the
    gradients of its moments, which follow from the sums below. So that of w is `factor` times the
    first of these products, q times the second, and r times the third.

    Args:
      cells: as in `stem_moments`.
      grad_buffer: `[C, P]`, of whose first F rows that of the maximum is read.
      from_moments: slope and offset, `float32 [F]` each.
      w: as in `stem_moments`.
      norm: as in `stem_pool`.
      slabs: as in `stem_moments`.
      interpret: as in `stem_moments`.

    Returns:
      Float32, summed over the pixels, X being their neighbourhoods: the products of X with the
      gradient of `y * factor + shift`, and with y, `[4 F, 9 * 16 C]` each; the sum of X,
      `[9 * 16 C, 1]`; the gradients of shift and factor, `[4 F, 2]`.
    """
    rows, pixels = cells.shape
    features = norm.factor.size
    pixels_read = pixels + slabs.edge_pixels
    columns = w.shape[1]
    return pl.pallas_call(
        partial(_backward_kernel, slabs),
        grid=slabs.grid,
        in_specs=[
            *slab_blocks_with_edges(slabs, rows),
            *slab_blocks_with_edges(slabs, features),
            constant_block(*w.shape),
            constant_block(w.shape[0], 1),
            constant_block(w.shape[0], 1),
            constant_block(features, 1),
            constant_block(features, 1),
        ],
        out_specs=[
            constant_block(*w.shape),
            constant_block(*w.shape),
            constant_block(columns, 1),
            constant_block(w.shape[0], 2),
        ],
        out_shape=[
            jax.ShapeDtypeStruct(w.shape, jnp.float32),
            jax.ShapeDtypeStruct(w.shape, jnp.float32),
            jax.ShapeDtypeStruct((columns, 1), jnp.float32),
            jax.ShapeDtypeStruct((w.shape[0], 2), jnp.float32),
        ],
        compiler_params=compiler_params(interpret),
        cost_estimate=cost_estimate(
            2 * pixels_read * w.size + 4 * pixels * w.size,
            values=pixels_read * (rows + features) + w.size,
            dtype=cells.dtype,
            float32_values=2 * w.size + 4 * w.shape[0] + 2 * features + columns,
        ),
        interpret=interpret,
        name="stem_backward",
    )(
        cells,
        cells,
        cells,
        grad_buffer,
        grad_buffer,
        grad_buffer,
        w,
        *_at_places(norm),
        as_column(from_moments.slope),
        as_column(from_moments.offset),
    )


def _at_places(norm: Affine) -> tuple[jax.Array, jax.Array]:
    """Factor and shift, `[F]`, of each row of the convolution's result, `[4 F, 1]`."""
    return tuple(as_column(jnp.tile(values, len(PLACES))) for values in norm)
