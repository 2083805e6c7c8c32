"""What is found out about a field by decoding it, before it is known where it will stand: its hash, its intensities."""

from typing import NamedTuple

import cv2
import numpy as np

from hpa_jax.labels import CHANNELS
from tfds_builder.hpa.sources import Fault, Field, Source
from tfds_builder.hpa.split.duplicates import perceptual_hash


class Survey(NamedTuple):
    """What is found out about one field by decoding it."""

    hash: bytes
    histogram: np.ndarray  # int64 [4, 256]: pixels of each value, by channel


def survey(source: Source, field: Field) -> Survey | Fault:
    """Decodes a field; runs in a worker process. A fault is given back: what becomes of it is decided elsewhere."""
    try:
        image = source.image(field)
    except Fault as fault:
        return fault
    counts = [
        cv2.calcHist([image], [channel], None, [256], [0, 256]).ravel()
        for channel in range(len(CHANNELS))
    ]
    return Survey(perceptual_hash(image), np.stack(counts).astype(np.int64))


def moments(histogram: np.ndarray) -> np.ndarray:
    """Number, sum and sum of squares of a field's pixel values by channel: int64 [3, 4]."""
    values = np.arange(256)
    return np.stack([histogram.sum(1), histogram @ values, histogram @ values**2])


def statistics(histogram: np.ndarray, sums: np.ndarray, folds: np.ndarray) -> dict:
    """Intensities as JSON: `histogram` of all fields by channel, and `mean` and `std` as shares of 255.

    Mean and deviation leave the test part out, since a net is fed by them.

    Args:
      histogram: int64 [4, 256], of all fields together.
      sums: int64 [N, 3, 4], `moments` of each field.
      folds: int [N], -1 in the test part.
    """
    seen = sums[folds >= 0] if np.any(folds >= 0) else sums
    pixels, total, squares = seen.sum(0).astype(float)
    mean = total / pixels
    std = np.sqrt(np.maximum(squares / pixels - mean**2, 0))
    # A channel that was not imaged is black everywhere: any deviation but 0 serves.
    std = np.where(std > 0, std, 255.0)
    return {
        "fields": len(folds),
        "histogram": histogram.tolist(),
        "mean": (mean / 255).tolist(),
        "std": (std / 255).tolist(),
    }
