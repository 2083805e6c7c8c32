"""The image files of a folder or zip, by name: what there is, before anything is opened."""

import os
from collections.abc import Iterator
from typing import NamedTuple

from hpa_jax.errors import InputError
from hpa_jax.images.disk_folder import Folder
from hpa_jax.images.store import Store

SUFFIXES = (".png", ".tif", ".tiff", ".jpg", ".jpeg")
"""Of the files that are read, in lower case."""

# Of two suffixes: the inner one is no part of a name.
_INNER_SUFFIXES = (".ome",)


class Names(NamedTuple):
    """The files below a folder, or in a zip.

    Attributes:
      images: names of those with one of SUFFIXES, with `/`, sorted.
      others: number of all other files.
      other: the name of one of those, or empty.
    """

    images: list[str]
    others: int
    other: str


def list_images(store: Store, follow_links: bool = False) -> Names:
    """Lists the files of a store.

    Files that the system hides (`.DS_Store`, `__MACOSX/`) are not there.

    Args:
      store: the folder or zip.
      follow_links: whether folders that are links are entered.

    Raises:
      OSError: the folder cannot be read.
      InputError: the name of an image is no text.
    """
    images = []
    others = 0
    other = ""
    for name in _names(store, follow_links):
        if _is_hidden(name):
            continue
        if name.lower().endswith(SUFFIXES):
            if not _is_text(name):
                raise InputError(
                    f"{os.fsencode(name)!r} in {store.where('')} is a name that is not UTF-8, "
                    "which no table can hold; rename it"
                )
            images.append(name)
            continue
        others += 1
        other = other or name
    images.sort()
    return Names(images, others, other)


def stem_of(name: str) -> str:
    """A file's name without the suffix of its format: `plate 1/a.b` of `plate 1/a.b.ome.tif`."""
    for suffixes in (SUFFIXES, _INNER_SUFFIXES):
        for suffix in suffixes:
            if name.lower().endswith(suffix):
                name = name[: -len(suffix)]
                break
    return name


def _is_hidden(name: str) -> bool:
    parts = name.split("/")
    return parts[0] == "__MACOSX" or any(part.startswith(".") for part in parts)


def _names(store: Store, follow_links: bool) -> Iterator[str]:
    if not isinstance(store, Folder):
        for name in store.names():
            if not name.endswith("/"):
                yield name
        return
    # Depth first by hand: os.walk would go round in circles of links for ever.
    waiting = [""]
    entered = set()
    while waiting:
        prefix = waiting.pop()
        place = f"{store.path}/{prefix}"
        if follow_links:
            found = os.stat(place)
            if (found.st_dev, found.st_ino) in entered:
                continue
            entered.add((found.st_dev, found.st_ino))
        with os.scandir(place) as entries:
            for entry in entries:
                name = f"{prefix}{entry.name}"
                if entry.is_dir(follow_symlinks=follow_links):
                    waiting.append(f"{name}/")
                else:
                    yield name


def _is_text(name: str) -> bool:
    """Whether a file's name is UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
