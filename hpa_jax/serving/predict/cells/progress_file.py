"""What a prediction cell by cell has done so far: the progress file of images, and their cells."""

import sqlite3
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from hpa_jax.serving.predict.cells.found import FieldCells
from hpa_jax.serving.predict.progress_file import ProgressFile
from hpa_jax.serving.predict.rows import Row

_SCHEMA = """
CREATE TABLE IF NOT EXISTS cells (
  number INTEGER PRIMARY KEY,
  found BLOB NOT NULL,
  crc INTEGER NOT NULL
);
"""


class CellProgressFile(ProgressFile):
    """The rows of a prediction, each with its cells; see `ProgressFile`.

    The cells of an image are in the same transaction as its row: both are there, or neither.
    """

    def __init__(self, path: Path, settings: Mapping):
        super().__init__(path, settings)
        try:
            self._connection.execute(_SCHEMA)
        except sqlite3.Error as error:
            raise self._failed(error) from None

    def put(self, number: int, row: Row) -> None:
        """See `ProgressFile.put`."""
        super().put(number, row)
        if row.cells is None:
            return
        data = row.cells.to_bytes()
        try:
            self._connection.execute(
                "REPLACE INTO cells VALUES (?, ?, ?)", (number, data, zlib.crc32(data))
            )
        except sqlite3.Error as error:
            raise self._failed(error) from None

    def get(self, number: int) -> Row | None:
        """See `ProgressFile.get`; None as well where the cells are gone or damaged."""
        row = super().get(number)
        if row is None or not row.is_scored:
            return row
        try:
            found = self._connection.execute(
                "SELECT found, crc FROM cells WHERE number = ?", (number,)
            ).fetchone()
        except sqlite3.Error as error:
            raise self._failed(error) from None
        if found is None or zlib.crc32(found[0]) != found[1]:
            return None
        return replace(row, cells=FieldCells.from_bytes(found[0]))
