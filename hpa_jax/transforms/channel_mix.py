"""Channel mixes: which weighted sums of the four stored channels a net sees.

A channel mix is a matrix with a row for each channel of the net and a column for each stored one
(red, green, blue, yellow), for pixel values as fractions of 255. Nothing is clipped, since a
clipped sum would lose detail, and normalization follows. (It is not mixup, which adds images.)

To add a named one, add it to `CHANNEL_MIXES`; any other can be given as text
(`parse_channel_mix`).

The baseline `hpa_densenet` (manthan2305, "Microscopy Image Classification", section "Different
Combination of Channels") describes three pictures and gives no coefficients. They are read here as
follows, each as the red, green and blue that an ImageNet net takes; yellow is in none of them:

- `hpa_densenet_i`, "gray scale image by merging Red and Blue image then we add Green color
  channel": the mean of red and blue in all three, and green in full added to the second;
- `hpa_densenet_ii`, "reduce alpha channel of Red and Blue channel and add Green channel": red and
  blue at half their strength in their own places, green in full in its own;
- `hpa_densenet_iii`, "enhanced Green channel by merging it twice with Red and Blue channel": the
  mean of red and green, green, the mean of blue and green.

Note: normalized channel by channel, `hpa_densenet_ii` is the same as `rgb`, since normalization
undoes any attenuation. It differs where the net's channels have statistics of their own, as those
of the study had: ImageNet's, `IMAGENET` here.
"""

import ast
import warnings
from collections.abc import Sequence
from typing import Any

from hpa_jax.errors import InputError
from hpa_jax.labels import CHANNELS

ChannelMix = tuple[tuple[float, ...], ...]


def _select(*names: str) -> ChannelMix:
    rows = []
    for name in names:
        row = tuple(float(name == channel) for channel in CHANNELS)
        rows.append(row)
    return tuple(rows)


