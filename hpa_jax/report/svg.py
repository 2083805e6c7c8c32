"""Curves and intervals as inline SVG: pure functions from numbers to HTML, as in `charts.py`; colours in `style.py`.

Lines differ by their dashes as well as by their colours.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hpa_jax.report.html import text

_LEFT, _TOP, _RIGHT, _BOTTOM = 38, 8, 8, 20  # px around a chart, for its numbers
_DOTS = 24  # up to so many points are shown as dots, too


class Line(NamedTuple):
    """A curve: x and y float [K]; where y is NaN it is broken. `style` 0 to 4 chooses colour and dashes."""

    name: str
    x: np.ndarray
    y: np.ndarray
    style: int = 0


class Axis(NamedTuple):
    low: float
    high: float
    ticks: tuple[float, ...]


SHARE = Axis(0.0, 1.0, (0.0, 0.5, 1.0))
"""From 0 to 1."""


def axis_of(values: Sequence[np.ndarray], *, from_zero: bool = False) -> Axis:
    """An axis for all finite values, with three to six round ticks."""
    flat = np.concatenate([np.asarray(v, np.float64).ravel() for v in values] or [np.zeros(1)])
    flat = flat[np.isfinite(flat)]
    low, high = (float(flat.min()), float(flat.max())) if len(flat) else (0.0, 1.0)
    low = min(0.0, low) if from_zero else low
    if high <= low:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    step = 10 ** np.floor(np.log10((high - low) / 3))
    step *= max(
        factor for factor in (1, 2, 5) if factor * step * 3 <= (high - low) * 1.001 or factor == 1
    )
    first, last = int(np.floor(low / step + 1e-9)), int(np.ceil(high / step - 1e-9))
    ticks = tuple(float(f"{k * step:.12g}") for k in range(first, last + 1))
    return Axis(ticks[0], ticks[-1], ticks)


def thinned(x: np.ndarray, y: np.ndarray, most: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """At most `most` points: means of neighbours."""
    if len(x) <= most:
        return np.asarray(x, np.float64), np.asarray(y, np.float64)
    cuts = np.linspace(0, len(x), most + 1).astype(int)[:-1]
    sizes = np.diff(np.append(cuts, len(x)))
    return tuple(np.add.reduceat(np.asarray(a, np.float64), cuts) / sizes for a in (x, y))


def line_chart(
    lines: Sequence[Line],
    title: str,
    x: Axis,
    y: Axis,
    *,
    size: tuple[int, int] = (300, 170),
    upright: float | None = None,
    dots: Sequence[tuple[int, float, float]] = (),
    diagonal: bool = False,
) -> str:
    """A chart of lines.

    Args:
      title: of the whole, in words, for those who cannot see it.
      size: width and height in px.
      upright: where an upright line marks a value of x.
      dots: (style, x, y) of single points.
      diagonal: also draw y = x.
    """
    width, height = size
    inner_w, inner_h = width - _LEFT - _RIGHT, height - _TOP - _BOTTOM

    def px(value):
        return _LEFT + inner_w * (value - x.low) / (x.high - x.low)

    def py(value):
        return _TOP + inner_h * (1 - (value - y.low) / (y.high - y.low))

    grid = "".join(f"M{_LEFT} {py(tick):.1f}H{width - _RIGHT}" for tick in y.ticks)
    words = "".join(
        f'<text x="{_LEFT - 5}" y="{py(tick) + 3.5:.1f}" text-anchor="end">{_short(tick)}</text>'
        for tick in y.ticks
    )
    words += "".join(
        f'<text x="{px(tick):.1f}" y="{height - 6}" text-anchor="{anchor}">{_short(tick)}</text>'
        for tick, anchor in zip(x.ticks, _anchors(len(x.ticks)), strict=True)
    )
    drawn = f'<path class="even" d="M{px(x.low):.1f} {py(y.low):.1f}L{px(x.high):.1f} {py(y.high):.1f}"/>'
    drawn = drawn if diagonal else ""
    for line in lines:
        drawn += _path(line, px, py)
        known = np.isfinite(line.y)
        if known.sum() <= _DOTS:
            drawn += "".join(
                _dot(line.style, px(a), py(b), 1.8)
                for a, b in zip(line.x[known], line.y[known], strict=True)
            )
    if upright is not None:
        drawn += f'<path class="chosen" d="M{px(upright):.1f} {_TOP}V{_TOP + inner_h}"/>'
    drawn += "".join(_dot(style, px(a), py(b), 3.5) for style, a, b in dots)
    return (
        f'<svg class="curve" viewBox="0 0 {width} {height}" role="img" aria-label="{text(title)}">'
        f'<path class="grid" d="{grid}"/>{words}{drawn}</svg>'
    )


def _path(line: Line, px, py) -> str:
    steps, pen = [], "M"
    for a, b in zip(line.x.tolist(), line.y.tolist(), strict=True):
        if not np.isfinite(b):
            pen = "M"
            continue
        steps.append(f"{pen}{px(a):.1f} {py(b):.1f}")
        pen = "L"
    return f'<path class="line s{line.style % 5}" d="{"".join(steps)}"><title>{text(line.name)}</title></path>'


def _dot(style: int, x: float, y: float, radius: float) -> str:
    return f'<circle class="s{style % 5}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}"/>'


def _anchors(n: int) -> list[str]:
    """The last number ends at the chart's edge, so that a long one is not cut off."""
    return ["middle"] * (n - 1) + ["end"] if n > 1 else ["middle"] * n


