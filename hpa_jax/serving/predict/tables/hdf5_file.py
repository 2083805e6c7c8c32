"""A file for HDF5 to write to, whose library crashes where a write fails, as on a full disk."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class KeptErrors(io.RawIOBase):
    """A new file that takes every write; what fails is kept, and nothing is written from then on.

    The library flushes what it has left when it is closed, and once more when the process ends. An
    error of the system in between is a crash of the process (HDF5 1.14).

    Args:
      path: of the file, which must not be there.

    Attributes:
      error: the first that the system answered, or None.
    """

    def __init__(self, path: Path):
        super().__init__()
        self.error: OSError | None = None
        self._file = open(path, "xb+", buffering=0)

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        """Reads; where a write has failed there is less than was written, and zeros are given."""
        view = memoryview(buffer).cast("B")
        count = self._file.readinto(view) or 0
        if self.error is not None:
            view[count:] = bytes(len(view) - count)
            return len(view)
        return count

    def write(self, data: Any) -> int:
        remaining = memoryview(data).cast("B")
        size = len(remaining)
        try:
            while remaining and self.error is None:
                remaining = remaining[self._file.write(remaining) :]
        except OSError as error:
            self.error = error
        return size

    def truncate(self, size: int | None = None) -> int:
        try:
            return self._file.truncate(size)
        except OSError as error:
            self.error = self.error or error
            return size or 0

    def close(self) -> None:
        self._file.close()
        super().close()


@contextmanager
def new_hdf5(path: Path) -> Iterator[Any]:
    """Opens a new HDF5 file to write to.

    Yields:
      An `h5py.File`.

    Raises:
      OSError: it cannot be written; what is at `path` then is nothing to keep.
    """
    import h5py

    with KeptErrors(path) as opened:
        try:
            with h5py.File(opened, "w") as file:
                yield file
        finally:
            # It is the cause of whatever the library made of it.
            if opened.error is not None:
                raise opened.error
