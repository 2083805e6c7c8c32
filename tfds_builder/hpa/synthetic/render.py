"""Synthetic fields: which labels each one bears, and its four channels, drawn from a seed without any download.

Green alone carries the label, by where it lies beside red, blue and yellow, which come from a random stream that does
not know the labels. Nor does green's brightness tell much: its exposure evens out how much of a field is bright, so
that histograms come near guessing. A field depends on its arguments alone: same bytes on any number of workers.
"""

from typing import Literal

import cv2
import numpy as np

from hpa_jax.errors import InputError
from hpa_jax.labels import LABELS, TRAIN_COUNTS
from tfds_builder.hpa.synthetic.cells import Cells, draw_cells
from tfds_builder.hpa.synthetic.drawing import smooth_noise
from tfds_builder.hpa.synthetic.patterns import PATTERNS
from tfds_builder.hpa.synthetic.references import draw_references

# Share of fields with 1, 2, 3, 4 labels among the 31,072 of the challenge's train.csv.
_LABELS_PER_FIELD = (15126, 12485, 3160, 301)
# Exponents of the real counts: at 0.1 the rarest label stands in 4 % of the fields, the commonest in 8 %.
_EXPONENT = {"tempered": 0.1, "real": 1.0}
_MIN_SIZE = 32

# Random streams of one field: each is its own, so that no draw of one can move another.
_CELLS, _REFERENCES, _CAMERA, _PROTEIN = range(4)


def _stream(seed: int, index: int, *name: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, index, *name])))


def _shares(weights: np.ndarray, total: int) -> np.ndarray:
    """`total` split in proportion to `weights` into integers in the same order (largest remainder)."""
    exact = weights / weights.sum() * total
    whole = np.floor(exact).astype(int)
    # Weights that fall give shares that fall: equal floors are ranked by remainder, hence by weight.
    whole[np.argsort(-(exact - whole), kind="stable")[: total - whole.sum()]] += 1
    return whole


def draw_labels(
    seed: int, fields: int, frequencies: Literal["tempered", "real"]
) -> list[tuple[int, ...]]:
    """The labels of each of `fields` fields, ascending ids; 1.63 a field on average, 1 to 4.

    Counts follow the order of the real train.csv exactly: 'real' in its proportions, 'tempered' flattened so that every
    label stands in 3 % of the fields or more. From 28 labels to place on, each label is there at least once.

    Raises InputError for an unknown `frequencies` or for `fields` below 1.
    """
    if frequencies not in _EXPONENT:
        raise InputError(
            f"synthetic frequencies {frequencies!r} are unknown: use one of {', '.join(_EXPONENT)}"
        )
    if fields < 1:
        raise InputError(
            f"synthetic fields must be at least 1, not {fields}: set the number of fields"
        )
    rng = _stream(seed, fields)
    slots = np.repeat(
        np.arange(fields),
        1 + rng.permutation(np.repeat(range(4), _shares(np.array(_LABELS_PER_FIELD), fields))),
    )
    weights = np.array(TRAIN_COUNTS, float) ** _EXPONENT[frequencies]
    quota = np.minimum(_shares(weights, len(slots)), fields)
    if len(slots) >= len(LABELS):
        quota = np.maximum(quota, 1)
    while quota.sum() != len(slots):
        quota[np.argmax(quota)] -= np.sign(quota.sum() - len(slots))
    labels = np.repeat(np.arange(len(LABELS)), quota)
    rng.shuffle(labels)
    return _spread(rng, slots, labels, fields)


def _spread(
    rng: np.random.Generator, slots: np.ndarray, labels: np.ndarray, fields: int
) -> list[tuple[int, ...]]:
    """Puts labels[k] into field slots[k], exchanging labels until no field bears one twice."""
    held: list[list[int]] = [[] for _ in range(fields)]
    for field, label in zip(slots.tolist(), labels.tolist(), strict=True):
        held[field].append(label)
    for field in range(fields):
        while len(set(held[field])) < len(held[field]):
            twice = next(k for k, label in enumerate(held[field]) if label in held[field][:k])
            other = int(rng.integers(fields))
            place = int(rng.integers(len(held[other])))
            mine, theirs = held[field][twice], held[other][place]
            if theirs not in held[field] and mine not in held[other]:
                held[field][twice], held[other][place] = theirs, mine
    return [tuple(sorted(labels)) for labels in held]


