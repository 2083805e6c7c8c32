"""Reads the csv of a source, an Id and its labels in every row, in whatever dialect it was saved.

A byte order mark, LF, CRLF or CR, `,` `;` or tab as separator, quoted cells, further columns and
empty lines are all read. Labels are ids or names of `hpa_jax.labels.LABELS` in any case: ids
separated by spaces, `|`, `;` or `,`; names by `|`, `;` or `,`, since they contain spaces.

Design: a faulty row is a value rather than the end, and the order of the rows has no meaning. So an
Id in two rows keeps its first row only if both agree; if they differ, none of them is accepted.
"""

import csv
import io
import re
from collections.abc import Sequence
from typing import NamedTuple

from hpa_jax.errors import InputError
from hpa_jax.files import plain_cell
from hpa_jax.labels import LABELS
from tfds_builder.hpa.sources import Fault

# An Id becomes part of a file name: nothing in it may lead out of the folder.
_ID = re.compile(r"[A-Za-z0-9_-]+")
_SEPARATORS = (",", ";", "\t")
_BETWEEN_LABELS = re.compile(r"[|;,]")
_LABEL_BY_NAME = {name.casefold(): label for label, name in enumerate(LABELS)}
_SEE_LAYOUT = "see tfds_builder/hpa/README.md for the layout"


class Row(NamedTuple):
    """A valid row.

    Attributes:
      id: of the image.
      labels: label ids, ascending.
      group_key: of the group column, printable; empty without one.
    """

    id: str
    labels: tuple[int, ...]
    group_key: str


class Table(NamedTuple):
    """The contents of a csv; every row that is not empty is in one of the two."""

    rows: list[Row]
    faults: list[Fault]


class _Line(NamedTuple):
    """A row of cells and the number of its first line."""

    number: int
    cells: list[str]


def read(
    data: bytes, where: str, id_column: str, label_column: str, group_column: str = ""
) -> Table:
    """Reads the rows of a csv.

    Args:
      data: the file.
      where: its name, for messages.
      id_column: name in the first line.
      label_column: name in the first line.
      group_column: name in the first line, or empty for none.

    Returns:
      the valid rows, sorted by Id, and a Fault for each of the others, in their order.

    Raises:
      InputError: its rows cannot be told apart: not UTF-8, without these columns, without rows,
        with an unclosed quote.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{where} is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    wanted = [id_column, label_column]
    if group_column:
        wanted.append(group_column)
    separator, header = _find_header(text, where, wanted)
    lines = _split_lines(text, where, separator)
    if len(lines) < 2:
        raise InputError(f"{where} has no rows; {_SEE_LAYOUT}")
    positions = [header.index(name) for name in wanted]
    numbers = [line.number for line in lines[1:]]
    parsed = []
    for line in lines[1:]:
        parsed.append(_parse(line.cells, f"{where}, line {line.number}", len(header), positions))
    return _check_ids(numbers, parsed, where)


def _find_header(text: str, where: str, wanted: Sequence[str]) -> tuple[str, list[str]]:
    """The separator by which the first line has the wanted columns, and the names in it."""
    lines = io.StringIO(text, newline="")
    first = next((line for line in lines if line.strip()), "")
    for separator in _SEPARATORS:
        try:
            cells = next(csv.reader([first], delimiter=separator, strict=True), [])
        except csv.Error:
            continue
        names = [cell.strip() for cell in cells]
        if not set(wanted) <= set(names):
            continue
        for name in wanted:
            if names.count(name) > 1:
                raise InputError(f"{where} has the column {name} twice; rename one of them")
        return separator, names
    columns = f"{', '.join(wanted[:-1])} and {wanted[-1]}"
    raise InputError(f"{where} has no columns {columns} in its first line; {_SEE_LAYOUT}")


def _split_lines(text: str, where: str, separator: str) -> list[_Line]:
    """The rows that are not empty, the header first."""
    # strict: otherwise an unclosed quote silently takes in all lines after it.
    # newline="": keeps line ends as they are.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    lines = []
    start = 1
    try:
        for cells in reader:
            if any(map(str.strip, cells)):
                lines.append(_Line(start, cells))
            start = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{where}, line {start}: {error}; put the line right") from None
    return lines


def _parse(cells: list[str], at: str, columns: int, positions: list[int]) -> Row | Fault:
    """Parses one row by itself."""
    values = []
    for position in positions:
        values.append(cells[position].strip() if position < len(cells) else "")
    # A table that this project wrote has marks before what a spreadsheet would take for a formula.
    id, labels, *group_keys = map(plain_cell, values)
    # Whatever is in it, it is reported on one line.
    shown = id if _ID.fullmatch(id) else repr(id[:80])
    if len(cells) != columns:
        reason = f"has {len(cells)} columns where the first line has {columns}; put it right"
        return Fault(shown, at, reason)
    if any("\0" in cell for cell in cells):
        return Fault(shown, at, "has a zero byte in it; save the csv again")
    if id != shown:
        reason = "has an Id that is not made of letters, digits, _ and - alone; rename the image"
        return Fault(shown, at, reason)
    # White space within a key has no meaning, and is of many kinds.
    group_key = " ".join(" ".join(group_keys).split())
    hidden = next((char for char in group_key if not char.isprintable()), None)
    if hidden:
        reason = f"has the invisible character U+{ord(hidden):04X} in its group; take it out"
        return Fault(id, at, reason)
    try:
        return Row(id, _parse_labels(labels), group_key)
    except ValueError as error:
        return Fault(id, at, str(error))


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
        first_lines.setdefault(row.id, {}).setdefault(row, number)
    rows = []
    faults = []
    for number, row in zip(numbers, parsed, strict=True):
        if isinstance(row, Fault):
            faults.append(row)
            continue
        variants = first_lines[row.id]
        first = variants[row]
        different = next((line for other, line in variants.items() if other != row), None)
        if different:
            reason = f"contradicts line {different}; take all rows but the right one out"
        elif first < number:
            reason = f"has it again after line {first}; take one of the two rows out"
        else:
            rows.append(row)
            continue
        faults.append(Fault(row.id, f"{where}, line {number}", reason))
    return Table(sorted(rows), faults)


def _parse_labels(text: str) -> tuple[int, ...]:
    """Ascending label ids of a cell.

    Raises:
      ValueError: with the reason.
    """
    labels: list[int] = []
    for item in _BETWEEN_LABELS.split(text):
        words = item.split()
        if not words:
            continue
        name = " ".join(words).casefold()
        if name in _LABEL_BY_NAME:
            labels.append(_LABEL_BY_NAME[name])
        else:
            labels += _parse_label_ids(words)
    if not labels:
        raise ValueError("has no label; give it one or take the row out")
    if len(set(labels)) != len(labels):
        shown = " ".join(text.split())[:80]
        raise ValueError(f"has a label twice ({shown}); take one out")
    return tuple(sorted(labels))


def _parse_label_ids(words: list[str]) -> list[int]:
    unknown = [word for word in words if not _is_label_id(word)]
    if not unknown:
        return [int(word) for word in words]
    # Without any number the words are an unknown name.
    has_number = any(word.lstrip("+-").isdigit() for word in words)
    shown = unknown[0] if has_number else " ".join(words)
    raise ValueError(
        f"has the unknown label {shown[:40]!r}; labels are 0 to {len(LABELS) - 1}, or their names"
    )


def _is_label_id(word: str) -> bool:
    if not (word.isascii() and word.isdigit() and len(word) <= 2):
        return False
    return int(word) < len(LABELS)
