"""Charts: positions and lengths, and their markup."""

import re

import numpy as np
import pytest

from hpa_jax.report import html
from hpa_jax.report.dataset.images import histogram_chart
from hpa_jax.report.line_charts import FRACTIONS, Line, downsample, fit_axis, line_chart
from hpa_jax.report.table_charts import (
    decades,
    heat_map,
    interval_bars,
    log_bars,
    log_position,
    published_bars,
)


def drawn(macro: str, *arguments) -> str:
    """What a macro of templates/charts.html makes of its arguments."""
    module = html._ENVIRONMENT.get_template("charts.html").module
    return str(getattr(module, macro)(*arguments))


# Line charts.


@pytest.mark.parametrize(
    "low, high", [(0, 1), (0.94, 0.977), (12, 25_000), (-3, 5), (0.5, 0.5), (0, 0), (1e-5, 3e-4)]
)
def test_an_axis_holds_its_values_between_few_round_ticks(low, high):
    axis = fit_axis([np.array([low, np.nan, high])])
    assert axis.low <= low and axis.high >= high and axis.high > axis.low
    assert 3 <= len(axis.ticks) == len(axis.labels) <= 8
    assert np.allclose(np.diff(axis.ticks), axis.ticks[1] - axis.ticks[0])
    np.testing.assert_allclose([axis.ticks[0], axis.ticks[-1]], [axis.low, axis.high])
    assert fit_axis([np.array([3.0, 4.0])], from_zero=True).low == 0


def test_an_axis_labels_large_and_small_numbers_shortly():
    assert fit_axis([np.array([0, 20_000])]).labels[-1] == "20k"
    assert fit_axis([np.array([0, 2e-4])]).labels[-1] == "2e-04"


def test_downsampling_keeps_the_mean():
    x = np.arange(1000.0)
    y = np.sin(x)
    few_x, few_y = downsample(x, y, 100)
    assert len(few_x) == 100
    assert few_x.mean() == pytest.approx(x.mean()) and few_y.mean() == pytest.approx(y.mean())
    assert len(downsample(x, y, 1000)[0]) == 1000


def test_a_line_is_where_its_numbers_say_and_breaks_where_there_is_none():
    line = Line("<a>", np.array([0.0, 0.25, 0.5, 1.0]), np.array([0.0, np.nan, 0.5, 1.0]), 1)
    chart = line_chart(
        [line],
        "<title>",
        FRACTIONS,
        FRACTIONS,
        size=(146, 128),
        marker=0.25,
        points=[(0, 1.0, 0.0)],
        diagonal=True,
    )
    # The numbers leave 100 x 100 px inside.
    assert chart.curves[0].path == "M38.0 108.0M88.0 58.0L138.0 8.0"
    assert chart.diagonal == "M38.0 108.0L138.0 8.0" and chart.marker == "M63.0 8V108"
    assert chart.dots[-1] == (0, 138.0, 108.0, 3.5) and len(chart.dots) == 4
    svg = drawn("line_chart", chart)
    assert 'class="line s1" d="M38.0 108.0M88.0 58.0L138.0 8.0"' in svg
    assert 'cx="138.0" cy="108.0" r="3.5"' in svg and "<title>&lt;a&gt;</title>" in svg
    assert 'aria-label="&lt;title&gt;"' in svg


def test_a_long_line_is_drawn_to_its_end_without_dots():
    x = np.linspace(0, 1, 1000)
    chart = line_chart([Line("a", x, x)], "", FRACTIONS, FRACTIONS, size=(146, 128))
    assert not chart.dots
    assert 'L138.0 8.0"' in drawn("line_chart", chart)


def test_a_histogram_goes_from_the_first_to_the_last_value():
    counts = np.zeros(256, np.int64)
    counts[[0, 255]] = 50
    chart = histogram_chart([("a", counts)], "title")
    points = re.findall(r"[ML]([\d.]+) ([\d.]+)", chart.curves[0].path)
    x = [float(x) for x, _ in points]
    y = [float(y) for _, y in points]
    # Half of the pixels are at each end, none between: from the bottom up, down, and up again.
    assert x[:3] == [50.0, 50.0, 51.2] and x[-1] == 354.0 and len(points) == 513
    assert y[0] == 158.0 and y[1] == y[-1] == pytest.approx(8 + 25 * np.log10(2), abs=0.1)
    assert set(y[3:-2]) == {158.0}
    assert [tick.text for tick in chart.ticks if tick.anchor == "end"][:2] == ["100%", "1%"]


# In tables.


def test_a_logarithmic_bar_is_longer_for_more():
    assert decades(0) == [1] and decades(10) == [1, 10] and decades(12885)[-1] == 100_000
    lengths = [log_position(count, 10_000) for count in (0, 1, 10, 100, 1000, 10_000)]
    assert lengths[0] == 0 and lengths[-1] == 100
    np.testing.assert_allclose(np.diff(lengths[1:]), np.diff(lengths[1:])[0])
    assert drawn("bars", log_bars([5, 0, 1], 10)).count("<rect") == 3


def test_bars_and_intervals_are_as_long_as_their_values():
    svg = drawn("bars", interval_bars([(0.5, (0.25, 0.75)), (1.0, None)]))
    assert re.findall(r'width="([\d.]+)"', svg) == ["50.0", "100.0"]
    assert "M25.0 5H75.0" in svg and svg.count("span") == 1


def test_a_published_result_is_a_tick_beside_ours():
    svg = drawn("bars", published_bars(0.4, [(0.6, (0.5, 0.7))], 0.71))
    assert 'class="published" x="39.3"' in svg
    assert 'class="p0 pale" x="50.0" y="3" width="20.0"' in svg and 'x="59.5"' in svg
    assert "M71.0 0" in svg


def test_a_cell_shows_its_count_and_its_fraction():
    rows = heat_map(np.array([[20, 5], [0, 12_000]]))
    # The root of 0.25; the diagonal is the total.
    assert rows[0][1] == (5, 0.25, 5) and rows[1][0] == (0, 0.0, 0) and rows[1][1].count == 12_000
    assert heat_map(np.array([[0, 0], [1, 900]]))[1][0].shade == 1
    template = (
        '{% from "charts.html" import heat_map %}'
        '{% call(row, column, cell, diagonal) heat_map("c", "r", names, rows) -%}'
        "{{ row }} with {{ column }}: {{ cell.count }}{% endcall %}"
    )
    text = html._ENVIRONMENT.from_string(template).render(names=["A & B", '"C"'], rows=rows)
    assert '<td class="shade5" title="A &amp; B with &#34;C&#34;: 5">5</td>' in text
    assert ">12k</td>" in text and "<td></td>" in text
