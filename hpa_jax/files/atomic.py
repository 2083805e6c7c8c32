"""Files that are written completely or not at all.

A file is written beside its place, flushed to the disk and renamed: nobody reads half of it, and
what was there before is there until then. Its mode is what the umask allows. Folders are replaced
in the same way (`hpa_jax.folders`).
"""

import contextlib
import errno
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

from hpa_jax.buckets import mounts
from hpa_jax.environment import causes
from hpa_jax.errors import InputError, RunStopped, one_line

PARTIAL_SUFFIX = ".part"

# `.NAME.TOKEN.part`; up to version 0.2 TOKEN was the number of the process.
_PARTIAL_NAME = re.compile(r"\..+\.([0-9a-f]{16}|[0-9]+)\.part", re.DOTALL)

NOT_SUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)
"""With one of these a file system says that it cannot flush a folder, or exchange two names."""


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes a complete file or none; text is encoded as UTF-8.

    Raises:
      OSError: it cannot be written; what was at `path` before is still there.
    """
    data = content.encode() if isinstance(content, str) else content
    with complete_file(path) as temporary:
        # "x" refuses a file that is there already, whoever wrote it.
        with open(temporary, "xb") as file:
            file.write(data)


@contextlib.contextmanager
def complete_file(path: Path) -> Iterator[Path]:
    """Writes a file piece by piece, completely or not at all: `write_atomically` for large ones.

    Yields:
      Where to write it: a path beside `path`, which gets that name when the block ends.

    Raises:
      OSError: it cannot be written; what was at `path` before is still there.
    """
    temporary = partial_path(path)
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        # The error of a write names no file.
        error.filename = error.filename or str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def partial_path(path: Path) -> Path:
    """A name beside `path` for what is not complete yet; no two are the same."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}{PARTIAL_SUFFIX}")


def is_partial(name: str) -> bool:
    """Whether a name is one of `partial_path`."""
    return _PARTIAL_NAME.fullmatch(name) is not None


def remove_partial_files(folder: Path) -> None:
    """Removes the files that killed writers have left in `folder`.

    For whoever holds its lock, of a folder that this program alone writes in.
    """
    for entry in os.scandir(folder):
        if is_partial(entry.name) and entry.is_file(follow_symlinks=False):
            os.unlink(entry)


def remove_partial_files_of(path: Path) -> None:
    """Removes what killed writers of one file have left beside it; for whoever holds its lock."""
    for entry in os.scandir(path.parent):
        if not is_partial(entry.name) or not entry.is_file(follow_symlinks=False):
            continue
        name, _, _ = entry.name.rsplit(".", 2)
        if name == f".{path.name}":
            os.unlink(entry)


def sync_folder(folder: Path) -> None:
    """Flushes the names in a folder to the disk: a rename is lasting only then."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:
        return  # a folder that may be written and not listed
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NOT_SUPPORTED:
            raise
    finally:
        os.close(descriptor)


def check_writable(folder: Path, remedy: str) -> None:
    """Makes a folder, and finds out whether files can be written there, before hours of work.

    Raises:
      InputError: they cannot; it ends with `remedy`.
      RunStopped: they cannot for now, as on a full disk: another call is no remedy.
    """
    probe = folder / f".probe.{os.getpid()}{PARTIAL_SUFFIX}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(probe, "wb"):
            pass
        probe.unlink(missing_ok=True)
    except OSError as error:
        if not causes.is_input(error):
            reason = f"cannot write to {folder}: {causes.reason_and_advice(error)}"
            raise RunStopped(reason) from None
        raise InputError(f"cannot write to {folder}: {one_line(error)}; {remedy}") from None
    mount = mounts.mount_of(folder)
    if mount is not None:
        mount.check_writable()
