"""Patterns of single bodies: dots, rings, dashes and lumps, drawn one by one where the label puts them in the cell.

A pattern, called with the cells and a random stream, gives float32 [H, W]: 0 where the protein is not, about 1 where it
is. Bodies are exaggerated (larger, fewer, tidier than life), to be told apart at about 30 pixels a cell.
"""

import cv2
import numpy as np

from tfds_builder.hpa.synthetic.cells import Cells
from tfds_builder.hpa.synthetic.drawing import canvas, dots, fixed, unit
from tfds_builder.hpa.synthetic.layout import DAUGHTER, MITOTIC


def thick(cells: Cells, fraction: float) -> int:
    """A line's thickness in whole pixels, for a fraction of the cell diameter."""
    return max(1, round(fraction * cells.diameter))


def _scatter(
    cells: Cells, rng: np.random.Generator, spacing: float, keep: float = 1.0
) -> np.ndarray:
    """Points [n, 2] all over the field on a jittered grid, `spacing` diameters apart."""
    step = spacing * cells.diameter
    n = int(np.ceil(cells.size / step)) + 1
    grid = np.stack(np.meshgrid(np.arange(n), np.arange(n)), -1).reshape(-1, 2) + rng.uniform(
        0.12, 0.88, (n * n, 2)
    )
    points = grid * step - rng.uniform(0, step, 2)
    inside = ((points >= 0) & (points < cells.size - 0.5)).all(axis=1) & (rng.random(n * n) < keep)
    return points[inside]


def _at(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    index = points.astype(int)
    return image[index[:, 1], index[:, 0]]


def _in_cytoplasm(
    cells: Cells, points: np.ndarray, nearest: float = 0.05, margin: float = 0.04
) -> np.ndarray:
    """The points that lie `nearest` diameters off the nucleus or more, and `margin` off the cell's edge."""
    return points[(_at(cells.nuclear, points) > nearest) & (_at(cells.edge, points) > margin)]


def _nucleus_points(
    cells: Cells, rng: np.random.Generator, low: int, high: int, reach: float
) -> np.ndarray:
    """A few points in each nucleus, in well-separated directions, at up to `reach` of its radius."""
    points = [np.zeros((0, 2))]
    for i in np.flatnonzero(cells.kind != MITOTIC):
        n = int(rng.integers(low, high + 1))
        turn = rng.uniform(0, 2 * np.pi) + np.arange(n) * 2 * np.pi / n + rng.uniform(-0.3, 0.3, n)
        r = reach * rng.uniform(0.75, 1.0, n)[:, None] * cells.nucleus_axes[i].min()
        points.append(cells.nucleus[i] + r * np.stack([np.cos(turn), np.sin(turn)], -1))
    return np.concatenate(points)


def _outward(cells: Cells, points: np.ndarray) -> np.ndarray:
    """Unit vectors [n, 2] from the nucleus of the covering cell through each point."""
    owner = _at(cells.owner, points)
    away = points - cells.nucleus[owner]
    return away / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-6)


def _strokes(cells: Cells, starts: np.ndarray, ends: np.ndarray, fraction: float) -> np.ndarray:
    image = canvas(cells.size)
    lines = fixed(np.stack([starts, ends], axis=1))
    cv2.polylines(image, list(lines), False, 255, thick(cells, fraction), cv2.LINE_AA, 4)
    return unit(image)


def nucleoli(cells: Cells, rng: np.random.Generator) -> np.ndarray:
    image = canvas(cells.size)
    dots(image, cells.nucleoli[:, :2], cells.nucleoli[:, 2] * 1.35)
    return unit(image) * cells.nuclei


def fibrillar_center(cells: Cells, rng: np.random.Generator) -> np.ndarray:
    """One sharp dot in the middle of each nucleolus."""
    image = canvas(cells.size)
    dots(image, cells.nucleoli[:, :2], 0.036 * cells.diameter)
    return unit(image)


def nuclear_bodies(cells: Cells, rng: np.random.Generator) -> np.ndarray:
    image = canvas(cells.size)
    dots(image, _nucleus_points(cells, rng, 3, 4, 0.8), 0.052 * cells.diameter)
    return unit(image)


def golgi_apparatus(cells: Cells, rng: np.random.Generator) -> np.ndarray:
    """Stacked, broken ribbons that hug the nucleus on the side of the organizing centre."""
    image, d = canvas(cells.size), cells.diameter
    for i in np.flatnonzero(cells.kind != MITOTIC):
        middle = np.arctan2(*(cells.mtoc[i] - cells.nucleus[i])[::-1])
        base = np.linalg.norm(cells.mtoc[i] - cells.nucleus[i])
        for layer in (-0.03, 0.05):
            turn = middle + np.linspace(-1.15, 1.15, 12) + rng.normal(0, 0.05)
            r = base + d * (layer + rng.normal(0, 0.012, 12))
            line = cells.nucleus[i] + r[:, None] * np.stack([np.cos(turn), np.sin(turn)], -1)
            cv2.polylines(image, [fixed(line)], False, 255, thick(cells, 0.045), cv2.LINE_AA, 4)
    return unit(image) * (1 - 0.5 * cells.nuclei)


def peroxisomes(cells: Cells, rng: np.random.Generator) -> np.ndarray:
    """Very many tiny dots all over the cytoplasm."""
    image = canvas(cells.size)
    dots(image, _in_cytoplasm(cells, _scatter(cells, rng, 0.095), 0.03), 0.017 * cells.diameter)
    return unit(image)


