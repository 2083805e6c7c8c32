"""From a field and its cells to one picture a cell.

Design: a cell is cut out with its aspect kept, and what is not the cell is black, as SubCell masks
its cells (CellProfiling/SubCellPortable, README: "mask the cell", 640 px at 0.0800885 micrometres a
pixel). Intensities are those of the field: a dim cell stays dim, and the net's own normalization
follows, as for a field.

How large the window around the cell is decides how large a cell looks to the net:

repeat   a cell is as large as in a field, and the picture is filled with it and its mirror images,
         as a field is with cells: what a net sees that learned from fields
field    the same without the mirror images: a cell alone in the dark
box      the window has the longer side of the cell's box: every cell fills the picture, and its
         size is lost
NUMBER   a window of so many px of the image's files for every cell, as SubCell's 640: size and
         scale stay, and what is larger than the window is cut off

docs/cell_by_cell.md has what each is worth to a net that learned from fields.
"""

from dataclasses import dataclass

import numpy as np

from hpa_jax.errors import InputError
from hpa_jax.images.resize import resize, scaled_size
from hpa_jax.segmentation.cell import Cell

REPEAT = "repeat"
FIELD = "field"
BOX = "box"

LARGEST_WINDOW = 8192
"""Side of a window in px."""


def parse_window(text: str, name: str) -> str | int:
    """The window that a person asks for.

    Args:
      text: as it was given.
      name: of the flag or setting, for the message.

    Raises:
      InputError: it is none.
    """
    if text in (REPEAT, FIELD, BOX):
        return text
    if text.isascii() and text.isdigit() and 1 <= int(text) <= LARGEST_WINDOW:
        return int(text)
    raise InputError(
        f"{name}={text}: give {REPEAT} (a cell as large as in a field, and its mirror images "
        f"around it), {FIELD} (without these), {BOX} (each cell fills the crop), or a side in px, "
        f"from 1 to {LARGEST_WINDOW}"
    )


@dataclass(frozen=True)
class CropRule:
    """How cells are cut out.

    Attributes:
      size: side in px of the pictures.
      window: REPEAT, FIELD, BOX, or the side in px of the field's own pixels.
      keep_neighbours: what is not the cell stays as it is; otherwise it is black. Not with REPEAT.
    """

    size: int
    window: str | int = REPEAT
    keep_neighbours: bool = False

    def side(self, cell: Cell, shape: tuple[int, int]) -> int:
        """The side in px of a cell's window in a field of a shape `(H, W)`; not with REPEAT."""
        if self.window == FIELD:
            return max(shape)
        if self.window == BOX:
            return max(cell.bottom - cell.top, cell.right - cell.left)
        return int(self.window)


def crop(field: np.ndarray, cells: np.ndarray, cell: Cell, rule: CropRule) -> np.ndarray:
    """Cuts out a cell.

    Args:
      field: uint8 [H, W, C].
      cells: int32 [H, W], the mask of `Instances` that the cell is of.
      cell: as `measure_cells` gives it.
      rule: how.

    Returns:
      uint8 [size, size, C], the middle of the cell's box in the middle (to a pixel), black where
      the window reaches outside the field.
    """
    if rule.window == REPEAT:
        return _repeated(field, cells, cell, rule.size)
    side = rule.side(cell, cells.shape)
    window_top = (cell.top + cell.bottom - side) // 2
    window_left = (cell.left + cell.right - side) // 2
    # What is copied: all that the window shows of the field, or of the cell's box.
    top, left = max(window_top, 0), max(window_left, 0)
    bottom = min(window_top + side, cells.shape[0])
    right = min(window_left + side, cells.shape[1])
    if not rule.keep_neighbours:
        top, left = max(top, cell.top), max(left, cell.left)
        bottom, right = min(bottom, cell.bottom), min(right, cell.right)
    shown = field[top:bottom, left:right]
    if not rule.keep_neighbours:
        shown = _alone(shown, cells[top:bottom, left:right], cell)
    window = np.zeros((side, side, field.shape[-1]), np.uint8)
    rows = slice(top - window_top, bottom - window_top)
    columns = slice(left - window_left, right - window_left)
    window[rows, columns] = shown
    return resize(window, (rule.size, rule.size))


def _repeated(field: np.ndarray, cells: np.ndarray, cell: Cell, size: int) -> np.ndarray:
    """The cell in the middle, mirrored at the sides of its box until the picture is full."""
    box = slice(cell.top, cell.bottom), slice(cell.left, cell.right)
    alone = _alone(field[box], cells[box], cell)
    height, width = alone.shape[:2]
    small = resize(alone, scaled_size(height, width, size / max(cells.shape)))
    missing_rows = size - small.shape[0]
    missing_columns = size - small.shape[1]
    above, beside = missing_rows // 2, missing_columns // 2
    margins = (above, missing_rows - above), (beside, missing_columns - beside), (0, 0)
    return np.pad(small, margins, mode="symmetric")


def _alone(pixels: np.ndarray, cells: np.ndarray, cell: Cell) -> np.ndarray:
    """The pixels of a window, those of the cell; all others are black."""
    return pixels * (cells == cell.cell)[..., None].astype(np.uint8)
