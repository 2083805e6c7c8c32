"""Files that are written completely or not at all, and locks that one process holds at a time.

Design:
- A file is written beside its place, flushed to the disk and renamed: nobody reads half of it.
- A lock is the kernel's (`flock`): it goes with its process, however that ends. Whoever holds it
  may therefore remove what a killed process has left.
- Where the file system has no such locks (Lustre and NFS can be mounted without), a file that its
  owner renews stands in for one, with a warning (`hpa_jax.environment.owner_file`).
"""

import contextlib
import csv
import errno
import fcntl
import io
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from hpa_jax.environment.causes import advice
from hpa_jax.environment.owner_file import OwnerFile
from hpa_jax.errors import InputError, one_line

PARTIAL_SUFFIX = ".part"

# What flock() answers where a file system, or the server behind it, has no locks.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes a complete file or none; a text is encoded as UTF-8.

    Raises:
      OSError: it cannot be written; what was at `path` before is still there.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL_SUFFIX}")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


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


def check_writable(
    folder: Path, remedy: str = "give --out=DIR, a folder for what is written"
) -> None:
    """Makes a folder, and finds out whether files can be written there, before hours of work.

    Raises:
      InputError: they cannot; it ends with `remedy`.
    """
    probe = folder / f".{os.getpid()}{PARTIAL_SUFFIX}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(probe, "wb"):
            pass
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {one_line(error)}; {remedy}") from None


def remove_partial_files(folder: Path) -> None:
    """Removes what killed writers have left in `folder`; for whoever holds its lock."""
    for entry in os.scandir(folder):
        if entry.name.endswith(PARTIAL_SUFFIX):
            os.unlink(entry)


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
    try:
        locked_file = _locked_file(path, busy, advice, wait)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        with _owned(path, error, busy, advice, wait):
            yield
        return
    with locked_file as file:
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


@contextlib.contextmanager
def _owned(path: Path, error: OSError, busy: str, advice: str, wait: bool) -> Iterator[None]:
    """Holds an owner file where there are no locks."""
    # What the attempt to lock has made.
    with contextlib.suppress(OSError):
        if path.stat().st_size == 0:
            path.unlink()
    owner = OwnerFile(path.with_name(f"{path.name}.owner"))
    print(
        f"warning: {path.parent} is on a file system without locks ({one_line(error)}); "
        f"{owner.path.name} stands in for one: see that no second process works there",
        file=sys.stderr,
    )
    while not owner.acquire():
        message = f"{busy} by {owner.holder()}"
        if not wait:
            raise InputError(f"{message}; {advice}")
        print(f"{message}; waiting for it", flush=True)
    try:
        yield
    finally:
        owner.release()


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
                f"cannot use --workdir={workdir}: {one_line(error)}; {advice(error)}"
            ) from error
        yield
