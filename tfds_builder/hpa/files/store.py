"""Where the files of a source lie: a folder, or a zip file that is read without being unpacked.

Unusual: nothing outside is read, whatever the names say: a name that climbs and a link that leads out are refused (a
link of the csv or of the images' whole folder, to another disk for example, is fine). What a zip member
claims to hold is checked before a byte of it is unpacked, so that a bomb costs nothing.

Both kinds refuse alike, with the same words, and give the same bytes: a dataset does not tell where it came from.
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

MAX_BYTES = (
    2**28
)  # of one file; the largest image that is read, 4096 x 4096 RGB in 16 bits, has 0.4 of it
_AGAIN = "download it again"
_PACKINGS = (
    zipfile.ZIP_STORED,
    zipfile.ZIP_DEFLATED,
)  # Python unpacks the other ones without a bound on memory


class Refused(Exception):
    """Why a file is not taken, and what to do: `is empty (0 bytes); download it again`. Who raises it knows no Id."""


class Store(Protocol):
    """Files by name; names are relative, with `/`."""

    def where(self, name: str) -> str:
        """The file's name in messages."""

    def has(self, name: str) -> bool:
        """Whether something of that name is there, sound or not."""

    def has_folder(self, name: str) -> bool:
        """Whether there is a folder of that name."""

    def open(self, name: str) -> BinaryIO:
        """The file, to be read and closed; Refused if it is missing, no file, outside, too large, or damaged.

        Reading may raise whatever `DAMAGE` lists.
        """


DAMAGE = (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
"""What reading from a store raises where the disk or the archive is damaged."""
_DAMAGE_IN_DIRECTORY = (
    *DAMAGE,
    ValueError,
    IndexError,
    struct.error,
)  # beside it, zipfile raises these in opening


def refusal(error: Exception) -> Refused:
    """The reason why one of `DAMAGE` came up."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return Refused(f"is missing; {_AGAIN}, or take its row out of the csv")
    if isinstance(error, OSError):
        return Refused(f"cannot be read ({error.strerror or error}); make it readable, or {_AGAIN}")
    return Refused(f"is damaged in its archive ({' '.join(str(error).split())[:120]}); {_AGAIN}")


def read(store: Store, name: str) -> bytes:
    """The whole file; Refused as by `open`, or where its archive's checksum does not fit."""
    try:
        with store.open(name) as file:
            return file.read()
    except DAMAGE as error:
        raise refusal(error) from None


@dataclass(frozen=True)
class Folder:
    """The files below a folder; `links`: what in it, by name, may be a link to elsewhere."""

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
        if file in ("", ".", "..") or not _inside(_real(parent), roots):
            raise Refused(f"leads out of {self.path}; put the file itself there")
        try:
            mode = os.lstat(path).st_mode
            if stat.S_ISLNK(mode):
                if not _inside(os.path.realpath(path), roots):
                    raise Refused(
                        f"is a link that leads out of {self.path}; put the file itself there"
                    )
                mode = os.stat(path).st_mode
            if not stat.S_ISREG(mode):
                raise Refused("is not a file; put the channel's image there")
            opened = open(path, "rb")
        except OSError as error:
            raise refusal(error) from None
        if (size := os.fstat(opened.fileno()).st_size) > MAX_BYTES:
            opened.close()
            raise _too_large(size)
        return opened


@lru_cache(maxsize=4096)
def _real(folder: str) -> str:
    return os.path.realpath(folder)


@lru_cache(maxsize=64)
def _roots(path: str, links: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(os.path.realpath(os.path.join(path, link)) for link in ("", *links))


def _inside(path: str, roots: Sequence[str]) -> bool:
    return any(path == root or path.startswith(root.rstrip("/") + "/") for root in roots)


def _too_large(size: int) -> Refused:
    return Refused(
        f"claims {size} bytes, more than the {MAX_BYTES} that an image may have; scale it down, or {_AGAIN}"
    )


@dataclass(frozen=True)
class Zip:
    """The members of a zip file. Each process opens it for itself, when it first reads."""

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
        if member.flag_bits & 1:
            raise Refused("is encrypted; unpack the archive and give the folder")
        if member.compress_type not in _PACKINGS:
            raise Refused(
                f"is packed by method {member.compress_type}; unpack the archive and give the folder"
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
            return _opened(str(self.path), os.getpid(), found.st_size, found.st_mtime_ns)
        except (
            _DAMAGE_IN_DIRECTORY
        ) as error:  # also of what is no zip at all, such as Kaggle's .7z of the full size
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            said = " ".join(str(reason).split())[:120]
            raise InputError(
                f"{self.path} is no whole zip file ({said}); {_AGAIN}, or unpack it"
            ) from None


class _Archive(NamedTuple):
    file: zipfile.ZipFile
    members: dict[str, zipfile.ZipInfo]
    folders: frozenset[str]


@lru_cache(maxsize=4)
def _opened(path: str, process: int, size: int, changed: int) -> _Archive:
    """By process: after a fork the parent's position in the file would be shared."""
    file = zipfile.ZipFile(path)
    return _Archive(
        file, file.NameToInfo, frozenset(name.rpartition("/")[0] for name in file.NameToInfo)
    )


def open_store(path: Path, links: tuple[str, ...] = ()) -> Store:
    """The store at `path`, a folder or a zip file, by what is there and not by its name.

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
    store.has("")  # opens it, so that a damaged archive is told here
    return store
