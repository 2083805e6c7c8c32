"""Files that are written completely or not at all, and locks that one process holds at a time.

Design:
- A file is written beside its place, flushed to the disk and renamed: nobody reads half of it.
- A lock is the kernel's (`flock`): it goes with its process, however that ends. Whoever holds it
  may therefore remove what a killed process has left.
"""

import contextlib
import csv
import fcntl
import io
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from hpa_jax.errors import InputError

PARTIAL_SUFFIX = ".part"


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes a complete file or none; a text is encoded as UTF-8.

    Raises:
      OSError: it cannot be written; what was at `path` before is still there.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL_SUFFIX}")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as JSON, atomically.

    Raises:
      ValueError: it holds a number that is not finite.
    """
    write_atomically(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence]) -> None:
    r"""Writes a table with commas and `\n` line ends, atomically; safe as of `csv_text`."""
    write_atomically(path, csv_text(header, rows))


def csv_text(header: Sequence[str], rows: Iterable[Sequence]) -> str:
    r"""The text of a csv, with commas and `\n` line ends, that is safe to print and to open.

    The cells may come from anybody: names of files, columns of other people's tables. A
    spreadsheet runs formulas and a terminal obeys escapes, so every cell passes `csv_cell`.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(csv_cell, header))
    for row in rows:
        writer.writerow(map(csv_cell, row))
    return text.getvalue()


# What makes a formula of a cell, after quotes and spaces; the last four are full-width forms.
_FORMULA = re.compile("['\\s]*[=+\\-@\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


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


def remove_partial_files(folder: Path) -> None:
    """Removes what killed writers have left in `folder`; for whoever holds its lock."""
    for entry in os.scandir(folder):
        if entry.name.endswith(PARTIAL_SUFFIX):
            os.unlink(entry)


@contextlib.contextmanager
def exclusive_lock(
    path: Path, *, busy: str, advice: str = "", wait: bool = False
) -> Iterator[None]:
    """Holds the lock file `path`, which is made for it and removed afterwards.

    Args:
      path: in a folder that exists.
      busy: what to say where another process holds it: "--workdir=runs/a is in use". The message
        goes on with "by process 123", the owner.
      advice: the end of that message: what to do.
      wait: waits for the other process, with a line about it, instead of raising an error.

    Raises:
      InputError: another process holds the lock, and `wait` is false.
      OSError: the file cannot be opened or locked.
    """
    with _locked_file(path, busy, advice, wait) as file:
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        try:
            yield
        finally:
            # While still locked: another process that opened it finds out by `_is_at`.
            path.unlink(missing_ok=True)


def _locked_file(path: Path, busy: str, advice: str, wait: bool) -> TextIO:
    while True:
        with contextlib.ExitStack() as on_error:
            file = on_error.enter_context(open(path, "a+", encoding="utf-8"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                message = f"{busy} by {_owner(file)}"
                if not wait:
                    raise InputError(f"{message}; {advice}") from None
                print(f"{message}; waiting for it", flush=True)
                fcntl.flock(file, fcntl.LOCK_EX)
            if _is_at(path, file):
                on_error.pop_all()
                return file


def _owner(file: TextIO) -> str:
    file.seek(0)
    process_id = file.read().strip()
    return f"process {process_id}" if process_id else "another process"


def _is_at(path: Path, file: TextIO) -> bool:
    """Whether `file` is the one at `path`, not one that its last holder has removed."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def locked(workdir: Path) -> Iterator[None]:
    """Makes a run's folder and holds it for this process.

    Raises:
      InputError: another process holds it, or it cannot be made.
    """
    with contextlib.ExitStack() as held:
        try:
            workdir.mkdir(parents=True, exist_ok=True)
            lock = exclusive_lock(
                workdir / ".lock",
                busy=f"--workdir={workdir} is in use",
                advice="wait for it, stop it, or choose another folder",
            )
            held.enter_context(lock)
        except OSError as error:
            raise InputError(
                f"cannot use --workdir={workdir}: {error.strerror}; "
                "choose a folder that can be written"
            ) from error
        yield
