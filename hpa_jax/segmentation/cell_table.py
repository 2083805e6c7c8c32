"""What is measured of each cell: where it lies, and how large it and its nucleus are."""

import numpy as np
from scipy import ndimage

from hpa_jax.segmentation.cell import Cell
from hpa_jax.segmentation.instances import Instances


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
