"""Perceptual hash and intensity histogram of each image, and the channel statistics of a dataset.

The channel statistics are computed without the test split, since they normalize the input of nets.
"""

import itertools
from typing import NamedTuple

import cv2
import numpy as np

from hpa_jax.data.metadata import statistics_fault
from hpa_jax.labels import CHANNELS
from tfds_builder.hpa.sources import Example, Fault, Source
from tfds_builder.hpa.split.perceptual import perceptual_hash

_GREEN = CHANNELS.index("green")


class ImageStatistics(NamedTuple):
    """What one decoding of an image yields.

    Attributes:
      hash: `perceptual_hash` of the image.
      histogram: int64 [4, 256], number of pixels of each value, by channel.
      largest: see `sources.SourceImage`.
    """

    hash: bytes
    histogram: np.ndarray
    largest: tuple[int | float | None, ...]


def measure(source: Source, example: Example) -> ImageStatistics | Fault:
    """Decodes an image in a worker process.

    A fault is returned rather than raised: the caller's policy decides what becomes of it.
    """
    try:
        image, largest, _ = source.read(example)
    except Fault as fault:
        return fault
    counts = []
    for channel in range(len(CHANNELS)):
        count = cv2.calcHist([image], [channel], None, [256], [0, 256])
        counts.append(count.ravel())
    return ImageStatistics(perceptual_hash(image), np.stack(counts).astype(np.int64), largest)


class OddImages:
    """Finds channels that have the same values in every image, and images without the protein."""

    def __init__(self):
        self._pairs = list(itertools.combinations(range(len(CHANNELS)), 2))
        self._images = 0
        self._black: list[str] = []

    def add(self, id: str, histogram: np.ndarray) -> None:
        """Takes another image in: its Id, and its histogram, int64 [4, 256]."""
        self._images += 1
        if not histogram[_GREEN, 1:].any():
            self._black.append(id)
        kept = []
        for a, b in self._pairs:
            is_shown = histogram[a, 1:].any()
            if is_shown and np.array_equal(histogram[a], histogram[b]):
                kept.append((a, b))
        self._pairs = kept

    def notes(self) -> list[str]:
        """What the user should know, a line each."""
        notes = []
        for a, b in self._pairs if self._images else ():
            names = f"{CHANNELS[a]} and {CHANNELS[b]}"
            notes.append(
                f"{names} have the same values in every image: are they copies of one file?"
            )
        if self._black:
            count = len(self._black)
            notes.append(
                f"green, the protein, is black in {count} of {self._images} images, such as "
                f"{self._black[0]}."
            )
        return notes


def moments(histogram: np.ndarray) -> np.ndarray:
    """Number, sum and sum of squares of the pixel values by channel.

    Args:
      histogram: int64 [4, 256], of one image.

    Returns:
      int64 [3, 4].
    """
    values = np.arange(256)
    return np.stack([histogram.sum(1), histogram @ values, histogram @ values**2])


def dataset_statistics(histogram: np.ndarray, sums: np.ndarray, folds: np.ndarray) -> dict:
    """Channel statistics as JSON: `histogram` of all images, `mean` and `std` as fractions of 255.

    Mean and std leave the test split out.

    Args:
      histogram: int64 [4, 256], of all images together.
      sums: int64 [N, 3, 4], `moments` of each image.
      folds: int [N], -1 in the test split.

    Raises:
      ValueError: the sums are of no images.
    """
    # A dataset may be all test split; then there is nothing else to compute them from.
    used = sums[folds >= 0] if np.any(folds >= 0) else sums
    pixels, total, squares = used.sum(0).astype(float)
    mean = total / pixels
    std = np.sqrt(np.maximum(squares / pixels - mean**2, 0))
    # A channel that was not imaged is zero everywhere: any std but 0 serves.
    std = np.where(std > 0, std, 255.0)
    mean = (mean / 255).tolist()
    std = (std / 255).tolist()
    fault = statistics_fault(mean, std, len(CHANNELS))
    if fault:
        raise ValueError(f"channel statistics that no images can have: {fault}")
    return {"images": len(folds), "histogram": histogram.tolist(), "mean": mean, "std": std}
