"""The csv of a source: an Id and its labels in every row, in whatever dialect a spreadsheet has written.

A byte order mark, LF, CRLF or CR, `,` `;` or tab as separator, quoted cells, further columns and empty lines are all
read. Labels are ids or names of `hpa_jax.labels.LABELS` in any case: ids separated by spaces, `|`, `;` or `,`; names by
`|`, `;` or `,`, since spaces are parts of them.

Unusual: a faulty row is a value, not the end, and the order of the rows is without meaning. So an Id that stands in
two rows keeps its first row only where both say the same; where they differ, none of them is believed.
"""

import csv
import io
import re
from collections.abc import Sequence
from typing import NamedTuple

from hpa_jax.errors import InputError
from hpa_jax.labels import LABELS
from tfds_builder.hpa.sources import Fault

_ID = re.compile(
    r"[A-Za-z0-9_-]+"
)  # an Id becomes part of a file name: nothing in it may lead out of the folder
_SEPARATORS = (",", ";", "\t")
_BETWEEN_LABELS = re.compile(r"[|;,]")
_BY_NAME = {name.casefold(): label for label, name in enumerate(LABELS)}
_HOW = "see tfds_builder/hpa/README.md for the layout"


class Row(NamedTuple):
    """A sound row."""

    id: str
    labels: tuple[int, ...]  # label ids, ascending
    family: str  # what stands in the family column, "" without one


class Table(NamedTuple):
    """What a csv says: every row that is not empty is in one of the two."""

    rows: list[Row]
    faults: list[Fault]


def read(
    data: bytes, where: str, id_column: str, label_column: str, family_column: str = ""
) -> Table:
    """Reads the rows of a csv.

    Args:
      data: the file.
      where: its name, for messages.
      id_column, label_column, family_column: names in the first line; "" for no family column.

    Returns:
      The sound rows, sorted by Id, and a Fault for each of the others, in their order.

    Raises:
      InputError: there is no telling its rows: not UTF-8, without these columns, without rows, a quote left open.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{where} is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    wanted = [id_column, label_column, *([family_column] if family_column else [])]
    separator, header = _header(text, where, wanted)
    places = [header.index(name) for name in wanted]
    # strict: without it an open quote takes in all lines after it, in silence. newline="": line ends as they stand.
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows: list[tuple[int, list[str]]] = []
    start = 1
    try:
        for cells in lines:
            if any(cell.strip() for cell in cells):
                rows.append((start, cells))
            start = lines.line_num + 1
    except csv.Error as error:
        raise InputError(f"{where}, line {start}: {error}; put the line right") from None
    if len(rows) < 2:
        raise InputError(f"{where} has no rows; {_HOW}")
    return _sort(rows[1:], where, len(header), places)


def _header(text: str, where: str, wanted: Sequence[str]) -> tuple[str, list[str]]:
    """The separator by which the first line holds the wanted columns, and the names in it."""
    first = next((line for line in io.StringIO(text, newline="") if line.strip()), "")
    for separator in _SEPARATORS:
        try:
            names = [
                name.strip()
                for name in next(csv.reader([first], delimiter=separator, strict=True), [])
            ]
        except csv.Error:
            continue
        if all(name in names for name in wanted):
            if twice := [name for name in wanted if names.count(name) > 1]:
                raise InputError(f"{where} has the column {twice[0]} twice; rename one of them")
            return separator, names
    columns = f"{', '.join(wanted[:-1])} and {wanted[-1]}"
    raise InputError(f"{where} has no columns {columns} in its first line; {_HOW}")


def _sort(rows: list[tuple[int, list[str]]], where: str, columns: int, places: list[int]) -> Table:
    """Tells sound rows from faulty ones."""
    judged = [
        (line, _judge(cells, f"{where}, line {line}", columns, places)) for line, cells in rows
    ]
    said: dict[
        str, dict[Row | Fault, int]
    ] = {}  # of each Id: what its rows say, and the first line that says it
    for line, row in judged:
        said.setdefault(row.id, {}).setdefault(row, line)
    sound, faults = [], []
    for line, row in judged:
        differ = next((at for other, at in said[row.id].items() if other != row), None)
        first = said[row.id][row]
        if isinstance(row, Fault):
            faults.append(row)
        elif differ:
            reason = (
                f"says something else of it than line {differ}; take all rows but the right one out"
            )
            faults.append(Fault(row.id, f"{where}, line {line}", reason))
        elif first < line:
            reason = f"has it again after line {first}; take one of the two rows out"
            faults.append(Fault(row.id, f"{where}, line {line}", reason))
        else:
            sound.append(row)
    return Table(sorted(sound), faults)


def _judge(cells: list[str], at: str, columns: int, places: list[int]) -> Row | Fault:
    """One row by itself."""
    id, labels, *family = (cells[place].strip() if place < len(cells) else "" for place in places)
    shown = id if _ID.fullmatch(id) else repr(id[:80])  # on one line, whatever is in it
    if len(cells) != columns:
        return Fault(
            shown, at, f"has {len(cells)} columns where the first line has {columns}; put it right"
        )
    if any("\0" in cell for cell in cells):
        return Fault(shown, at, "has a zero byte in it; save the csv again")
    if id != shown:
        return Fault(
            shown,
            at,
            "has an Id that is not made of letters, digits, _ and - alone; rename the field",
        )
    try:
        return Row(id, _labels(labels), family[0] if family else "")
    except ValueError as error:
        return Fault(id, at, str(error))


def _labels(text: str) -> tuple[int, ...]:
    """Ascending label ids of a cell; ValueError with the reason."""
    labels = []
    for part in filter(None, (" ".join(part.split()) for part in _BETWEEN_LABELS.split(text))):
        if (name := _BY_NAME.get(part.casefold())) is not None:
            labels.append(name)
            continue
        words = part.split(" ")
        known = [
            word.isascii() and word.isdigit() and len(word) <= 2 and int(word) < len(LABELS)
            for word in words
        ]
        if not all(known):
            odd = words[known.index(False)] if any(_number(word) for word in words) else part
            raise ValueError(
                f"has the unknown label {odd[:40]!r}; labels are 0 to {len(LABELS) - 1}, or their names"
            )
        labels += map(int, words)
    if not labels:
        raise ValueError("has no label; give it one or take the row out")
    if len(set(labels)) != len(labels):
        raise ValueError(f"has a label twice ({' '.join(text.split())[:80]}); take one out")
    return tuple(sorted(labels))


def _number(word: str) -> bool:
    return word.lstrip("+-").isdigit()
