"""What a prediction has done so far, on the disk: it resumes after a kill, and memory stays small.

`OUT.progress` is an SQLite file with a row for each image, which lies beside the table until that
is complete. A transaction is there completely or not at all, so a process that is killed in the
middle of one loses that one. Each row has a CRC, since SQLite has none.
"""

import errno
import hashlib
import json
import sqlite3
import time
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import numpy as np

from hpa_jax.errors import InputError, is_out_of_space, one_line
from hpa_jax.serving.predict.rows import Row

SUFFIX = ".progress"

# A kill loses the work of so many seconds.
_SECONDS_A_TRANSACTION = 2

_FORMAT = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS images (
  number INTEGER PRIMARY KEY,
  id TEXT NOT NULL,
  stamp TEXT NOT NULL,
  probabilities BLOB,
  embedding BLOB,
  facts TEXT NOT NULL,
  crc INTEGER NOT NULL
);
"""
_SELECT = """
SELECT id, stamp, probabilities, embedding, facts, crc FROM images WHERE number = ?
"""


class ProgressFile:
    """The rows of a prediction, by the number of the image.

    One process at a time; whoever opens it holds a lock.

    Args:
      path: of the file.
      settings: all that the rows follow from, besides the images themselves.

    Raises:
      InputError: the file is there and is something else, or cannot be written.
    """

    def __init__(self, path: Path, settings: Mapping):
        self.path = path
        self._key = _digest(settings)
        self._began = 0.0
        self._is_closed = False
        self._connection = self._opened()

    def __enter__(self) -> "ProgressFile":
        return self

    def __exit__(self, kind, error, traceback) -> None:
        self.close()

    def _opened(self) -> sqlite3.Connection:
        if self.path.is_symlink() or (self.path.exists() and not self.path.is_file()):
            raise InputError(f"{self.path} is in the way and is no file; move it away")
        # nolock: a lock of this program's is held, and not every file system has SQLite's.
        place = f"file:{quote(str(self.path.absolute()))}?nolock=1"
        try:
            connection = sqlite3.connect(place, uri=True, isolation_level=None)
            connection.execute("PRAGMA synchronous = NORMAL")
            if self.path.stat().st_size and not self._is_ours(connection):
                connection.close()
                raise InputError(
                    f"{self.path} is in the way and is not of this program; move it away"
                )
            connection.executescript(_SCHEMA)
            self._claim(connection)
        except sqlite3.Error as error:
            raise self._failed(error) from None
        return connection

    def _is_ours(self, connection: sqlite3.Connection) -> bool:
        try:
            names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
            return not names or {"about", "images"} <= names
        except sqlite3.DatabaseError:
            return False

    def _claim(self, connection: sqlite3.Connection) -> None:
        """Forgets the rows of a call with other settings."""
        found = connection.execute("SELECT value FROM about WHERE name = 'key'").fetchone()
        if found == (self._key,):
            return
        (count,) = connection.execute("SELECT count(*) FROM images").fetchone()
        if count:
            print(
                f"{self.path} has {count} images of another call (another net, or other "
                "settings): starting anew"
            )
        connection.execute("BEGIN")
        connection.execute("DELETE FROM images")
        connection.execute("REPLACE INTO about VALUES ('key', ?)", (self._key,))
        connection.execute("COMMIT")

    def put(self, number: int, row: Row) -> None:
        """Keeps the row of an image; it is on the disk after the next `flush`."""
        facts = json.dumps([row.pixel_size, list(row.means), row.file, row.reason])
        values = [
            row.id,
            row.stamp,
            _bytes_of(row.probabilities),
            _bytes_of(row.embedding),
            facts,
        ]
        try:
            if not self._connection.in_transaction:
                self._connection.execute("BEGIN")
                self._began = time.monotonic()
            self._connection.execute(
                "REPLACE INTO images VALUES (?, ?, ?, ?, ?, ?, ?)",
                (number, *values, _crc(values)),
            )
        except sqlite3.Error as error:
            raise self._failed(error) from None

    def flush(self, now: bool = False) -> None:
        """Writes the rows to the disk, if it is time or if it has to be now."""
        if not self._connection.in_transaction:
            return
        if now or time.monotonic() - self._began >= _SECONDS_A_TRANSACTION:
            try:
                self._connection.execute("COMMIT")
            except sqlite3.Error as error:
                raise self._failed(error) from None

    def get(self, number: int) -> Row | None:
        """The row of an image; None where there is none, or where it is damaged."""
        try:
            found = self._connection.execute(
                _SELECT,
                (number,),
            ).fetchone()
        except sqlite3.Error as error:
            raise self._failed(error) from None
        return _row_of(found) if found else None

    def rows(self, count: int) -> Iterator[Row]:
        """The rows of the first `count` images, in their order; each has one."""
        for number in range(count):
            row = self.get(number)
            if row is None:
                raise InputError(
                    f"{self.path} is damaged: image {number} is gone; start again to score it anew"
                )
            yield row

    def close(self) -> None:
        """Writes what there is; the file stays."""
        if self._is_closed:
            return
        try:
            self.flush(now=True)
        finally:
            self._is_closed = True
            self._connection.close()

    def remove(self) -> None:
        """Closes and removes the file."""
        self.close()
        self.path.unlink(missing_ok=True)
        self.path.with_name(f"{self.path.name}-journal").unlink(missing_ok=True)

    def _failed(self, error: sqlite3.Error) -> Exception:
        reason = one_line(error)
        if is_out_of_space(error) or "is full" in reason:
            return OSError(errno.ENOSPC, "No space left on device", str(self.path))
        return InputError(
            f"{self.path} cannot be used ({reason}); remove it, or choose another --out"
        )


def _row_of(found: tuple) -> Row | None:
    *values, crc = found
    if _crc(values) != crc:
        return None
    image_id, stamp, probabilities, embedding, facts = values
    pixel_size, means, file, reason = json.loads(facts)
    return Row(
        id=image_id,
        stamp=stamp,
        probabilities=_array_of(probabilities),
        embedding=_array_of(embedding),
        pixel_size=pixel_size,
        means=tuple(means),
        file=file,
        reason=reason,
    )


def _bytes_of(array: np.ndarray | None) -> bytes | None:
    return None if array is None else array.astype("<f4").tobytes()


def _array_of(data: bytes | None) -> np.ndarray | None:
    return None if data is None else np.frombuffer(data, "<f4")


def _crc(values: list) -> int:
    crc = 0
    for value in values:
        data = value.encode() if isinstance(value, str) else value or b""
        crc = zlib.crc32(data, zlib.crc32(str(len(data)).encode(), crc))
    return crc


def _digest(settings: Mapping) -> str:
    text = json.dumps({"format": _FORMAT, **settings}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
