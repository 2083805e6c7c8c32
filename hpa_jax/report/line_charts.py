"""Line charts: from numbers to the paths and marks that templates/charts.html draws.

Lengths are px. Colours are in style.css. Lines differ by their dashes as well as by their colours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

STYLES = 5
"""Colours and dashes that can be told apart."""

_TOP, _RIGHT, _BOTTOM = 8, 8, 20  # px around a chart
_MAX_DOTS = 24  # a line of at most so many points shows them as dots, too


class Line(NamedTuple):
    """A curve through x and y, float [K] each, interrupted where y is NaN.

    `style` selects colour and dashes.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    style: int = 0


class Axis(NamedTuple):
    """The range of an axis, and its ticks with their texts; a text may be empty."""

    low: float
    high: float
    ticks: Sequence[float]
    labels: Sequence[str]


class Curve(NamedTuple):
    """A line as drawn."""

    style: int
    name: str
    path: Markup


class Dot(NamedTuple):
    """A point as drawn."""

    style: int
    x: float
    y: float
    radius: float


class Tick(NamedTuple):
    """A text at an axis; `anchor` is SVG's text-anchor."""

    x: float
    y: float
    anchor: str
    text: str


@dataclass(frozen=True)
class LineChart:
    """A chart as drawn.

    Attributes:
      title: the chart in words, for those who cannot see it.
      width: px.
      height: px.
      grid: path of the lines across.
      ticks: texts at the axes.
      curves: the lines.
      dots: the points.
      diagonal: path of y = x, or empty.
      marker: path of an upright line, or empty.
    """

    title: str
    width: int
    height: int
    grid: str
    ticks: Sequence[Tick]
    curves: Sequence[Curve]
    dots: Sequence[Dot]
    diagonal: str
    marker: str


FRACTIONS = Axis(0.0, 1.0, (0.0, 0.5, 1.0), ("0", "0.5", "1"))
"""From 0 to 1."""


def fit_axis(values: Sequence[np.ndarray], *, from_zero: bool = False) -> Axis:
    """Returns an axis for all finite values, with three to eight round ticks."""
    flat = np.concatenate([np.zeros(0), *map(np.ravel, values)])
    low, high = _padded_range(flat[np.isfinite(flat)].astype(np.float64), from_zero)
    step = _round_step(high - low)
    # Rounding errors must not add a tick beyond a value that is a tick itself.
    first = int(np.floor(low / step + 1e-9))
    last = int(np.ceil(high / step - 1e-9))
    ticks = [float(f"{k * step:.12g}") for k in range(first, last + 1)]
    return Axis(ticks[0], ticks[-1], ticks, list(map(_tick_label, ticks)))


def _padded_range(finite: np.ndarray, from_zero: bool) -> tuple[float, float]:
    if not len(finite):
        return 0.0, 1.0
    low = float(finite.min())
    high = float(finite.max())
    if from_zero:
        low = min(0.0, low)
    if high > low:
        return low, high
    # A single value lies in the middle.
    return low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2


def _round_step(span: float) -> float:
    """The largest of 1, 2 and 5 times a power of ten that fits three times into `span`."""
    power = 10 ** np.floor(np.log10(span / 3))
    for factor in (5, 2):
        if factor * power * 3 <= span * 1.001:
            return factor * power
    return power


def _tick_label(value: float) -> str:
    """A number for an axis: 12k, 500, 0.25, 1e-05."""
    if abs(value) >= 10_000:
        return f"{value / 1000:g}k"
    if value == 0 or abs(value) >= 1e-3:
        return f"{value:g}"
    return f"{value:.0e}"


def downsample(x: np.ndarray, y: np.ndarray, most: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Reduces a curve to at most `most` points, the means of neighbouring ones."""
    x = np.asarray(x, np.float64)
    y = np.asarray(y, np.float64)
    if len(x) <= most:
        return x, y
    starts = np.linspace(0, len(x), most + 1).astype(int)[:-1]
    sizes = np.diff(np.append(starts, len(x)))
    # Both coordinates are averaged, so that a point lies amid those that it stands for.
    return np.add.reduceat(x, starts) / sizes, np.add.reduceat(y, starts) / sizes


def line_chart(
    lines: Sequence[Line],
    title: str,
    x_axis: Axis,
    y_axis: Axis,
    *,
    size: tuple[int, int] = (300, 170),
    left: int = 38,
    marker: float | None = None,
    points: Sequence[tuple[int, float, float]] = (),
    diagonal: bool = False,
) -> LineChart:
    """Lays out a line chart.

    Args:
      lines: drawn in order.
      title: the chart in words, for those who cannot see it.
      x_axis: across.
      y_axis: upright.
      size: width and height in px.
      left: px for the numbers of the upright axis.
      marker: where an upright line marks a value of x.
      points: (style, x, y) of single points.
      diagonal: also draw y = x.
    """
    width, height = size
    inner_width = width - left - _RIGHT
    inner_height = height - _TOP - _BOTTOM

    def px(x):
        return left + inner_width * (x - x_axis.low) / (x_axis.high - x_axis.low)

    def py(y):
        return _TOP + inner_height * (1 - (y - y_axis.low) / (y_axis.high - y_axis.low))

    ticks = []
    for value, text in zip(y_axis.ticks, y_axis.labels, strict=True):
        ticks.append(Tick(left - 5, py(value) + 3.5, "end", text))
    for value, text in zip(x_axis.ticks, x_axis.labels, strict=True):
        # The last number ends at the chart's edge, so that a long one is not cropped.
        anchor = "end" if value == x_axis.high else "middle"
        ticks.append(Tick(px(value), height - 6, anchor, text))

    curves = []
    dots = []
    for line in lines:
        style = line.style % STYLES
        # NaN passes through the scale, and interrupts the path.
        x = px(line.x)
        y = py(line.y)
        curves.append(Curve(style, line.name, _path(x, y)))
        known = np.isfinite(y)
        if known.sum() <= _MAX_DOTS:
            dots += [Dot(style, *point, 1.8) for point in zip(x[known], y[known], strict=True)]
    for style, x, y in points:
        dots.append(Dot(style % STYLES, px(x), py(y), 3.5))

    corners = _path(px(np.array(x_axis[:2])), py(np.array(y_axis[:2])))
    return LineChart(
        title=title,
        width=width,
        height=height,
        grid="".join(f"M{left} {py(tick):.1f}H{width - _RIGHT}" for tick in y_axis.ticks),
        # A tick without a text has a grid line only.
        ticks=[tick for tick in ticks if tick.text],
        curves=curves,
        dots=dots,
        diagonal=corners if diagonal else "",
        marker="" if marker is None else f"M{px(marker):.1f} {_TOP}V{_TOP + inner_height}",
    )


def _path(x: np.ndarray, y: np.ndarray) -> Markup:
    """A path through points in px, interrupted at those that are not defined."""
    steps = []
    command = "M"
    for at, value in zip(x.tolist(), y.tolist(), strict=True):
        if not np.isfinite(value):
            command = "M"
            continue
        steps.append(f"{command}{at:.1f} {value:.1f}")
        command = "L"
    # Markup: made of numbers alone, and longer than the text that a page prints of a value.
    return Markup("".join(steps))
