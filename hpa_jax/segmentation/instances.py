"""The cells and nuclei of a field, each with a number of its own."""

from typing import NamedTuple

import numpy as np


class Instances(NamedTuple):
    """Instance masks of a field.

    Numbers are contiguous from 1, 0 is background. Nucleus i lies in cell i: both masks have the
    same number there. A cell without a nucleus has a number that `nuclei` lacks; there is no
    nucleus without a cell.

    Attributes:
      cells: int32 [H, W], the cell that a pixel belongs to, its nucleus included.
      nuclei: int32 [H, W], the nucleus that a pixel belongs to.
    """

    cells: np.ndarray
    nuclei: np.ndarray

    @property
    def count(self) -> int:
        """How many cells there are."""
        return int(self.cells.max(initial=0))
