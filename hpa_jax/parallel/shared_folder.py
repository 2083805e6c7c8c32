"""Proves that all processes of a run see the same folder, before any of them works in it.

A path that names another disk on another host would not be noticed otherwise: the processes train,
and wait for each other's files in a save that cannot end.

Each process writes a small file. The first one's has a random name, which the others are told
through the store of `jax.distributed`, and they must find it in the folder; then the first one
must find theirs.

Notes:
- A name that nobody has asked for before is in no cache of a network file system.
- The files go away again. Those of processes that were killed meanwhile are removed at the next
  start, by the process that holds the folder's lock.
"""

import contextlib
import os
import re
import secrets
import socket
import time
from pathlib import Path

from hpa_jax.buckets import mounts
from hpa_jax.errors import InputError, is_out_of_space, one_line
from hpa_jax.files import PARTIAL_SUFFIX
from hpa_jax.parallel.process_group import ProcessGroup, SingleProcess

PATIENCE_S = 20
"""Seconds until a file that another host has written must be seen."""

_POLL_S = 0.05
_FILE = re.compile(rf"\.shared\.[0-9a-f]{{32}}\.\d+{re.escape(PARTIAL_SUFFIX)}")


def check_shared_folder(
    group: SingleProcess | ProcessGroup, workdir: Path, timeout_s: float
) -> None:
    """Checks that all processes write to and read from the same folder.

    Args:
      group: the processes of the run.
      workdir: the run's folder, which exists where the first process runs.
      timeout_s: the group's. Another host's file must be seen within half of it, and PATIENCE_S.

    Raises:
      InputError: a process does not see another one's file, or cannot write its own; the same in
        all processes.
      OSError: the disk is full.
    """
    if group.count == 1:
        return
    if _is_in_bucket(group, workdir):
        return
    own = _Own(group, workdir, min(PATIENCE_S, timeout_s / 2))
    group.report_progress("looking at --workdir")
    try:
        problem = own.check()
    finally:
        own.remove()
    if problem:
        raise InputError(problem)


def _is_in_bucket(group: ProcessGroup, workdir: Path) -> bool:
    """Whether the folder lies in a bucket, which is the same for all who name it.

    The first process holds its lease by now, so the others read what it has found.
    """
    mount = mounts.mount_of(workdir)
    places = group.collect("--workdir", "" if mount is None else str(mount.url))
    problem = ""
    if places is not None and len(set(places)) > 1:
        named = ", ".join(sorted(place or "a local folder" for place in set(places)))
        problem = (
            f"--workdir has to be the same folder for all processes, and is {named}; give all of "
            "them the same"
        )
    problem = group.broadcast(problem)
    if problem:
        raise InputError(problem)
    if mount is None:
        return False
    if not group.is_primary:
        mount.pull()
    return True


class _Own:
    """This process's part in the check.

    Args:
      group, workdir: as for `check_shared_folder`.
      patience: seconds until another host's file must be seen.
    """

    def __init__(self, group: ProcessGroup, workdir: Path, patience: float):
        self._group = group
        self._workdir = workdir
        self._patience = patience
        self._host = socket.gethostname()
        self._token = ""  # nosec B105

    def check(self) -> str:
        """What is wrong, the same text in all processes; '' if nothing is."""
        group = self._group
        problem = ""
        if group.is_primary:
            _remove_old_files(self._workdir)
            self._token = secrets.token_hex(16)
            # Before the others are told its name.
            problem = self._write()
        first = group.broadcast({"token": self._token, "host": self._host, "problem": problem})
        self._token = first["token"]
        if not group.is_primary and not first["problem"]:
            problem = self._look_for(0, first["host"]) or self._write()
        group.report_progress("process 0 looking at --workdir")
        answers = group.collect("workdir", {"host": self._host, "problem": problem})
        # The others' files stay until the first process has seen them.
        return group.broadcast(self._first_problem(answers))

    def _first_problem(self, answers: list | None) -> str:
        """What the processes have found, and the first one looks for their files."""
        for answer in answers or ():
            if answer["problem"]:
                return answer["problem"]
        for index, answer in enumerate(answers or ()):
            problem = self._look_for(index, answer["host"])
            if problem:
                return problem
        return ""

    def remove(self) -> None:
        """Removes this process's file."""
        _remove(self._path(self._group.index))

    def _path(self, index: int) -> Path:
        return self._workdir / f".shared.{self._token}.{index}{PARTIAL_SUFFIX}"

    def _write(self) -> str:
        """Writes this process's file; returns why it cannot, or ''."""
        try:
            with open(self._path(self._group.index), "x", encoding="utf-8") as file:
                file.write(self._token)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            if is_out_of_space(error):
                raise
            return (
                f"process {self._group.index} ({self._host}) cannot write to "
                f"--workdir={self._workdir} ({one_line(error)}); all processes of a run save "
                "into it"
            )
        return ""

    def _look_for(self, index: int, host: str) -> str:
        """Waits for the file of another process; returns that it is not seen, or ''."""
        if _is_seen(self._path(index), self._token, self._patience):
            return ""
        return (
            f"process {self._group.index} ({self._host}) does not see in "
            f"--workdir={self._workdir} what process {index} ({host}) has written there: it has to "
            "be the same folder for all processes, on a file system that their hosts share"
        )


def _is_seen(path: Path, token: str, patience: float) -> bool:
    deadline = time.monotonic() + patience
    while not _holds(path, token):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True


def _holds(path: Path, token: str) -> bool:
    try:
        return path.read_text(encoding="utf-8") == token
    except OSError:
        return False


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def _remove_old_files(workdir: Path) -> None:
    for entry in os.scandir(workdir):
        if _FILE.fullmatch(entry.name):
            _remove(Path(entry.path))
