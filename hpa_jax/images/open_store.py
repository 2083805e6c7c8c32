"""Opens what the user gives: a folder, or a zip file that is read without unpacking it.

Both refuse with the same words and give the same bytes, so a dataset does not depend on which it
was.
"""

import glob
import unicodedata
from pathlib import Path

from hpa_jax.errors import InputError
from hpa_jax.images.disk_folder import Folder
from hpa_jax.images.store import Store
from hpa_jax.images.zip_file import Zip


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
