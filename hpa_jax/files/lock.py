"""Locks that one process holds at a time.

Design:
- A lock is the kernel's (`flock`): it goes with its process, however that ends. Whoever holds it
  may therefore remove what a killed process has left.
- Where the file system has no such locks (Lustre and NFS can be mounted without), a file that its
  owner renews stands in for one, with a warning (`hpa_jax.environment.owner_file`).
"""

import contextlib
import errno
import fcntl
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from hpa_jax.buckets import mounts
from hpa_jax.environment import causes
from hpa_jax.environment.owner_file import OwnerFile
from hpa_jax.errors import InputError, is_out_of_space, one_line

# What flock() answers where a file system, or the server behind it, has no locks.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)

# Of a lock's file: the number of a process.
_LONGEST_LOCK = 24


@contextlib.contextmanager
def locked(workdir: Path, break_lease: str = "") -> Iterator[None]:
    """Makes a run's folder and holds it for this process.

    Args:
      workdir: the run's folder; of one in a bucket, its local copy.
      break_lease: in a bucket, the name of a lease of another process that is taken over at once.

    Raises:
      InputError: another process holds it, or it cannot be made.
      OSError: the disk is full.
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
            mount = mounts.mount_of(workdir)
            if mount is not None:
                held.enter_context(mount.held(break_lease))
        except OSError as error:
            if is_out_of_space(error):
                raise
            raise InputError(
                f"cannot use --workdir={workdir}: {one_line(error)}; {causes.advice(error)}"
            ) from error
        yield


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
    no_locks = None
    try:
        locked_file = _locked_file(path, busy, advice, wait)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        no_locks = error
    if no_locks is not None:
        with _owned(path, no_locks, busy, advice, wait):
            yield
        return
    with locked_file as file:
        try:
            _write_owner(path, file)
            yield
        finally:
            # While still locked: another process that opened it finds out by `_is_at`.
            path.unlink(missing_ok=True)


def _locked_file(path: Path, busy: str, advice: str, wait: bool) -> TextIO:
    while True:
        with contextlib.ExitStack() as on_error:
            file = on_error.enter_context(open(path, "a+", encoding="utf-8", errors="replace"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                message = f"{busy} by {_owner(file)}"
                if not wait:
                    raise InputError(f"{message}; {advice}") from None
                print(f"{message}; waiting for it", flush=True)
                fcntl.flock(file, fcntl.LOCK_EX)
            if _is_at(path, file):
                _refuse_foreign_lock(path, file)
                on_error.pop_all()
                return file


def _write_owner(path: Path, file: TextIO) -> None:
    try:
        file.truncate(0)
        # Past the file's buffer, whose content would fail once more when it is closed.
        os.write(file.fileno(), str(os.getpid()).encode())
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def _refuse_foreign_lock(path: Path, file: TextIO) -> None:
    """Refuses to write over, and to remove, a file that only has the name of a lock."""
    file.seek(0)
    content = file.read(_LONGEST_LOCK + 1)
    if len(content) > _LONGEST_LOCK or not re.fullmatch(r"\d*\s*", content, re.ASCII):
        raise InputError(
            f"{path} is no lock of this program; move it away or choose another folder"
        )


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
    has_waited = False
    while not owner.acquire():
        message = f"{busy} by {owner.holder()}"
        if not wait:
            raise InputError(f"{message}; {advice}")
        if not has_waited:
            print(f"{message}; waiting for it", flush=True)
        has_waited = True
    try:
        yield
    finally:
        owner.release()
