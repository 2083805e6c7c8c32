"""Who trains in a folder of a bucket, and what the run has there: `contents.json`.

    {"format": 1, "owner": {"name": "5f0c2a7e", "host": ..., "process": ..., "renewals": 12},
     "files": {"config.json": {"size": 2114, "crc32c": "yZRlqg=="}, ...}}

A bucket has no locks and no renames. It has this: an object is written only if the one that it
replaces is of a certain generation. So one object says both who the owner is and which files
count. Whoever has lost the folder to another process finds out at its next write, before anything
of it counts; and what was uploaded counts from the moment in which this object names it.

The owner renews it every few seconds. One that was not renewed for `patience_s` is of a process
that is gone, and is taken over; no two clocks are compared.
"""

import json
import os
import secrets
import socket
import time
from dataclasses import dataclass, field
from typing import Any

from hpa_jax.buckets.client import Bucket, Changed, Missing
from hpa_jax.errors import InputError, RunStopped

FILE_NAME = "contents.json"

LEASE = "HPA_LEASE_S"
"""Environment variable: seconds without a renewal after which an owner counts as gone."""

_PATIENCE_S = 60.0
_RENEWALS_WITHIN_PATIENCE = 6
_FORMAT = 1


def patience_s() -> float:
    """Seconds without a renewal after which an owner counts as gone."""
    text = os.environ.get(LEASE, "")
    try:
        seconds = float(text) if text else _PATIENCE_S
    except ValueError:
        seconds = 0.0
    if seconds <= 0:
        raise InputError(f"{LEASE}={text} is no number of seconds above 0")
    return seconds


def renewal_s() -> float:
    """Seconds between two renewals."""
    return patience_s() / _RENEWALS_WITHIN_PATIENCE


@dataclass
class Contents:
    """What `contents.json` says.

    Attributes:
      files: `{NAME: {"size", "crc32c"}}` of the files that count; with `"parts"` where a file lies
        in several objects (`hpa_jax.buckets.parts`).
      owner: `{"name", "host", "process", "renewals"}`; None where nobody trains.
    """

    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    owner: dict[str, Any] | None = None

    def to_bytes(self) -> bytes:
        content = {"format": _FORMAT, "owner": self.owner, "files": self.files}
        return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()


def read_contents(bucket: Bucket, name: str) -> tuple[Contents | None, int]:
    """The contents of a run's folder, and the generation of their object.

    Args:
      bucket: of the folder.
      name: of the object.

    Returns:
      None and 0 where there are none.

    Raises:
      InputError: they are not as they were written, or of a later version.
    """
    try:
        raw, generation = bucket.read(name)
    except Missing:
        return None, 0
    place = f"gs://{bucket.name}/{name}"
    try:
        values = json.loads(raw)
        contents = Contents(dict(values["files"]), values["owner"])
        version = values["format"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise InputError(
            f"{place} is not as it was written; delete it, and what is complete in the folder "
            "counts again"
        ) from None
    if version != _FORMAT:
        raise InputError(f"{place} is of format {version}: install a newer hpa_jax")
    return contents, generation


class Lease:
    """The right of this process to write a run's folder.

    Args:
      bucket: of the folder.
      name: of the object that says whose it is.
      shown: the folder, for messages.
    """

    def __init__(self, bucket: Bucket, name: str, shown: str):
        self._bucket = bucket
        self._object = name
        self._shown = shown
        self._owner = {
            "name": secrets.token_hex(4),
            "host": socket.gethostname(),
            "process": os.getpid(),
            "renewals": 0,
        }
        self._generation = 0

    def acquire(self, broken: str = "") -> Contents:
        """Takes the folder; returns what it holds.

        Args:
          broken: the name of a lease that is taken over without waiting.

        Raises:
          InputError: another process has the folder.
        """
        while True:
            contents, generation = read_contents(self._bucket, self._object)
            contents = contents or Contents()
            if contents.owner is not None and contents.owner.get("name") != broken:
                self._wait_for_its_end(contents, generation)
            self._generation = generation
            try:
                self._write(contents.files)
            except Changed:
                # Another process was quicker.
                continue
            return contents

    def _wait_for_its_end(self, contents: Contents, generation: int) -> None:
        """Returns when the owner has not renewed its lease for long enough."""
        owner = _described(contents.owner)
        if _is_dead_here(contents.owner):
            return
        seconds = patience_s()
        print(
            f"{self._shown} is in use by {owner}; looking for {seconds:g} s whether it is alive",
            flush=True,
        )
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            time.sleep(min(1.0, seconds / 10))
            info = self._bucket.stat(self._object)
            if info is None or info.generation == generation:
                continue
            found, generation = read_contents(self._bucket, self._object)
            if found is None or found.owner is None:
                return
            raise InputError(
                f"{self._shown} is in use by {_described(found.owner)}; wait for it, stop it, or "
                f"choose another folder. If it must not go on: --config.devices.break_lease="
                f"{found.owner.get('name')}"
            )

    def renew(self, files: dict[str, dict[str, Any]]) -> None:
        """Says that this process is alive, and which files count.

        Raises:
          RunStopped: the folder was taken over by another process.
        """
        self._owner["renewals"] += 1
        self._write_own(files, self._owner)

    def release(self, files: dict[str, dict[str, Any]]) -> None:
        """Gives the folder up."""
        self._write_own(files, None)

    def _write_own(self, files: dict[str, dict[str, Any]], owner: dict[str, Any] | None) -> None:
        try:
            self._write(files, owner)
        except Changed:
            raise self._lost() from None

    def _write(self, files: dict[str, dict[str, Any]], owner: dict[str, Any] | None = ...) -> None:
        """Replaces the object of the generation that is known."""
        content = Contents(files, self._owner if owner is ... else owner).to_bytes()
        try:
            info = self._bucket.write(self._object, content, self._generation)
            self._generation = info.generation
        except Changed:
            # Also the answer where the first attempt arrived and what was lost is its answer.
            try:
                found, generation = self._bucket.read(self._object)
            except Missing:
                found, generation = b"", 0
            if found != content:
                raise
            self._generation = generation

    def _lost(self) -> RunStopped:
        contents, _ = read_contents(self._bucket, self._object)
        who = "another process"
        if contents is not None and contents.owner is not None:
            who = _described(contents.owner)
        return RunStopped(
            f"{self._shown} was taken over by {who}, since this process had not renewed its lease "
            f"({self._owner['name']}) for {patience_s():g} s or it was broken; nothing that this "
            "process wrote since counts"
        )


def _described(owner: dict[str, Any]) -> str:
    return f"process {owner.get('process')} on {owner.get('host')} (lease {owner.get('name')})"


def _is_dead_here(owner: dict[str, Any]) -> bool:
    """Whether the owner ran on this machine and is gone."""
    process = owner.get("process")
    if owner.get("host") != socket.gethostname() or type(process) is not int or process <= 0:
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
