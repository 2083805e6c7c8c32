"""Files by name, wherever they are: what a folder (`disk_folder`) and a zip (`zip_file`) share.

Nothing outside is read, whatever the names are: a name that climbs and a link that leads out are
refused.
"""

import zipfile
import zlib
from collections.abc import Sequence
from typing import BinaryIO, Protocol

from hpa_jax.errors import one_line

# Of one file. The largest image that is read, 4096 x 4096 RGB of 16 bits, has 0.4 of it.
MAX_BYTES = 2**28
DOWNLOAD_AGAIN = "download it again"
_LONGEST_REASON = 120


class Refused(Exception):
    """Why a file is not accepted and what to do: `is empty (0 bytes); download it again`.

    Whoever raises it does not know the image's Id.
    """


class Store(Protocol):
    """Files by name; names are relative, with `/`."""

    def where(self, name: str) -> str:
        """The file's name for messages."""

    def has(self, name: str) -> bool:
        """Whether something of that name exists, readable or not."""

    def has_folder(self, name: str) -> bool:
        """Whether there is a folder of that name."""

    def first_in(self, folder: str) -> str:
        """Name of the first file in a folder, in the order of names; empty if there is none."""

    def open(self, name: str) -> BinaryIO:
        """Opens a file for reading. Reading may raise whatever `DAMAGE` lists.

        Raises:
          Refused: it is missing, no file, outside, too large, or damaged.
        """


DAMAGE = (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
"""What reading from a store raises if the disk or the archive is damaged."""


def refusal(error: Exception) -> Refused:
    """Turns one of `DAMAGE` into a reason."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return Refused(f"is missing; {DOWNLOAD_AGAIN}, or take its row out of the csv")
    if isinstance(error, OSError):
        reason = error.strerror or error
        return Refused(f"cannot be read ({reason}); make it readable, or {DOWNLOAD_AGAIN}")
    return Refused(
        f"is damaged in its archive ({one_line(error, _LONGEST_REASON)}); {DOWNLOAD_AGAIN}"
    )


def read(store: Store, name: str) -> bytes:
    """Reads a complete file.

    Raises:
      Refused: as `Store.open`; or the archive's checksum does not match.
    """
    try:
        with store.open(name) as file:
            return file.read()
    except DAMAGE as error:
        raise refusal(error) from None


def first_shown(names: Sequence[str]) -> str:
    """The first name that is not hidden, as what Finder leaves everywhere is; empty for none."""
    return min((name for name in names if not name.startswith(".")), default="")


def too_large(size: int, most: int = MAX_BYTES) -> Refused:
    """Why a file of so many bytes is not read, where `most` are allowed."""
    return Refused(
        f"claims {size} bytes, more than the {most} that an image may have; "
        f"scale it down, or {DOWNLOAD_AGAIN}"
    )
