"""The text of a csv and the lines that it consists of, in whatever dialect it was saved.

A byte order mark, UTF-16 that has one, LF, CRLF or CR, `,` `;` tab or `|` between cells, quoted
cells, empty lines, a first line `sep=;` as Excel understands it, and lines that begin with `#`
before the header (or after it, if they have not as many cells) are all read.
"""

import codecs
import csv
import io
import re
from collections.abc import Callable
from typing import NamedTuple

from hpa_jax.errors import InputError

_SEPARATORS = (",", ";", "\t", "|")
_SAID_SEPARATOR = re.compile(r"\s*\"?sep=(.)\"?\s*", re.IGNORECASE)
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_UTF_32 = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
_GZIP = b"\x1f\x8b"
_WORKBOOK = b"PK\x03\x04"
_COMMENT = "#"
_MOST_SHOWN = 300  # characters, of a line in a message

Find = Callable[[list[str]], bool]
"""Whether these names are those of a header."""


class Line(NamedTuple):
    """A row of cells and the number of its first line."""

    number: int
    cells: list[str]


class Text(NamedTuple):
    """A csv: its header, and the rows that are not empty.

    Attributes:
      header: names of the columns.
      is_found: whether the header is what was looked for; else it is the first line.
      lines: the rows.
    """

    header: list[str]
    is_found: bool
    lines: list[Line]


def read_lines(data: bytes, where: str, is_header: Find) -> Text:
    """Finds the header of a csv, the separator by which it is one, and the rows below it.

    Args:
      data: the file.
      where: its name, for messages.
      is_header: says whether a line is the header.

    Raises:
      InputError: the file is no text that is read, or its rows cannot be told apart.
    """
    text = _decode(data, where)
    separators = _SEPARATORS
    start = 0
    number = 0
    first = None
    for line in io.StringIO(text, newline=""):
        number += 1
        said = _SAID_SEPARATOR.fullmatch(line)
        if said:
            separators = (said[1],)
        elif line.strip():
            found = _split_header(line, separators, is_header)
            if found:
                separator, header = found
                lines = _split_rows(text[start:], number, where, separator)
                return Text(header, True, _without_comments(lines, len(header)))
            if not line.lstrip().startswith(_COMMENT):
                first = line
                break
        start += len(line)
    return Text(_most_cells(first or "", separators), False, [])


def shown_columns(header: list[str]) -> str:
    """The names of a header, for a message."""
    names = [name if name.isprintable() else repr(name) for name in header]
    shown = ", ".join(names)
    return shown if len(shown) <= _MOST_SHOWN else f"{shown[:_MOST_SHOWN]} ..."


def _decode(data: bytes, where: str) -> str:
    if data.startswith(_WORKBOOK):
        raise InputError(f"{where} is an Excel workbook or another zip; save it as csv")
    if data.startswith(_GZIP):
        raise InputError(f"{where} is packed by gzip; unpack it")
    # First: the mark of UTF-16 is the beginning of one of its own.
    if data.startswith(_UTF_32):
        raise InputError(f"{where} is UTF-32; save it as UTF-8")
    if data.startswith(_UTF_16):
        try:
            return data.decode("utf-16").removeprefix("\ufeff")
        except UnicodeDecodeError:
            raise InputError(f"{where} is cut short UTF-16; save it as UTF-8") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(_not_utf_8(data, where, error.start)) from None
    first, _, _ = text.partition("\n")
    if "\0" in first:
        raise InputError(
            f"{where} has zero bytes in its first line, as UTF-16 without a byte order mark has; "
            "save it as UTF-8"
        )
    return text


def _not_utf_8(data: bytes, where: str, at: int) -> str:
    """The message names Latin-1 where the byte is a letter in it."""
    letter = data[at : at + 1].decode("latin-1")
    seen = f"; in Latin-1 it would be {letter}" if letter.isalpha() else ""
    return f"{where} is not UTF-8 (byte {at}{seen}); save it as UTF-8"


def _split_header(
    line: str, separators: tuple[str, ...], is_header: Find
) -> tuple[str, list[str]] | None:
    """The separator by which a line is the header, and its names; some comment their header out."""
    plain = line.strip()
    for text in (plain, plain.lstrip(_COMMENT).lstrip()):
        for separator in separators:
            names = _split_names(text, separator)
            if names and is_header(names):
                return separator, names
    return None


def _split_names(text: str, separator: str) -> list[str]:
    try:
        cells = next(csv.reader([text], delimiter=separator, strict=True), [])
    except csv.Error:
        return []
    return [cell.strip() for cell in cells]


def _most_cells(line: str, separators: tuple[str, ...]) -> list[str]:
    candidates = [_split_names(line.strip(), separator) for separator in separators]
    return max(candidates, key=len)


def _split_rows(text: str, number: int, where: str, separator: str) -> list[Line]:
    """The rows that are not empty, without the header; `number` is that of its line."""
    # strict: otherwise an unclosed quote silently takes in all lines after it.
    # newline="": keeps line ends as they are.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    lines = []
    start = number
    try:
        for cells in reader:
            if any(map(str.strip, cells)):
                lines.append(Line(start, cells))
            start = number + reader.line_num
    except csv.Error as error:
        raise InputError(f"{where}, line {start}: {error}; put the line right") from None
    return lines[1:]


def _without_comments(lines: list[Line], columns: int) -> list[Line]:
    rows = []
    for line in lines:
        is_comment = line.cells[0].lstrip().startswith(_COMMENT)
        if is_comment and (columns == 1 or len(line.cells) != columns):
            continue
        rows.append(line)
    return rows
