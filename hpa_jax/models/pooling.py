"""Pooling: the 3x3 maximum with stride 2, and mean and maximum over a feature map.

Design:
- XLA gives the gradient of a windowed maximum to the first of the largest values by an operation
  (select-and-scatter) that a TPU has. For CPUs and GPUs XLA spells it out as a reduction over
  values and four arrays of positions and then a scatter, several times the work of the convolution
  before it (192 CPU ms against 77). There, nine comparisons find the position of the first largest
  value, and each input position gathers what the windows around it send to it: the same numbers;
- `global_max` is not `jnp.max`; its docstring says why.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax


def max_pool(x: jax.Array, padding: int = 0) -> jax.Array:
    """The largest of 3x3 px, every second px.

    Args:
      x: `[B, H, W, C]`, any float dtype.
      padding: rows and columns of minus infinity at each edge, 0 or 1.

    Returns:
      `[B, (H + 2 padding - 1) // 2, (W + 2 padding - 1) // 2, C]`.
    """
    return _max_pool(x, padding)


def mean_and_max(x: jax.Array) -> jax.Array:
    """Mean and maximum over `[B, h, w, F]`, concatenated: `float32 [B, 2 F]`."""
    mean = jnp.mean(x.astype(jnp.float32), axis=(1, 2))
    largest = global_max(x).astype(jnp.float32)
    return jnp.concatenate([mean, largest], axis=-1)


@jax.custom_vjp
def global_max(x: jax.Array) -> jax.Array:
    """The largest value of each feature map, with a gradient to one position, the first of equals.

    Not the gradient of `jnp.max`, which is divided among the positions where `x == maximum`: where
    XLA computes `x` twice, once for the maximum and once for the comparison, with different
    roundings, none is equal and the gradient is 0 / 0.

    Args:
      x: `[B, h, w, F]`.

    Returns:
      `[B, F]`, in the dtype of `x`.
    """
    return jnp.max(x, axis=(1, 2))


def _first_max(x: jax.Array) -> jax.Array:
    """`global_max` as it is differentiated.

    First along each row, then over the rows: rows may be sharded over devices (parallel/mesh.py),
    where one argmax over all positions would gather them.
    """
    height, width = x.shape[1:3]
    column = jnp.argmax(x, axis=2, keepdims=True)
    x = jnp.sum(jnp.where(jnp.arange(width)[:, None] == column, x, 0), axis=2)

    # The barrier has each row's maximum computed once, for the maximum and the comparison alike.
    rows = lax.optimization_barrier(lax.stop_gradient(x))
    number = jnp.arange(height)[:, None]
    # Written with "not smaller" so that it also holds where the largest value is NaN.
    is_largest = ~(rows < jnp.max(rows, axis=1, keepdims=True))
    first = jnp.min(jnp.where(is_largest, number, height), axis=1, keepdims=True)
    return jnp.sum(jnp.where(number == first, x, 0), axis=1)


def _global_max_forward(x):
    return jax.vjp(_first_max, x)


def _global_max_backward(pull_back, g):
    return pull_back(g)


global_max.defvjp(_global_max_forward, _global_max_backward)


def _windowed_max(x, padding):
    around = (padding, padding)
    return nn.max_pool(x, (3, 3), strides=(2, 2), padding=(around, around))


_max_pool = jax.custom_vjp(_windowed_max, nondiff_argnums=(1,))


def _max_pool_forward(x, padding):
    return _max_pool(x, padding), x


def _max_pool_backward(padding, x, g):
    def scatter(x, g):
        _, vjp = jax.vjp(lambda x: _windowed_max(x, padding), x)
        (gradient,) = vjp(g)
        return gradient

    def gather(x, g):
        first = _first_largest_tap(x, *g.shape[1:3], padding)
        return _gather_gradient(first, g, x.shape, padding)

    def gather_once_computed(x, g):
        # Fused with it, both would be computed for each of the nine taps, and without vectors: g is
        # a sum over the layers of a block.
        first = _first_largest_tap(x, *g.shape[1:3], padding)
        first, g = lax.optimization_barrier((first, g))
        return _gather_gradient(first, g, x.shape, padding)

    gradient = lax.platform_dependent(x, g, tpu=scatter, cpu=gather_once_computed, default=gather)
    return (gradient,)


_max_pool.defvjp(_max_pool_forward, _max_pool_backward)


def _gather_gradient(
    first: jax.Array, g: jax.Array, shape: tuple[int, ...], padding: int
) -> jax.Array:
    """The gradient of `_windowed_max`: each `g` at the first largest position of its window.

    Args:
      first: `int8 [B, h, w, C]`, of `_first_largest_tap`.
      g: `[B, h, w, C]`.
      shape: of the result, `(B, H, W, C)`.
      padding: as in `max_pool`.

    Returns:
      `[B, H, W, C]`.
    """
    batch, height, width, channels = shape
    rows, columns = g.shape[1:3]

    def sent(row: int, column: int) -> jax.Array:
        """What each window (r, c) sends to its tap, at `[2 r + row, 2 c + column]` once padded."""
        values = jnp.where(first == 3 * row + column, g, 0)
        # One window more than there are: the last row of window r - 1 is the first of window r.
        shift_rows = _shift_by_one(row == 2)
        shift_columns = _shift_by_one(column == 2)
        return jnp.pad(values, ((0, 0), shift_rows, shift_columns, (0, 0)))

    def sum_of(taps_down: tuple[int, ...], taps_right: tuple[int, ...]) -> jax.Array:
        return sum(sent(row, column) for row in taps_down for column in taps_right)

    # Positions of the padded input by parity: an even row belongs to taps 0 and 2, an odd one to 1.
    even, odd = (0, 2), (1,)
    even_rows = [sum_of(even, even), sum_of(even, odd)]
    odd_rows = [sum_of(odd, even), sum_of(odd, odd)]
    by_row = [jnp.stack(even_rows, axis=3), jnp.stack(odd_rows, axis=3)]
    interleaved = jnp.stack(by_row, axis=2)
    padded = interleaved.reshape(batch, 2 * rows + 2, 2 * columns + 2, channels)
    return padded[:, padding : padding + height, padding : padding + width]


def _shift_by_one(shifted: bool) -> tuple[int, int]:
    return (1, 0) if shifted else (0, 1)


def _first_largest_tap(x: jax.Array, rows: int, columns: int, padding: int) -> jax.Array:
    """Number (0 to 8, row by row) of the first largest value of each 3x3 window: `int8`."""
    height, width = x.shape[1:3]
    below = 2 * rows + 1 - height - padding
    right = 2 * columns + 1 - width - padding
    lowest = jnp.array(-jnp.inf, x.dtype)
    # Negative where the stride leaves out the last row or column.
    edges = ((0, 0, 0), (padding, below, 0), (padding, right, 0), (0, 0, 0))
    padded = lax.pad(x, lowest, edges)

    def tap(number: int) -> jax.Array:
        row, column = divmod(number, 3)
        last_row = row + 2 * rows - 1
        last_column = column + 2 * columns - 1
        return padded[:, row:last_row:2, column:last_column:2]

    largest = tap(0)
    first = jnp.zeros(largest.shape, jnp.int8)
    for number in range(1, 9):
        values = tap(number)
        larger = values > largest
        largest = jnp.where(larger, values, largest)
        first = jnp.where(larger, jnp.int8(number), first)
    return first
