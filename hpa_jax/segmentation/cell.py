"""A cell as it was measured; apart from what measures it, which needs SciPy."""

from typing import NamedTuple


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
