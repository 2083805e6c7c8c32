"""Synthetic images: the labels of each one and its four channels, drawn from a seed.

Green alone carries the label, by where it is relative to red, blue and yellow, which come from a
random stream that does not know the labels. Nor does green's brightness reveal much: its exposure
evens out how much of an image is bright, so that histograms do hardly better than guessing. An
image depends on its arguments alone: same bytes on any number of workers.
"""

from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np

from hpa_jax.errors import InputError
from hpa_jax.labels import LABELS, TRAIN_COUNTS
from tfds_builder.hpa.synthetic.cells import Cells, draw_cells
from tfds_builder.hpa.synthetic.drawing import smooth_noise
from tfds_builder.hpa.synthetic.patterns import PATTERNS
from tfds_builder.hpa.synthetic.references import draw_references
from tfds_builder.hpa.synthetic.variation import PLAIN, Variation, draw_variation

# Number of images with 1, 2, 3, 4 labels among the 31,072 of the challenge's train.csv.
_IMAGES_BY_LABELS = (15126, 12485, 3160, 301)
# Exponents of the real counts: at 0.1 the rarest label is in 4 % of the images, the most frequent
# in 8 %.
_EXPONENT = {"tempered": 0.1, "real": 1.0}
_MIN_SIZE = 32

# Random streams of one image: separate, so that no draw of one can change another.
_CELLS, _REFERENCES, _CAMERA, _PROTEIN, _VARIATION = range(5)


def _stream(seed: int, index: int, *name: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, index, *name])))


def _apportion(weights: np.ndarray, total: int) -> np.ndarray:
    """Splits `total` in proportion to `weights` by largest remainders; int64, in the same order."""
    exact = weights / weights.sum() * total
    counts = np.floor(exact).astype(int)
    # Decreasing weights give decreasing counts: equal floors rank by remainder, hence by weight.
    by_remainder = np.argsort(-(exact - counts), kind="stable")
    counts[by_remainder[: total - counts.sum()]] += 1
    return counts


def draw_labels(
    seed: int, images: int, frequencies: Literal["tempered", "real"]
) -> list[tuple[int, ...]]:
    """Draws the labels of all images, 1 to 4 an image and 1.63 on average.

    Counts follow the order of the real train.csv exactly: `real` in its proportions, `tempered`
    flattened so that every label is in 3 % of the images or more. With 28 labels or more in total,
    each label is there at least once.

    Args:
      seed: of the random stream.
      images: their number.
      frequencies: of the labels.

    Returns:
      label ids of each image, ascending.

    Raises:
      InputError: unknown `frequencies`, or `images` is below 1.
    """
    if frequencies not in _EXPONENT:
        raise InputError(
            f"synthetic frequencies {frequencies!r} are unknown: use one of {', '.join(_EXPONENT)}"
        )
    if images < 1:
        raise InputError(
            f"synthetic images must be at least 1, not {images}: set the number of images"
        )
    rng = _stream(seed, images)
    images_by_labels = _apportion(np.array(_IMAGES_BY_LABELS), images)
    labels_of_image = 1 + rng.permutation(np.repeat(range(4), images_by_labels))
    slots = np.repeat(np.arange(images), labels_of_image)
    weights = np.array(TRAIN_COUNTS, float) ** _EXPONENT[frequencies]
    quota = np.minimum(_apportion(weights, len(slots)), images)
    if len(slots) >= len(LABELS):
        quota = np.maximum(quota, 1)
    while quota.sum() != len(slots):
        quota[np.argmax(quota)] -= np.sign(quota.sum() - len(slots))
    labels = np.repeat(np.arange(len(LABELS)), quota)
    rng.shuffle(labels)
    return _assign_labels(rng, slots, labels, images)


def _assign_labels(
    rng: np.random.Generator, slots: np.ndarray, labels: np.ndarray, images: int
) -> list[tuple[int, ...]]:
    """Gives labels[k] to image slots[k], exchanging labels until no image has one twice."""
    assigned: list[list[int]] = [[] for _ in range(images)]
    for image, label in zip(slots.tolist(), labels.tolist(), strict=True):
        assigned[image].append(label)
    for own in assigned:
        while len(set(own)) < len(own):
            repeated = next(k for k, label in enumerate(own) if label in own[:k])
            others = assigned[int(rng.integers(images))]
            place = int(rng.integers(len(others)))
            mine = own[repeated]
            theirs = others[place]
            if theirs not in own and mine not in others:
                own[repeated] = theirs
                others[place] = mine
    return [tuple(sorted(own)) for own in assigned]


