"""Where fields come from: each source lists its fields, checked, and gives the image of any one of them.

A source is a small frozen dataclass that can be sent to a worker process. To add one, write its class with the members
of `Source` and enter it into `configs.py`.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from hpa_jax.errors import InputError


class Field(NamedTuple):
    """One field before it is read."""

    id: str
    labels: tuple[int, ...]  # label ids, ascending
    index: int  # position in the source's list
    family: str = ""  # fields of one family (an antibody's) never straddle a split; "": of none


class Fault(InputError):
    """What is wrong with one row of a source, so that it cannot become a field.

    Attributes:
      id: of the field, as far as it is known.
      file: the file at fault, or the csv and its line.
      reason: what is wrong with it, and what to do: `is empty (0 bytes); download it again`.
    """

    def __init__(self, id: str, file: str, reason: str):
        super().__init__(id, file, reason)
        self.id, self.file, self.reason = id, file, reason

    def __str__(self) -> str:
        return f"Id {self.id}: {self.file} {self.reason}"


class Listing(NamedTuple):
    """What a source holds. Every row of it is either a field or a fault, so their counts add up to its rows."""

    fields: list[Field]
    faults: list[Fault]


Bar = Callable[[Sequence, str], Iterable]
"""Wraps a sequence in a progress bar with a caption."""


def no_bar(items: Sequence, caption: str) -> Iterable:
    """The bar of whoever shows none."""
    return items


class Source(Protocol):
    """What the builder asks of a source."""

    manual_dir: Path | None  # with which the names of files begin in its faults

    def settings(self) -> dict:
        """What decides the fields and their pixels, as JSON: kept with the dataset and compared at another start."""

    def fields(self, bar: Bar = no_bar) -> Listing:
        """All rows in a fixed order (the rows' order in a csv is without meaning: by Id), after the checks that need no
        decoding.

        Raises:
          InputError: the source as a whole cannot be read.
        """

    def image(self, field: Field) -> np.ndarray:
        """uint8 [H, W, 4] of one field: red, green, blue, yellow. Runs in a worker process.

        Raises:
          Fault: the field turned out to be faulty in decoding.
        """
