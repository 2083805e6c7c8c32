"""Symmetries, windows and turns of images, as arrays that a TPU moves at full rate.

Unusual: no gathers, which a TPU runs pixel by pixel. A window is resampled by two matrix products an image, and turned
by three shears.
"""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

Placer = Callable[[jax.Array], jax.Array]
"""Places an array on devices that share the height of each image (hpa_jax.parallel.mesh)."""

_ROUNDED = 0.01
"""Pixels by which a place in float32 may lie beyond the furthest one, and more."""


def as_is(array: jax.Array) -> jax.Array:
    return array


def symmetry(images: jax.Array, which: jax.Array) -> jax.Array:
    """The symmetry of the square with number `which [B]`, 0 to 7."""

    def where(bit: int, changed: jax.Array, images: jax.Array) -> jax.Array:
        return jnp.where(((which >> bit) & 1 == 1)[:, None, None, None], changed, images)

    images = where(0, images[:, ::-1], images)
    images = where(1, images[:, :, ::-1], images)
    if images.shape[1] == images.shape[2]:
        images = where(2, images.swapaxes(1, 2), images)
    return images


def warp_upright(
    images: jax.Array,
    side: jax.Array,
    centre: jax.Array,
    size: tuple[int, int] | None = None,
    cut: Placer = as_is,
    whole: Placer = as_is,
) -> jax.Array:
    """Bilinear samples of an upright window.

    Args:
      images: `[B, H, W, C]`, float.
      side: `[B]`, of the window, as a share of the image's.
      centre: `[B, 2]`, of the window from that of the image: y and x, shares of the image's sides.
      size: height and width of the result, pixels of the window's H x W and of what lies around it; None: H and W.
      cut, whole: what has a row for each row of the result is cut, what such rows are made from is whole.

    Returns:
      `float32 [B, *size, C]`; black (0) where the window leaves the image.
    """

    def weights(height: int, rows: int, offset: jax.Array, place: Placer) -> jax.Array:
        middle = (height - 1) / 2
        # Whole for rows as well: the two have terms in common, which are computed once and would then be gathered.
        at = whole(
            _from_middle(rows) * side[:, None] + middle + offset[:, None] * height
        )  # [B, rows]
        return place(
            jnp.maximum(0, 1 - jnp.abs(at[:, :, None] - jnp.arange(height)))
        )  # [B, rows, height]

    sizes = size or images.shape[1:3]
    rows = weights(images.shape[1], sizes[0], centre[:, 0], cut)
    columns = weights(images.shape[2], sizes[1], centre[:, 1], whole)
    # The default precision of a TPU would round the weights to eight bits.
    images = jnp.einsum("bij,bjxc->bixc", rows, images, precision="high")
    return jnp.einsum("bij,byjc->byic", columns, images, precision="high")


def warp_rotated(
    images: jax.Array,
    side: jax.Array,
    centre: jax.Array,
    angle: jax.Array,
    limit: float,
    whole: Placer = as_is,
) -> jax.Array:
    """Samples of a window turned by `angle [B]` radians, at most `limit` either way: `float32 [B, H, W, C]`, 0 to 255.

    The rest as in `warp_upright`; `images` uint8 or float, 0 to 255, of up to four channels.

    The window is zoomed upright, with what the turn brings into it from around, and then turned by three shears, each
    of which moves whole lines (Paeth 1986, "A Fast Algorithm for General Raster Rotation"), by Keys's cubic (1981),
    since linear shares three times over would blur a turned field (Unser, Thevenaz and Yaroslavsky 1995). Turns beyond
    45 degrees begin with quarter turns, which are exact.

    Unusual: lines move by powers of two, each line by those that its shift is made of, as a TPU reads neighbours in
    lines and not pixels from anywhere. Between shears a value is kept in steps of 1/256 of a grey value, two to a word.
    """
    height, width = images.shape[1:3]
    most = min(limit, math.pi / 4)
    # Even distances to the image's height, so that the lines of the two lie on each other.
    edge = height + 2 * math.ceil(
        (max(height, width) * (math.cos(most) + math.sin(most)) - height) / 2
    )
    window = warp_upright(images.astype(jnp.float32), side, centre, (edge, edge), whole=whole)
    words = [whole(word) for word in _packed(jnp.moveaxis(_in_steps(window), -1, 0))]
    if limit > most:
        quarters = jnp.round(angle / (math.pi / 2)).astype(jnp.int32)
        words, angle = (
            [_quarter_turns(word, quarters) for word in words],
            angle - quarters * (math.pi / 2),
        )
    steep_x, steep_y = jnp.tan(angle / 2)[:, None], -jnp.sin(angle)[:, None]
    most_x, most_y = (steep * (edge - 1) / 2 for steep in (math.tan(most / 2), math.sin(most)))

    def sheared(
        words: Sequence[jax.Array], by: jax.Array, most: float, size: int, axis: int
    ) -> list[jax.Array]:
        moved = _moved_lines(words, whole(by), most, size, axis)
        return [whole(word) for word in _packed([_in_steps(channel) for channel in moved])]

    words = sheared(words, (steep_x * _from_middle(edge))[:, :, None], most_x, edge, axis=2)
    words = sheared(words, (steep_y * _from_middle(edge))[:, None, :], most_y, height, axis=1)
    channels = _moved_lines(
        words, (steep_x * _from_middle(height))[:, :, None], most_x, width, axis=2
    )
    return jnp.stack(channels[: images.shape[-1]], axis=-1)


