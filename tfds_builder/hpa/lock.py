"""A file that one process at a time holds. The kernel takes it from a killed one."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from hpa_jax.errors import InputError


@contextlib.contextmanager
def held(path: Path, refusal: str) -> Iterator[None]:
    """Makes `path` and holds it, then removes it; InputError with the line `refusal` where another process has it."""
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            same = os.path.samestat(
                os.fstat(file.fileno()), os.stat(path)
            )  # not one that its holder has just removed
        except (BlockingIOError, FileNotFoundError):
            same = False
        if not same:
            raise InputError(refusal)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
