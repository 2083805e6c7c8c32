"""Which fields are done: a line of JSON each, appended when all files of a field are there.

A second start leaves out what is done. A kill can cut the last line, which is then dropped: each
line has a CRC. The first line says by which method and settings the folder was made; another method
is refused, so that a folder never holds cells of two.
"""

import json
import os
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from hpa_jax.errors import InputError
from hpa_jax.files import write_atomically

NAME = "progress.jsonl"


@dataclass(frozen=True)
class Record:
    """A field that was segmented, or refused.

    Attributes:
      id: of the field.
      stamp: a digest that changes when its files do.
      cells: a row of `cell_table.Cell` for each cell.
      file: that was refused.
      reason: why, and what to do; empty if it was segmented.
    """

    id: str
    stamp: str
    cells: list[list] = field(default_factory=list)
    file: str = ""
    reason: str = ""


class Progress:
    """The records of a folder, by Id. One process at a time; whoever opens it holds a lock.

    Args:
      folder: of the results.
      settings: all that masks follow from, besides the images themselves: plain values.

    Raises:
      InputError: the folder was made with other settings, or something else has the file's name.
    """

    def __init__(self, folder: Path, settings: dict):
        self._path = folder / NAME
        self._records: dict[str, Record] = {}
        lines = self._read(settings)
        # Without what a kill has cut.
        write_atomically(self._path, "".join(lines))
        self._file: TextIO = open(self._path, "a", encoding="utf-8")  # noqa: SIM115

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, kind, error, traceback) -> None:
        self._file.close()

    def get(self, image_id: str) -> Record | None:
        """The record of a field; None where there is none."""
        return self._records.get(image_id)

    def put(self, record: Record) -> None:
        """Keeps the record of a field, and writes it to the disk."""
        self._records[record.id] = record
        self._file.write(_line(vars(record)))
        self._file.flush()
        os.fsync(self._file.fileno())

    def _read(self, settings: dict) -> list[str]:
        """The good lines of the file, the first one with the settings."""
        first = _line({"settings": settings})
        if not self._path.exists():
            return [first]
        with open(self._path, encoding="utf-8", errors="replace") as file:
            lines = file.readlines()
        contents = [_content(line) for line in lines]
        if not contents or contents[0] is None or "settings" not in contents[0]:
            raise InputError(
                f"{self._path} is damaged or not of this program; move it away, and all fields are "
                "segmented anew"
            )
        _refuse_others(self._path.parent, contents[0]["settings"], settings)
        good = [first]
        for line, content in zip(lines[1:], contents[1:], strict=True):
            if content is not None:
                record = Record(**content)
                self._records[record.id] = record
                good.append(line)
        return good


def _refuse_others(folder: Path, found: dict, settings: dict) -> None:
    settings = json.loads(json.dumps(settings))
    if found == settings:
        return
    changed = []
    for name in sorted({*found, *settings}):
        if found.get(name) != settings.get(name):
            changed.append(f"{name} {found.get(name)}, now {settings.get(name)}")
    raise InputError(
        f"{folder} holds fields that were segmented otherwise ({'; '.join(changed)}); choose "
        "another folder, or remove it"
    )


def _line(content: dict) -> str:
    text = json.dumps(content, allow_nan=False)
    return f"{zlib.crc32(text.encode()):08x} {text}\n"


def _content(line: str) -> dict | None:
    """What a line says; None if it is damaged."""
    crc, _, text = line.removesuffix("\n").partition(" ")
    if not line.endswith("\n") or crc != f"{zlib.crc32(text.encode()):08x}":
        return None
    return json.loads(text)
