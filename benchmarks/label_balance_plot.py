"""The plot of `label_balance.py`: an SVG of bars on a logarithmic scale, four a label."""

import math
from html import escape

import checkout  # noqa: F401
import numpy as np

from hpa_jax.labels import LABELS

TITLES = {
    "uniform": "uniform",
    "hpa_densenet": "hpa_densenet",
    "repeat_factor": "repeat factor",
    "class_balanced": "class-balanced",
}
# Of Okabe and Ito, whose colors can be told apart with any color vision.
COLORS = {
    "uniform": "#8a8f98",
    "hpa_densenet": "#e69f00",
    "repeat_factor": "#0072b2",
    "class_balanced": "#009e73",
}

LEFT = 200
TOP = 58
WIDTH = 520
ROW_HEIGHT = 27
BAR_HEIGHT = 6


def draw(counts: dict[str, np.ndarray]) -> str:
    """The plot, commonest label first.

    Args:
      counts: by sampling, the images with each label that an epoch shows, float `[L]`.
    """
    height = TOP + ROW_HEIGHT * len(LABELS) + 12
    largest = max(10.0, *(1.1 * values.max() for values in counts.values()))
    decades = math.log10(largest)

    def x(count: float) -> float:
        return LEFT + WIDTH * math.log10(max(count, 1)) / decades

    grid = []
    ticks = []
    for exponent in range(int(decades) + 1):
        value = 10**exponent
        grid.append(f'<path d="M{x(value):.1f} {TOP - 6}V{height - 10}"/>')
        ticks.append(
            f'<text x="{x(value):.1f}" y="{TOP - 12}" text-anchor="middle">{value:,}</text>'
        )

    legend = []
    for number, sampling in enumerate(counts):
        left = LEFT + 135 * number
        color = COLORS[sampling]
        legend.append(f'<rect x="{left}" y="10" width="12" height="12" fill="{color}"/>')
        legend.append(f'<text x="{left + 18}" y="20">{escape(TITLES[sampling])}</text>')

    rows = []
    order = np.argsort(-counts["uniform"], kind="stable")
    for row, label in enumerate(order.tolist()):
        name = escape(LABELS[label])
        top = TOP + ROW_HEIGHT * row
        rows.append(f'<text x="{LEFT - 8}" y="{top + 15}" text-anchor="end">{name}</text>\n')
        for number, (sampling, values) in enumerate(counts.items()):
            value = values[label]
            tooltip = f"{name}, {TITLES[sampling]}: {value:,.0f}"
            rows.append(
                f'<rect x="{LEFT}" y="{top + BAR_HEIGHT * number}" '
                f'width="{x(value) - LEFT:.1f}" height="{BAR_HEIGHT - 1}" '
                f'fill="{COLORS[sampling]}"><title>{tooltip}</title></rect>\n'
            )

    return (
        '<svg xmlns="http://www.w3.org/2000/svg" '
        f'viewBox="0 0 {LEFT + WIDTH + 30} {height}" role="img" '
        'aria-label="Images shown in an epoch, by label, for four ways of sampling" '
        'font-family="system-ui,sans-serif" font-size="12" fill="#1b2430">\n'
        '<rect width="100%" height="100%" fill="#fff"/>\n'
        f'<g stroke="#d9dfe5">{"".join(grid)}</g>\n'
        f'<text x="{LEFT - 8}" y="{TOP - 12}" text-anchor="end">images an epoch</text>'
        f"{''.join(ticks)}\n{''.join(legend)}\n{''.join(rows)}</svg>\n"
    )
