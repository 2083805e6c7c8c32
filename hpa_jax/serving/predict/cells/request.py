"""What a person asks of a prediction cell by cell; flags and settings of a run are the same."""

from dataclasses import dataclass
from pathlib import Path

from hpa_jax.segmentation.crops import parse_window

ATTENTION = "attention"

POOLS = ("mean", "max", ATTENTION)
"""How the scores of an image's cells become one score."""


@dataclass(frozen=True)
class CellRequest:
    """What is asked for.

    Attributes:
      masks: folder of label images named by Ids; None: cells are segmented.
      window: how much a crop shows, as `crops.CropRule` has it; None: as the net learned.
      keep_neighbours: what is not the cell is left in the crops.
      skip_border: cells that touch the border of their image are left out.
      pool: one of POOLS; None: attention where the net has learnt it, else the mean.
    """

    masks: Path | None = None
    window: str | int | None = None
    keep_neighbours: bool = False
    skip_border: bool = False
    pool: str | None = None


def window_flag(text: str) -> str | int:
    """Parses --cell_window."""
    return parse_window(text, "--cell_window")
