"""A zip file as a store: its members are read without writing one of them anywhere.

Design:
- Zips are read as people make them: names with backslashes, the doubles that macOS adds, and a
  folder around everything (`open_store.open_below`).
- What a member claims to hold is checked before a byte of it is unpacked, and no more than that is
  unpacked, so a bomb costs nothing.
"""

import contextlib
import io
import os
import stat
import struct
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, NamedTuple

from hpa_jax.errors import InputError, one_line
from hpa_jax.images import foreign
from hpa_jax.images.store import (
    DAMAGE,
    DOWNLOAD_AGAIN,
    MAX_BYTES,
    Refused,
    first_shown,
    refusal,
    too_large,
)

DAMAGE_IN_DIRECTORY = (*DAMAGE, ValueError, IndexError, struct.error)
"""What zipfile raises if an archive's directory is damaged."""

# Python unpacks the other methods without a bound on memory.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# In a member's flags.
_IS_ENCRYPTED = 1
_IS_UTF8 = 0x800
# Above the bits in which Windows keeps its own attributes.
_UNIX_MODE = 16
# What macOS puts beside the files of a zip, one for each, with what Finder knows of them.
_DOUBLES_OF_MACOS = "__MACOSX/"
_LONGEST_REASON = 120


@dataclass(frozen=True)
class Zip:
    """The members of a zip file; each process opens it for itself, when it first reads.

    Attributes:
      path: of the zip file.
      top: name of the folder in it that holds everything; empty for none.
    """

    path: Path
    top: str = ""

    def where(self, name: str) -> str:
        """See `Store`."""
        return f"{self.path}/{self._full(name)}"

    def has(self, name: str) -> bool:
        """See `Store`."""
        return self._full(name) in self._archive().members

    def has_folder(self, name: str) -> bool:
        """See `Store`."""
        return self._full(name) in self._archive().folders

    def names(self) -> list[str]:
        """Of all members below `top`, as in the archive's directory."""
        start = self._full("")
        names = self._archive().members
        return [name.removeprefix(start) for name in names if name.startswith(start)]

    def first_in(self, folder: str) -> str:
        """See `Store`."""
        start = f"{self._full(folder)}/" if folder else self._full("")
        inside = []
        for name in self._archive().members:
            rest = name.removeprefix(start)
            if name.startswith(start) and rest and "/" not in rest:
                inside.append(rest)
        return first_shown(inside)

    def _full(self, name: str) -> str:
        return f"{self.top}/{name}" if self.top else name

    def open(self, name: str) -> BinaryIO:
        """See `Store`."""
        archive = self._archive()
        full = self._full(name)
        member = archive.members.get(full)
        if member is None:
            raise refusal(FileNotFoundError())
        if full in archive.doubled:
            raise Refused("is twice in the zip, with different bytes; make the zip again")
        return open_member(archive.file, member, MAX_BYTES)

    def _archive(self) -> "_Archive":
        try:
            found = os.stat(self.path)
            return _open_archive(str(self.path), os.getpid(), found.st_size, found.st_mtime_ns)
        except DAMAGE_IN_DIRECTORY as error:
            raise InputError(self._why_not(error)) from None

    def _why_not(self, error: Exception) -> str:
        """Why it cannot be opened; also of what is no zip at all, such as Kaggle's .7z."""
        with contextlib.suppress(OSError), open(self.path, "rb") as file:
            kind = foreign.kind_of(file.read(foreign.START_BYTES))
            if kind and kind != foreign.ZIP:
                return f"{self.path} is no zip file but {kind}; give a zip, or an unpacked folder"
        strerror = error.strerror if isinstance(error, OSError) else None
        reason = one_line(strerror or error, _LONGEST_REASON)
        return f"{self.path} is no complete zip file ({reason}); {DOWNLOAD_AGAIN}, or unpack it"


class _Archive(NamedTuple):
    """An open archive.

    Attributes:
      file: the archive.
      members: by name.
      folders: names of all of them.
      doubled: names that several members have, whose bytes differ.
    """

    file: zipfile.ZipFile
    members: dict[str, zipfile.ZipInfo]
    folders: frozenset[str]
    doubled: frozenset[str]


@lru_cache(maxsize=4)
def _open_archive(path: str, process: int, size: int, changed: int) -> _Archive:
    """Opens an archive anew in each process, and when the file changes.

    After a fork the position in the file would be shared with the parent.
    """
    file = zipfile.ZipFile(path)
    members = {}
    doubled = set()
    for member in file.infolist():
        name = member_name(member)
        if name.startswith(_DOUBLES_OF_MACOS):
            continue
        if ".." in name.split("/"):
            raise InputError(
                f"{path} has a file whose name leads out of its folder ({one_line(name, 80)}); "
                "make the zip again, of the folder itself"
            )
        same = members.setdefault(name, member)
        if (same.CRC, same.file_size) != (member.CRC, member.file_size):
            doubled.add(name)
    folders = {name.rpartition("/")[0] for name in members}
    # Not every program lists the folders themselves.
    for folder in list(folders):
        while folder := folder.rpartition("/")[0]:
            folders.add(folder)
    return _Archive(file, members, frozenset(folders), frozenset(doubled))


def member_name(member: zipfile.ZipInfo) -> str:
    """A member's name with `/`, in Unicode."""
    name = member.filename
    if not member.flag_bits & _IS_UTF8 and not name.isascii():
        # macOS writes UTF-8 and does not say so; Python takes it for the code page of DOS.
        with contextlib.suppress(UnicodeError):
            name = name.encode("cp437").decode()
    # As .NET wrote names before 4.6.1. Python has no such names on Windows.
    return name.replace("\\", "/").removeprefix("./")


def open_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, most: int) -> BinaryIO:
    """Opens a member of an archive for reading, which may raise whatever `DAMAGE` lists.

    Args:
      archive: the archive.
      member: of it.
      most: bytes that it may have.

    Raises:
      Refused: it is a folder, a link, encrypted, packed by a rare method, too large, or damaged.
    """
    is_link = stat.S_ISLNK(member.external_attr >> _UNIX_MODE)
    if is_link:
        raise Refused("is a link, which leads nowhere in a zip; put the file itself there")
    if member.is_dir():
        raise Refused("is not a file; put the channel's image there")
    if member.flag_bits & _IS_ENCRYPTED:
        raise Refused("is encrypted; make the zip without a password, or unpack it")
    if member.compress_type not in _METHODS:
        raise Refused(
            f"is packed by method {member.compress_type}; make the zip with deflate, or unpack it"
        )
    if member.file_size > most:
        raise too_large(member.file_size, most)
    try:
        return _Member(archive.open(member), member.file_size)
    except DAMAGE_IN_DIRECTORY as error:
        raise refusal(error) from None


class _Member(io.BufferedIOBase):
    """A member that is unpacked no further than it claims.

    Asked for everything, zipfile unpacks whatever there is before it counts.
    """

    def __init__(self, packed: BinaryIO, size: int):
        self._packed = packed
        self._size = size

    def read(self, size: int | None = -1) -> bytes:
        """Reads `size` bytes, or all that are left."""
        left = max(0, self._size - self._packed.tell())
        if size is None or size < 0:
            size = left
        data = self._packed.read(size)
        if len(data) < min(size, left):
            raise zipfile.BadZipFile("it has fewer bytes than the zip says")
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves to a position; backwards, everything is unpacked again."""
        return self._packed.seek(offset, whence)

    def tell(self) -> int:
        """The current position."""
        return self._packed.tell()

    def close(self) -> None:
        """Closes the member, not the archive."""
        self._packed.close()
        super().close()
