"""Reads the csv of a source: in every row an Id, and its labels unless nobody knows them.

`csv_text.py` has the dialects that are read, `csv_columns.py` which columns, `csv_labels.py` how
labels are written, and `ids.py` how an Id becomes a name.

Design: a faulty row is a value rather than the end, and the order of the rows has no meaning. So an
Id in two rows keeps its first row only if both agree; if they differ, none of them is accepted.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from hpa_jax.errors import InputError
from hpa_jax.files import plain_cell
from hpa_jax.labels import HPA_2018, Vocabulary
from tfds_builder.hpa.files import csv_columns, csv_labels, csv_text, ids
from tfds_builder.hpa.files.csv_columns import Columns, Positions
from tfds_builder.hpa.sources import Fault

NO_LABEL = ("fault", "negative")
"""What a row without a label is: a mistake, or an image with none of the structures."""

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

_SEE_LAYOUT = "see tfds_builder/hpa/README.md for the layout"


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


class Table(NamedTuple):
    """The contents of a csv; every row that is not empty is in one of the two."""

    rows: list[Row]
    faults: list[Fault]


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


def read(data: bytes, where: str, reading: Reading = Reading()) -> Table:
    """Reads the rows of a csv.

    Args:
      data: the file.
      where: its name, for messages.
      reading: how.

    Returns:
      the valid rows, sorted by Id, and a Fault for each of the others, in their order.

    Raises:
      InputError: its rows cannot be told apart: not in an encoding that is read, without these
        columns, without rows, with an unclosed quote. Or its labels may be those of 2021.
    """
    text, positions = _read_text(data, where, reading)
    if reading.ask and positions.labels is not None:
        _ask_about_2021(text, positions, where)
    parser = _RowParser(reading, positions, len(text.header))
    numbers = [line.number for line in text.lines]
    parsed = []
    for line in text.lines:
        parsed.append(parser.parse(line.cells, f"{where}, line {line.number}"))
    return _check_ids(numbers, parsed, where)


def label_names(data: bytes, where: str, reading: Reading) -> list[str]:
    """The names of all labels in a csv, sorted: those in its cells, or those of its columns.

    Raises:
      InputError: as of `read`; or it has ids, or no label at all.
    """
    text, positions = _read_text(data, where, reading)
    if positions.one_hot:
        return [name for _, name in positions.one_hot]
    names: list[str] = []
    if positions.labels is not None:
        cells = []
        for line in text.lines:
            cells.append(_cell(line.cells, positions.labels))
        try:
            names = csv_labels.names_found(cells)
        except ValueError as error:
            raise InputError(f"{where} {error}") from None
    if not names:
        raise InputError(f"{where} has no labels from which names could be taken; {_SEE_LAYOUT}")
    return names


def _read_text(data: bytes, where: str, reading: Reading) -> tuple[csv_text.Text, Positions]:
    """The lines of a csv, and where in them the wanted columns are."""
    columns = reading.columns
    labels = reading.vocabulary.labels if reading.vocabulary else ()

    def is_header(names: list[str]) -> bool:
        return csv_columns.find(names, columns, labels) is not None

    text = csv_text.read_lines(data, where, is_header)
    positions = csv_columns.find(text.header, columns, labels)
    if positions is None or not text.is_found:
        raise csv_columns.not_found(text.header, columns, where)
    csv_columns.check_once(text.header, positions, where)
    if not text.lines:
        raise InputError(f"{where} has no rows; {_SEE_LAYOUT}")
    return text, positions


def _ask_about_2021(text: csv_text.Text, positions: Positions, where: str) -> None:
    names = [text.header[position] for position in (positions.id, positions.labels)]
    cells = [_cell(line.cells, positions.labels) for line in text.lines]
    if csv_labels.looks_like_2021(*names, cells):
        raise InputError(
            f"{where} has the columns {names[0]} and {names[1]} with ids up to 18, as the "
            "challenge of 2021, whose 19 classes are others than the 28 of 2018 from 8 on; say "
            "which they are: --labels=hpa2021 or --labels=hpa2018"
        )


def _cell(cells: Sequence[str], position: int | None) -> str:
    """A cell without white space around it; empty if it is not there."""
    if position is None or position >= len(cells):
        return ""
    return cells[position].strip()


class _RowParser:
    """Parses each row by itself."""

    def __init__(self, reading: Reading, positions: Positions, columns: int):
        self._reading = reading
        self._positions = positions
        self._columns = columns

    def parse(self, cells: list[str], at: str) -> Row | Fault:
        """A row; a Fault if something is wrong with it."""
        # A table that this project wrote has marks before what a spreadsheet would take for a
        # formula.
        original = plain_cell(_cell(cells, self._positions.id))
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
                self._has_labels(),
            )
        except ValueError as error:
            return Fault(shown, at, str(error))

    def _has_labels(self) -> bool:
        return self._positions.labels is not None or bool(self._positions.one_hot)

    def _parse_labels(self, cells: list[str]) -> tuple[int, ...]:
        if not self._has_labels():
            return ()
        if self._positions.labels is not None:
            cell = plain_cell(_cell(cells, self._positions.labels))
            labels = csv_labels.parse_cell(cell, self._reading.vocabulary)
        else:
            columns = [(name, _cell(cells, i)) for i, name in self._positions.one_hot]
            labels = csv_labels.parse_columns(columns, self._reading.vocabulary)
        if not labels and self._reading.no_label != "negative":
            raise ValueError(
                "has no label; give it one or take the row out, or if it is an image of none of "
                "the structures, --no_label=negative"
            )
        return labels

    def _parse_group(self, cells: list[str]) -> str:
        # White space within a key has no meaning, and is of many kinds.
        group_key = " ".join(plain_cell(_cell(cells, self._positions.group)).split())
        hidden = next((char for char in group_key if not char.isprintable()), None)
        if hidden:
            raise ValueError(
                f"has the invisible character U+{ord(hidden):04X} in its group; take it out"
            )
        return group_key

    def _parse_split(self, cells: list[str]) -> str:
        if self._positions.split is None:
            return ""
        cell = _cell(cells, self._positions.split)
        split = SPLITS.get(cell.casefold())
        if split is None:
            shown = cell[:40]
            raise ValueError(f"has the split {shown!r}; put train, validation or test there")
        return split

    def _parse_files(self, cells: list[str]) -> tuple[str | None, ...]:
        files = []
        for channel, position in enumerate(self._positions.paths):
            if position is None:
                files.append(None)
                continue
            column = self._reading.columns.paths[channel]
            files.append(_path_inside(_cell(cells, position), column, self._reading.folder))
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


def _check_ids(numbers: list[int], parsed: list[Row | Fault], where: str) -> Table:
    """Separates valid rows from faulty ones, and from those whose Id is in several rows.

    Args:
      numbers: of the line of each row.
      parsed: the rows.
      where: name of the csv.
    """
    # Of each Id, its different rows and the first line of each.
    first_lines: dict[str, dict[Row | Fault, int]] = {}
    for number, row in zip(numbers, parsed, strict=True):
        first_lines.setdefault(_id_of(row), {}).setdefault(row, number)
    rows = []
    faults = []
    for number, row in zip(numbers, parsed, strict=True):
        if isinstance(row, Fault):
            faults.append(row)
            continue
        variants = first_lines[_id_of(row)]
        first = variants[row]
        different = next((line for other, line in variants.items() if other != row), None)
        if different:
            reason = f"contradicts line {different}; take all rows but the right one out"
        elif first < number:
            reason = f"has it again after line {first}; take one of the two rows out"
        else:
            rows.append(row)
            continue
        faults.append(Fault(row.original_id or row.id, f"{where}, line {number}", reason))
    return Table(sorted(rows, key=lambda row: row.id), faults)


def _id_of(row: Row | Fault) -> str:
    """By which rows are of one image: the stored Id, since accents have several forms."""
    return row.id if isinstance(row, Row) else ids.stored_id(row.id)
