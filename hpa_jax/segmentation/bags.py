"""The cells of a field as a batch of fixed size: what multiple-instance learning calls a bag."""

import numpy as np

from hpa_jax.images.resize import fit_square
from hpa_jax.segmentation.cell_table import measure_cells
from hpa_jax.segmentation.crops import CropRule, crop
from hpa_jax.segmentation.instances import Instances


def cell_bag(
    field: np.ndarray, instances: Instances, rule: CropRule, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Crops of a field's cells.

    Whole cells come first, then those that touch the border, each by their numbers; more than
    `count` are left out. Where there are fewer, the places that are left repeat them: batch norm
    then sees cells in every place. A field without a cell is one itself.

    Args:
      field: uint8 [H, W, 4].
      instances: of the field.
      rule: how cells are cut out, to pictures of S px.
      count: C, of places.

    Returns:
      uint8 [C, S, S, 4], and bool [C]: whether a place has a cell of its own.
    """
    cells = sorted(measure_cells(instances), key=lambda cell: (cell.touches_border, cell.cell))
    crops = [crop(field, instances.cells, cell, rule) for cell in cells[:count]]
    if not crops:
        crops = [fit_square(field, rule.size, "pad")]
    places = np.arange(count)
    return np.stack(crops)[places % len(crops)], places < len(crops)
