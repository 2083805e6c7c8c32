"""The sections about the images themselves: intensities by channel, and near-duplicates."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from hpa_jax.labels import CHANNELS
from hpa_jax.report.dataset.examples import (
    MAX_PAIRS,
    DuplicatePair,
    ImageRef,
    groups_across_folds,
)
from hpa_jax.report.dataset.labels import show_image
from hpa_jax.report.dataset.load import DatasetSummary
from hpa_jax.report.html import Section, names_of, percent
from hpa_jax.report.line_charts import Axis, Line, LineChart, line_chart
from hpa_jax.report.pictures import DARK, HEIGHT, SATURATED_FRACTION, SIDE, Preview

STAINS = ("microtubules", "protein", "nucleus", "endoplasmic reticulum")
"""What the channels show."""

_LOWEST = -6
"""The power of ten at which the fractions of a histogram are drawn at the latest."""


class Intensities(NamedTuple):
    """Statistics of a channel's pixels.

    Attributes:
      mean: fraction of 255.
      std: fraction of 255.
      bright: 99th percentile, fraction of 255.
      dark: fraction of the pixels at 0.
      saturated: fraction of the pixels at 255.
      empty: no pixel is brighter than DARK.
    """

    mean: float
    std: float
    bright: float
    dark: float
    saturated: float
    empty: bool

    @property
    def is_saturated(self) -> bool:
        return self.saturated > SATURATED_FRACTION


def intensities(histogram: np.ndarray) -> Intensities:
    """Computes the statistics of pixel counts int [256]."""
    values = np.arange(256) / 255
    fractions = histogram / histogram.sum()
    mean = float(fractions @ values)
    bright = np.searchsorted(np.cumsum(fractions), 0.99)
    return Intensities(
        mean=mean,
        std=float(np.sqrt(fractions @ (values - mean) ** 2)),
        bright=float(values[bright]),
        dark=float(fractions[0]),
        saturated=float(fractions[255]),
        empty=not histogram[DARK + 1 :].any(),
    )


def intensity_section(datasets: Sequence[DatasetSummary]) -> Section:
    """A chart for each channel, with a line for each dataset, and the numbers."""
    known = [dataset for dataset in datasets if dataset.histogram is not None]
    missing = [dataset for dataset in datasets if dataset.histogram is None]
    charts = []
    rows = []
    for c, channel in enumerate(CHANNELS):
        histograms = []
        words = []
        for dataset in known:
            histograms.append((dataset.name, dataset.histogram[c]))
            found = intensities(dataset.histogram[c])
            rows.append((channel, dataset.name, found))
            saturated = percent(found.saturated)
            words.append(f"{dataset.name}: mean {found.mean:.3f}, {saturated} of pixels at 255")
        title = f"Intensities of the {channel} channel. " + "; ".join(words)
        charts.append((channel, STAINS[c], histogram_chart(histograms, title)))
    data = {
        "names": names_of(known),
        "missing": names_of(missing),
        "charts": charts,
        "rows": rows,
    }
    title = "Intensities by channel"
    return Section("intensities", title, "dataset/intensities.html", data)


def histogram_chart(histograms: Sequence[tuple[str, np.ndarray]], title: str) -> LineChart:
    """Draws the fraction of the pixels at each value as steps, on a logarithmic scale.

    Args:
      histograms: name and counts int [256] of each line.
      title: the chart in words.
    """
    edges = np.repeat(np.arange(257), 2)[:-1]
    lines = []
    for style, (name, counts) in enumerate(histograms):
        fractions = counts / max(1, counts.sum())
        exponents = np.log10(np.maximum(fractions, 10.0**_LOWEST))
        # From the bottom up to the first step.
        heights = np.concatenate([[_LOWEST], np.repeat(exponents, 2)])
        lines.append(Line(name, edges, heights, style))
    powers = range(0, _LOWEST - 1, -1)
    labels = [percent(10.0**power) if power % 2 == 0 else "" for power in powers]
    values = np.array([0, 64, 128, 192, 255])
    return line_chart(
        lines,
        title,
        # A value's step is one unit wide, its tick in the middle.
        Axis(0, 256, values + 0.5, values.astype(str).tolist()),
        Axis(_LOWEST, 0, powers, labels),
        size=(362, 178),
        left=50,
    )


def duplicate_section(
    datasets: Sequence[DatasetSummary],
    pairs: Sequence[DuplicatePair],
    previews: Mapping[ImageRef, Preview],
) -> Section:
    """Pairs of near-duplicates side by side, and the groups."""
    shown = []
    for pair in pairs[:MAX_PAIRS]:
        sides = []
        for image_id, ref in zip(pair.ids, pair.images, strict=True):
            if ref is None:
                sides.append({"id": image_id, "image": None})
                continue
            dataset = datasets[ref.dataset]
            sides.append(
                {
                    "id": dataset.shown_id(ref.index),
                    "image": show_image(datasets, ref, previews[ref]),
                    "split": dataset.split_of(ref.index),
                    "labels": dataset.labels_of(ref.index),
                }
            )
        shown.append((pair, sides))
    missing = [dataset for dataset in datasets if dataset.duplicates is None]
    data = {
        "missing": names_of(missing),
        "searched": len(missing) < len(datasets),
        "pairs": len(pairs),
        "differing": sum(pair.labels_differ for pair in pairs),
        "shown": shown,
        "groups": [_group_row(dataset) for dataset in datasets],
        "width": SIDE,
        "height": HEIGHT,
    }
    return Section("duplicates", "Near-duplicates", "dataset/duplicates.html", data)


def _group_row(dataset: DatasetSummary) -> dict:
    sizes = np.unique(dataset.groups, return_counts=True)[1]
    return {
        "dataset": dataset.name,
        "counts": (
            len(dataset),
            len(sizes),
            (sizes == 1).sum(),
            (sizes > 1).sum(),
            sizes.max(initial=0),
        ),
        "across_folds": groups_across_folds(dataset),
    }
