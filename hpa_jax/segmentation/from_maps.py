"""Instance masks from the maps of a net (`targets.MAPS`), by seeded watershed.

The middle of each nucleus is a seed, and so is the middle of a cell in which no nucleus was seen:
one in mitosis, or one whose nucleus lies outside the field. From the seeds, cells grow in the
order of their distance to the edge (Meyer and Beucher, Morphological segmentation, 1990).
"""

from typing import NamedTuple

import numpy as np
from skimage.measure import label
from skimage.segmentation import watershed

from hpa_jax.segmentation.instances import Instances
from hpa_jax.segmentation.targets import MAPS


class Thresholds(NamedTuple):
    """Where maps become masks; all but the last are values of maps, 0 to 1.

    Attributes:
      cells: of the map of cells, above which a pixel is of one.
      nuclei: of the map of nuclei, likewise.
      nucleus_seed: of the distance in nuclei, above which is a nucleus' middle.
      cell_extent: of the distance in cells, above which pixels around a middle are connected; it
        parts cells that touch.
      cell_seed: which that distance reaches somewhere in the middle of a cell without a nucleus.
      smallest: px that a cell has at least.
    """

    cells: float = 0.5
    nuclei: float = 0.5
    nucleus_seed: float = 0.3
    cell_extent: float = 0.3
    cell_seed: float = 0.45
    smallest: int = 8


DEFAULT_THRESHOLDS = Thresholds()


def from_maps(maps: np.ndarray, thresholds: Thresholds = DEFAULT_THRESHOLDS) -> Instances:
    """The cells and nuclei that the maps show.

    Args:
      maps: float [H, W, 4], 0 to 1, in the order of `targets.MAPS`.
      thresholds: at which maps become masks.

    Returns:
      masks of the field.

    Raises:
      ValueError: other maps.
    """
    if maps.ndim != 3 or maps.shape[2] != len(MAPS):
        raise ValueError(f"maps are [H, W, {len(MAPS)}], got {list(maps.shape)}")
    cell_map, cell_distance, nucleus_map, nucleus_distance = np.moveaxis(maps, -1, 0)
    is_cell = cell_map > thresholds.cells
    nucleus_seeds = label((nucleus_distance > thresholds.nucleus_seed) & is_cell, connectivity=1)
    middles = label((cell_distance > thresholds.cell_extent) & is_cell, connectivity=1)
    is_peak = cell_distance > thresholds.cell_seed
    seeds = _with_cells_alone(nucleus_seeds, middles, is_peak)
    cells = watershed(-cell_distance, seeds, mask=is_cell)
    is_nucleus = (nucleus_map > thresholds.nuclei) & is_cell
    nuclei = watershed(-nucleus_distance, nucleus_seeds, mask=is_nucleus)
    return _numbered(cells, nuclei, thresholds.smallest)


def _with_cells_alone(
    nucleus_seeds: np.ndarray, middles: np.ndarray, is_peak: np.ndarray
) -> np.ndarray:
    """The seeds of nuclei, and after them the middles with a peak in which none of these lies."""
    is_alone = np.zeros(middles.max() + 1, bool)
    is_alone[middles[is_peak]] = True
    is_alone[middles[nucleus_seeds > 0]] = False
    # What is no middle.
    is_alone[0] = False
    first = nucleus_seeds.max() + 1
    number = np.zeros(len(is_alone), np.int64)
    number[is_alone] = first + np.arange(np.count_nonzero(is_alone))
    return np.where(nucleus_seeds > 0, nucleus_seeds, number[middles])


def _numbered(cells: np.ndarray, nuclei: np.ndarray, smallest: int) -> Instances:
    """Cells that are large enough, numbered from 1 without gaps, and their nuclei."""
    area = np.bincount(cells.ravel())
    is_kept = area >= max(smallest, 1)
    is_kept[0] = False
    number = np.where(is_kept, np.cumsum(is_kept), 0).astype(np.int32)
    numbered = number[cells]
    # Nucleus i grew from the seed of cell i, and may have grown out of it.
    return Instances(numbered, np.where(nuclei == cells, numbered, 0).astype(np.int32))
