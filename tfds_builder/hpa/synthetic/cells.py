"""Cells of a synthetic field: their masks, nuclei, nucleoli, microtubules, spindles and bridges.

Nothing here knows a label. Every field holds at least one cell in mitosis and one dividing pair joined by a bridge, so
the places of 'Mitotic spindle' and 'Cytokinetic bridge' exist in every field and the reference channels, drawn from
this, say nothing about the protein. All lengths are fractions of one cell diameter.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from tfds_builder.hpa.synthetic.drawing import canvas, dots, fixed, smooth_noise, unit
from tfds_builder.hpa.synthetic.layout import (
    BRIDGE,
    DAUGHTER,
    INTERPHASE,
    MITOTIC,
    Layout,
    cell_diameter,
    place,
)

NO_NUCLEUS = 9.0
"""Distance from the nucleus, in diameters, where there is none."""


@dataclass
class Cells:
    """Geometry of one field; n cells, m nucleoli. Points are (x, y) in pixels, angles in radians."""

    size: int
    diameter: float
    kind: np.ndarray  # int [n]: INTERPHASE, MITOTIC or DAUGHTER
    centre: np.ndarray  # float [n, 2]
    axes: np.ndarray  # float [n, 2], half axes
    angle: np.ndarray  # float [n]
    nucleus: np.ndarray  # float [n, 2], centre of the nucleus (near the metaphase plate in mitosis)
    nucleus_axes: np.ndarray  # float [n, 2], half axes
    mtoc: np.ndarray  # float [n, 2], microtubule organizing centre, beside the nucleus
    bridges: np.ndarray  # float [b, 2, 2], ends of the cytokinetic bridges
    nucleoli: np.ndarray  # float [m, 3]: x, y, radius
    owner: np.ndarray  # int16 [H, W], index of the cell that covers a pixel, -1 outside
    contact: np.ndarray  # float32 [H, W], 1 where two cells touch
    edge: np.ndarray  # float32 [H, W], distance to the cell's edge in diameters, 0 outside
    nuclear: (
        np.ndarray
    )  # float32 [H, W], distance from the nucleus' edge in diameters, negative inside
    cell: np.ndarray  # float32 [H, W], soft mask of the cells
    nuclei: np.ndarray  # float32 [H, W], soft mask of the nuclei (none in mitosis)
    holes: np.ndarray  # float32 [H, W], nucleoli
    microtubules: np.ndarray  # float32 [H, W]
    spindle: np.ndarray  # float32 [H, W]
    bridge: np.ndarray  # float32 [H, W]


def _window(centre: np.ndarray, reach: float, size: int) -> tuple[slice, slice]:
    low = np.clip(np.floor(centre - reach), 0, size).astype(int)
    high = np.clip(np.ceil(centre + reach) + 1, 0, size).astype(int)
    return slice(low[1], high[1]), slice(low[0], high[0])


def _ellipse(
    x: np.ndarray, y: np.ndarray, centre: np.ndarray, axes: np.ndarray, angle: float
) -> np.ndarray:
    """Normalised radius: 0 at the centre, 1 on the ellipse."""
    c, s = np.cos(angle), np.sin(angle)
    u, v = x - centre[0], y - centre[1]
    return np.sqrt(
        ((u * c + v * s) / axes[0]) ** 2 + ((v * c - u * s) / axes[1]) ** 2, dtype=np.float32
    )


def _microtubules(
    rng: np.random.Generator, layout: Layout, mtoc: np.ndarray, owner: np.ndarray, d: float
) -> np.ndarray:
    """Curved filaments that leave the organizing centre in all directions."""
    n = int(14 + d / 5)
    image = canvas(len(owner))
    steps = np.linspace(0, 1, 7)
    for i in np.flatnonzero(layout.kind != MITOTIC):
        heading = np.arange(n) * 2 * np.pi / n + rng.uniform(0, 2 * np.pi / n, n)
        length = rng.uniform(0.5, 1.0, n) * 0.85 * d
        bend = rng.normal(0, 0.55, n)
        turn = heading[:, None] + bend[:, None] * steps
        path = np.cumsum(
            np.stack([np.cos(turn), np.sin(turn)], -1) * (length / 7)[:, None, None], axis=1
        )
        lines = fixed(mtoc[i] + np.concatenate([np.zeros((n, 1, 2)), path], axis=1))
        rows, columns = _window(layout.centre[i], 0.8 * d, len(owner))
        patch = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.uint8)
        if patch.size == 0:
            continue
        lines = lines - np.array([columns.start * 16, rows.start * 16], np.int32)
        cv2.polylines(patch, list(lines), False, 255, max(1, round(0.012 * d)), cv2.LINE_AA, 4)
        np.maximum(
            image[rows, columns], patch * (owner[rows, columns] == i), out=image[rows, columns]
        )
    return unit(image)


def _spindles(layout: Layout, size: int, d: float) -> np.ndarray:
    """Fibres from pole to pole across the metaphase plate, which lies across the cell's first axis."""
    image = canvas(size)
    for i in np.flatnonzero(layout.kind == MITOTIC):
        along = np.array([np.cos(layout.angle[i]), np.sin(layout.angle[i])])
        across = np.array([-along[1], along[0]])
        t = np.linspace(-1, 1, 9)[:, None]
        for bulge in np.linspace(-0.17, 0.17, 7):
            line = layout.centre[i] + d * (0.25 * t * along + bulge * (1 - t**2) * across)
            cv2.polylines(image, [fixed(line)], False, 255, max(1, round(0.02 * d)), cv2.LINE_AA, 4)
        dots(image, layout.centre[i] + d * 0.25 * np.array([along, -along]), 0.05 * d)
    return unit(image)


