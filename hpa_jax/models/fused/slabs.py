"""Images in slabs of complete rows, for kernels in which a pixel needs those around it.

A kernel reads a slab and the pixels before and behind it (its edges), of which some lie in the
image above or below, or nowhere: it zeroes these.
"""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from hpa_jax.models.fused.blocks import LANES

MAX_SLAB_PIXELS = 2048
TAPS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
"""Of 3x3 pixels: rows down, columns to the right."""


@dataclass(frozen=True)
class Slabs:
    """How the pixels of a batch are divided.

    Attributes:
      images: in the batch.
      height: of an image, px.
      width: of an image, px.
      slab: pixels in a slab, a divisor of an image's.
      edge: pixels read before and behind it.
    """

    images: int
    height: int
    width: int
    slab: int
    edge: int

    @property
    def pixels_per_image(self) -> int:
        return self.height * self.width

    @property
    def slabs_per_image(self) -> int:
        return self.pixels_per_image // self.slab

    @property
    def grid(self) -> tuple[int, int]:
        return self.images, self.slabs_per_image

    def smaller(self, most: int) -> "Slabs":
        """Slabs of at most so many pixels, or of an edge's."""
        sizes = range(self.edge, max(most, self.edge) + 1, self.edge)
        return replace(self, slab=max(size for size in sizes if self.slab % size == 0))

    @property
    def window(self) -> int:
        """Pixels of a slab with its edges."""
        return self.slab + 2 * self.edge

    def with_windows(self) -> "Slabs | None":
        """Slabs of which `window_block` can be read; None where there are too few pixels."""
        most = self.images * self.pixels_per_image - 2 * self.edge
        if most < self.edge:
            return None
        return self.smaller(most)

    @property
    def inner(self) -> slice:
        """The slab, in what is read with its edges."""
        return slice(self.edge, self.edge + self.slab)

    @property
    def edge_pixels(self) -> int:
        """Read twice: the edges of all slabs."""
        return self.images * self.slabs_per_image * 2 * self.edge


