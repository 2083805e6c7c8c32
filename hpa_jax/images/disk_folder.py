"""The files below a folder on disk, of which none leads outside.

Only the csv and the images' whole folder may be links, to another disk for example; `follow_links`
trusts them all, for folders of git-annex and the like.
"""

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from hpa_jax.images.store import MAX_BYTES, Refused, first_shown, refusal, too_large


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
        return first_shown(names)

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
            raise too_large(size)
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


@lru_cache(maxsize=4096)
def _real_path(folder: str) -> str:
    return os.path.realpath(folder)


@lru_cache(maxsize=64)
def _roots(path: str, links: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(os.path.realpath(os.path.join(path, link)) for link in ("", *links))


def _is_inside(path: str, roots: Sequence[str]) -> bool:
    return any(path == root or path.startswith(root.rstrip("/") + "/") for root in roots)
