"""A file that records are appended to, each completely or not at all."""

import contextlib
import os
from pathlib import Path


class AppendFile:
    """Appends records to a file; to be closed.

    Each record is on its way to the disk when the call returns. Where it cannot be written, as on
    a full disk, nothing of it stays.
    """

    def __init__(self, path: Path):
        # Without a buffer: what failed must not be tried again when the file is closed.
        self._file = open(path, "ab", buffering=0)

    def append(self, record: bytes) -> None:
        """Appends a record.

        Raises:
          OSError: it cannot be written; the file is as it was.
        """
        size = os.fstat(self._file.fileno()).st_size
        left = memoryview(record)
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            error.filename = self._file.name
            with contextlib.suppress(OSError):
                self._file.truncate(size)
            raise

    @property
    def closed(self) -> bool:
        return self._file.closed

    def close(self) -> None:
        self._file.close()
