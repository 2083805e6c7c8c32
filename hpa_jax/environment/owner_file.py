"""A stand-in for a lock, on file systems that have none: a file that its owner keeps renewing.

The file is made with O_EXCL, which one process can do. It names its owner, who writes a new number
into it every few seconds. Whoever finds one waits for longer than that: a file that is not renewed
meanwhile is of a process that is gone, and is taken over. No two clocks are compared.

It is weaker than a lock: a process that was suspended for half a minute loses it unnoticed.
"""

import contextlib
import json
import os
import threading
import time
import uuid
from pathlib import Path

from hpa_jax import process_owner

RENEW_S = 5.0
"""Between two renewals by the owner."""

PATIENCE_S = 30.0
"""Without a renewal the owner counts as gone."""

# More than a file holds: each renewal overwrites all of the one before, so that whoever reads
# meanwhile finds one of them.
_FILE_BYTES = 512


class OwnerFile:
    """The owner file at `path`, which is not taken yet."""

    def __init__(self, path: Path):
        self.path = path
        self._token = uuid.uuid4().hex
        self._renewals = 0
        self._released = threading.Event()
        self._thread: threading.Thread | None = None

    def acquire(self) -> bool:
        """Takes the file, or finds within PATIENCE_S that another process is alive and has it.

        Raises:
          OSError: the file system refuses.
        """
        while not self._create():
            found = self._read()
            if found is None:
                # It was released just now.
                continue
            if not process_owner.is_gone(found) and self._is_renewed(found):
                return False
            self._remove(found)
        self._thread = threading.Thread(target=self._keep_renewing, daemon=True)
        self._thread.start()
        return True

    def holder(self) -> str:
        """The other process, for messages."""
        found = self._read() or {}
        return f"process {found.get('process', '?')} on {found.get('host', 'another host')}"

    def release(self) -> None:
        """Ends the renewing and removes the file."""
        self._released.set()
        if self._thread is not None:
            self._thread.join()
        if (self._read() or {}).get("token") == self._token:
            self.path.unlink(missing_ok=True)

    def _create(self) -> bool:
        try:
            descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            return False
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(self._content())
        return True

    def _content(self) -> str:
        self._renewals += 1
        owner = process_owner.this_process()
        owner |= {"token": self._token, "renewals": self._renewals}
        return json.dumps(owner).ljust(_FILE_BYTES)

    def _keep_renewing(self) -> None:
        while not self._released.wait(RENEW_S):
            # The next renewal may succeed; and the run itself will meet what is wrong.
            with contextlib.suppress(OSError):
                if (self._read() or {}).get("token") != self._token:
                    # Another process took this one for gone.
                    return
                with open(self.path, "r+", encoding="utf-8") as file:
                    file.write(self._content())

    def _read(self) -> dict | None:
        """What the file says; None if there is none, empty while it is being written."""
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def _is_renewed(self, found: dict) -> bool:
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            time.sleep(0.2)
            now = self._read()
            if now is None:
                # It was released.
                return False
            if now != found:
                return True
        return False

    def _remove(self, found: dict) -> None:
        """Removes the file of a process that is gone, unless another one has done so by now."""
        aside = self.path.with_name(f"{self.path.name}.{self._token}")
        try:
            os.rename(self.path, aside)
        except FileNotFoundError:
            return
        try:
            moved = json.loads(aside.read_text(encoding="utf-8"))
        except ValueError:
            moved = {}
        if moved != found:
            # That was a new owner's: it is put back.
            with contextlib.suppress(FileExistsError):
                os.link(aside, self.path)
        aside.unlink(missing_ok=True)
