"""Folders that are nobody's to delete, and what tells whether they are as they were."""

import hashlib
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path


def snapshot(folder: Path) -> dict[str, tuple]:
    """Type, permissions, number and content of all that is at and below `folder`."""
    found = {"": _facts(folder)}
    if folder.is_dir() and not folder.is_symlink():
        for path in folder.rglob("*"):
            found[str(path.relative_to(folder))] = _facts(path)
    return found


def _facts(path: Path) -> tuple:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return ("nothing",)
    content = None
    if stat.S_ISREG(status.st_mode):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
    elif stat.S_ISLNK(status.st_mode):
        content = os.readlink(path)
    return (status.st_mode, status.st_ino, content)


def _with(**files: str) -> Callable[[Path, Path], None]:
    def make(place: Path, export: Path) -> None:
        place.mkdir()
        for name, content in files.items():
            path = place / name.replace("__", ".")
            path.write_text(content)

    return make


def _export_with(change: Callable[[Path], object]) -> Callable[[Path, Path], None]:
    def make(place: Path, export: Path) -> None:
        shutil.copytree(export, place)
        change(place)

    return make


def _append(name: str) -> Callable[[Path], None]:
    def append(place: Path) -> None:
        with open(place / name, "a", encoding="utf-8") as file:
            file.write("\n")

    return append


def _link_to(name: str) -> Callable[[Path, Path], None]:
    """A link to an export, or to nothing."""

    def make(place: Path, export: Path) -> None:
        shutil.copytree(export, place.parent / "target")
        place.symlink_to(place.parent / name, target_is_directory=True)

    return make


def _file_as_a_link(place: Path) -> None:
    model = place / "model.safetensors"
    model.rename(place.parent / "elsewhere")
    model.symlink_to(place.parent / "elsewhere")


def _pipe(place: Path) -> None:
    (place / "model.json").unlink()
    os.mkfifo(place / "model.json")


def _unreadable(place: Path) -> None:
    # Root may read it all the same; then it is refused for what it holds.
    (place / "notes.txt").write_text("mine")
    place.chmod(0)


def _run(place: Path, export: Path) -> None:
    (place / "checkpoints" / "8").mkdir(parents=True)
    (place / "config.json").write_text("{}")
    shutil.copytree(export, place / "export")


MANIFEST = '{"name": "my app", "icons": [], "start_url": "/"}'

FOREIGN: dict[str, Callable[[Path, Path], object]] = {
    "a web app": _with(manifest__json=MANIFEST, index__html="<h1>mine</h1>"),
    "a manifest alone": _with(manifest__json=MANIFEST),
    "a manifest that is no JSON": _with(manifest__json="{"),
    "a manifest with digests of nothing": _with(manifest__json='{"sha256": {}}'),
    "files by the names of an export": _with(
        manifest__json='{"sha256": {}}',
        model__json="{}",
        model__safetensors="",
        forward__jaxexport="",
        golden__safetensors="",
    ),
    "an empty folder": lambda place, export: place.mkdir(),
    "a folder of notes": _with(notes__txt="mine"),
    "a hidden file": _with(**{"__env": "SECRET=1"}),
    "a run": _run,
    "an export with a file of the user's": _export_with(
        lambda place: (place / "notes.txt").write_text("mine")
    ),
    "an export with a hidden file": _export_with(
        lambda place: (place / ".gitignore").write_text("*")
    ),
    "an export with a folder": _export_with(lambda place: (place / "old").mkdir()),
    "an export that was edited": _export_with(_append("model.json")),
    "an export whose manifest was edited": _export_with(_append("manifest.json")),
    "an export without one of its files": _export_with(
        lambda place: (place / "golden.safetensors").unlink()
    ),
    "an export with a link in it": _export_with(_file_as_a_link),
    "an export with a pipe in it": _export_with(_pipe),
    "a folder that nobody may read": _export_with(_unreadable),
    "a link to an export": _link_to("target"),
    "a link to nothing": _link_to("gone"),
    "a link to itself": lambda place, export: place.symlink_to(place),
    "a file": lambda place, export: place.write_text("mine"),
    "a pipe": lambda place, export: os.mkfifo(place),
}
"""By name: makes it at `place`; `export` is a sound export to copy from."""
