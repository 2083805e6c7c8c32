"""The cells of an image: from a folder of masks that anybody made, or segmented here."""

from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np

from hpa_jax.errors import InputError, one_line
from hpa_jax.images.folder import FaultyImage
from hpa_jax.segmentation.cell import Cell
from hpa_jax.segmentation.instances import Instances
from hpa_jax.segmentation.label_image import read_labels
from hpa_jax.segmentation.mask_folder import MaskFolder
from hpa_jax.segmentation.numbering import pair


class Found(NamedTuple):
    """The cells of an image.

    Attributes:
      instances: of the image.
      numbers: of each cell for people, int [N]: those of the label image, where there is one.
    """

    instances: Instances
    numbers: np.ndarray


class CellFinder(Protocol):
    """Knows the cells of images.

    Attributes:
      about: how, for people.
      advice: what to do where there are none.
      version: changes with the cells that it would find.
    """

    about: str
    advice: str
    version: str

    def find(self, image_id: str, field: np.ndarray) -> Found:
        """The cells of an image.

        Args:
          image_id: its Id.
          field: uint8 [H, W, 4].

        Raises:
          FaultyImage: its mask is missing or does not fit.
        """

    def stamp(self, image_id: str) -> tuple:
        """Changes when what an image's cells follow from does, besides the image."""


def outline_of(cells: np.ndarray, cell: Cell) -> np.ndarray:
    """The outline of a cell, of its largest part where it has several, without holes.

    Args:
      cells: int32 [H, W], the mask that the cell is of.
      cell: as `measure_cells` gives it.

    Returns:
      int32 [M, 2]: x and y of the pixels where it turns, the cell's outermost ones.
    """
    box = cells[cell.top : cell.bottom, cell.left : cell.right]
    is_cell = (box == cell.cell).astype(np.uint8)
    outlines, _ = cv2.findContours(is_cell, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    largest = max(outlines, key=cv2.contourArea)
    return largest[:, 0].astype(np.int32) + np.array([cell.left, cell.top], np.int32)


def open_finder(masks: Path | None) -> CellFinder:
    """What finds the cells of images.

    Args:
      masks: folder of label images; None: cells are segmented.

    Raises:
      InputError: the folder cannot be used, or a package for segmenting is missing.
    """
    return Segmented() if masks is None else Masks(masks)


class Segmented:
    """Segments each image; see `CellFinder`.

    Raises:
      InputError: scikit-image is missing.
    """

    about = "cells are segmented (nuclei, and a watershed around each)"
    advice = "look at --overlays, or give masks of another program with --masks=DIR"
    version = "classical 1"

    def __init__(self):
        try:
            from hpa_jax.segmentation import classical
        except ImportError as error:
            raise InputError(
                f"cells are found with scikit-image, which cannot be imported "
                f"({one_line(error, limit=120)}): pip install scikit-image, or give --masks=DIR"
            ) from None
        self._segment = classical.segment

    def find(self, image_id: str, field: np.ndarray) -> Found:
        """See `CellFinder`."""
        instances = self._segment(field)
        return Found(instances, np.arange(1, instances.count + 1))

    def stamp(self, image_id: str) -> tuple:
        """See `CellFinder`."""
        return ()


class Masks:
    """Label images in a folder; see `CellFinder`. Cells keep the numbers that they have there.

    Args:
      folder: of the label images (`hpa_jax.segmentation.mask_folder`).

    Raises:
      InputError: there is no such folder, or no label image in it.
    """

    advice = "look at the masks"
    version = "masks"

    def __init__(self, folder: Path):
        self._masks = MaskFolder(folder)
        self.about = f"cells are those of the masks in {folder}"

    def find(self, image_id: str, field: np.ndarray) -> Found:
        """See `CellFinder`."""
        height, width = field.shape[:2]
        file = self._masks.folder
        nuclei = None
        try:
            file, of_nuclei = self._masks.files(image_id)
            cells = read_labels(file, height, width)
            if of_nuclei is not None:
                nuclei = read_labels(of_nuclei, height, width)
        except InputError as error:
            reason = str(error).removeprefix(f"{file} ")
            raise FaultyImage(image_id, str(file), reason) from None
        numbers = np.unique(cells)
        return Found(pair(cells, nuclei), numbers[numbers > 0])

    def stamp(self, image_id: str) -> tuple:
        """See `CellFinder`."""
        try:
            return tuple(map(tuple, self._masks.stamp(image_id)))
        except (InputError, OSError):
            # Whoever reads it says what is wrong.
            return ()
