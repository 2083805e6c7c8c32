"""Where the files of a source are: a folder, or a zip file that is read without unpacking it.

Both refuse with the same words and give the same bytes, so a dataset does not depend on which it
was.

Design:
- Nothing outside is read, whatever the names are: a name that climbs and a link that leads out are
  refused. Only the csv and the images' whole folder may be links, to another disk for example.
- What a zip member claims to hold is checked before a byte of it is unpacked, so a bomb costs
  nothing.
"""

import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from hpa_jax.errors import InputError

# Of one file. The largest image that is read, 4096 x 4096 RGB of 16 bits, has 0.4 of it.
MAX_BYTES = 2**28
DOWNLOAD_AGAIN = "download it again"

# Python unpacks the other methods without a bound on memory.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class Refused(Exception):
    """Why a file is not accepted and what to do: `is empty (0 bytes); download it again`.

    Whoever raises it does not know the image's Id; see `sources.Fault`.
    """


class Store(Protocol):
    """Files by name; names are relative, with `/`."""

    def where(self, name: str) -> str:
        """The file's name for messages."""

    def has(self, name: str) -> bool:
        """Whether something of that name exists, readable or not."""

    def has_folder(self, name: str) -> bool:
        """Whether there is a folder of that name."""

    def open(self, name: str) -> BinaryIO:
        """Opens a file for reading. Reading may raise whatever `DAMAGE` lists.

        Raises:
          Refused: it is missing, no file, outside, too large, or damaged.
        """


DAMAGE = (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
"""What reading from a store raises if the disk or the archive is damaged."""

# zipfile raises these as well while it reads an archive's directory.
_DAMAGE_IN_DIRECTORY = (*DAMAGE, ValueError, IndexError, struct.error)


def refusal(error: Exception) -> Refused:
    """Turns one of `DAMAGE` into a reason."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return Refused(f"is missing; {DOWNLOAD_AGAIN}, or take its row out of the csv")
    if isinstance(error, OSError):
        reason = error.strerror or error
        return Refused(f"cannot be read ({reason}); make it readable, or {DOWNLOAD_AGAIN}")
    return Refused(f"is damaged in its archive ({_one_line(error)}); {DOWNLOAD_AGAIN}")


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


@dataclass(frozen=True)
class Folder:
    """The files below a folder.

    Attributes:
      path: of the folder.
      links: names in it that may be links to elsewhere.
    """

    path: Path
    links: tuple[str, ...] = ()

    def where(self, name: str) -> str:
        """See `Store`."""
        return str(self.path / name)

    def has(self, name: str) -> bool:
        """See `Store`."""
        return os.path.lexists(f"{self.path}/{name}")

    def has_folder(self, name: str) -> bool:
        """See `Store`."""
        return os.path.isdir(f"{self.path}/{name}")

    def open(self, name: str) -> BinaryIO:
        """See `Store`."""
        path = f"{self.path}/{name}"
        parent, _, file = path.rpartition("/")
        roots = _roots(str(self.path), self.links)
        if file in ("", ".", "..") or not _is_inside(_real_path(parent), roots):
            raise Refused(f"leads out of {self.path}; put the file itself there")
        try:
            mode = os.lstat(path).st_mode
            if stat.S_ISLNK(mode):
                if not _is_inside(os.path.realpath(path), roots):
                    raise Refused(
                        f"is a link that leads out of {self.path}; put the file itself there"
                    )
                mode = os.stat(path).st_mode
            # Opening a pipe would wait for ever.
            if not stat.S_ISREG(mode):
                raise Refused("is not a file; put the channel's image there")
            opened = open(path, "rb")
        except OSError as error:
            raise refusal(error) from None
        size = os.fstat(opened.fileno()).st_size
        if size > MAX_BYTES:
            opened.close()
            raise _too_large(size)
        return opened


@lru_cache(maxsize=4096)
def _real_path(folder: str) -> str:
    return os.path.realpath(folder)


@lru_cache(maxsize=64)
def _roots(path: str, links: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(os.path.realpath(os.path.join(path, link)) for link in ("", *links))


def _is_inside(path: str, roots: Sequence[str]) -> bool:
    return any(path == root or path.startswith(root.rstrip("/") + "/") for root in roots)


def _too_large(size: int) -> Refused:
    return Refused(
        f"claims {size} bytes, more than the {MAX_BYTES} that an image may have; "
        f"scale it down, or {DOWNLOAD_AGAIN}"
    )


def _one_line(reason: object) -> str:
    return " ".join(str(reason).split())[:120]


@dataclass(frozen=True)
class Zip:
    """The members of a zip file; each process opens it for itself, when it first reads.

    Attributes:
      path: of the zip file.
    """

    path: Path

    def where(self, name: str) -> str:
        """See `Store`."""
        return f"{self.path}/{name}"

    def has(self, name: str) -> bool:
        """See `Store`."""
        return name in self._archive().members

    def has_folder(self, name: str) -> bool:
        """See `Store`."""
        return name in self._archive().folders

    def open(self, name: str) -> BinaryIO:
        """See `Store`."""
        archive = self._archive()
        member = archive.members.get(name)
        if member is None:
            raise refusal(FileNotFoundError())
        if member.is_dir():
            raise Refused("is not a file; put the channel's image there")
        is_encrypted = member.flag_bits & 1
        if is_encrypted:
            raise Refused("is encrypted; unpack the archive and give the folder")
        if member.compress_type not in _METHODS:
            raise Refused(
                f"is packed by method {member.compress_type}; "
                "unpack the archive and give the folder"
            )
        if member.file_size > MAX_BYTES:
            raise _too_large(member.file_size)
        try:
            return archive.file.open(member)
        except _DAMAGE_IN_DIRECTORY as error:
            raise refusal(error) from None

    def _archive(self) -> "_Archive":
        try:
            found = os.stat(self.path)
            return _open_archive(str(self.path), os.getpid(), found.st_size, found.st_mtime_ns)
        # Also what is no zip at all, such as Kaggle's .7z of the full size.
        except _DAMAGE_IN_DIRECTORY as error:
            strerror = error.strerror if isinstance(error, OSError) else None
            raise InputError(
                f"{self.path} is no complete zip file ({_one_line(strerror or error)}); "
                f"{DOWNLOAD_AGAIN}, or unpack it"
            ) from None


class _Archive(NamedTuple):
    file: zipfile.ZipFile
    members: dict[str, zipfile.ZipInfo]
    folders: frozenset[str]


@lru_cache(maxsize=4)
def _open_archive(path: str, process: int, size: int, changed: int) -> _Archive:
    """Opens an archive anew in each process, and when the file changes.

    After a fork the position in the file would be shared with the parent.
    """
    file = zipfile.ZipFile(path)
    folders = frozenset(name.rpartition("/")[0] for name in file.NameToInfo)
    return _Archive(file, file.NameToInfo, folders)


def open_store(path: Path, links: tuple[str, ...] = ()) -> Store:
    """The store at `path`: a folder or a zip file, by its content and not by its name.

    Args:
      path: of the folder or file.
      links: see `Folder`.

    Raises:
      InputError: there is neither.
    """
    if path.is_dir():
        return Folder(path, links)
    if not path.exists():
        raise InputError(
            f"{path} is not a folder; give the folder of the csv and the images, or their zip file"
        )
    store = Zip(path)
    # Opens the archive, so that a damaged one is reported here.
    store.has("")
    return store
