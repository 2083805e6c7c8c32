r"""Tables as csv, with commas and `\n` line ends, that are safe to print and to open.

The cells may come from anybody: names of files, columns of other people's tables. A spreadsheet
runs formulas and a terminal obeys escapes, so every cell passes `csv_cell`.
"""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO

from hpa_jax.files.atomic import write_atomically

# What makes a formula of a cell, after quotes and spaces; the last four are full-width forms.
_FORMULA = re.compile("['\\s]*[=+\\-@\uff1d\uff0b\uff0d\uff20]")

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence]) -> None:
    """Writes a table, completely or not at all."""
    write_atomically(path, csv_text(header, rows))


def csv_text(header: Sequence[str], rows: Iterable[Sequence]) -> str:
    """The text of a csv: a header, and a line for each row."""
    text = io.StringIO()
    write_csv_lines(text, header, rows)
    return text.getvalue()


def write_csv_lines(file: TextIO, header: Sequence[str], rows: Iterable[Sequence]) -> None:
    """Writes the lines of `csv_text` to an open file one by one, for tables of many rows."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(map(csv_cell, header))
    for row in rows:
        writer.writerow(map(csv_cell, row))


def csv_cell(value: Any) -> Any:
    r"""A cell as it is written to a csv.

    Args:
      value: a text is changed where it has to be; anything else is returned as it is.

    Returns:
      The text with an escape such as `\u202e` for each character that cannot be printed, and a `'`
      before what a spreadsheet would take for a formula. A plain number stays one.
    """
    if not isinstance(value, str):
        return value
    if not value.isprintable():
        value = "".join(char if char.isprintable() else _escaped(char) for char in value)
    if _FORMULA.match(value) and not _NUMBER.fullmatch(value):
        return f"'{value}"
    return value


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode()


def plain_cell(cell: str) -> str:
    """The printable text of which `csv_cell` made this cell."""
    if cell.startswith("'") and _FORMULA.match(cell):
        return cell[1:]
    return cell
