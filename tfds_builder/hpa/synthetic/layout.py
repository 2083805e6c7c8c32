"""Where the cells of a synthetic field lie: dividing ones first, since they must be whole, then others to fill it."""

from typing import NamedTuple

import numpy as np

INTERPHASE, MITOTIC, DAUGHTER, BRIDGE = range(4)


def cell_diameter(size: int) -> float:
    """Diameter of a cell in pixels: 30 at 64 px, 38 at 96 px, 95 at 512 px, 140 at 1024 px.

    Slower than the field, so that small fields show a few legible cells and large ones many.
    """
    return 38.0 * (size / 96.0) ** 0.55


class Layout(NamedTuple):
    """n cells: points are (x, y) in pixels, angles in radians."""

    kind: (
        np.ndarray
    )  # int [n]; the room between two daughters counts as a cell of kind BRIDGE, and comes last
    centre: np.ndarray  # float [n, 2]
    axes: np.ndarray  # float [n, 2], half axes
    angle: (
        np.ndarray
    )  # float [n], direction of the first axis; in mitosis and daughters, of the division
    bridges: np.ndarray  # float [b, 2, 2], ends of the cytokinetic bridges

    def without_bridges(self) -> "Layout":
        """Only true cells, which keep their numbers."""
        return Layout(*(part[self.kind != BRIDGE] for part in self[:4]), self.bridges)


def place(rng: np.random.Generator, size: int, d: float) -> Layout:
    """Places the cells of a field of `size` pixels, `d` pixels a cell."""
    area = (size / d) ** 2
    pairs = mitoses = max(1, int(area / 16))
    kind: list[int] = []
    centre: list[np.ndarray] = []
    axes: list[tuple[float, float]] = []
    angle: list[float] = []
    bridges: list[np.ndarray] = []
    block = np.zeros((0, 3))  # x, y, radius of what is taken

    def free(candidates: np.ndarray, radius: float) -> np.ndarray:
        gap = (
            np.linalg.norm(candidates[:, None] - block[None, :, :2], axis=2)
            - block[None, :, 2]
            - radius
        )
        return gap.min(axis=1, initial=np.inf)

    for _ in range(pairs):
        middle = rng.uniform(0.62 * d, size - 0.62 * d, (24, 2))
        middle = middle[np.argmax(np.minimum(free(middle, 0.7 * d), 0.0) + 1e-3 * rng.random(24))]
        turn = rng.uniform(0, np.pi)
        if (
            size < 3.2 * d
        ):  # in a small field a pair fits best along the diagonal through its middle
            turn = np.arctan2(*(middle - size / 2)[::-1]) + np.pi / 2 + rng.uniform(-0.5, 0.5)
        along = np.array([np.cos(turn), np.sin(turn)])
        for sign in (-1, 1):
            kind.append(DAUGHTER)
            centre.append(middle + sign * 0.47 * d * along)
            axes.append((0.34 * d, 0.39 * d))
            angle.append(turn)
            block = np.vstack([block, [*centre[-1], 0.36 * d]])
        bridges.append(np.stack([middle - 0.17 * d * along, middle + 0.17 * d * along]))
        block = np.vstack([block, [*middle, 0.22 * d]])
    for _ in range(mitoses):
        spots = rng.uniform(0.36 * d, size - 0.36 * d, (64, 2))
        centre.append(
            spots[np.argmax(np.minimum(free(spots, 0.36 * d), 0.08 * d) + 1e-3 * rng.random(64))]
        )
        kind.append(MITOTIC)
        axes.append((0.37 * d, 0.35 * d))
        angle.append(rng.uniform(0, np.pi))
        block = np.vstack([block, [*centre[-1], 0.36 * d]])
    spots = rng.uniform(-0.25 * d, size + 0.25 * d, (int(60 * (area + 4)), 2))
    room = free(spots, 0.40 * d)
    crowding = rng.uniform(0.0, 0.12) * d
    while room.max() > crowding - 0.05 * d:
        best = int(np.argmax(room > crowding - 0.05 * d))
        kind.append(INTERPHASE)
        centre.append(spots[best])
        stretch = rng.uniform(1.0, 1.25)
        axes.append((0.6 * d * stretch, 0.6 * d / stretch))
        angle.append(rng.uniform(0, np.pi))
        room = np.minimum(room, np.linalg.norm(spots - spots[best], axis=1) - 0.86 * d)
    kind += [BRIDGE] * pairs
    centre += [ends.mean(axis=0) for ends in bridges]
    axes += [(0.25 * d, 0.13 * d)] * pairs
    angle += angle[: 2 * pairs : 2]
    return Layout(
        np.array(kind), np.array(centre), np.array(axes), np.array(angle), np.array(bridges)
    )
