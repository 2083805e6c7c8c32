"""Channel mixes: what a net is shown of the four stored channels, each of its channels a weighted sum of them.

A mix is a matrix with a row for each of the net's channels and a column for each stored one (red, green, blue, yellow).
It is linear, in shares of 255, and nothing is clipped: normalisation follows, and a clipped sum would lose detail.

The seed study (manthan2305, "Microscopy Image Classification", section "Different Combination of Channels") describes
three pictures and gives no coefficients. Our reading of its words, each as the red, green and blue that its ImageNet
net takes; yellow is in none of them:

- `seed_i`, "gray scale image by merging Red and Blue image then we add Green color channel": the mean of red and blue
  in all three, and the whole of green added to the second;
- `seed_ii`, "reduce alpha channel of Red and Blue channel and add Green channel": red and blue at half their strength
  in their own places, green in full in its own;
- `seed_iii`, "enhanced Green channel by merging it twice with Red and Blue channel": the mean of red and green, green,
  the mean of blue and green.

Unusual: normalised channel by channel, `seed_ii` is the same as `rgb`, since the normalisation undoes any attenuation.
It differs where the net's channels have figures of their own, as the study's had: ImageNet's, `IMAGENET` here.
"""

import ast
import warnings
from collections.abc import Sequence
from typing import Any

from hpa_jax.errors import InputError
from hpa_jax.labels import CHANNELS

Mix = tuple[tuple[float, ...], ...]


def _select(*names: str) -> Mix:
    return tuple(tuple(float(name == channel) for channel in CHANNELS) for name in names)


MIXES: dict[str, Mix] = {
    "rgby": _select(*CHANNELS),
    "rgb": _select("red", "green", "blue"),
    "green": _select("green"),
    "seed_i": ((0.5, 0.0, 0.5, 0.0), (0.5, 1.0, 0.5, 0.0), (0.5, 0.0, 0.5, 0.0)),
    "seed_ii": ((0.5, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 0.5, 0.0)),
    "seed_iii": ((0.5, 0.5, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.5, 0.5, 0.0)),
}
"""Name -> matrix: rows the net's channels, columns the stored red, green, blue and yellow."""

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and deviation of ImageNet's red, green and blue, shares of 255: Keras's `densenet.preprocess_input`."""

MOST_CHANNELS = 16
_LARGEST, _SMALLEST = 1e6, 1e-6  # coefficients that float32 can normalise with room to spare


def parse_mix(text: str) -> Mix:
    """The matrix that `config.data.mix` means.

    Args:
      text: a name of `MIXES`; stored channels with commas between them, 'red,blue,yellow' (one may come twice); or a
        matrix, '[[1,0,0,0],[0,0.5,0.5,0]]'.

    Raises:
      InputError: `text` is none of these; or its matrix has not four columns, has no or more than 16 rows, a
        coefficient above a million, or a row of zeros.
    """
    if text in MIXES:
        return MIXES[text]
    if text.strip().startswith(("[", "(")):
        return _matrix(text)
    names = [name.strip() for name in text.split(",")]
    if not all(name in CHANNELS for name in names):
        raise _refused(text, "is unknown")
    if len(names) > MOST_CHANNELS:
        raise _refused(text, f"has {len(names)} channels")
    return _select(*names)


def mixed_statistics(mix: Mix, mean: Sequence[Any], std: Sequence[Any]) -> tuple[tuple, tuple]:
    """Mean and deviation of each of the net's channels, from those of the four stored ones.

    `mean' = M mean` and `std'_i = sqrt(sum_j (m_ij std_j)^2)`, as if the stored channels were independent. For a
    channel that is shown as stored, its very figures.

    Args:
      mix: rows of four coefficients.
      mean, std: four figures each: numbers, or arrays of one shape (a figure for every image).

    Returns:
      (mean', std'), tuples of `len(mix)` figures of the same kind.
    """
    means, deviations = [], []
    for row in mix:
        parts = [(m, mean[j], std[j]) for j, m in enumerate(row) if m]
        means.append(sum(m * figure for m, figure, _ in parts))
        if len(parts) == 1:  # without the square and its root, which would round
            deviations.append(abs(parts[0][0]) * parts[0][2])
        else:
            deviations.append(sum((m * figure) ** 2 for m, _, figure in parts) ** 0.5)
    return tuple(means), tuple(deviations)


def _matrix(text: str) -> Mix:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # Python's own remarks on odd literals; what is wrong is said below
            rows = ast.literal_eval(text.strip()) if len(text) < 10_000 else None
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        rows = None
    if not _nested(rows) or not all(
        _nested(row) and all(_number(value) for value in row) for row in rows
    ):
        raise _refused(text, "cannot be read as rows of numbers")
    if not 1 <= len(rows) <= MOST_CHANNELS:
        raise _refused(text, f"has {len(rows)} rows")
    for number, row in enumerate(rows, 1):
        if len(row) != len(CHANNELS):
            raise _refused(text, f"has {len(row)} columns in row {number}")
        if max(map(abs, row)) > _LARGEST:  # no literal is a NaN
            raise _refused(text, f"has a coefficient above {_LARGEST:.0e} in row {number}")
        if max(map(abs, row)) < _SMALLEST:
            raise _refused(text, f"shows nothing in row {number}: all its coefficients are 0")
    return tuple(tuple(float(value) for value in row) for row in rows)


def _nested(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _refused(text: str, fault: str) -> InputError:
    shown = text if len(text) <= 60 else text[:57] + "..."
    return InputError(
        f"config.data.mix={shown!r} {fault}; allowed: {', '.join(MIXES)}; channels such as 'red,blue,yellow'; or a "
        f"matrix such as '[[1,0,0,0],[0,0.5,0.5,0]]': 1 to {MOST_CHANNELS} rows of four coefficients "
        f"({', '.join(CHANNELS)})"
    )
