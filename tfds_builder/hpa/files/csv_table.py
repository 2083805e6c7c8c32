"""Reads the csv of a source: in every row an Id, and its labels unless nobody knows them.

`csv_text.py` has the dialects that are read, `csv_columns.py` which columns, `csv_labels.py` how
labels are written, and `ids.py` how an Id becomes a name.

Design: a faulty row is a value rather than the end, and the order of the rows has no meaning. So an
Id in two rows keeps its first row only if both agree; if they differ, none of them is accepted.
"""

from typing import NamedTuple

from hpa_jax.errors import InputError
from hpa_jax.labels import Vocabulary
from tfds_builder.hpa.files import csv_columns, csv_labels, csv_text, ids
from tfds_builder.hpa.files.csv_columns import Positions
from tfds_builder.hpa.files.csv_rows import DEFAULT, Reading, Row, RowParser, label_cell_at
from tfds_builder.hpa.sources import Fault

_SEE_LAYOUT = "see tfds_builder/hpa/README.md for the layout"


class Table(NamedTuple):
    """The contents of a csv; every row that is not empty is in one of the two."""

    rows: list[Row]
    faults: list[Fault]


def read(data: bytes, where: str, reading: Reading = DEFAULT) -> Table:
    """Reads the rows of a csv.

    Args:
      data: the file.
      where: its name, for messages.
      reading: how.

    Returns:
      the valid rows, sorted by Id, and a Fault for each of the others, in their order.

    Raises:
      InputError: its rows cannot be told apart: not in an encoding that is read, without these
        columns, without rows, with an unclosed quote. Or its labels may be other ones.
    """
    text, positions = _read_text(data, where, reading)
    if reading.ask and positions.labels is not None:
        _ask_which_labels(text, positions, where)
    parser = RowParser(reading, positions, len(text.header))
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
            cells.append(label_cell_at(line.cells, positions.labels))
        try:
            names = csv_labels.names_found(cells)
        except ValueError as error:
            raise InputError(f"{where} {error}") from None
    if not names:
        raise InputError(f"{where} has no labels from which names could be taken; {_SEE_LAYOUT}")
    return names


def describe_labels(data: bytes, where: str, reading: Reading) -> list[str]:
    """What the ids of labels in a csv were taken for, a line each; nothing where they are names.

    Raises:
      InputError: as of `read`.
    """
    text, positions = _read_text(data, where, reading)
    if positions.labels is None:
        return []
    cells = [label_cell_at(line.cells, positions.labels) for line in text.lines]
    if not csv_labels.are_ids(cells):
        return []
    vocabulary = reading.vocabulary
    notes = []
    if reading.ask:
        notes.append(
            f"label ids are taken for those of {vocabulary.name} (0 {vocabulary.labels[0]} to "
            f"{len(vocabulary) - 1} {vocabulary.labels[-1]}); if they are others: --labels."
        )
    used = {label for cell in cells for label in _ids_in(cell, vocabulary)}
    if used and 0 not in used:
        first = vocabulary.labels[0]
        notes.append(f"no row has the id 0 ({first}), from which ids count: do yours from 1?")
    return notes


def _ids_in(cell: str, vocabulary: Vocabulary) -> tuple[int, ...]:
    """Of a row that is faulty, none."""
    try:
        return csv_labels.parse_cell(cell, vocabulary)
    except ValueError:
        return ()


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


def _ask_which_labels(text: csv_text.Text, positions: Positions, where: str) -> None:
    names = [text.header[position] for position in (positions.id, positions.labels)]
    cells = [label_cell_at(line.cells, positions.labels) for line in text.lines]
    if csv_labels.looks_like_2021(*names, cells):
        raise InputError(
            f"{where} has the columns {names[0]} and {names[1]} with ids up to 18, as the "
            "challenge of 2021, whose 19 classes are others than the 28 of 2018 from 8 on; say "
            "which they are: --labels=hpa2021 or --labels=hpa2018"
        )
    if csv_labels.looks_like_classes(names[1], cells, csv_columns.DEFAULT_LABELS):
        raise InputError(
            f"{where} has one id in each row of the column {names[1]}, and leaves none out, as ids "
            "of one's own classes do; say which they are: --labels=FILE with their names, or "
            "--labels=hpa2018"
        )


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
            reason = (
                f"contradicts line {different}; take all rows but the right one out, or give "
                "an image all its labels in one row"
            )
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
