"""Cells of a synthetic image: their masks, nuclei, nucleoli, microtubules, spindles and bridges.

Nothing here knows a label. Every image has at least one cell in mitosis and one dividing pair
joined by a bridge, so the places of 'Mitotic spindle' and 'Cytokinetic bridge' exist in every image
and the reference channels, drawn from this, do not reveal the protein. Lengths are fractions of one
cell diameter.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from tfds_builder.hpa.synthetic.drawing import (
    canvas,
    directions,
    draw_dots,
    draw_paths,
    smooth_noise,
    unit,
)
from tfds_builder.hpa.synthetic.layout import (
    BRIDGE,
    DAUGHTER,
    INTERPHASE,
    MITOTIC,
    Layout,
    cell_diameter,
    place,
)
from tfds_builder.hpa.synthetic.variation import PLAIN, Variation

NO_NUCLEUS = 9.0
"""Distance from the nucleus, in diameters, where there is none."""

_LARGEST_INT16 = np.int16(32767)
_REACH = 1.35  # half axes of a cell within which its outline lies, whatever bends it


@dataclass
class Cells:
    """Geometry of one image; n cells, m nucleoli. Points are (x, y) in pixels, angles in radians.

    Attributes:
      size: of the image in pixels.
      diameter: of a cell in pixels.
      kind: int [n]: INTERPHASE, MITOTIC or DAUGHTER.
      centre: float [n, 2].
      axes: float [n, 2], half axes.
      angle: float [n].
      nucleus: float [n, 2], its centre (near the metaphase plate in mitosis).
      nucleus_axes: float [n, 2], half axes.
      mtoc: float [n, 2], microtubule organizing centre, beside the nucleus.
      bridges: float [b, 2, 2], ends of the cytokinetic bridges.
      nucleoli: float [m, 3]: x, y, radius.
      owner: int16 [H, W], index of the cell that covers a pixel, -1 outside.
      contact: float32 [H, W], 1 where two cells touch.
      edge: float32 [H, W], distance to the cell's edge in diameters, 0 outside.
      nuclear: float32 [H, W], distance from the nucleus' edge in diameters, negative inside.
      cell: float32 [H, W], soft mask of the cells.
      nuclei: float32 [H, W], soft mask of the nuclei (none in mitosis).
      holes: float32 [H, W], nucleoli.
      microtubules: float32 [H, W].
      spindle: float32 [H, W].
      bridge: float32 [H, W].
    """

    size: int
    diameter: float
    kind: np.ndarray
    centre: np.ndarray
    axes: np.ndarray
    angle: np.ndarray
    nucleus: np.ndarray
    nucleus_axes: np.ndarray
    mtoc: np.ndarray
    bridges: np.ndarray
    nucleoli: np.ndarray
    owner: np.ndarray
    contact: np.ndarray
    edge: np.ndarray
    nuclear: np.ndarray
    cell: np.ndarray
    nuclei: np.ndarray
    holes: np.ndarray
    microtubules: np.ndarray
    spindle: np.ndarray
    bridge: np.ndarray


def draw_cells(rng: np.random.Generator, size: int, variation: Variation = PLAIN) -> Cells:
    """Places the cells of one image and draws its masks.

    Args:
      rng: random stream.
      size: of the image in pixels.
      variation: of the field. What it leaves as it is changes no draw.
    """
    d = variation.diameter(cell_diameter(size), size)
    layout = place(rng, size, d, variation)
    # Bends every outline, in x and in y.
    bend = 0.07 * variation.bend
    wobble = np.stack([smooth_noise(rng, size, 0.38 * d) * bend * d for _ in range(2)])
    reach = _REACH * max(1.0, variation.bend)
    owner = _owners(layout, wobble, size, reach)
    if variation.joined:
        owner = _joined(owner, len(layout.kind))
    layout = layout.without_bridges()
    nucleus_fields = _nuclei(rng, layout, owner, wobble, d, reach, variation)
    nuclei = np.clip(0.5 - nucleus_fields["nuclear"] * d, 0, 1)
    nucleoli = nucleus_fields["nucleoli"]
    holes = canvas(size)
    draw_dots(holes, nucleoli[:, :2], nucleoli[:, 2])
    bridge = canvas(size)
    draw_paths(bridge, layout.bridges, max(1, round(0.05 * d)))
    return Cells(
        **layout._asdict(),
        **nucleus_fields,
        size=size,
        diameter=d,
        owner=owner,
        contact=_contact(owner, d),
        edge=_edge(owner, d),
        cell=(owner >= 0).astype(np.float32),
        nuclei=nuclei,
        holes=unit(holes) * nuclei,
        microtubules=_microtubules(rng, layout, nucleus_fields["mtoc"], owner, d),
        spindle=_spindles(layout, size, d),
        bridge=unit(bridge),
    )


def _window(centre: np.ndarray, reach: float, size: int) -> tuple[slice, slice]:
    """Rows and columns within `reach` of a point."""
    low = np.clip(np.floor(centre - reach), 0, size).astype(int)
    high = np.clip(np.ceil(centre + reach) + 1, 0, size).astype(int)
    return slice(low[1], high[1]), slice(low[0], high[0])


def _cell_window(layout: Layout, cell: int, size: int, reach: float) -> tuple[slice, slice]:
    return _window(layout.centre[cell], reach * layout.axes[cell].max(), size)


def _bent_grid(
    window: tuple[slice, slice], wobble: np.ndarray, strength: float
) -> tuple[np.ndarray, np.ndarray]:
    """x and y of the pixels in a window, moved by the wobble; float32 [h, w] each."""
    rows, columns = window
    grid = np.arange(wobble.shape[-1], dtype=np.float32)
    x = grid[None, columns] + strength * wobble[0][window]
    y = grid[rows, None] + strength * wobble[1][window]
    return x, y


def _ellipse_radius(
    x: np.ndarray, y: np.ndarray, centre: np.ndarray, axes: np.ndarray, angle: float
) -> np.ndarray:
    """Normalised radius, float32: 0 at the centre, 1 on the ellipse."""
    cos = np.cos(angle)
    sin = np.sin(angle)
    dx = x - centre[0]
    dy = y - centre[1]
    along = (dx * cos + dy * sin) / axes[0]
    across = (dy * cos - dx * sin) / axes[1]
    return np.sqrt(along**2 + across**2, dtype=np.float32)


def _owners(layout: Layout, wobble: np.ndarray, size: int, reach: float) -> np.ndarray:
    """Index of the cell that covers each pixel, -1 outside and under bridges; int16 [H, W]."""
    nearest = np.full((size, size), 1.0, np.float32)
    owner = np.full((size, size), -1, np.int16)
    for i, kind in enumerate(layout.kind):
        window = _cell_window(layout, i, size, reach)
        # Dividing cells are round.
        strength = 1.0 if kind == INTERPHASE else 0.25
        x, y = _bent_grid(window, wobble, strength)
        radius = _ellipse_radius(x, y, layout.centre[i], layout.axes[i], layout.angle[i])
        if kind != INTERPHASE:
            # And they keep their space among neighbours.
            radius = np.where(radius < 1, 0.55 * radius, radius)
        near = radius < nearest[window]
        nearest[window][near] = radius[near]
        owner[window][near] = -1 if kind == BRIDGE else i
    return owner


def _joined(owner: np.ndarray, count: int) -> np.ndarray:
    """The same without the parts of a cell that are apart from its largest one."""
    joined = owner.copy()
    for i in range(count):
        mask = (owner == i).astype(np.uint8)
        parts, numbers, statistics, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
        # Part 0 is all that is not the cell.
        if parts > 2:
            largest = 1 + int(np.argmax(statistics[1:, cv2.CC_STAT_AREA]))
            joined[(mask > 0) & (numbers != largest)] = -1
    return joined


def _contact(owner: np.ndarray, d: float) -> np.ndarray:
    """1 within a twentieth of a diameter of where two cells touch, float32 [H, W]."""
    width = max(3, int(round(0.09 * d)) | 1)
    kernel = np.ones((width, width), np.uint8)
    highest = cv2.dilate(owner, kernel)
    cells_alone = np.where(owner < 0, _LARGEST_INT16, owner)
    lowest = cv2.erode(cells_alone, kernel)
    touches = (highest != lowest) & (highest >= 0) & (lowest < _LARGEST_INT16)
    return touches.astype(np.float32)


def _edge(owner: np.ndarray, d: float) -> np.ndarray:
    """Distance to the edge of the cell in diameters, 0 outside, float32 [H, W]."""
    kernel = np.ones((3, 3), np.uint8)
    inner = (owner >= 0) & (cv2.dilate(owner, kernel) == cv2.erode(owner, kernel))
    return cv2.distanceTransform(inner.astype(np.uint8), cv2.DIST_L2, 5) / np.float32(d)


def _nuclei(
    rng: np.random.Generator,
    layout: Layout,
    owner: np.ndarray,
    wobble: np.ndarray,
    d: float,
    reach: float,
    variation: Variation,
) -> dict:
    """The attributes of `Cells` about nuclei: nucleus, nucleus_axes, mtoc, nucleoli, nuclear."""
    kind = layout.kind
    n = len(kind)
    size = len(owner)
    is_interphase = kind == INTERPHASE
    # From the nucleus to the organizing centre.
    toward = directions(rng.uniform(0, 2 * np.pi, n))
    offset = rng.uniform(0.02, 0.11, n) * np.where(is_interphase, 1.0, 0.3) * d
    nucleus = layout.centre - offset[:, None] * toward
    radius = np.where(is_interphase, rng.uniform(0.30, 0.34, n), 0.21) * (d * variation.nucleus)
    stretch = rng.uniform(1.0, variation.nucleus_stretch, n)
    axes = np.stack([radius * stretch, radius / stretch], -1)
    across_division = layout.angle + np.pi / 2
    own = rng.uniform(0, np.pi, n)
    if variation.aligned:
        own = layout.angle + 0.3 * (own - np.pi / 2)
    angle = np.where(kind == DAUGHTER, across_division, own)

    nuclear = np.full((size, size), NO_NUCLEUS, np.float32)
    nucleoli = []
    for i in np.flatnonzero(kind != MITOTIC):
        window = _cell_window(layout, i, size, reach)
        x, y = _bent_grid(window, wobble, 0.5)
        inside = owner[window] == i
        distance = _ellipse_radius(x, y, nucleus[i], axes[i], angle[i])[inside] - 1
        nuclear[window][inside] = distance * (radius[i] / d)
        count = int(rng.integers(2, 4)) if is_interphase[i] else 2
        nucleoli.append(_place_nucleoli(rng, count, nucleus[i], radius[i]))
    nucleoli = np.concatenate(nucleoli)
    # What bends a nucleus moves its nucleoli along.
    at = np.clip(nucleoli[:, :2].round().astype(int), 0, size - 1)
    nucleoli[:, :2] -= 0.5 * wobble[:, at[:, 1], at[:, 0]].T
    mtoc = nucleus + (radius * 1.08 + 0.07 * d)[:, None] * toward
    return dict(nucleus=nucleus, nucleus_axes=axes, mtoc=mtoc, nucleoli=nucleoli, nuclear=nuclear)


def _place_nucleoli(
    rng: np.random.Generator, count: int, nucleus: np.ndarray, radius: float
) -> np.ndarray:
    """Nucleoli in well-separated directions, float [count, 3]: x, y, radius."""
    angles = (
        rng.uniform(0, 2 * np.pi)
        + np.arange(count) * 2 * np.pi / count
        + rng.uniform(-0.3, 0.3, count)
    )
    reach = radius * rng.uniform(0.42, 0.55, count)
    spots = nucleus + directions(angles) * reach[:, None]
    return np.column_stack([spots, radius * rng.uniform(0.24, 0.32, count)])


def _microtubules(
    rng: np.random.Generator, layout: Layout, mtoc: np.ndarray, owner: np.ndarray, d: float
) -> np.ndarray:
    """Curved filaments that leave the organizing centre in all directions; float32 [H, W]."""
    n = int(14 + d / 5)
    image = canvas(len(owner))
    steps = np.linspace(0, 1, 7)
    for i in np.flatnonzero(layout.kind != MITOTIC):
        heading = np.arange(n) * 2 * np.pi / n + rng.uniform(0, 2 * np.pi / n, n)
        length = rng.uniform(0.5, 1.0, n) * 0.85 * d
        bend = rng.normal(0, 0.55, n)
        angles = heading[:, None] + bend[:, None] * steps
        path = np.cumsum(directions(angles) * (length / 7)[:, None, None], axis=1)
        paths = mtoc[i] + np.concatenate([np.zeros((n, 1, 2)), path], axis=1)
        rows, columns = _window(layout.centre[i], 0.8 * d, len(owner))
        patch = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.uint8)
        if patch.size == 0:
            continue
        thickness = max(1, round(0.012 * d))
        draw_paths(patch, paths, thickness, origin=(columns.start, rows.start))
        inside = owner[rows, columns] == i
        target = image[rows, columns]
        np.maximum(target, patch * inside, out=target)
    return unit(image)


def _spindles(layout: Layout, size: int, d: float) -> np.ndarray:
    """Fibres from pole to pole across the metaphase plate, which crosses the cell's first axis."""
    image = canvas(size)
    for i in np.flatnonzero(layout.kind == MITOTIC):
        angle = layout.angle[i]
        centre = layout.centre[i]
        along = np.array([np.cos(angle), np.sin(angle)])
        across = np.array([-along[1], along[0]])
        t = np.linspace(-1, 1, 9)[:, None]
        for bulge in np.linspace(-0.17, 0.17, 7):
            path = centre + d * (0.25 * t * along + bulge * (1 - t**2) * across)
            draw_paths(image, [path], max(1, round(0.02 * d)))
        draw_dots(image, centre + d * 0.25 * np.array([along, -along]), 0.05 * d)
    return unit(image)