def plan_slabs(
    images: int, height: int, width: int, *, rows: int = 1, most: int | None = None
) -> Slabs | None:
    """None where such images do not fit: rows and slabs have to end with registers.

    Args:
      images: in the batch.
      height: of an image, px.
      width: of an image, px.
      rows: that a pixel needs above and below its own.
      most: pixels in a slab, unless its edge has more; None: MAX_SLAB_PIXELS.
    """
    pixels = height * width
    # Rounded up to complete registers.
    edge = -(-rows * width // LANES) * LANES
    if pixels % edge:
        return None
    largest = max(most or MAX_SLAB_PIXELS, edge)
    fitting = [slab for slab in range(edge, largest + 1, edge) if pixels % slab == 0]
    return Slabs(images, height, width, slab=fitting[-1], edge=edge)


def slab_block(slabs: Slabs, rows: int, row_block: int = 0) -> pl.BlockSpec:
    """A slab of the `row_block`-th `rows` channels."""

    def index(image, slab):
        return row_block, image * slabs.slabs_per_image + slab

    return pl.BlockSpec((rows, slabs.slab), index)


def slab_rows(slabs: Slabs, channels: slice) -> pl.BlockSpec:
    """A slab of some channels, wherever they begin."""
    rows = channels.stop - channels.start
    if channels.start % rows == 0:
        return slab_block(slabs, rows, channels.start // rows)

    def index(image, slab):
        # In complete registers, which the compiler has to know.
        registers = slabs.slab // LANES
        return channels.start, (image * slabs.slabs_per_image + slab) * registers * LANES

    return pl.BlockSpec((pl.Element(rows), pl.Element(slabs.slab)), index)


def slab_blocks_with_edges(slabs: Slabs, rows: int, row_block: int = 0) -> list[pl.BlockSpec]:
    """The pixels before a slab, the slab, the pixels behind it."""
    edges_per_slab = slabs.slab // slabs.edge
    last_edge = slabs.images * slabs.pixels_per_image // slabs.edge - 1

    def before(image, slab):
        number = image * slabs.slabs_per_image + slab
        return row_block, jnp.maximum(number * edges_per_slab - 1, 0)

    def behind(image, slab):
        number = image * slabs.slabs_per_image + slab
        return row_block, jnp.minimum((number + 1) * edges_per_slab, last_edge)

    edge = (rows, slabs.edge)
    return [
        pl.BlockSpec(edge, before),
        slab_block(slabs, rows, row_block),
        pl.BlockSpec(edge, behind),
    ]


def window_block(slabs: Slabs, rows: int) -> pl.BlockSpec:
    """The first `rows` channels of a slab with its edges, as one block.

    For an array that a kernel also writes to in place: it may be given once alone. The first and
    the last window would begin before the array and end behind it, and are moved inside:
    `in_place` moves what was read of them back.
    """

    def index(image, slab):
        return 0, _window_start(slabs, image, slab)

    return pl.BlockSpec((pl.Element(rows), pl.Element(slabs.window)), index)


def _window_start(slabs: Slabs, image, slab) -> jax.Array:
    """Of the block; in complete registers, which the compiler has to know."""
    wanted = (image * slabs.slabs_per_image + slab) * (slabs.slab // LANES) - slabs.edge // LANES
    last = (slabs.images * slabs.pixels_per_image - slabs.window) // LANES
    return jnp.clip(wanted, 0, last) * LANES


def in_place(slabs: Slabs, values: jax.Array) -> jax.Array:
    """float32 `[C, window]` of a `window_block` that may have been moved, as if it had not been.

    What it has then beyond its image is anything.
    """
    image = pl.program_id(0)
    slab = pl.program_id(1)
    wanted = (image * slabs.slabs_per_image + slab) * slabs.slab - slabs.edge
    moved = _window_start(slabs, image, slab) - wanted
    return pltpu.roll(values, lax.rem(moved + slabs.window, slabs.window), axis=1)


def is_inside(slabs: Slabs, shape: tuple[int, int]) -> jax.Array:
    """Whether each pixel of an array that begins with the edge before a slab is in its image."""
    pixel = lax.broadcasted_iota(jnp.int32, shape, 1)
    pixel = pixel + pl.program_id(1) * slabs.slab - slabs.edge
    return (pixel >= 0) & (pixel < slabs.pixels_per_image)


def zero_outside(slabs: Slabs, values: jax.Array) -> jax.Array:
    """`[C, edge + slab + edge]` with zeros above the image's first row and below its last."""
    return jnp.where(is_inside(slabs, values.shape), values, 0)


def shifted(
    slabs: Slabs,
    values: jax.Array,
    dy: int,
    dx: int,
    *,
    keep: slice | None = None,
    outside: float = 0,
) -> jax.Array:
    """Of each pixel the value `dy` rows below and `dx` columns to the right.

    Beyond the rows of the array it is one of its other end, which nobody may use: edges are there
    for that.

    Args:
      slabs: of the image.
      values: float32 `[C, edge + slab + edge]`.
      dy: rows.
      dx: columns.
      keep: pixels of the result; None: all.
      outside: the value beyond the columns of the image.

    Returns:
      float32 `[C, pixels]`.
    """
    if dy or dx:
        # What wraps around the ends of rows comes from beyond the columns.
        shift = -(dy * slabs.width + dx)
        values = pltpu.roll(values, shift % values.shape[1], axis=1)
    start = 0
    if keep is not None:
        start = keep.start
        values = lax.slice_in_dim(values, keep.start, keep.stop, axis=1)
    if not dx:
        return values
    # Of the first pixel, made positive by complete rows.
    first = start - slabs.edge % slabs.width + slabs.width
    pixel = lax.broadcasted_iota(jnp.int32, values.shape, 1)
    pixel = pixel + first + pl.program_id(1) * slabs.slab
    column = lax.rem(pixel, slabs.width) + dx
    return jnp.where((column >= 0) & (column < slabs.width), values, outside)


def read_with_edges(before_ref, slab_ref, behind_ref) -> jax.Array:
    """`[C, edge + slab + edge]` of the three blocks."""
    return jnp.concatenate([before_ref[...], slab_ref[...], behind_ref[...]], axis=1)
