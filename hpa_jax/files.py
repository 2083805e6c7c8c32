"""Files that are written complete or not at all, and a folder that one process holds."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

from hpa_jax.errors import InputError


def write_atomically(path: Path, text: str) -> None:
    """Writes a whole file or none: what stands at `path` is never half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value) -> None:
    write_atomically(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


@contextlib.contextmanager
def locked(workdir: Path) -> Iterator[None]:
    """Makes the folder and holds it for this process; the lock goes with the process, however it ends.

    Raises:
      InputError: another process holds it, or it cannot be made.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        file = open(workdir / ".lock", "a+", encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"cannot use --workdir={workdir}: {error.strerror}; choose a folder that can be written"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            raise InputError(
                f"--workdir={workdir} is in use by process {owner}; wait for it, stop it, or choose another folder"
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
