"""A file system of a few megabytes, to be filled."""

import os
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


class SmallDisk:
    """A tmpfs that only processes see whose commands start with `prefix`; a context.

    It is in a mount namespace of its own, inside a user namespace: no root is needed. Where the
    kernel does not allow that, the test fails.

    Args:
      folder: an empty one, where those processes see the disk.
      megabytes: its size.

    Attributes:
      prefix: words before a command.
      seen_from_here: the disk's path for the test itself.
    """

    def __init__(self, folder: Path, megabytes: int):
        self._folder = folder
        mount = f"mount -t tmpfs -o size={megabytes}m tmpfs '{folder}' && echo mounted && exec cat"
        self._holder = subprocess.Popen(
            ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        answer = self._holder.stdout.readline()
        assert answer == "mounted\n", "tests of full disks need user namespaces: unshare -Urm"
        holder = str(self._holder.pid)
        # Entering a mount namespace would change the working directory.
        namespaces = ("--user", "--mount", "--preserve-credentials", f"--wd={REPOSITORY}")
        self.prefix = ("nsenter", "--target", holder, *namespaces)
        self.seen_from_here = Path(f"/proc/{holder}/root{folder}")

    def __enter__(self) -> "SmallDisk":
        return self

    def __exit__(self, *error) -> None:
        self._holder.communicate()

    def fill(self, but: int = 0) -> None:
        """Fills the disk, but for some bytes."""
        room = os.statvfs(self.seen_from_here)
        free = room.f_bavail * room.f_frsize
        with open(self.seen_from_here / "filling", "wb") as file:
            file.write(bytes(free - but))

    def make_room(self) -> None:
        """Undoes `fill`."""
        os.unlink(self.seen_from_here / "filling")
