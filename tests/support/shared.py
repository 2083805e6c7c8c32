"""What all workers of a test session use: made once, by the first of them that asks."""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path


def session_folder(tmp_path_factory) -> Path:
    """The folder of this session, the same for each of its workers."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        # Beside those of the workers.
        folder = folder.parent
    folder = folder / "shared"
    folder.mkdir(exist_ok=True)
    return folder


class Shared:
    """Folders that are made once a session."""

    folder: Path
    """Where they lie: conftest.py sets it."""

    def made_once(self, name: str, make: Callable[[Path], None]) -> Path:
        """Has `make(folder)` called unless it was; another worker that asks meanwhile waits.

        Nobody changes what lies in it.
        """
        made = self.folder / name
        is_made = self.folder / f"{name}.made"
        with open(self.folder / f"{name}.lock", "w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not is_made.exists():
                # Of a worker that failed.
                shutil.rmtree(made, ignore_errors=True)
                made.mkdir()
                make(made)
                is_made.touch()
        return made


SHARED = Shared()
