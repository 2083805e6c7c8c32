"""How the images of a dataset were made: from what files, at what scale, with which channels.

A run keeps it of the datasets that it learns from, and compares it with what it is to score; an
export tells it to whoever has images and no dataset. All of it is from the metadata of the build.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hpa_jax.data.catalog import dataset_dir, stored_sizes
from hpa_jax.data.metadata import read_metadata
from hpa_jax.labels import CHANNELS

QUANTILES = (0.01, 0.5, 0.99)
"""Of the values of a channel's pixels, over all images."""


def read_preparation(data_dir: str | Path, name: str) -> dict[str, Any]:
    """How the images of the newest version of a dataset were made, as JSON.

    Returns:
      A dict in which None stands for what the build has not stored:
      - `pixel_size`: micrometres a pixel of the files; `rescaled_to`: to which they were scaled;
      - `edge`: px of the longer side to which they were scaled, 0 if they were not;
      - `size`: `[height, width]` in px as stored, None where sizes differ;
      - `white`: the value that became 255, by bits of the files;
      - `channels`: names of those that were imaged;
      - `intensities`: of each of these, over all images, `mean`, `std` and `quantiles` of its
        values as fractions of 255.

    Raises:
      InputError: no such dataset, or damage.
    """
    metadata = read_metadata(dataset_dir(data_dir, name))
    build = _mapping(metadata.get("build"))
    statistics = _mapping(metadata.get("statistics"))
    histogram = _histogram(statistics)
    channels = _imaged(metadata, histogram)
    sizes = np.unique(stored_sizes(data_dir, name), axis=0)
    return {
        "pixel_size": _pixel_size(metadata, build),
        "white": _mapping(build.get("white")) or None,
        "edge": int(_positive(build.get("edge")) or 0),
        "rescaled_to": _positive(build.get("rescaled_to")),
        "size": sizes[0].tolist() if len(sizes) == 1 else None,
        "channels": channels,
        "intensities": _intensities(statistics, histogram, channels),
    }


def stored_pixel_size(preparation: Mapping[str, Any]) -> float | None:
    """Micrometres a pixel of images as they are stored; None where that is not known."""
    if preparation.get("rescaled_to"):
        return preparation["rescaled_to"]
    # Images of any size were brought to that edge.
    if preparation.get("edge"):
        return None
    return preparation.get("pixel_size")


def _pixel_size(metadata: dict, build: dict) -> float | None:
    """Of the files, as the builder was told; or as all of them say, stored with the dataset."""
    told = _positive(build.get("pixel_size"))
    if told or build.get("rescaled_to") or build.get("edge"):
        return told
    return _positive(metadata.get("pixel_size"))


def _mapping(value: Any) -> dict:
    return value if isinstance(value, dict) else {}


def _positive(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        return None
    return value


def _histogram(statistics: dict) -> np.ndarray | None:
    """int64 [4, 256], the pixels of each value by channel; None where there is none."""
    try:
        histogram = np.asarray(statistics["histogram"], np.int64)
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    if histogram.shape != (len(CHANNELS), 256) or not histogram.any(axis=1).all():
        return None
    return histogram


def _imaged(metadata: dict, histogram: np.ndarray | None) -> list[str] | None:
    """A channel that was not imaged is stored as zeros."""
    stored = metadata.get("channels")
    if isinstance(stored, list) and all(isinstance(channel, dict) for channel in stored):
        return [channel.get("name") for channel in stored if channel.get("imaged")]
    if histogram is None:
        return None
    shown = histogram[:, 1:].any(axis=1).tolist()
    return [name for name, imaged in zip(CHANNELS, shown, strict=True) if imaged]


def _intensities(
    statistics: dict, histogram: np.ndarray | None, channels: list[str] | None
) -> dict[str, dict] | None:
    mean = statistics.get("mean")
    std = statistics.get("std")
    if histogram is None or channels is None or mean is None or std is None:
        return None
    found = {}
    for number, channel in enumerate(CHANNELS):
        if channel in channels:
            found[channel] = {
                "mean": float(mean[number]),
                "std": float(std[number]),
                "quantiles": _quantiles(histogram[number]),
            }
    return found


def _quantiles(counts: np.ndarray) -> dict[str, float]:
    """The smallest value that so large a fraction of the pixels does not exceed, of 255."""
    cumulative = np.cumsum(counts)
    found = {}
    for quantile in QUANTILES:
        value = int(np.searchsorted(cumulative, quantile * cumulative[-1]))
        found[f"{quantile:g}"] = value / 255
    return found
