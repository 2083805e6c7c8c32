"""Files that are written completely or not at all, and locks that one process holds at a time.

Design:
- A file is written beside its place, flushed to the disk and renamed: nobody reads half of it, and
  what was there before is there until then. Its mode is what the umask allows. So are folders
  (`hpa_jax.folders`).
- A lock is the kernel's (`flock`): it goes with its process, however that ends. Whoever holds it
  may therefore remove what a killed process has left.
- Where the file system has no such locks (Lustre and NFS can be mounted without), a file that its
  owner renews stands in for one, with a warning (`hpa_jax.environment.owner_file`).
"""

import contextlib
import csv
import errno
import fcntl
import hashlib
import io
import json
import os
import re
import secrets
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from hpa_jax.environment import causes
from hpa_jax.environment.owner_file import OwnerFile
from hpa_jax.errors import InputError, RunStopped, is_out_of_space, one_line

PARTIAL_SUFFIX = ".part"

SHA256 = "sha256"
"""The key under which a JSON object has the digest of its other values."""

# What flock() answers where a file system, or the server behind it, has no locks.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)

# `.NAME.TOKEN.part`; up to version 0.2 TOKEN was the number of the process.
_PARTIAL_NAME = re.compile(r"\..+\.([0-9a-f]{16}|[0-9]+)\.part", re.DOTALL)

NOT_SUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)
"""With one of these a file system says that it cannot flush a folder, or exchange two names."""


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes a complete file or none; a text is encoded as UTF-8.

    Raises:
      OSError: it cannot be written; what was at `path` before is still there.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = partial_path(path)
    # "x" refuses a file that is there already, whoever wrote it.
    file = open(temporary, "xb")
    try:
        with file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        # Those of a write name no file.
        error.filename = error.filename or str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


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
        error.filename = error.filename or str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def partial_path(path: Path) -> Path:
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
        if error.errno not in NOT_SUPPORTED:
            raise
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as JSON, atomically.

    Raises:
      ValueError: it holds a number that is not finite.
    """
    write_atomically(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path, *, advice: str) -> dict[str, Any]:
    """Reads a file that `write_json` wrote with an object in it.

    Args:
      path: of the file.
      advice: what to do where it cannot be read, the end of the message.

    Raises:
      InputError: it cannot be read, or is something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
        # Half of a surrogate pair, which JSON can spell and nobody can print.
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {one_line(error)}; {causes.advice(error)}"
        ) from None
    except (ValueError, RecursionError) as error:
        reason = one_line(error, limit=160)
        raise InputError(f"{path} cannot be read ({reason}); {advice}") from None
    if not isinstance(value, dict):
        raise InputError(f"{path} cannot be read (no JSON object); {advice}")
    return value


def json_digest(values: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON of an object, without its own key SHA256; 64 hex digits.

    It is of the values: how they are written (order, white space) does not matter.

    Raises:
      ValueError: it holds a number that is not finite.
    """
    others = {key: value for key, value in values.items() if key != SHA256}
    text = json.dumps(others, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def sealed(values: Mapping[str, Any]) -> dict[str, Any]:
    """An object with its digest, by which a reader tells that it is as it was written."""
    return {**values, SHA256: json_digest(values)}


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence]) -> None:
    r"""Writes a table with commas and `\n` line ends, atomically; safe as of `csv_text`."""
    write_atomically(path, csv_text(header, rows))


def csv_text(header: Sequence[str], rows: Iterable[Sequence]) -> str:
    r"""The text of a csv, with commas and `\n` line ends, that is safe to print and to open.

    The cells may come from anybody: names of files, columns of other people's tables. A
    spreadsheet runs formulas and a terminal obeys escapes, so every cell passes `csv_cell`.
    """
    text = io.StringIO()
    write_csv_lines(text, header, rows)
    return text.getvalue()


def write_csv_lines(file: TextIO, header: Sequence[str], rows: Iterable[Sequence]) -> None:
    """Writes the lines of `csv_text` to an open file, one by one: rows may be many."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(map(csv_cell, header))
    for row in rows:
        writer.writerow(map(csv_cell, row))


# What makes a formula of a cell, after quotes and spaces; the last four are full-width forms.
_FORMULA = re.compile("['\\s]*[=+\\-@\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def csv_cell(value: Any) -> Any:
    r"""A cell as it is written to a csv.

    Args:
      value: a text is changed where it has to be; anything else is returned as it is.

    Returns:
      The text with an escape such as `\u202e` for each character that cannot be printed, and a `'`
      before what a spreadsheet would take for a formula. A plain number stays one.
    """
    if not isinstance(value, str):
        return value
    if not value.isprintable():
        value = "".join(char if char.isprintable() else _escaped(char) for char in value)
    if _FORMULA.match(value) and not _NUMBER.fullmatch(value):
        return f"'{value}"
    return value


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode()


def plain_cell(cell: str) -> str:
    """The printable text of which `csv_cell` made this cell."""
    if cell.startswith("'") and _FORMULA.match(cell):
        return cell[1:]
    return cell


def is_partial(name: str) -> bool:
    """Whether a name is one of `partial_path`."""
    return _PARTIAL_NAME.fullmatch(name) is not None


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


# Of a lock's file: the number of a process.
_LONGEST_LOCK = 24


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
        except OSError as error:
            if is_out_of_space(error):
                raise
            raise InputError(
                f"cannot use --workdir={workdir}: {one_line(error)}; {causes.advice(error)}"
            ) from error
        yield
