"""Numbers as pictures: inline SVG and a coloured table. Pure functions from arrays to HTML; colours are in `style.py`.

Nothing is told by colour alone: bars and lines carry a position, a pattern or a number too.
"""

from collections.abc import Sequence

import numpy as np

from hpa_jax.report.html import number, percent, text

_LEAST = 0.6  # where a bar on the logarithmic scale begins, so that a count of 1 has a length
_SHADES = 10  # of the heat map, besides none


def decades(largest: int) -> list[int]:
    """1, 10, 100, ... up to the first that is not below `largest`."""
    found = [1]
    while found[-1] < largest:
        found.append(found[-1] * 10)
    return found


def along(value: float, top: int) -> float:
    """Where a count stands on a logarithmic axis that ends at `top`, in per cent of its length; 0 for none."""
    return 100 * np.log(value / _LEAST) / np.log(max(top, 10) / _LEAST) if value > 0 else 0.0


def log_axis(top: int) -> str:
    """The head of a column of `log_bars`."""
    marks = "".join(
        f'<i style="left:{along(value, top):.1f}%">{_short(value)}</i>' for value in decades(top)
    )
    return f'<span class="axis" aria-hidden="true">{marks}</span>'


def log_bars(counts: Sequence[int], top: int) -> str:
    """One thin bar under the other, classes p0, p1, ..., from `_LEAST` to each count on a logarithmic scale.

    Without a label of its own: it stands in a row of a table that has the numbers.
    """
    height = 6 * len(counts)
    grid = "".join(f"M{along(value, top):.1f} 0V{height}" for value in decades(top))
    bars = "".join(
        f'<rect class="p{i}" y="{6 * i + 1}" width="{along(count, top):.1f}" height="4"/>'
        for i, count in enumerate(counts)
    )
    return (
        f'<svg class="bars" viewBox="0 0 100 {height}" preserveAspectRatio="none" aria-hidden="true">'
        f'<path class="grid" d="{grid}"/>{bars}</svg>'
    )


def heat_table(
    together: np.ndarray,
    names: Sequence[str],
    *,
    caption: str = "Fields that bear the label of the row and that of the column",
    region: str = "Label co-occurrence",
    said: str = "{row} with {column}: {count}, {share} of {row}",
    own: str = "{row}: {count} in all",
) -> str:
    """Counts int [L, L] as a table; a cell's shade is its share of its row's total, which is the diagonal.

    Args:
      together: how many fields bear both labels; on the diagonal, how many bear the label at all.
      caption, region: of the table, plain words.
      said, own: what a cell says, off and on the diagonal.
    """
    names = [text(name) for name in names]
    head = "".join(f'<th scope="col"><span>{name}</span></th>' for name in names)
    rows = []
    for i, name in enumerate(names):
        total = int(together[i, i])
        cells = "".join(
            _heat_cell(int(n), total, (own if i == j else said), name, names[j], i == j)
            for j, n in enumerate(together[i])
        )
        rows.append(f'<tr><th scope="row">{name}</th>{cells}</tr>\n')
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{region}"><table class="heat">'
        f"<caption>{caption}</caption>"
        f"<thead><tr><td></td>{head}</tr></thead>\n<tbody>{''.join(rows)}</tbody></table></div>\n"
    )


def _heat_cell(count: int, total: int, said: str, row: str, column: str, diagonal: bool) -> str:
    share = count / total if total else 0.0
    title = said.format(row=row, column=column, count=number(count), share=percent(share))
    if diagonal:
        return f'<td class="own" title="{title}">{_short(count) if count else ""}</td>'
    if not count:
        return "<td></td>"
    shade = max(
        1, round(_SHADES * share**0.5)
    )  # the root, so that a tenth can still be told from nothing
    return f'<td class="h{shade}" title="{title}">{_short(count)}</td>'


def _short(count: int) -> str:
    """A count in at most four characters: 9999, 12k."""
    return (
        str(count)
        if count < 10_000
        else f"{count / 1000:.0f}k"
        if count < 1_000_000
        else f"{count / 1e6:.0f}M"
    )


def histogram_lines(series: Sequence[tuple[str, np.ndarray]], title: str) -> str:
    """Histograms int [256] as lines, a share of their pixels each on a logarithmic scale.

    Args:
      series: name and counts of each line; the first has class s0, and so on.
      title: of the whole, for those who cannot see it.
    """
    left, top, width, height, floor = 50, 8, 300, 150, -6

    def y(exponent):
        return top + height * exponent / floor

    def x(value):
        return left + width * value / 256

    grid = "".join(f"M{left} {y(e):.1f}H{left + width}" for e in range(0, floor - 1, -1))
    ticks = "".join(
        f'<text x="{left - 6}" y="{y(e) + 4:.1f}" text-anchor="end">{percent(10.0**e)}</text>'
        for e in range(0, floor - 1, -2)
    )
    ticks += "".join(
        f'<text x="{x(v + 0.5):.1f}" y="{top + height + 15}" text-anchor="middle">{v}</text>'
        for v in (0, 64, 128, 192, 255)
    )
    lines = ""
    for number_, (name, counts) in enumerate(series):
        share = counts / max(1, counts.sum())
        ys = [y(max(floor, np.log10(s)) if s > 0 else floor) for s in share]
        steps = "".join(f"V{at:.1f}H{x(value + 1):.1f}" for value, at in enumerate(ys))
        lines += f'<path class="line s{number_ % 5}" d="M{left} {y(floor):.1f}{steps}"><title>{text(name)}</title></path>'
    return (
        f'<svg class="curve" viewBox="0 0 {left + width + 12} {top + height + 22}" role="img" '
        f'aria-label="{text(title)}"><path class="grid" d="{grid}"/>{ticks}{lines}</svg>'
    )
