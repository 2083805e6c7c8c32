"""Where the files of a source are: a folder, or a zip file that is read without unpacking it.

Both refuse with the same words and give the same bytes, so a dataset does not depend on which it
was.

Design:
- Nothing outside is read, whatever the names are: a name that climbs and a link that leads out are
  refused. Only the csv and the images' whole folder may be links, to another disk for example;
  `follow_links` trusts them all, for folders of git-annex and the like.
- Zips are read as people make them: names with backslashes, the doubles that macOS adds, and a
  folder around everything (`open_below`).
- What a zip member claims to hold is checked before a byte of it is unpacked, so a bomb costs
  nothing.
"""

import contextlib
import glob
import os
import stat
import struct
import unicodedata
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

# In a member's flags: its name is UTF-8.
_IS_UTF8 = 0x800
# What macOS puts beside the files of a zip, one for each, with what Finder knows of them.
_DOUBLES_OF_MACOS = "__MACOSX/"


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

    def first_in(self, folder: str) -> str:
        """Name of the first file in a folder, in the order of names; empty if there is none."""

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
      follow_links: whether all of them may be.
    """

    path: Path
    links: tuple[str, ...] = ()
    follow_links: bool = False

    def where(self, name: str) -> str:
        """See `Store`."""
        return str(self.path / name)

    def has(self, name: str) -> bool:
        """See `Store`."""
        return os.path.lexists(f"{self.path}/{name}")

    def has_folder(self, name: str) -> bool:
        """See `Store`."""
        return os.path.isdir(f"{self.path}/{name}")

    def first_in(self, folder: str) -> str:
        """See `Store`."""
        try:
            with os.scandir(f"{self.path}/{folder}") as entries:
                names = [entry.name for entry in entries if entry.is_file()]
        except OSError:
            return ""
        return _first_shown(names)

    def open(self, name: str) -> BinaryIO:
        """See `Store`."""
        path = f"{self.path}/{name}"
        self._check_inside(name)
        try:
            mode = os.lstat(path).st_mode
            if stat.S_ISLNK(mode):
                self._check_link(path)
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

    def _check_inside(self, name: str) -> None:
        """Refuses a name that climbs out, and one below a folder that is a link to elsewhere."""
        parent, _, file = f"{self.path}/{name}".rpartition("/")
        if file in ("", ".", "..") or ".." in name.split("/") or name.startswith("/"):
            raise Refused(f"leads out of {self.path}; put the file itself there")
        if self.follow_links:
            return
        if not _is_inside(_real_path(parent), _roots(str(self.path), self.links)):
            raise Refused(
                f"leads out of {self.path}; put the file itself there, or trust links with "
                "--follow_links"
            )

    def _check_link(self, path: str) -> None:
        """Refuses a link to nothing, and one to elsewhere that nobody trusts."""
        if not os.path.exists(path):
            raise Refused(
                f"is missing: a link to {os.readlink(path)!r}, where there is nothing; fetch that "
                "file, or take its row out of the csv"
            )
        if self.follow_links:
            return
        if not _is_inside(os.path.realpath(path), _roots(str(self.path), self.links)):
            raise Refused(
                f"is a link that leads out of {self.path}; put the file itself there, or trust "
                "links with --follow_links"
            )


def _first_shown(names: Sequence[str]) -> str:
    """The first that is not hidden, as what Finder leaves everywhere is."""
    return min((name for name in names if not name.startswith(".")), default="")


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
        return _first_shown(inside)

    def _full(self, name: str) -> str:
        return f"{self.top}/{name}" if self.top else name

    def open(self, name: str) -> BinaryIO:
        """See `Store`."""
        archive = self._archive()
        member = archive.members.get(self._full(name))
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
    members = {}
    for member in file.infolist():
        name = _member_name(member)
        if not name.startswith(_DOUBLES_OF_MACOS):
            members[name] = member
    folders = {name.rpartition("/")[0] for name in members}
    # Not every program lists the folders themselves.
    for folder in list(folders):
        while folder := folder.rpartition("/")[0]:
            folders.add(folder)
    return _Archive(file, members, frozenset(folders))


def _member_name(member: zipfile.ZipInfo) -> str:
    """A member's name with `/`, in Unicode."""
    name = member.filename
    if not member.flag_bits & _IS_UTF8 and not name.isascii():
        # macOS writes UTF-8 and does not say so; Python takes it for the code page of DOS.
        with contextlib.suppress(UnicodeError):
            name = name.encode("cp437").decode()
    # As .NET wrote names before 4.6.1. Python has no such names on Windows.
    return name.replace("\\", "/").removeprefix("./")


def open_below(
    path: Path, name: str, links: tuple[str, ...] = (), follow_links: bool = False
) -> Store:
    """The store that has the file `name`: at `path`, or in the only folder there that has it.

    Programs that make a zip of a folder put that folder around everything. If the file is nowhere,
    this is the store at `path`.

    Args:
      path: of the folder or zip file.
      name: of a file.
      links: see `Folder`.
      follow_links: see `Folder`.

    Raises:
      InputError: as of `open_store`; or several folders have the file.
    """
    found = open_store(path, links, follow_links)
    if found.has(name):
        return found
    if isinstance(found, Zip):
        ends = f"/{name}"
        tops = [one.removesuffix(ends) for one in found.names() if one.endswith(ends)]
    else:
        tops = [one.parent.name for one in path.glob(f"*/{glob.escape(name)}")]
    tops.sort()
    if len(tops) > 1:
        raise InputError(
            f"{path} has {name} in {len(tops)} folders, {tops[0]} and {tops[1]} among them; give "
            "one of them"
        )
    if not tops:
        return found
    if isinstance(found, Zip):
        return Zip(path, tops[0])
    return Folder(path / tops[0], links, follow_links)


def same_name(images: Store, name: str) -> str:
    """The name by which the store has a file, where only the form of its accents differs.

    macOS writes an accent and its letter as two characters, most other programs as one.
    """
    if name.isascii() or images.has(name):
        return name
    for form in ("NFC", "NFD"):
        other = unicodedata.normalize(form, name)
        if images.has(other):
            return other
    return name


def open_store(path: Path, links: tuple[str, ...] = (), follow_links: bool = False) -> Store:
    """The store at `path`: a folder or a zip file, by its content and not by its name.

    Args:
      path: of the folder or file.
      links: see `Folder`.
      follow_links: see `Folder`.

    Raises:
      InputError: there is neither.
    """
    if path.is_dir():
        return Folder(path, links, follow_links)
    if not path.exists():
        raise InputError(
            f"{path} is not there; give the folder of the images (and of their csv, for a dataset) "
            "or a zip of it"
        )
    store = Zip(path)
    # Opens the archive, so that a damaged one is reported here.
    store.has("")
    return store
