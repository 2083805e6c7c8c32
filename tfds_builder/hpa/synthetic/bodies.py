"""Patterns of single bodies: dots, rings, dashes and lumps, drawn one by one in the cell.

A pattern is a function of the cells and a random stream that returns float32 [H, W]: 0 where the
protein is not, about 1 where it is. Bodies are exaggerated (larger, fewer, tidier than in life), to
be distinguished at about 30 pixels a cell.
"""

import cv2
import numpy as np

from tfds_builder.hpa.synthetic.cells import Cells
from tfds_builder.hpa.synthetic.drawing import (
    SHIFT,
    SUBPIXELS,
    canvas,
    directions,
    draw_dots,
    draw_line,
    draw_paths,
    to_fixed,
    unit,
)
from tfds_builder.hpa.synthetic.layout import DAUGHTER, MITOTIC


def _thickness(cells: Cells, fraction: float) -> int:
    """A line's thickness in whole pixels, for a fraction of the cell diameter."""
    return max(1, round(fraction * cells.diameter))


def _scatter(
    cells: Cells, rng: np.random.Generator, spacing: float, keep: float = 1.0
) -> np.ndarray:
    """Points all over the image on a jittered grid.

    Args:
      cells: of the image.
      rng: random stream.
      spacing: in diameters.
      keep: fraction of the points.

    Returns:
      float [n, 2], (x, y) in pixels.
    """
    step = spacing * cells.diameter
    n = int(np.ceil(cells.size / step)) + 1
    grid = np.stack(np.meshgrid(np.arange(n), np.arange(n)), -1).reshape(-1, 2)
    jittered = grid + rng.uniform(0.12, 0.88, (n * n, 2))
    points = jittered * step - rng.uniform(0, step, 2)
    inside = ((points >= 0) & (points < cells.size - 0.5)).all(axis=1)
    return points[inside & (rng.random(n * n) < keep)]


def _at(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The image's values at the points."""
    index = points.astype(int)
    return image[index[:, 1], index[:, 0]]


def _in_cytoplasm(
    cells: Cells, points: np.ndarray, nearest: float = 0.05, margin: float = 0.04
) -> np.ndarray:
    """The points at least `nearest` diameters off the nucleus and `margin` off the cell's edge."""
    return points[(_at(cells.nuclear, points) > nearest) & (_at(cells.edge, points) > margin)]


def _cells_with_nucleus(cells: Cells) -> np.ndarray:
    return np.flatnonzero(cells.kind != MITOTIC)


def _points_in_nuclei(
    cells: Cells, rng: np.random.Generator, low: int, high: int, reach: float
) -> np.ndarray:
    """`low` to `high` points in each nucleus, in well-separated directions.

    They are at up to `reach` of its radius.
    """
    points = [np.zeros((0, 2))]
    for i in _cells_with_nucleus(cells):
        n = int(rng.integers(low, high + 1))
        angles = (
            rng.uniform(0, 2 * np.pi) + np.arange(n) * 2 * np.pi / n + rng.uniform(-0.3, 0.3, n)
        )
        radius = reach * rng.uniform(0.75, 1.0, n)[:, None] * cells.nucleus_axes[i].min()
        points.append(cells.nucleus[i] + radius * directions(angles))
    return np.concatenate(points)


def _outward(cells: Cells, points: np.ndarray) -> np.ndarray:
    """Unit vectors [n, 2] from the nucleus of the covering cell through each point."""
    owner = _at(cells.owner, points)
    away = points - cells.nucleus[owner]
    return away / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-6)


def _draw_disc_pattern(cells: Cells, points: np.ndarray, radii: np.ndarray | float) -> np.ndarray:
    image = canvas(cells.size)
    draw_dots(image, points, radii)
    return unit(image)