CHANNEL_MIXES: dict[str, ChannelMix] = {
    "rgby": _select(*CHANNELS),
    "rgb": _select("red", "green", "blue"),
    "green": _select("green"),
    "hpa_densenet_i": (
        (0.5, 0.0, 0.5, 0.0),
        (0.5, 1.0, 0.5, 0.0),
        (0.5, 0.0, 0.5, 0.0),
    ),
    "hpa_densenet_ii": (
        (0.5, 0.0, 0.0, 0.0),
        (0.0, 1.0, 0.0, 0.0),
        (0.0, 0.0, 0.5, 0.0),
    ),
    "hpa_densenet_iii": (
        (0.5, 0.5, 0.0, 0.0),
        (0.0, 1.0, 0.0, 0.0),
        (0.0, 0.5, 0.5, 0.0),
    ),
}
"""Name -> matrix: rows the net's channels, columns the stored red, green, blue and yellow."""

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and std of ImageNet's red, green and blue, fractions of 255, as in Keras's
`densenet.preprocess_input`."""

MAX_CHANNELS = 16

# The range of coefficients that float32 can normalize with room to spare.
_LARGEST = 1e6
_SMALLEST = 1e-6

_MAX_TEXT = 10_000  # characters; a longer literal could exhaust the parser
_QUOTED = 60  # characters of it that a message quotes


def parse_channel_mix(text: str) -> ChannelMix:
    """Parses `config.data.channel_mix`.

    Args:
      text: a name of `CHANNEL_MIXES`; stored channels separated by commas, 'red,blue,yellow' (one
        may be named twice); or a matrix, '[[1,0,0,0],[0,0.5,0.5,0]]'.

    Returns:
      A row of four coefficients for each of the net's channels.

    Raises:
      InputError: `text` is none of these, or its matrix has another number of columns than four,
        no row or more than 16, a coefficient above a million, or a row of zeros.
    """
    if text in CHANNEL_MIXES:
        return CHANNEL_MIXES[text]
    if text.strip().startswith(("[", "(")):
        return _parse_matrix(text)
    names = [name.strip() for name in text.split(",")]
    if not set(names) <= set(CHANNELS):
        raise _error(text, "is unknown")
    if len(names) > MAX_CHANNELS:
        raise _error(text, f"has {len(names)} channels")
    return _select(*names)


def channels_of_mix(text: str) -> tuple[str, ...]:
    """Names of the stored channels that a mix reads, in their order.

    Args:
      text: as of `parse_channel_mix`.
    """
    rows = parse_channel_mix(text)
    used = []
    for number, channel in enumerate(CHANNELS):
        if any(row[number] for row in rows):
            used.append(channel)
    return tuple(used)


def mixed_statistics(
    channel_mix: ChannelMix, mean: Sequence[Any], std: Sequence[Any]
) -> tuple[tuple, tuple]:
    """Mean and std of each of the net's channels, from those of the four stored ones.

    `mean' = M mean` and `std'_i = sqrt(sum_j (m_ij std_j)^2)`, as if the stored channels were
    independent. A channel that the net sees as stored keeps its statistics exactly.

    Args:
      channel_mix: rows of four coefficients.
      mean: of the four stored channels: numbers, or arrays of one shape (a value for each image).
      std: likewise.

    Returns:
      (mean', std'), tuples of `len(channel_mix)` values of the same kind.
    """
    means = []
    stds = []
    for row in channel_mix:
        terms = []
        for channel, coefficient in enumerate(row):
            if coefficient:
                terms.append((coefficient, mean[channel], std[channel]))
        means.append(sum(coefficient * term for coefficient, term, _ in terms))
        if len(terms) == 1:
            # Without the square and its root, which would round.
            coefficient, _, own_std = terms[0]
            stds.append(abs(coefficient) * own_std)
        else:
            variance = sum((coefficient * term) ** 2 for coefficient, _, term in terms)
            stds.append(variance**0.5)
    return tuple(means), tuple(stds)


def _parse_matrix(text: str) -> ChannelMix:
    rows = _parse_literal(text)
    if not _is_matrix(rows):
        raise _error(text, "cannot be read as rows of numbers")
    if not 1 <= len(rows) <= MAX_CHANNELS:
        raise _error(text, f"has {len(rows)} rows")
    matrix = []
    for number, row in enumerate(rows, 1):
        if len(row) != len(CHANNELS):
            raise _error(text, f"has {len(row)} columns in row {number}")
        largest = max(map(abs, row))  # a literal is never NaN
        if largest > _LARGEST:
            raise _error(text, f"has a coefficient above {_LARGEST:.0e} in row {number}")
        if largest < _SMALLEST:
            raise _error(text, f"shows nothing in row {number}: all its coefficients are 0")
        matrix.append(tuple(map(float, row)))
    return tuple(matrix)


def _parse_literal(text: str) -> Any:
    """The Python literal in `text`, or None."""
    if len(text) >= _MAX_TEXT:
        return None
    with warnings.catch_warnings():
        # Python warns of odd literals; what is wrong with them is in our own message.
        warnings.simplefilter("ignore")
        try:
            return ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return None


def _is_matrix(rows: Any) -> bool:
    if not isinstance(rows, list | tuple):
        return False
    for row in rows:
        if not isinstance(row, list | tuple):
            return False
        if not all(map(_is_number, row)):
            return False
    return True


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _error(text: str, fault: str) -> InputError:
    quoted = text if len(text) <= _QUOTED else text[: _QUOTED - 3] + "..."
    return InputError(
        f"config.data.channel_mix={quoted!r} {fault}; allowed: {', '.join(CHANNEL_MIXES)}; "
        "channels such as 'red,blue,yellow'; or a matrix such as '[[1,0,0,0],[0,0.5,0.5,0]]': "
        f"1 to {MAX_CHANNELS} rows of four coefficients ({', '.join(CHANNELS)})"
    )
