"""A folder of this process alone for local copies of what lies in buckets."""

import atexit
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

from hpa_jax.errors import InputError, one_line

SCRATCH = "HPA_SCRATCH"
"""Environment variable: the folder in which local copies are made, else the temporary folder."""

_START = "hpa_jax-bucket-"
_LOCK = "lock"

_folders: list[Path] = []


def scratch_folder() -> Path:
    """The folder, which is made for the first who asks and goes with the process.

    What killed processes have left is removed.

    Raises:
      InputError: it cannot be made.
    """
    if not _folders:
        _folders.append(_make())
        atexit.register(remove_scratch_folder)
    return _folders[0]


def remove_scratch_folder() -> None:
    """Removes the folder, if there is one."""
    while _folders:
        shutil.rmtree(_folders.pop(), ignore_errors=True)


def _make() -> Path:
    parent = Path(os.environ.get(SCRATCH) or tempfile.gettempdir())
    try:
        parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(parent)
        folder = Path(tempfile.mkdtemp(prefix=_START, dir=parent)).resolve()
        # Open until the process ends: nobody removes the folder before.
        lock = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise InputError(
            f"{parent} cannot have local copies of what is in the bucket ({one_line(error)}); set "
            f"{SCRATCH} to a folder that can be written"
        ) from None
    return folder


def _remove_abandoned(parent: Path) -> None:
    for folder in parent.glob(f"{_START}*"):
        try:
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            # Of another user, or made just now.
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue
        finally:
            os.close(lock)


def shown(text: str) -> str:
    """A text with the local copies' paths as the URLs that they stand for."""
    for folder in _folders:
        text = text.replace(f"{folder}{os.sep}gs{os.sep}", "gs://")
    return text


def local_place(bucket: str, prefix: str) -> Path:
    """Where the local copy of a folder of a bucket lies, such that `shown` knows its URL."""
    return scratch_folder() / "gs" / bucket / prefix
