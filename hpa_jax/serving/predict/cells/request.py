"""What a person asks of a prediction cell by cell; flags and settings of a run are the same."""

from dataclasses import dataclass
from pathlib import Path

from hpa_jax.errors import InputError
from hpa_jax.segmentation.crops import BOX, FIELD, REPEAT

POOLS = ("mean", "max")
"""How the scores of an image's cells become one score."""

LARGEST_WINDOW = 8192
"""Of --cell_window, in px."""


@dataclass(frozen=True)
class CellRequest:
    """What is asked for.

    Attributes:
      masks: folder of label images named by Ids; None: cells are segmented.
      window: how much a crop shows, as `crops.CropRule` has it.
      keep_neighbours: what is not the cell is left in the crops.
      skip_border: cells that touch the border of their image are left out.
      pool: one of POOLS.
    """

    masks: Path | None = None
    window: str | int = REPEAT
    keep_neighbours: bool = False
    skip_border: bool = False
    pool: str = "mean"


def window_flag(text: str) -> str | int:
    """Parses --cell_window.

    Raises:
      InputError: it is none.
    """
    if text in (REPEAT, FIELD, BOX):
        return text
    if text.isascii() and text.isdigit() and 1 <= int(text) <= LARGEST_WINDOW:
        return int(text)
    raise InputError(
        f"--cell_window={text}: give {REPEAT} (a cell as large as in a field, and its mirror "
        f"images around it), {FIELD} (without these), {BOX} (each cell fills the crop), or a side "
        f"in px, from 1 to {LARGEST_WINDOW}"
    )