def _short(value: float) -> str:
    """A number for an axis: 12k, 500, 0.25, 1e-05."""
    if abs(value) >= 10_000:
        return f"{value / 1000:g}k"
    return f"{value:g}" if value == 0 or abs(value) >= 1e-3 else f"{value:.0e}"


def share_bars(bars: Sequence[tuple[float, tuple[float, float] | None]]) -> str:
    """Bars from 0 to 1, one under the other, classes p0, p1, ...; over each its interval as a line with ends.

    Without a label of its own: it stands in a row of a table that has the numbers.
    """
    height = 10 * len(bars)
    grid = "".join(f"M{at} 0V{height}" for at in (0, 25, 50, 75, 100))
    drawn = ""
    for i, (value, interval) in enumerate(bars):
        top = 10 * i
        drawn += f'<rect class="p{i % 5}" y="{top + 2}" width="{100 * value:.1f}" height="6"/>'
        if interval is not None:
            low, high = (100 * edge for edge in interval)
            drawn += f'<path class="span" d="M{low:.1f} {top + 5}H{high:.1f}'
            drawn += f'M{low:.1f} {top + 2.5}v5M{high:.1f} {top + 2.5}v5"/>'
    return _row(grid, drawn, height)


def yardstick(
    published: float | None, ours: Sequence[tuple[float, tuple[float, float] | None]], human: float
) -> str:
    """A row of the comparison, 0 to 1: a hollow tick as published, ours as filled ticks on their intervals."""
    height = 10 * max(1, len(ours))
    grid = "".join(f"M{at} 0V{height}" for at in (0, 25, 50, 75, 100))
    drawn = f'<path class="chosen" d="M{100 * human:.1f} 0V{height}"/>'
    if published is not None:
        drawn += f'<rect class="theirs" x="{100 * published - 0.7:.1f}" y="1" width="1.4" height="{height - 2}"/>'
    for i, (value, interval) in enumerate(ours):
        if interval is not None:
            low, high = (100 * edge for edge in interval)
            drawn += f'<rect class="p{i % 5} pale" x="{low:.1f}" y="{10 * i + 3}" width="{high - low:.1f}" height="4"/>'
        drawn += f'<rect class="p{i % 5}" x="{100 * value - 0.5:.1f}" y="{10 * i + 1}" width="1" height="8"/>'
    return _row(grid, drawn, height)


def _row(grid: str, drawn: str, height: int) -> str:
    return (
        f'<svg class="bars" style="height:{1.4 * height:.0f}px" viewBox="0 0 100 {height}" '
        f'preserveAspectRatio="none" aria-hidden="true"><path class="grid" d="{grid}"/>{drawn}</svg>'
    )


def share_axis() -> str:
    """The head of a column of `share_bars` or `yardstick`."""
    marks = "".join(f'<i style="left:{at}%">{at / 100:g}</i>' for at in (0, 50, 100))
    return f'<span class="axis" aria-hidden="true">{marks}</span>'


def keys(names: Sequence[str], kind: str = "line s") -> str:
    """What the colours stand for; `kind` is 'line s' for lines or 'p' for bars. Nothing for a single one."""
    if len(names) < 2:
        return ""
    spans = "".join(
        f'<span class="key {kind}{i % 5}">{text(name)}</span>' for i, name in enumerate(names)
    )
    return f'<p class="legend">{spans}</p>'
