"""Files that are written completely or not at all, and locks that one process holds at a time.

Design:
- A file or folder is written beside its place, flushed to the disk and renamed: nobody reads half
  of it, and what was there before is there until then. Its mode is what the umask allows.
- What is deleted or replaced proves that this program wrote it: by a mark with its format and
  version inside, or by its content. A name alone proves nothing.
- A lock is the kernel's (`flock`): it goes with its process, however that ends. Whoever holds it
  may therefore remove what a killed process has left.
"""

import contextlib
import csv
import ctypes
import errno
import fcntl
import io
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import hpa_jax
from hpa_jax.errors import InputError, one_line

PARTIAL_SUFFIX = ".part"

MARK = ".hpa_jax.json"
"""In a folder that this program fills: what it is of, and the format and version."""

MARK_FORMAT = 1

# `.NAME.TOKEN.part`; up to version 0.2 TOKEN was the number of the process.
_PARTIAL_NAME = re.compile(r"\..+\.([0-9a-f]{16}|[0-9]+)\.part", re.DOTALL)

# File systems that cannot flush a folder, or exchange two names, say so with one of these.
_NOT_SUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes a complete file or none; a text is encoded as UTF-8.

    Raises:
      OSError: it cannot be written; what was at `path` before is still there.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = _partial_name(path)
    # "x" refuses a file that is there already, whoever wrote it.
    file = open(temporary, "xb")
    try:
        with file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def _partial_name(path: Path) -> Path:
    """A name beside `path` for what is not complete yet; no two are the same."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}{PARTIAL_SUFFIX}")


def sync_folder(folder: Path) -> None:
    """Flushes the names in a folder to the disk: a rename is lasting only then."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:
        return  # a folder that may be written and not listed
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NOT_SUPPORTED:
            raise
    finally:
        os.close(descriptor)


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


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as JSON, atomically.

    Raises:
      ValueError: it holds a number that is not finite.
    """
    write_atomically(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence]) -> None:
    r"""Writes a table with commas and `\n` line ends, atomically."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_atomically(path, text.getvalue())


def remove_partial_files(folder: Path) -> None:
    """Removes the files that killed writers have left in `folder`.

    For whoever holds its lock, of a folder that this program alone writes in.
    """
    for entry in os.scandir(folder):
        is_partial = _PARTIAL_NAME.fullmatch(entry.name)
        if is_partial and entry.is_file(follow_symlinks=False):
            os.unlink(entry)


def write_mark(folder: Path, kind: str) -> None:
    """Marks a folder as one that this program fills.

    Args:
      folder: which exists.
      kind: what it is, such as "download".
    """
    write_atomically(folder / MARK, _mark_text(kind))


def _mark_text(kind: str) -> str:
    mark = {
        "program": "hpa_jax",
        "version": hpa_jax.__version__,
        "format": MARK_FORMAT,
        "kind": kind,
    }
    return json.dumps(mark, indent=2) + "\n"


def has_mark(folder: Path, kind: str) -> bool:
    """Whether `write_mark` has marked this folder as of this kind."""
    path = folder / MARK
    try:
        if folder.is_symlink() or not stat.S_ISREG(os.lstat(path).st_mode):
            return False
        mark = json.loads(path.read_bytes())
        return (mark["program"], mark["kind"]) == ("hpa_jax", kind) and mark["format"] >= 1
    except (OSError, ValueError, KeyError, TypeError):
        return False


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
        elif os.path.ismount(folder):
            reason = "it is a mount point"
        else:
            reason = foreign(folder)
    except FileNotFoundError:
        return
    except OSError as error:
        reason = one_line(error)
    if reason:
        raise InputError(f"{folder} exists and is not replaced: {reason}; {advice}")


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
        folder = _partial_name(place)
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
    hidden = _partial_name(path)
    with open(hidden, "x", encoding="utf-8") as file:
        # A file system without locks: then nobody finds the folder abandoned.
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.write(_mark_text("unfinished"))
        file.flush()
        # Under its name it is locked from the start.
        os.rename(hidden, path)
        yield


def _remove_abandoned(place: Path, foreign: Callable[[Path], str]) -> None:
    """Removes what killed processes have left of `unfinished_folder(place)`."""
    start = f".{place.name}."
    for entry in os.scandir(place.parent):
        is_partial = _PARTIAL_NAME.fullmatch(entry.name) and entry.name.startswith(start)
        if not is_partial or not entry.is_dir(follow_symlinks=False):
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
    aside = _partial_name(other)
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
    if number in _NOT_SUPPORTED:
        return False
    raise OSError(number, os.strerror(number), str(other))


@contextlib.contextmanager
def exclusive_lock(
    path: Path, *, busy: str, advice: str = "", wait: bool = False
) -> Iterator[None]:
    """Holds the lock file `path`, which is made for it and removed afterwards.

    Args:
      path: in a folder that exists.
      busy: what to say where another process holds it: "--workdir=runs/a is in use". The message
        goes on with "by process 123", the owner.
      advice: the end of that message: what to do.
      wait: waits for the other process, with a line about it, instead of raising an error.

    Raises:
      InputError: another process holds the lock, and `wait` is false.
      OSError: the file cannot be opened or locked.
    """
    with _locked_file(path, busy, advice, wait) as file:
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        try:
            yield
        finally:
            # While still locked: another process that opened it finds out by `_is_at`.
            path.unlink(missing_ok=True)


def _locked_file(path: Path, busy: str, advice: str, wait: bool) -> TextIO:
    while True:
        with contextlib.ExitStack() as on_error:
            file = on_error.enter_context(open(path, "a+", encoding="utf-8"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                message = f"{busy} by {_owner(file)}"
                if not wait:
                    raise InputError(f"{message}; {advice}") from None
                print(f"{message}; waiting for it", flush=True)
                fcntl.flock(file, fcntl.LOCK_EX)
            if _is_at(path, file):
                on_error.pop_all()
                return file


def _owner(file: TextIO) -> str:
    file.seek(0)
    process_id = file.read().strip()
    return f"process {process_id}" if process_id else "another process"


def _is_at(path: Path, file: TextIO) -> bool:
    """Whether `file` is the one at `path`, not one that its last holder has removed."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def locked(workdir: Path) -> Iterator[None]:
    """Makes a run's folder and holds it for this process.

    Raises:
      InputError: another process holds it, or it cannot be made.
    """
    with contextlib.ExitStack() as held:
        try:
            workdir.mkdir(parents=True, exist_ok=True)
            lock = exclusive_lock(
                workdir / ".lock",
                busy=f"--workdir={workdir} is in use",
                advice="wait for it, stop it, or choose another folder",
            )
            held.enter_context(lock)
        except OSError as error:
            raise InputError(
                f"cannot use --workdir={workdir}: {error.strerror}; "
                "choose a folder that can be written"
            ) from error
        yield