def endosomes(cells: Cells, rng: np.random.Generator) -> np.ndarray:
    """Middling dots under the cell's edge."""
    points = _scatter(cells, rng, 0.17)
    edge = _at(cells.edge, points)
    points = points[(edge > 0.03) & (edge < 0.14) & (_at(cells.nuclear, points) > 0.04)]
    image = canvas(cells.size)
    dots(image, points, 0.05 * cells.diameter)
    return unit(image)


def lysosomes(cells: Cells, rng: np.random.Generator) -> np.ndarray:
    """Middling dots crowded all around the nucleus."""
    points = _scatter(cells, rng, 0.135)
    far = _at(cells.nuclear, points)
    image = canvas(cells.size)
    dots(image, points[(far > 0.045) & (far < 0.17)], 0.045 * cells.diameter)
    return unit(image) * cells.cell


def focal_adhesion_sites(cells: Cells, rng: np.random.Generator) -> np.ndarray:
    """Few thick dashes that point outward at the cell's edge."""
    points = _scatter(cells, rng, 0.17)
    points = points[(_at(cells.edge, points) > 0.01) & (_at(cells.edge, points) < 0.13)]
    points = points[_at(cells.nuclear, points) > 0.08]
    step = 0.085 * cells.diameter * _outward(cells, points)
    return _strokes(cells, points - step, points + step, 0.055)


def microtubule_ends(cells: Cells, rng: np.random.Generator) -> np.ndarray:
    """Fine short comets that point outward, all over the cytoplasm."""
    points = _in_cytoplasm(cells, _scatter(cells, rng, 0.14), 0.03, 0.03)
    step = 0.08 * cells.diameter * _outward(cells, points)
    return _strokes(cells, points - step, points + step, 0.034)


def cytokinetic_bridge(cells: Cells, rng: np.random.Generator) -> np.ndarray:
    image = canvas(cells.size)
    for p, q in cells.bridges:
        cv2.line(
            image, fixed(p).tolist(), fixed(q).tolist(), 255, thick(cells, 0.11), cv2.LINE_AA, 4
        )
        dots(image, (p + q)[None] / 2, 0.10 * cells.diameter)
    return unit(image)


def mitotic_spindle(cells: Cells, rng: np.random.Generator) -> np.ndarray:
    """The whole spindle: a lens from pole to pole, brighter along its fibres."""
    image = canvas(cells.size)
    for i in np.flatnonzero(cells.kind == MITOTIC):
        axes = np.array([0.30, 0.17]) * cells.diameter * 16
        centre = fixed(cells.centre[i]).tolist()
        degrees = np.degrees(cells.angle[i])
        cv2.ellipse(
            image, centre, axes.astype(int).tolist(), degrees, 0, 360, 200, -1, cv2.LINE_AA, 4
        )
    return np.maximum(unit(image), cells.spindle)


def centrosome(cells: Cells, rng: np.random.Generator) -> np.ndarray:
    """Two sharp dots, on opposite sides of the nucleus as before mitosis."""
    image = canvas(cells.size)
    here = cells.kind != MITOTIC
    points = np.concatenate([cells.mtoc[here], (2 * cells.nucleus - cells.mtoc)[here]])
    dots(image, points, 0.05 * cells.diameter)
    return unit(image)


def lipid_droplets(cells: Cells, rng: np.random.Generator) -> np.ndarray:
    """Rings: droplets stained on their surface."""
    image = canvas(cells.size)
    points = _in_cytoplasm(cells, _scatter(cells, rng, 0.27), 0.07, 0.06)
    radii = np.round(rng.uniform(0.09, 0.105, len(points)) * cells.diameter * 16).astype(int)
    for (x, y), r in zip(fixed(points).tolist(), radii.tolist(), strict=True):
        cv2.circle(image, (x, y), r, 255, thick(cells, 0.032), cv2.LINE_AA, 4)
    return unit(image)


def aggresome(cells: Cells, rng: np.random.Generator) -> np.ndarray:
    """One large lump beside the nucleus."""
    image = canvas(cells.size)
    here = cells.kind != MITOTIC
    dots(image, cells.mtoc[here], 0.15 * cells.diameter)
    return unit(image)


def cytoplasmic_bodies(cells: Cells, rng: np.random.Generator) -> np.ndarray:
    """Few large dots anywhere in the cytoplasm."""
    image = canvas(cells.size)
    dots(
        image, _in_cytoplasm(cells, _scatter(cells, rng, 0.32), 0.07, 0.06), 0.082 * cells.diameter
    )
    return unit(image)


def rods_and_rings(cells: Cells, rng: np.random.Generator) -> np.ndarray:
    """A long straight rod and a wide ring in each cell."""
    d, image = cells.diameter, canvas(cells.size)
    for i in np.flatnonzero(cells.kind != MITOTIC):
        half_daughter = 0.75 if cells.kind[i] == DAUGHTER else 1.0
        turn = rng.uniform(0, 2 * np.pi)
        away = np.array([np.cos(turn), np.sin(turn)])
        along = np.array([-away[1], away[0]])
        off = cells.nucleus_axes[i].mean() + 0.07 * d
        rod = cells.nucleus[i] + off * away + half_daughter * 0.3 * d * np.array([along, -along])
        cv2.line(
            image,
            fixed(rod[0]).tolist(),
            fixed(rod[1]).tolist(),
            255,
            thick(cells, 0.06),
            cv2.LINE_AA,
            4,
        )
        ring = fixed(cells.nucleus[i] - (off + 0.05 * d) * away).tolist()
        cv2.circle(
            image,
            ring,
            round(half_daughter * 0.15 * d * 16),
            255,
            thick(cells, 0.05),
            cv2.LINE_AA,
            4,
        )
    return unit(image)
