"""Numbers of instances: without gaps, and the same for a cell and its nuclei."""

import numpy as np

from hpa_jax.segmentation.instances import Instances


def renumber(labels: np.ndarray) -> np.ndarray:
    """Labels without gaps: the smallest becomes 1, and so on; 0 stays background.

    Args:
      labels: integer [H, W].

    Returns:
      int32 [H, W].
    """
    numbers, places = np.unique(labels, return_inverse=True)
    places = places.reshape(labels.shape).astype(np.int32)
    if len(numbers) and numbers[0] == 0:
        return places
    return places + 1


def pair(cells: np.ndarray, nuclei: np.ndarray | None = None) -> Instances:
    """Cells and nuclei that were numbered apart, as `Instances`.

    A nucleus belongs to the cell in which most of it lies, which may have several; what reaches
    out of that cell is cut off, and a nucleus outside all cells is left out.

    Args:
      cells: integer [H, W]; numbers may have gaps.
      nuclei: integer [H, W], likewise; None: there are none.

    Raises:
      ValueError: the shapes differ.
    """
    cells = renumber(cells)
    if nuclei is None:
        return Instances(cells, np.zeros_like(cells))
    if nuclei.shape != cells.shape:
        raise ValueError(f"cells of {cells.shape} and nuclei of {nuclei.shape} are of two fields")
    nuclei = renumber(nuclei)
    width = int(cells.max(initial=0)) + 1
    together = nuclei.astype(np.int64) * width + cells
    count = int(nuclei.max(initial=0)) + 1
    overlap = np.bincount(together.ravel(), minlength=count * width).reshape(count, width)
    owner = overlap.argmax(axis=1).astype(np.int32)
    owner[0] = 0
    of_pixel = owner[nuclei]
    return Instances(cells, np.where(of_pixel == cells, of_pixel, 0).astype(np.int32))