def _draw_dashes(cells: Cells, starts: np.ndarray, ends: np.ndarray, fraction: float) -> np.ndarray:
    image = canvas(cells.size)
    draw_paths(image, np.stack([starts, ends], axis=1), _thickness(cells, fraction))
    return unit(image)


def nucleoli(cells: Cells, rng: np.random.Generator) -> np.ndarray:
    image = _draw_disc_pattern(cells, cells.nucleoli[:, :2], cells.nucleoli[:, 2] * 1.35)
    return image * cells.nuclei


def fibrillar_center(cells: Cells, rng: np.random.Generator) -> np.ndarray:
    """One sharp dot in the middle of each nucleolus."""
    return _draw_disc_pattern(cells, cells.nucleoli[:, :2], 0.036 * cells.diameter)


def nuclear_bodies(cells: Cells, rng: np.random.Generator) -> np.ndarray:
    points = _points_in_nuclei(cells, rng, 3, 4, 0.8)
    return _draw_disc_pattern(cells, points, 0.052 * cells.diameter)


def golgi_apparatus(cells: Cells, rng: np.random.Generator) -> np.ndarray:
    """Stacked, broken ribbons around the nucleus on the side of the organizing centre."""
    image = canvas(cells.size)
    d = cells.diameter
    for i in _cells_with_nucleus(cells):
        to_mtoc = cells.mtoc[i] - cells.nucleus[i]
        middle = np.arctan2(*to_mtoc[::-1])
        base = np.linalg.norm(to_mtoc)
        for layer in (-0.03, 0.05):
            angles = middle + np.linspace(-1.15, 1.15, 12) + rng.normal(0, 0.05)
            radius = base + d * (layer + rng.normal(0, 0.012, 12))
            path = cells.nucleus[i] + radius[:, None] * directions(angles)
            draw_paths(image, [path], _thickness(cells, 0.045))
    return unit(image) * (1 - 0.5 * cells.nuclei)


def peroxisomes(cells: Cells, rng: np.random.Generator) -> np.ndarray:
    """Very many tiny dots all over the cytoplasm."""
    points = _in_cytoplasm(cells, _scatter(cells, rng, 0.095), 0.03)
    return _draw_disc_pattern(cells, points, 0.017 * cells.diameter)


def endosomes(cells: Cells, rng: np.random.Generator) -> np.ndarray:
    """Medium dots under the cell's edge."""
    points = _scatter(cells, rng, 0.17)
    edge = _at(cells.edge, points)
    near_edge = (edge > 0.03) & (edge < 0.14)
    points = points[near_edge & (_at(cells.nuclear, points) > 0.04)]
    return _draw_disc_pattern(cells, points, 0.05 * cells.diameter)


def lysosomes(cells: Cells, rng: np.random.Generator) -> np.ndarray:
    """Medium dots crowded all around the nucleus."""
    points = _scatter(cells, rng, 0.135)
    distance = _at(cells.nuclear, points)
    near_nucleus = points[(distance > 0.045) & (distance < 0.17)]
    return _draw_disc_pattern(cells, near_nucleus, 0.045 * cells.diameter) * cells.cell


def focal_adhesion_sites(cells: Cells, rng: np.random.Generator) -> np.ndarray:
    """Few thick dashes that point outward at the cell's edge."""
    points = _scatter(cells, rng, 0.17)
    edge = _at(cells.edge, points)
    points = points[(edge > 0.01) & (edge < 0.13)]
    points = points[_at(cells.nuclear, points) > 0.08]
    step = 0.085 * cells.diameter * _outward(cells, points)
    return _draw_dashes(cells, points - step, points + step, 0.055)


def microtubule_ends(cells: Cells, rng: np.random.Generator) -> np.ndarray:
    """Fine short comets that point outward, all over the cytoplasm."""
    points = _in_cytoplasm(cells, _scatter(cells, rng, 0.14), 0.03, 0.03)
    step = 0.08 * cells.diameter * _outward(cells, points)
    return _draw_dashes(cells, points - step, points + step, 0.034)