def _owners(layout: Layout, wobble: np.ndarray, size: int) -> np.ndarray:
    """Index of the cell that covers each pixel, -1 outside and under bridges, int16 [H, W]."""
    grid = np.arange(size, dtype=np.float32)
    nearest = np.full((size, size), 1.0, np.float32)
    owner = np.full((size, size), -1, np.int16)
    for i, kind in enumerate(layout.kind):
        win = _window(layout.centre[i], 1.35 * layout.axes[i].max(), size)
        calm = 1.0 if kind == INTERPHASE else 0.25  # dividing cells are round
        x, y = (
            grid[None, win[1]] + calm * wobble[0][win],
            grid[win[0], None] + calm * wobble[1][win],
        )
        r = _ellipse(x, y, layout.centre[i], layout.axes[i], layout.angle[i])
        if kind != INTERPHASE:
            r = np.where(r < 1, 0.55 * r, r)  # and keep their room among neighbours
        near = r < nearest[win]
        nearest[win][near] = r[near]
        owner[win][near] = -1 if kind == BRIDGE else i
    return owner


def _contact(owner: np.ndarray, d: float) -> np.ndarray:
    """1 within a twentieth of a diameter of where two cells touch, float32 [H, W]."""
    width = max(3, int(round(0.09 * d)) | 1)
    highest = cv2.dilate(owner, np.ones((width, width), np.uint8))
    lowest = cv2.erode(
        np.where(owner < 0, np.int16(32767), owner), np.ones((width, width), np.uint8)
    )
    return ((highest != lowest) & (highest >= 0) & (lowest < 32767)).astype(np.float32)


def _edge(owner: np.ndarray, d: float) -> np.ndarray:
    """Distance to the edge of the cell in diameters, 0 outside, float32 [H, W]."""
    near = np.ones((3, 3), np.uint8)
    inner = (owner >= 0) & (cv2.dilate(owner, near) == cv2.erode(owner, near))
    return cv2.distanceTransform(inner.astype(np.uint8), cv2.DIST_L2, 5) / np.float32(d)


