"""Where the cells of a synthetic image lie: dividing ones first, since they must be complete."""

from typing import NamedTuple

import numpy as np

from tfds_builder.hpa.synthetic.drawing import smooth_noise
from tfds_builder.hpa.synthetic.variation import PLAIN, Variation

INTERPHASE, MITOTIC, DAUGHTER, BRIDGE = range(4)


def cell_diameter(size: int) -> float:
    """Diameter of a cell in pixels: 30 at 64 px, 38 at 96 px, 95 at 512 px, 140 at 1024 px.

    It grows more slowly than the image, so that small images show a few legible cells and large
    ones many.
    """
    return 38.0 * (size / 96.0) ** 0.55


class Layout(NamedTuple):
    """n cells; points are (x, y) in pixels, angles in radians.

    Attributes:
      kind: int [n]. The space between two daughters counts as a cell of kind BRIDGE; these are
        last.
      centre: float [n, 2].
      axes: float [n, 2], half axes.
      angle: float [n], direction of the first axis; of the division in mitosis and daughters.
      bridges: float [b, 2, 2], ends of the cytokinetic bridges.
    """

    kind: np.ndarray
    centre: np.ndarray
    axes: np.ndarray
    angle: np.ndarray
    bridges: np.ndarray

    def without_bridges(self) -> "Layout":
        """Only true cells, which keep their numbers."""
        is_cell = self.kind != BRIDGE
        columns = self.kind, self.centre, self.axes, self.angle
        return Layout(*(column[is_cell] for column in columns), self.bridges)


def place(rng: np.random.Generator, size: int, d: float, variation: Variation = PLAIN) -> Layout:
    """Places the cells of an image.

    Args:
      rng: random stream.
      size: of the image in pixels.
      d: diameter of a cell in pixels.
      variation: of the field.
    """
    placing = _Placing(rng, size, d)
    area = (size / d) ** 2
    divisions = max(1, int(area / 16))
    for _ in range(divisions):
        placing.add_daughters()
    for _ in range(divisions):
        placing.add_mitotic()
    placing.fill(int(60 * (area + 4)), variation)
    placing.add_bridges()
    return placing.layout()


class _Placing:
    """Cells placed so far; lengths below are fractions of a cell's diameter `d`."""

    def __init__(self, rng: np.random.Generator, size: int, d: float):
        self._rng = rng
        self._size = size
        self._d = d
        self._kind: list[int] = []
        self._centre: list[np.ndarray] = []
        self._axes: list[tuple[float, float]] = []
        self._angle: list[float] = []
        self._bridges: list[np.ndarray] = []
        self._occupied = np.zeros((0, 3))  # x, y, radius

    def layout(self) -> Layout:
        columns = self._kind, self._centre, self._axes, self._angle, self._bridges
        return Layout(*map(np.array, columns))

    def add_daughters(self) -> None:
        """A pair of daughter cells, where there is space for both, and their bridge."""
        rng = self._rng
        size = self._size
        d = self._d
        middle = rng.uniform(0.62 * d, size - 0.62 * d, (24, 2))
        space = np.minimum(self._gap(middle, 0.7 * d), 0.0)
        middle = middle[np.argmax(space + 1e-3 * rng.random(24))]
        angle = rng.uniform(0, np.pi)
        if size < 3.2 * d:
            # In a small image a pair fits best along the diagonal through its middle.
            outward = np.arctan2(*(middle - size / 2)[::-1])
            angle = outward + np.pi / 2 + rng.uniform(-0.5, 0.5)
        along = np.array([np.cos(angle), np.sin(angle)])
        for sign in (-1, 1):
            centre = middle + sign * 0.47 * d * along
            self._add(DAUGHTER, centre, (0.34 * d, 0.39 * d), angle)
            self._occupy(centre, 0.36 * d)
        self._bridges.append(np.stack([middle - 0.17 * d * along, middle + 0.17 * d * along]))
        self._occupy(middle, 0.22 * d)

    def add_mitotic(self) -> None:
        """A cell in mitosis, where there is space for it."""
        rng = self._rng
        d = self._d
        spots = rng.uniform(0.36 * d, self._size - 0.36 * d, (64, 2))
        space = np.minimum(self._gap(spots, 0.36 * d), 0.08 * d)
        centre = spots[np.argmax(space + 1e-3 * rng.random(64))]
        self._add(MITOTIC, centre, (0.37 * d, 0.35 * d), rng.uniform(0, np.pi))
        self._occupy(centre, 0.36 * d)

    def fill(self, spots: int, variation: Variation) -> None:
        """Adds cells in interphase until there is no space among `spots` random places."""
        rng = self._rng
        d = self._d
        places = rng.uniform(-0.25 * d, self._size + 0.25 * d, (spots, 2))
        if variation.filled < 1:
            places = places[self._in_patches(places, variation.filled)]
        space = self._gap(places, 0.40 * d)
        crowding = (rng.uniform(0.0, 0.12) + variation.spacing) * d
        while space.max(initial=-np.inf) > crowding - 0.05 * d:
            best = int(np.argmax(space > crowding - 0.05 * d))
            stretch = rng.uniform(1.0, variation.stretch)
            half_axis = variation.half_axis * d
            axes = (half_axis * stretch, half_axis / stretch)
            self._add(INTERPHASE, places[best], axes, rng.uniform(0, np.pi))
            away = np.linalg.norm(places - places[best], axis=1)
            space = np.minimum(space, away - 0.86 * d)

    def _in_patches(self, places: np.ndarray, filled: float) -> np.ndarray:
        """Which places lie in the patches, a fraction `filled` of the field; bool [n]."""
        height = smooth_noise(self._rng, self._size, 1.5 * self._d)
        level = np.quantile(height, filled)
        column, row = np.clip(places, 0, self._size - 1).astype(int).T
        return height[row, column] <= level

    def add_bridges(self) -> None:
        """The space between daughters, as cells of kind BRIDGE."""
        for pair, ends in enumerate(self._bridges):
            # Daughters were placed first, two by two, and have the angle of their division.
            angle = self._angle[2 * pair]
            self._add(BRIDGE, ends.mean(axis=0), (0.25 * self._d, 0.13 * self._d), angle)

    def _add(self, kind: int, centre: np.ndarray, axes: tuple[float, float], angle: float) -> None:
        self._kind.append(kind)
        self._centre.append(centre)
        self._axes.append(axes)
        self._angle.append(angle)

    def _occupy(self, centre: np.ndarray, radius: float) -> None:
        self._occupied = np.vstack([self._occupied, [*centre, radius]])

    def _gap(self, candidates: np.ndarray, radius: float) -> np.ndarray:
        """Distance between a disc of `radius` at each candidate and the nearest occupied disc."""
        offsets = candidates[:, None] - self._occupied[None, :, :2]
        gap = np.linalg.norm(offsets, axis=2) - self._occupied[None, :, 2] - radius
        return gap.min(axis=1, initial=np.inf)
