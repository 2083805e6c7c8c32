"""Parses the rows of a csv, each by itself."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from hpa_jax.files import plain_cell
from hpa_jax.labels import HPA_2018, Vocabulary
from tfds_builder.hpa.files import csv_labels, ids
from tfds_builder.hpa.files.csv_columns import Columns, Positions
from tfds_builder.hpa.sources import Fault

NO_LABEL = ("fault", "negative", "unknown")
"""What a row without a label is: a mistake, an image with none of the structures, or one of which
nobody knows them."""

SPLITS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "holdout": "test",
    "held-out": "test",
}
"""The splits by the words for them that are read."""


class Row(NamedTuple):
    """A valid row.

    Attributes:
      id: name by which the image is stored.
      labels: label ids, ascending.
      group_key: of the group column, printable; empty without one.
      original_id: the Id in the csv if it is another one, else empty.
      split: `train`, `validation` or `test`; empty without a column of splits.
      files: of each of CHANNELS its file, None for a channel without one; empty without columns of
        paths.
      labels_known: whether the csv says which labels the image has.
    """

    id: str
    labels: tuple[int, ...]
    group_key: str = ""
    original_id: str = ""
    split: str = ""
    files: tuple[str | None, ...] = ()
    labels_known: bool = True


@dataclass(frozen=True)
class Reading:
    """How a csv is read.

    Attributes:
      columns: which.
      vocabulary: of the labels; None if it is not known yet.
      no_label: one of NO_LABEL.
      ask: whether ids that may be those of the challenge of 2021 are asked about.
      folder: in which the files of columns of paths must lie.
    """

    columns: Columns = Columns()
    vocabulary: Vocabulary | None = HPA_2018
    no_label: str = NO_LABEL[0]
    ask: bool = False
    folder: Path | None = None


DEFAULT = Reading()
"""As Kaggle has it."""


def filled_cell_at(cells: Sequence[str], position: int | None) -> str:
    """As `cell_at`; empty too where a program has written its word for nothing, such as NaN."""
    cell = cell_at(cells, position)
    return "" if csv_labels.is_nothing(cell) else cell


def cell_at(cells: Sequence[str], position: int | None) -> str:
    """A cell without white space around it; empty if it is not there."""
    if position is None or position >= len(cells):
        return ""
    return cells[position].strip()


def label_cell_at(cells: Sequence[str], position: int | None) -> str:
    """The cell with all labels of a row."""
    return csv_labels.whole_numbers(plain_cell(cell_at(cells, position)))


class RowParser:
    """Parses each row by itself."""

    def __init__(self, reading: Reading, positions: Positions, columns: int):
        self._reading = reading
        self._positions = positions
        self._columns = columns

    def parse(self, cells: list[str], at: str) -> Row | Fault:
        """A row; a Fault if something is wrong with it."""
        # A table that this project wrote has marks before what a spreadsheet would take for a
        # formula.
        original = plain_cell(cell_at(cells, self._positions.id))
        # Whatever is in it, it is reported on one line.
        shown = repr(original[:80]) if ids.fault_of(original) else original
        if len(cells) != self._columns:
            reason = f"has {len(cells)} columns where the first line has {self._columns}"
            return Fault(shown, at, f"{reason}; put it right")
        if any("\0" in cell for cell in cells):
            return Fault(shown, at, "has a zero byte in it; save the csv again")
        if fault := ids.fault_of(original):
            return Fault(shown, at, fault)
        id = ids.stored_id(original)
        try:
            return Row(
                id,
                self._parse_labels(cells),
                self._parse_group(cells),
                "" if id == original else original,
                self._parse_split(cells),
                self._parse_files(cells),
                self._is_known(cells),
            )
        except ValueError as error:
            return Fault(shown, at, str(error))

    def _has_labels(self) -> bool:
        return self._positions.labels is not None or bool(self._positions.one_hot)

    def _is_known(self, cells: list[str]) -> bool:
        """Whether the row says which labels the image has."""
        if self._reading.no_label != "unknown":
            return self._has_labels()
        if self._positions.labels is not None:
            # "NA" may be the name of a label.
            return bool(self._parse_labels(cells))
        return any(filled_cell_at(cells, column) for column, _ in self._positions.one_hot)

    def _parse_labels(self, cells: list[str]) -> tuple[int, ...]:
        if not self._has_labels():
            return ()
        if self._positions.labels is not None:
            cell = label_cell_at(cells, self._positions.labels)
            labels = csv_labels.parse_cell(cell, self._reading.vocabulary)
        else:
            columns = [(name, cell_at(cells, i)) for i, name in self._positions.one_hot]
            if self._reading.no_label == "unknown" and not self._is_known(cells):
                return ()
            labels = csv_labels.parse_columns(columns, self._reading.vocabulary)
        if not labels and self._reading.no_label == "fault":
            raise ValueError(
                "has no label; give it one or take the row out, or say what that means: "
                "--no_label=negative (none of the structures) or --no_label=unknown"
            )
        return labels

    def _parse_group(self, cells: list[str]) -> str:
        # White space within a key has no meaning, and is of many kinds.
        group_key = " ".join(plain_cell(filled_cell_at(cells, self._positions.group)).split())
        hidden = next((char for char in group_key if not char.isprintable()), None)
        if hidden:
            raise ValueError(
                f"has the invisible character U+{ord(hidden):04X} in its group; take it out"
            )
        return group_key

    def _parse_split(self, cells: list[str]) -> str:
        if self._positions.split is None:
            return ""
        cell = cell_at(cells, self._positions.split)
        split = SPLITS.get(cell.casefold())
        if split is None:
            shown = cell[:40]
            raise ValueError(f"has the split {shown!r}; put train, validation or test there")
        return split

    def _parse_files(self, cells: list[str]) -> tuple[str | None, ...]:
        files: list[str | None] = []
        for channel, position in enumerate(self._positions.paths):
            if position is None:
                files.append(None)
                continue
            column = self._reading.columns.paths[channel]
            files.append(
                _path_inside(filled_cell_at(cells, position), column, self._reading.folder)
            )
        for channel, file in enumerate(files):
            if file and file in files[:channel]:
                columns = self._reading.columns.paths
                first = columns[files.index(file)]
                raise ValueError(
                    f"has one path in the columns {first} and {columns[channel]}; each channel has "
                    "a file of its own"
                )
        return tuple(files)


def _path_inside(text: str, column: str | None, folder: Path | None) -> str:
    """A path relative to `folder`.

    Raises:
      ValueError: it is empty, or leads out of it.
    """
    path = ids.path_of(text)
    if path.startswith("/") and folder:
        path = os.path.relpath(path, os.path.abspath(folder))
    path = path.removeprefix("./")
    if not path:
        raise ValueError(f"has no path in the column {column}; give the channel's file")
    if any(part in ("", ".", "..") for part in path.split("/")) or not path.isprintable():
        raise ValueError(
            f"has the path {text[:80]!r} in the column {column}, which is none inside "
            "--manual_dir; give it relative to that folder"
        )
    return path
