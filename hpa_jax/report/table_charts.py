"""Bars and shades in tables: from numbers to the marks that templates/charts.html draws.

None has a label of its own, since the other cells of its row hold the numbers; nothing is shown by
colour alone.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

Interval = tuple[float, float]

FRACTION_MARKS = ((0, "0"), (50, "0.5"), (100, "1"))
"""The head of a column of bars from 0 to 1: positions in per cent, and their texts."""

# Where a bar on the logarithmic scale starts, so that a count of 1 has a length.
_LOG_START = 0.6
_SHADES = 10


class Mark(NamedTuple):
    """A rectangle, or a path where it has one; x and width in per cent of the cell's width."""

    kind: str
    x: float = 0.0
    y: float = 0.0
    width: float = 0.0
    height: float = 0.0
    path: str = ""


class Bars(NamedTuple):
    """Bars across a cell.

    Attributes:
      height: in the units of the marks.
      pixels: the same on the page.
      grid: path of upright lines.
      marks: in the order in which they are painted.
    """

    height: int
    pixels: int
    grid: str
    marks: Sequence[Mark]


class HeatCell(NamedTuple):
    """A count, its fraction of the row's total, and a shade from 0 (none) to 10."""

    count: int
    fraction: float
    shade: int


def decades(largest: int) -> list[int]:
    """Returns 1, 10, 100, ... up to the first that is not below `largest`."""
    found = [1]
    while found[-1] < largest:
        found.append(found[-1] * 10)
    return found


def log_position(count: float, top: int) -> float:
    """Returns where a count lies on a logarithmic axis up to `top`, in per cent; 0 for no count."""
    if count <= 0:
        return 0.0
    return 100 * np.log(count / _LOG_START) / np.log(max(top, 10) / _LOG_START)


def log_bars(counts: Sequence[int], top: int) -> Bars:
    """Lays out a bar for each count, one below the other, on a logarithmic axis up to `top`."""
    height = 6 * len(counts)
    marks = []
    for i, count in enumerate(counts):
        marks.append(Mark(f"p{i}", 0, 6 * i + 1, log_position(count, top), 4))
    grid = _grid([log_position(tick, top) for tick in decades(top)], height)
    return Bars(height, height, grid, marks)


def interval_bars(bars: Sequence[tuple[float, Interval | None]]) -> Bars:
    """Lays out bars from 0 to 1, one below the other, each with its interval as a line."""
    marks = []
    for i, (value, interval) in enumerate(bars):
        # 10 units for each bar, 2 of them free on either side.
        top = 10 * i
        marks.append(Mark(f"p{i}", 0, top + 2, 100 * value, 6))
        if interval is not None:
            low = 100 * interval[0]
            high = 100 * interval[1]
            ends = f"M{low:.1f} {top + 2.5}v5M{high:.1f} {top + 2.5}v5"
            marks.append(Mark("span", path=f"M{low:.1f} {top + 5}H{high:.1f}{ends}"))
    return _fraction_bars(marks, len(bars))


def published_bars(
    published: float | None, ours: Sequence[tuple[float, Interval | None]], human: float
) -> Bars:
    """Lays out a row of the comparison with published results, 0 to 1.

    Args:
      published: a hollow tick; None for no tick.
      ours: filled ticks on their intervals, one below the other.
      human: a dashed line.
    """
    height = 10 * max(1, len(ours))
    # Painted first, so that it lies behind our ticks.
    marks = [Mark("chosen", path=f"M{100 * human:.1f} 0V{height}")]
    if published is not None:
        marks.append(Mark("published", 100 * published - 0.7, 1, 1.4, height - 2))
    for i, (value, interval) in enumerate(ours):
        if interval is not None:
            low = 100 * interval[0]
            marks.append(Mark(f"p{i} pale", low, 10 * i + 3, 100 * interval[1] - low, 4))
        marks.append(Mark(f"p{i}", 100 * value - 0.5, 10 * i + 1, 1, 8))
    return _fraction_bars(marks, max(1, len(ours)))


def _fraction_bars(marks: Sequence[Mark], rows: int) -> Bars:
    height = 10 * rows
    return Bars(height, 14 * rows, _grid([0, 25, 50, 75, 100], height), marks)


def _grid(positions: Sequence[float], height: int) -> str:
    return "".join(f"M{position:.1f} 0V{height}" for position in positions)


def heat_map(counts: np.ndarray) -> list[list[HeatCell]]:
    """Shades the cells of a matrix of counts.

    Args:
      counts: int [L, L]; the diagonal has the total of each row, of which the others are fractions.
    """
    rows = []
    for i, row in enumerate(counts.tolist()):
        total = row[i]
        cells = []
        for count in row:
            fraction = count / total if total else 0.0
            cells.append(HeatCell(count, fraction, shade_of(count, fraction)))
        rows.append(cells)
    return rows


def shade_of(count: int, fraction: float) -> int:
    """Returns the shade of a count, by its fraction of the row's total."""
    if not count:
        return 0
    # The root, so that a tenth can still be told from nothing.
    return max(1, round(_SHADES * fraction**0.5))
