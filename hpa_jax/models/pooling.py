"""The largest of each 3x3 window with stride 2, differentiated in the way that suits the platform.

Unusual: XLA gives the gradient of a maximum to the first of the largest values by an operation (select-and-scatter)
that a TPU has, whereas CPUs and GPUs get it spelled out as a reduction over values and four arrays of positions, then a
scatter: several times the work of the convolution before it. There, the place of the first largest value is found by
nine comparisons, and each place of the input gathers what the windows around it send to it: the same figures.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax


def max_pool(x: jax.Array, padding: int = 0) -> jax.Array:
    """`[B, H, W, C]` to `[B, (H + 2 padding - 1) // 2, ..., C]`: the largest of 3x3 px, every second px.

    Args:
      x: any float dtype.
      padding: rows and columns of minus infinity at each edge, 0 or 1.
    """
    return _max_pool(x, padding)


def _windows(x, padding):
    return nn.max_pool(x, (3, 3), strides=(2, 2), padding=((padding, padding),) * 2)


_max_pool = jax.custom_vjp(_windows, nondiff_argnums=(1,))


def _backward(padding, x, g):
    def scattered(x, g):
        return jax.vjp(lambda x: _windows(x, padding), x)[1](g)[0]

    def gathered(x, g):
        return _gathered(x, g, padding)

    return (lax.platform_dependent(x, g, tpu=scattered, default=gathered),)


_max_pool.defvjp(lambda x, padding: (_max_pool(x, padding), x), _backward)


def _gathered(x: jax.Array, g: jax.Array, padding: int) -> jax.Array:
    """The gradient of `_windows`: `g [B, h, w, C]` at the first largest place of each window of `x [B, H, W, C]`."""
    batch, height, width, channels = x.shape
    rows, columns = g.shape[1:3]
    behind = [
        (padding, 2 * out + 1 - side - padding) for side, out in ((height, rows), (width, columns))
    ]
    lowest = jnp.array(-jnp.inf, x.dtype)
    padded = lax.pad(x, lowest, ((0, 0, 0), *((low, high, 0) for low, high in behind), (0, 0, 0)))
    largest, first = None, None
    for place in range(9):
        row, column = divmod(place, 3)
        seen = padded[:, row : row + 2 * rows - 1 : 2, column : column + 2 * columns - 1 : 2]
        if place == 0:
            largest, first = seen, jnp.zeros(seen.shape, jnp.int8)
        else:
            larger = seen > largest
            largest, first = (
                jnp.where(larger, seen, largest),
                jnp.where(larger, jnp.int8(place), first),
            )

    def sent(row: int, column: int) -> jax.Array:
        """What each window sends to its place (row, column): to `[2 r + row, 2 c + column]` of the padded input."""
        # One window further than there are: the last row of window r - 1 is the first of window r.
        edges = ((1, 0) if row == 2 else (0, 1), (1, 0) if column == 2 else (0, 1))
        return jnp.pad(jnp.where(first == 3 * row + column, g, 0), ((0, 0), *edges, (0, 0)))

    even, odd = (0, 2), (1,)
    quarters = [
        [sum(sent(r, c) for r in rs for c in cs) for cs in (even, odd)] for rs in (even, odd)
    ]
    by_row = [jnp.stack(pair, axis=3) for pair in quarters]
    whole = jnp.stack(by_row, axis=2).reshape(batch, 2 * rows + 2, 2 * columns + 2, channels)
    return whole[:, padding : padding + height, padding : padding + width]
