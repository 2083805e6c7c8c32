"""Folders that are replaced as a whole: written beside their place, flushed, and moved there.

Design:
- What is replaced is the program's own, and nothing else: whoever calls says how that is told. A
  link, a mount point or a folder with one file more is left alone.
- The old folder and the new one change places in one step, so there is always one of the two.
"""

import contextlib
import ctypes
import fcntl
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from hpa_jax.errors import InputError, one_line
from hpa_jax.files import NOT_SUPPORTED, is_partial, partial_path, sync_folder
from hpa_jax.folders.mark import MARK, has_mark, mark_text, write_mark


def sync_tree(folder: Path) -> None:
    """Flushes every file and folder in `folder` to the disk."""
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            if path.is_symlink() or not path.is_file():
                continue
            with open(path, "rb") as file:
                os.fsync(file.fileno())
        sync_folder(Path(parent))


def refuse_foreign_folder(folder: Path, foreign: Callable[[Path], str], advice: str) -> None:
    """Refuses to have `folder` replaced, unless it is not there or all of it is this program's.

    Args:
      folder: that is to be replaced.
      foreign: says what in a folder is not this program's: "it has no manifest"; empty if all is.
      advice: the end of the message: what to do.

    Raises:
      InputError: it is something else, or it cannot be read.
    """
    try:
        mode = os.lstat(folder).st_mode
        if stat.S_ISLNK(mode):
            reason = "it is a link"
        elif not stat.S_ISDIR(mode):
            reason = "it is no folder"
        elif _is_mount_point(folder):
            reason = "it is a mount point"
        else:
            reason = foreign(folder)
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {one_line(error)}; {advice}") from error
    if reason:
        raise InputError(f"{folder} exists and is not replaced: {reason}; {advice}")


def _is_mount_point(folder: Path) -> bool:
    if os.path.ismount(folder):
        return True
    # Python does not tell a folder that is bound to another place of one file system; Linux does.
    with contextlib.suppress(OSError), open("/proc/self/mountinfo", "rb") as mounts:
        place = os.fsencode(folder.resolve())
        for line in mounts:
            # Spaces are written as \040, a backslash as \134.
            listed = line.split(b" ")[4].decode("unicode_escape").encode("latin-1")
            if listed == place:
                return True
    return False


@contextlib.contextmanager
def replace_folder(
    folder: Path, foreign: Callable[[Path], str], advice: str = "choose another folder"
) -> Iterator[Path]:
    """Writes a folder beside its place, which it takes in one step once the block has ended.

    An error in the block leaves everything as it was. What killed processes have left beside
    `folder` is removed where it proves to be of this function.

    Args:
      folder: not there yet, or all this program's.
      foreign: as of `refuse_foreign_folder`.
      advice: as of `refuse_foreign_folder`.

    Yields:
      The new folder; it holds MARK alone, which goes when the block has ended.

    Raises:
      InputError: `folder` is there and is something else, or holds something else as well.
      OSError: it cannot be written.
    """
    folder = _located(folder)
    refuse_foreign_folder(folder, foreign, advice)
    with unfinished_folder(folder, foreign) as new:
        yield new
        sync_tree(new)
        # Once more: the block may have taken minutes.
        refuse_foreign_folder(folder, foreign, advice)
        if _move_in(new, folder):
            reason = foreign(new)
            if reason:
                _exchange(new, folder)
                raise InputError(f"{folder} exists and is not replaced: {reason}; {advice}")
            # By it the next one knows what a kill leaves of the old one while it is removed.
            with contextlib.suppress(OSError):
                write_mark(new, "unfinished")
        # The last to go: while it is in `new`, nobody takes that for what a killed process left.
        (folder / MARK).unlink()
        sync_folder(folder)
        sync_folder(folder.parent)


def _located(folder: Path) -> Path:
    """An absolute path that ends with the folder's own name; the name itself may be a link."""
    if folder.name in ("", ".."):
        return folder.resolve()
    return folder.parent.resolve() / folder.name


@contextlib.contextmanager
def unfinished_folder(
    place: Path, foreign: Callable[[Path], str] = lambda folder: "no mark"
) -> Iterator[Path]:
    """A new folder beside `place`, marked and locked, for what is to be moved there.

    Whatever is at its name when the block ends is removed: the unfinished folder after an error,
    or the one that it was exchanged for.

    Args:
      place: of which the parent is made where it is missing.
      foreign: tells a folder that was replaced, which has no mark; as of `refuse_foreign_folder`.

    Yields:
      Its path; it holds MARK alone.
    """
    made = [parent for parent in place.parents if not parent.exists()]
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(place, foreign)
        folder = partial_path(place)
        folder.mkdir()
        try:
            with _locked_mark(folder):
                yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        for parent in made:
            # Refused for a folder that is not empty.
            with contextlib.suppress(OSError):
                parent.rmdir()


@contextlib.contextmanager
def _locked_mark(folder: Path) -> Iterator[None]:
    """Marks a folder, and holds the mark so that no other process takes it for abandoned."""
    path = folder / MARK
    hidden = partial_path(path)
    with open(hidden, "x", encoding="utf-8") as file:
        # A file system without locks: then nobody finds the folder abandoned.
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.write(mark_text("unfinished"))
        file.flush()
        # Under its name it is locked from the start.
        os.rename(hidden, path)
        yield


def _remove_abandoned(place: Path, foreign: Callable[[Path], str]) -> None:
    """Removes what killed processes have left of `unfinished_folder(place)`."""
    start = f".{place.name}."
    for entry in os.scandir(place.parent):
        is_left = is_partial(entry.name) and entry.name.startswith(start)
        if not is_left or not entry.is_dir(follow_symlinks=False):
            continue
        folder = Path(entry.path)
        with contextlib.suppress(OSError):
            if has_mark(folder, "unfinished"):
                with open(folder / MARK, encoding="utf-8") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)
            elif not foreign(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _move_in(new: Path, folder: Path) -> bool:
    """Gives `new` the name `folder`; returns whether the two were exchanged."""
    if os.path.lexists(folder):
        _exchange(new, folder)
        return True
    os.rename(new, folder)
    return False


def _exchange(one: Path, other: Path) -> None:
    """Exchanges the names of two folders, in one step where the system can do that."""
    if _renameat2(one, other):
        return
    # A kill in here leaves both, under names of which one is `other`'s no more.
    aside = partial_path(other)
    os.rename(other, aside)
    try:
        os.rename(one, other)
    except OSError:
        os.rename(aside, other)
        raise
    os.rename(aside, one)


_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def _renameat2(one: Path, other: Path) -> bool:
    """Linux's call that exchanges two names; whether it was done."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return False
    names = os.fsencode(one), os.fsencode(other)
    if call(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in NOT_SUPPORTED:
        return False
    raise OSError(number, os.strerror(number), str(other))