def cytokinetic_bridge(cells: Cells, rng: np.random.Generator) -> np.ndarray:
    image = canvas(cells.size)
    for start, end in cells.bridges:
        draw_line(image, start, end, _thickness(cells, 0.11))
        draw_dots(image, (start + end)[None] / 2, 0.10 * cells.diameter)
    return unit(image)


def mitotic_spindle(cells: Cells, rng: np.random.Generator) -> np.ndarray:
    """The complete spindle: a lens from pole to pole, brighter along its fibres."""
    image = canvas(cells.size)
    axes = (np.array([0.30, 0.17]) * cells.diameter * SUBPIXELS).astype(int).tolist()
    for i in np.flatnonzero(cells.kind == MITOTIC):
        centre = to_fixed(cells.centre[i]).tolist()
        degrees = np.degrees(cells.angle[i])
        cv2.ellipse(image, centre, axes, degrees, 0, 360, 200, -1, cv2.LINE_AA, SHIFT)
    return np.maximum(unit(image), cells.spindle)


def centrosome(cells: Cells, rng: np.random.Generator) -> np.ndarray:
    """Two sharp dots, on opposite sides of the nucleus as before mitosis."""
    here = cells.kind != MITOTIC
    opposite = 2 * cells.nucleus - cells.mtoc
    points = np.concatenate([cells.mtoc[here], opposite[here]])
    return _draw_disc_pattern(cells, points, 0.05 * cells.diameter)


def lipid_droplets(cells: Cells, rng: np.random.Generator) -> np.ndarray:
    """Rings: droplets stained on their surface."""
    image = canvas(cells.size)
    points = _in_cytoplasm(cells, _scatter(cells, rng, 0.27), 0.07, 0.06)
    radii = np.round(rng.uniform(0.09, 0.105, len(points)) * cells.diameter * SUBPIXELS)
    thickness = _thickness(cells, 0.032)
    centres = to_fixed(points).tolist()
    for centre, radius in zip(centres, radii.astype(int).tolist(), strict=True):
        cv2.circle(image, tuple(centre), radius, 255, thickness, cv2.LINE_AA, SHIFT)
    return unit(image)


def aggresome(cells: Cells, rng: np.random.Generator) -> np.ndarray:
    """One large lump beside the nucleus."""
    here = cells.kind != MITOTIC
    return _draw_disc_pattern(cells, cells.mtoc[here], 0.15 * cells.diameter)


def cytoplasmic_bodies(cells: Cells, rng: np.random.Generator) -> np.ndarray:
    """Few large dots anywhere in the cytoplasm."""
    points = _in_cytoplasm(cells, _scatter(cells, rng, 0.32), 0.07, 0.06)
    return _draw_disc_pattern(cells, points, 0.082 * cells.diameter)


def rods_and_rings(cells: Cells, rng: np.random.Generator) -> np.ndarray:
    """A long straight rod and a wide ring in each cell."""
    image = canvas(cells.size)
    d = cells.diameter
    for i in _cells_with_nucleus(cells):
        scale = 0.75 if cells.kind[i] == DAUGHTER else 1.0
        angle = rng.uniform(0, 2 * np.pi)
        away = np.array([np.cos(angle), np.sin(angle)])
        along = np.array([-away[1], away[0]])
        off = cells.nucleus_axes[i].mean() + 0.07 * d
        middle = cells.nucleus[i] + off * away
        rod = middle + scale * 0.3 * d * np.array([along, -along])
        draw_line(image, rod[0], rod[1], _thickness(cells, 0.06))
        centre = to_fixed(cells.nucleus[i] - (off + 0.05 * d) * away).tolist()
        radius = round(scale * 0.15 * d * SUBPIXELS)
        cv2.circle(image, centre, radius, 255, _thickness(cells, 0.05), cv2.LINE_AA, SHIFT)
    return unit(image)
