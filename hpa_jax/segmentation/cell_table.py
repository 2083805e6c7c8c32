"""What is measured of each cell: where it lies, and how large it and its nucleus are."""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from hpa_jax.segmentation.instances import Instances


class Cell(NamedTuple):
    """A cell; lengths in pixels of the field, from its upper left corner.

    Attributes:
      cell: its number in the masks.
      area_px: pixels of the cell, its nucleus included.
      centroid_x: mean over its pixels' centres; the first pixel's is 0.5.
      centroid_y: likewise.
      left: of its bounding box, the first column.
      top: the first row.
      right: the column after the last.
      bottom: the row after the last.
      touches_border: 1 if it reaches the rim of the field, so that some of it may be missing.
      nucleus_area_px: pixels of its nucleus, or nuclei; 0 where none was found.
    """

    cell: int
    area_px: int
    centroid_x: float
    centroid_y: float
    left: int
    top: int
    right: int
    bottom: int
    touches_border: int
    nucleus_area_px: int


def measure_cells(instances: Instances) -> list[Cell]:
    """Measures every cell, in the order of their numbers."""
    cells, nuclei = instances
    height, width = cells.shape
    count = instances.count
    area = np.bincount(cells.ravel(), minlength=count + 1)
    nucleus_area = np.bincount(nuclei.ravel(), minlength=count + 1)
    table = []
    for number, window in enumerate(ndimage.find_objects(cells, max_label=count), start=1):
        if window is None:
            continue
        rows, columns = window
        y, x = np.nonzero(cells[window] == number)
        at_rim = 0 in (rows.start, columns.start) or rows.stop == height or columns.stop == width
        table.append(
            Cell(
                cell=number,
                area_px=int(area[number]),
                centroid_x=round(float(x.mean()) + columns.start + 0.5, 2),
                centroid_y=round(float(y.mean()) + rows.start + 0.5, 2),
                left=columns.start,
                top=rows.start,
                right=columns.stop,
                bottom=rows.stop,
                touches_border=int(at_rim),
                nucleus_area_px=int(nucleus_area[number]),
            )
        )
    return table