def _from_middle(size: int) -> jax.Array:
    """Where the pixels of a line lie from its middle: `float32 [size]`."""
    return jnp.arange(size) - (size - 1) / 2


def _moved_lines(
    words: Sequence[jax.Array], by: jax.Array, most: float, size: int, axis: int
) -> list[jax.Array]:
    """The middle `size` pixels of lines that are read `by` places further on, black beyond their ends.

    Args:
      words: `uint32 [B, H, W]` each, `_packed`.
      by: places for each line, in a shape that goes with a word; absolute values up to `most`.
      axis: of a word along which lines move.

    Returns:
      Two channels a word: `float32 [B, H, W]` each, 0 to 255, H or W being `size`.
    """
    before = words[0].shape[axis]
    first = (before - size) / 2  # of the middle pixels; half a place where that lies between two
    least, last = math.floor(first - most - _ROUNDED), math.floor(first + most + _ROUNDED)
    low = jnp.floor(first + by)
    places, shares = low.astype(jnp.int32) - least, _keys_cubic(first + by - low)
    bits = (last - least).bit_length()
    longest = size + (1 << bits) - 1 + 3  # what the taps of a line reach that is moved by all bits
    ends = [(0, 0, 0)] * 3
    ends[axis] = (1 - least, longest - (1 - least) - before, 0)

    def taps(word: jax.Array) -> list[jax.Array]:
        """For each pixel the one before its place, that at its place, and the two after."""
        word, length = jax.lax.pad(word, jnp.uint32(0), ends), longest
        for bit in reversed(range(bits)):
            length -= 1 << bit
            near, far = (
                jax.lax.slice_in_dim(word, start, start + length, axis=axis)
                for start in (0, 1 << bit)
            )
            word = jnp.where(places >> bit & 1 == 1, far, near)
        return [jax.lax.slice_in_dim(word, start, start + size, axis=axis) for start in range(4)]

    def moved(around: list[jax.Array], place: int) -> jax.Array:
        values = [(tap >> 16 * place & 0xFFFF).astype(jnp.float32) / 256 for tap in around]
        return jnp.clip(
            sum(share * value for share, value in zip(shares, values, strict=True)), 0, 255
        )

    return [moved(around, place) for around in map(taps, words) for place in range(2)]


def _keys_cubic(share: jax.Array) -> tuple[jax.Array, ...]:
    """Weights of the samples at -1, 0, 1 and 2 for a value at `share`, 0 to 1 (Keys 1981, a = -1/2)."""
    t, rest = share, 1 - share
    return (
        -t * rest**2 / 2,
        1 - t**2 * (5 - 3 * t) / 2,
        1 - rest**2 * (5 - 3 * rest) / 2,
        -rest * t**2 / 2,
    )


def _quarter_turns(pixels: jax.Array, number: jax.Array) -> jax.Array:
    """Squares `[B, N, N]` turned `number [B]` times by 90 degrees, in the sense of `warp_rotated`."""
    odd, half = (number & 1 == 1)[:, None, None], (number & 2 == 2)[:, None, None]
    pixels = jnp.where(odd, pixels.swapaxes(1, 2)[:, :, ::-1], pixels)
    return jnp.where(half, pixels[:, ::-1, ::-1], pixels)


def _in_steps(values: jax.Array) -> jax.Array:
    """0 to 255 in steps of 1/256."""
    return jnp.round(values * 256).astype(jnp.uint16)


def _packed(channels: Sequence[jax.Array]) -> list[jax.Array]:
    """Up to four channels, `uint16 [B, H, W]` each, two to a word: `uint32 [B, H, W]` each; a third one alone."""
    values = [channel.astype(jnp.uint32) for channel in channels]
    return [
        sum(value << 16 * place for place, value in enumerate(pair))
        for pair in (values[:2], values[2:])
        if pair
    ]
