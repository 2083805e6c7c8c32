"""The files of a request by name, in memory: those of a zip, or those of a form.

Design: a zip of a stranger is read as such. Its directory is bounded before Python parses it, what
the files claim to have together before one of them is unpacked, and what a file really has while
it is. Nothing is written anywhere, so that no name can lead out; names that try are refused, since
somebody meant something by them.
"""

import io
import zipfile
from dataclasses import dataclass
from typing import BinaryIO

from hpa_jax.errors import one_line
from hpa_jax.images import store
from hpa_jax.images.store import DAMAGE, Refused
from hpa_jax.images.zip_file import DAMAGE_IN_DIRECTORY, member_name, open_member
from hpa_jax.serving.server.limits import Limits
from hpa_jax.serving.server.refusal import Refusal

ZIP = (b"PK\x03\x04", b"PK\x05\x06")
"""How a zip begins: one with something in it, and an empty one."""

# Of an entry in a zip's directory.
_ENTRY = b"PK\x01\x02"


@dataclass(frozen=True)
class Parts:
    """Files of a form, by name; a `store.Store`.

    Attributes:
      files: their bytes.
    """

    files: dict[str, bytes]

    def where(self, name: str) -> str:
        """See `Store`: the name itself, there is no folder."""
        return name

    def has(self, name: str) -> bool:
        """See `Store`."""
        return name in self.files

    def has_folder(self, name: str) -> bool:
        """See `Store`."""
        return False

    def names(self) -> list[str]:
        """Of all files."""
        return list(self.files)

    def open(self, name: str) -> BinaryIO:
        """See `Store`."""
        if name not in self.files:
            raise store.refusal(FileNotFoundError())
        return io.BytesIO(self.files[name])


class Archive:
    """Files of a zip, by name; a `store.Store`."""

    def __init__(self, data: bytes, limits: Limits):
        """Reads the directory alone.

        Raises:
          Refusal: 422 it is damaged, or a name leads out; 413 it has too much in it.
        """
        if data.count(_ENTRY) > limits.members:
            raise Refusal(413, f"the zip has more than {limits.members} files, as many as it may")
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
        except DAMAGE_IN_DIRECTORY as error:
            raise Refusal(422, f"the zip is damaged ({error}); make it again") from None
        self._limit = limits.body
        self._members: dict[str, zipfile.ZipInfo] = {}
        for member in self._zip.infolist():
            if member.is_dir():
                continue
            name = checked_name(member_name(member))
            if name in self._members:
                # Programs differ in which of them they unpack.
                raise Refusal(422, f"two files of the zip are named {name}; make it again")
            self._members[name] = member
        total = sum(member.file_size for member in self._members.values())
        if total > limits.unpacked:
            raise Refusal(
                413,
                f"the zip claims {total} bytes unpacked, more than the {limits.unpacked} that it "
                "may have",
            )

    def where(self, name: str) -> str:
        """See `Store`."""
        return name

    def has(self, name: str) -> bool:
        """See `Store`."""
        return name in self._members

    def has_folder(self, name: str) -> bool:
        """See `Store`."""
        return any(member.startswith(f"{name}/") for member in self._members)

    def names(self) -> list[str]:
        """Of all files."""
        return list(self._members)

    def open(self, name: str) -> BinaryIO:
        """See `Store`. The file is unpacked here, no further than it claims."""
        member = self._members.get(name)
        if member is None:
            raise store.refusal(FileNotFoundError())
        try:
            with open_member(self._zip, member, self._limit) as packed:
                return io.BytesIO(packed.read())
        except DAMAGE as error:
            raise Refused(f"is damaged in its zip ({one_line(error)}); make it again") from None


def checked_name(name: str) -> str:
    """A file's name with `/`, which leads nowhere but down.

    Raises:
      Refusal: it does.
    """
    name = name.replace("\\", "/")
    has_drive = name[1:2] == ":"
    if name.startswith("/") or has_drive or ".." in name.split("/"):
        raise Refusal(422, "the name of a file leads out of its folder ('..' or '/'); rename it")
    return name