def _protein(seed: int, index: int, labels: tuple[int, ...], cells: Cells) -> np.ndarray:
    """The labels' patterns, added, in arbitrary units."""
    green = np.zeros((cells.size, cells.size), np.float32)
    for label in labels:
        rng = _stream(seed, index, _PROTEIN, label)
        pattern, brightness = PATTERNS[LABELS[label]]
        # The last level is of what is outside the cells.
        levels = np.append(rng.uniform(0.96, 1.04, len(cells.kind)), 1.0)
        level = levels.astype(np.float32)[cells.owner]
        strength = np.float32(brightness * rng.uniform(0.85, 1.15))
        green += strength * level * pattern(cells, rng).astype(np.float32)
    return green


def _expose(rng: np.random.Generator, green: np.ndarray, cells: Cells) -> np.ndarray:
    """Green as the camera sees it: haze, grain, blur, and an exposure that evens out brightness.

    About half is the light itself, scaled by its own bright end and bent by a random gamma. The
    rest is its rank, put through a long-tailed curve that no label changes: alone it would make all
    histograms alike, but also flood the dark of sparse patterns. Blended, and with random gain and
    background, histograms reveal little and the eye much.

    Args:
      rng: random stream of the camera.
      green: float32 [H, W], arbitrary units.
      cells: of the image.

    Returns:
      uint8 [H, W].
    """
    d = cells.diameter
    size = cells.size
    # A cell is thicker in its middle, so what is unspecific is brighter there.
    thickness = 0.12 + 0.4 * np.minimum(cells.edge, 0.3)
    haze = cells.cell * thickness + 0.02 * smooth_noise(rng, size, 0.5 * d)
    grain = rng.standard_normal((size, size), dtype=np.float32)
    green = cv2.GaussianBlur(green * (1 + 0.04 * grain) + haze, (0, 0), max(0.5, 0.010 * d))
    green += 0.012 * rng.standard_normal((size, size), dtype=np.float32)

    rank = (np.arange(1024) + 0.5) / 1024
    at_rank = np.sort(green, axis=None)[(rank * green.size).astype(int)]
    by_rank = np.minimum(-np.log1p(-rank) / 5.5, 1.0) ** rng.uniform(1.2, 1.7)
    # The bright end: 0.15 % of the pixels, no more than the one bridge covers among many cells.
    by_light = np.clip(at_rank / at_rank[-2], 0, 1) ** rng.uniform(0.8, 1.35)
    light_fraction = rng.uniform(0.4, 0.65)
    gain = rng.uniform(0.7, 1.0)
    background = rng.uniform(0.0, 0.07)
    blend = light_fraction * by_light + (1 - light_fraction) * by_rank
    level = background + gain * blend
    return np.clip(np.interp(green, at_rank, level) * 255, 0, 255).astype(np.uint8)


def _variation_of(seed: int, index: int, vary: bool) -> Variation:
    return draw_variation(_stream(seed, index, _VARIATION)) if vary else PLAIN


def cells_of(seed: int, index: int, size: int, vary: bool = False) -> Cells:
    """The cells of the image that `render` draws for these arguments, whatever its labels."""
    variation = _variation_of(seed, index, vary)
    return draw_cells(_stream(seed, index, _CELLS), size, variation)


def render(
    seed: int, index: int, labels: Sequence[int], size: int, vary: bool = False
) -> np.ndarray:
    """Draws one image; the same arguments give the same bytes.

    Red, blue and yellow depend on `seed`, `index`, `size` and `vary` only.

    Args:
      seed: of the random streams.
      index: of the image.
      labels: label ids, in any order.
      size: pixels a side.
      vary: whether fields differ in the size, density and shape of their cells, in blur, noise and
        brightness (`variation.py`).

    Returns:
      uint8 [size, size, 4]: red microtubules, green protein, blue nucleus, yellow endoplasmic
      reticulum.

    Raises:
      InputError: a label id outside the table, or a size below 32 px.
    """
    for label in labels:
        if not 0 <= label < len(LABELS):
            raise InputError(
                f"synthetic image {index}: label {label} is unknown: use 0 to {len(LABELS) - 1}"
            )
    if size < _MIN_SIZE:
        raise InputError(
            f"synthetic image {index}: {size} px is too small for a cell: "
            f"use {_MIN_SIZE} px or more"
        )
    variation = _variation_of(seed, index, vary)
    cells = draw_cells(_stream(seed, index, _CELLS), size, variation)
    references = _stream(seed, index, _REFERENCES)
    red, blue, yellow = draw_references(references, cells, variation)
    protein = _protein(seed, index, tuple(sorted(set(labels))), cells)
    green = _expose(_stream(seed, index, _CAMERA), protein, cells)
    return np.stack([red, green, blue, yellow], axis=-1)