def _nuclei(
    rng: np.random.Generator, layout: Layout, owner: np.ndarray, wobble: np.ndarray, d: float
) -> dict:
    """The fields of `Cells` that tell of nuclei: nucleus, nucleus_axes, mtoc, nucleoli, nuclear."""
    kind, n, size = layout.kind, len(layout.kind), len(owner)
    resting = kind == INTERPHASE
    side = rng.uniform(0, 2 * np.pi, n)
    toward = np.stack([np.cos(side), np.sin(side)], -1)  # from the nucleus to the organizing centre
    nucleus = (
        layout.centre
        - (rng.uniform(0.02, 0.11, n) * np.where(resting, 1.0, 0.3) * d)[:, None] * toward
    )
    radius = np.where(resting, rng.uniform(0.30, 0.34, n), 0.21) * d
    stretch = rng.uniform(1.0, 1.25, n)
    axes = np.stack([radius * stretch, radius / stretch], -1)
    angle = np.where(kind == DAUGHTER, layout.angle + np.pi / 2, rng.uniform(0, np.pi, n))

    grid = np.arange(size, dtype=np.float32)
    nuclear = np.full((size, size), NO_NUCLEUS, np.float32)
    nucleoli = []
    for i in np.flatnonzero(kind != MITOTIC):
        win = _window(layout.centre[i], 1.35 * layout.axes[i].max(), size)
        x, y = grid[None, win[1]] + 0.5 * wobble[0][win], grid[win[0], None] + 0.5 * wobble[1][win]
        mine = owner[win] == i
        nuclear[win][mine] = (_ellipse(x, y, nucleus[i], axes[i], angle[i])[mine] - 1) * (
            radius[i] / d
        )
        count = int(rng.integers(2, 4)) if resting[i] else 2
        turns = (
            rng.uniform(0, 2 * np.pi)
            + np.arange(count) * 2 * np.pi / count
            + rng.uniform(-0.3, 0.3, count)
        )
        reach = radius[i] * rng.uniform(0.42, 0.55, count)
        spots = nucleus[i] + np.stack([np.cos(turns), np.sin(turns)], -1) * reach[:, None]
        nucleoli.append(np.column_stack([spots, radius[i] * rng.uniform(0.24, 0.32, count)]))
    nucleoli = np.concatenate(nucleoli)
    # The warp that bends a nucleus moves its nucleoli along.
    at = np.clip(nucleoli[:, :2].round().astype(int), 0, size - 1)
    nucleoli[:, :2] -= 0.5 * wobble[:, at[:, 1], at[:, 0]].T
    mtoc = nucleus + (radius * 1.08 + 0.07 * d)[:, None] * toward
    return dict(nucleus=nucleus, nucleus_axes=axes, mtoc=mtoc, nucleoli=nucleoli, nuclear=nuclear)


def draw_cells(rng: np.random.Generator, size: int) -> Cells:
    """Places the cells of one field of `size` pixels and draws its masks."""
    d = cell_diameter(size)
    layout = place(rng, size, d)
    wobble = np.stack(
        [smooth_noise(rng, size, 0.38 * d) * 0.07 * d for _ in range(2)]
    )  # bends every outline
    owner = _owners(layout, wobble, size)
    layout = layout.without_bridges()
    about_nuclei = _nuclei(rng, layout, owner, wobble, d)
    nuclei = np.clip(0.5 - about_nuclei["nuclear"] * d, 0, 1)
    holes, bridge = canvas(size), canvas(size)
    dots(holes, about_nuclei["nucleoli"][:, :2], about_nuclei["nucleoli"][:, 2])
    cv2.polylines(
        bridge, list(fixed(layout.bridges)), False, 255, max(1, round(0.05 * d)), cv2.LINE_AA, 4
    )
    return Cells(
        **layout._asdict(),
        **about_nuclei,
        size=size,
        diameter=d,
        owner=owner,
        contact=_contact(owner, d),
        edge=_edge(owner, d),
        cell=(owner >= 0).astype(np.float32),
        nuclei=nuclei,
        holes=unit(holes) * nuclei,
        microtubules=_microtubules(rng, layout, about_nuclei["mtoc"], owner, d),
        spindle=_spindles(layout, size, d),
        bridge=unit(bridge),
    )