def _protein(seed: int, index: int, labels: tuple[int, ...], cells: Cells) -> np.ndarray:
    """The labels' patterns, added, in arbitrary units."""
    green = np.zeros((cells.size, cells.size), np.float32)
    for label in labels:
        rng = _stream(seed, index, _PROTEIN, label)
        pattern, brightness = PATTERNS[LABELS[label]]
        level = np.append(rng.uniform(0.96, 1.04, len(cells.kind)), 1.0).astype(np.float32)[
            cells.owner
        ]
        green += (
            np.float32(brightness * rng.uniform(0.85, 1.15))
            * level
            * pattern(cells, rng).astype(np.float32)
        )
    return green


def _expose(rng: np.random.Generator, green: np.ndarray, cells: Cells) -> np.ndarray:
    """Green as the camera sees it: haze, grain, blur, then an exposure that hides how much of the field is bright.

    About half is the light itself, scaled by its own bright end and bent by a random gamma. The rest is its rank, put
    through a long-tailed curve that no label moves: alone it would make all histograms alike, but also flood the dark
    of sparse patterns. Mixed, and with random gain and background, histograms tell little and eyes much.
    """
    d, size = cells.diameter, cells.size
    # A cell is thicker in its middle, so what is unspecific is brighter there.
    haze = cells.cell * (0.12 + 0.4 * np.minimum(cells.edge, 0.3)) + 0.02 * smooth_noise(
        rng, size, 0.5 * d
    )
    grain = rng.standard_normal((size, size), dtype=np.float32)
    green = cv2.GaussianBlur(green * (1 + 0.04 * grain) + haze, (0, 0), max(0.5, 0.010 * d))
    green += 0.012 * rng.standard_normal((size, size), dtype=np.float32)

    rank = (np.arange(1024) + 0.5) / 1024
    at_rank = np.sort(green, axis=None)[(rank * green.size).astype(int)]
    by_rank = np.minimum(-np.log1p(-rank) / 5.5, 1.0) ** rng.uniform(1.2, 1.7)
    # The bright end: 0.15 % of the pixels, no more than the one bridge covers in a field of many cells.
    by_light = np.clip(at_rank / at_rank[-2], 0, 1) ** rng.uniform(0.8, 1.35)
    mix, gain, background = rng.uniform(0.4, 0.65), rng.uniform(0.7, 1.0), rng.uniform(0.0, 0.07)
    level = background + gain * (mix * by_light + (1 - mix) * by_rank)
    return np.clip(np.interp(green, at_rank, level) * 255, 0, 255).astype(np.uint8)


def cells_of(seed: int, index: int, size: int) -> Cells:
    """The cells of the field that `render` draws for these arguments, whatever its labels."""
    return draw_cells(_stream(seed, index, _CELLS), size)


def render(seed: int, index: int, labels: tuple[int, ...], size: int) -> np.ndarray:
    """One field, uint8 [size, size, 4]: red microtubules, green protein, blue nucleus, yellow endoplasmic reticulum.

    The same arguments give the same bytes; red, blue and yellow depend on `seed`, `index` and `size` only.

    Raises InputError for a label id outside the table and for a size below 32 px.
    """
    if unknown := [label for label in labels if not 0 <= label < len(LABELS)]:
        raise InputError(
            f"synthetic field {index}: label {unknown[0]} is unknown: use 0 to {len(LABELS) - 1}"
        )
    if size < _MIN_SIZE:
        raise InputError(
            f"synthetic field {index}: {size} px is too small for a cell: use {_MIN_SIZE} px or more"
        )
    cells = cells_of(seed, index, size)
    red, blue, yellow = draw_references(_stream(seed, index, _REFERENCES), cells)
    green = _expose(
        _stream(seed, index, _CAMERA),
        _protein(seed, index, tuple(sorted(set(labels))), cells),
        cells,
    )
    return np.stack([red, green, blue, yellow], axis=-1)
