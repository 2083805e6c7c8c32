"""Exact instance masks of a synthetic image: which pixel belongs to which cell and nucleus."""

import numpy as np

from tfds_builder.hpa.synthetic.cells import Cells

_HALF = 0.5  # of a soft mask: the outline of a nucleus


def instance_masks(cells: Cells) -> np.ndarray:
    """The masks of all cells and of their nuclei.

    A nucleus has the number of its cell. Cells in mitosis have none, and a cell that the field's
    border cuts may have its nucleus outside.

    Args:
      cells: of the image.

    Returns:
      uint16 [H, W, 2]: cells and nuclei, 0 where there is none, the cell's index + 1 else.
    """
    owner = (cells.owner + 1).astype(np.uint16)
    nuclei = np.where(cells.nuclei >= _HALF, owner, 0).astype(np.uint16)
    return np.stack([owner, nuclei], axis=-1)
