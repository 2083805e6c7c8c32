"""Where the csv and the images are: together in a folder or zip, or the csv anywhere else."""

import os
from dataclasses import dataclass
from pathlib import Path

from hpa_jax.environment.paths import expand_path
from hpa_jax.errors import InputError
from hpa_jax.images import store
from hpa_jax.images.disk_folder import Folder
from hpa_jax.images.open_store import open_below, open_store
from hpa_jax.images.store import Refused, Store
from hpa_jax.images.zip_file import Zip

_TABLES = (".csv", ".tsv", ".txt")
_SEE_LAYOUT = "see tfds_builder/hpa/README.md for the layout"


@dataclass(frozen=True)
class Places:
    """Opens both.

    Attributes:
      manual_dir: the folder or zip file.
      csv: name of the csv in it, or its absolute path.
      patterns: of the names of images in it.
      follow_links: whether files may be links to anywhere.
      may_be_packed: whether the images may be in a zip of their own, as Kaggle's train.zip.
      has_flag: whether the user can name the csv.
    """

    manual_dir: Path
    csv: str
    patterns: tuple[str, ...]
    follow_links: bool
    may_be_packed: bool
    has_flag: bool

    def open(self) -> tuple[Store, Store]:
        """Where the csv and the images are."""
        folders = []
        for pattern in self.patterns:
            folder, _, _ = pattern.split("{")[0].rpartition("/")
            if folder:
                folders.append(folder)
        if self.is_elsewhere:
            images = open_store(self.manual_dir, tuple(folders), self.follow_links)
            return Folder(Path(self.csv).parent, follow_links=True), _without_top(images, folders)
        links = (self.csv, *folders)
        files = open_below(self.manual_dir, self.csv, links, self.follow_links)
        if not self.may_be_packed or any(map(files.has_folder, folders)):
            return files, files
        archives = [f"{folder}.zip" for folder in folders]
        packed = next(filter(files.has, archives), None)
        if not packed:
            return files, files
        if isinstance(files, Zip):
            raise InputError(
                f"{files.where(packed)} is a zip in a zip; unzip the outer one and give its folder"
            )
        return files, open_store(files.path / packed)

    def read_csv(self) -> tuple[bytes, str]:
        """The csv, and where it is.

        Raises:
          InputError: it cannot be read.
        """
        files, _ = self.open()
        name = Path(self.csv).name if self.is_elsewhere else self.csv
        where = files.where(name)
        try:
            return store.read(files, name), where
        except Refused as refused:
            # Without the advice, which is for image files.
            reason, _, _ = str(refused).partition("; ")
        others = _tables(files) if reason == "is missing" else []
        if others:
            reason += f", and {others[0]} lies there; give it with --config=folder --csv"
            raise InputError(f"{where} {reason}")
        advice = "give the path of the csv with --csv" if self.has_flag else _SEE_LAYOUT
        raise InputError(f"{where} {reason}; {advice}")

    def below(self) -> str:
        """The folder of `manual_dir` in which all is; empty if it is not in one."""
        files, _ = self.open()
        where = files.where("").rstrip("/")
        return "" if self.is_elsewhere or where == str(self.manual_dir) else where

    @property
    def is_elsewhere(self) -> bool:
        """Whether the csv is outside."""
        return os.path.isabs(self.csv)


def csv_elsewhere(csv: str, manual_dir: Path) -> str:
    """The csv's absolute path, if it is not to be sought in `manual_dir`; else its name there.

    An absolute path, and one that climbs, is of the file system. Any other is a name in
    `manual_dir`, and if it is not there, one in the current folder.

    Args:
      csv: as the user gave it.
      manual_dir: the folder or zip of the images.

    Raises:
      InputError: it cannot be a path.
    """
    path = expand_path(csv, "--csv")
    parts = path.split("/")
    if not path or path.endswith("/"):
        raise InputError(f"csv={csv} names no file; give the name or the path of the csv")
    if path.startswith("/") or "." in parts or ".." in parts:
        return os.path.abspath(path)
    if os.path.isfile(path) and manual_dir.exists():
        if not open_below(manual_dir, path).has(path):
            return os.path.abspath(path)
    return path


def _without_top(images: Store, folders: list[str]) -> Store:
    """A zip without the folder that its program put around everything."""
    if not isinstance(images, Zip) or any(map(images.has_folder, folders)):
        return images
    tops = {name.partition("/")[0] for name in images.names() if "/" in name}
    if len(tops) != 1 or (not folders and any("/" not in name for name in images.names())):
        return images
    return Zip(images.path, tops.pop())


def _tables(files: Store) -> list[str]:
    """Names of the tables beside which a csv is missing."""
    try:
        names = files.names() if isinstance(files, Zip) else os.listdir(files.path)
    except OSError:
        return []
    found = []
    for name in names:
        is_shown = name.isprintable() and "/" not in name and not name.startswith(".")
        if is_shown and name.endswith(_TABLES):
            found.append(name)
    return sorted(found)
