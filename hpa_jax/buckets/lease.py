"""Who trains in a folder of a bucket, and what the run has there: `contents.json`.

    {"format": 1, "owner": {"name": "5f0c2a7e", "host": ..., "process": ..., "renewals": 12, ...},
     "files": {"config.json": {"size": 2114, "crc32c": "yZRlqg=="}, ...}, "unfinished": [...]}

A bucket has no locks and no renames. It has this: an object is written only if the one that it
replaces is of a certain generation. So one object says both who the owner is and which files
count. Whoever has lost the folder to another process finds out at its next write, before anything
of it counts; and what was uploaded counts from the moment in which this object names it.

The owner renews it every few seconds. One that was not renewed for as long as its owner has set is
of a process that is gone, and is taken over; no two clocks are compared.

What a killed process has left is known by name, since it says what it is about to upload: nothing
else is ever removed, such as the copy of a checkpoint that a person has made in the folder.
"""

import dataclasses
import json
import os
import secrets
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hpa_jax import process_owner
from hpa_jax.buckets.client import Bucket, Changed, Missing
from hpa_jax.buckets.names import is_safe
from hpa_jax.errors import InputError, RunStopped

FILE_NAME = "contents.json"

LEASE = "HPA_LEASE_S"
"""Environment variable: seconds without a renewal after which an owner counts as gone."""

_PATIENCE_S = 60.0
_LONGEST_PATIENCE_S = 3600.0
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
        in several objects (`hpa_jax.buckets.parts`), and `"object"` where it lies in one of another
        name. None: all that is there counts, as in a folder without contents.
      owner: `{"name", "host", "process", "process_space", "patience_s", "renewals"}`; None where
        nobody trains.
      unfinished: names of objects that are on their way there or away, and count for nothing.
    """

    files: dict[str, dict[str, Any]] | None = None
    owner: dict[str, Any] | None = None
    unfinished: list[str] = field(default_factory=list)

    def to_bytes(self) -> bytes:
        content = {
            "format": _FORMAT,
            "owner": self.owner,
            "files": self.files,
            "unfinished": self.unfinished,
        }
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
        version = values["format"]
        if version == _FORMAT:
            contents = Contents(values["files"], values["owner"], values["unfinished"])
            _check(contents)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise InputError(
            f"{place} is not as it was written; delete it, and what is complete in the folder "
            "counts again"
        ) from None
    if version != _FORMAT:
        raise InputError(f"{place} is of format {version}: install a newer hpa_jax")
    return contents, generation


def _check(contents: Contents) -> None:
    """Raises one of the errors of a wrong type or value where contents are no such contents."""
    if contents.owner is not None:
        contents.owner["name"]
    for name in contents.unfinished:
        _check_name(name)
    for name, entry in ({} if contents.files is None else contents.files).items():
        _check_name(name)
        _check_name(entry.get("object", name))
        if int(entry["size"]) < 0 or int(entry.get("parts", 1)) < 1:
            raise ValueError(entry)
        entry["crc32c"].encode()


def _check_name(name: str) -> None:
    # They become paths, and whoever can write to the bucket chooses them.
    if not is_safe(name):
        raise ValueError(name)


class Lease:
    """The right of this process to write a run's folder. Safe to share between threads.

    Args:
      bucket: of the folder.
      name: of the object that says whose it is.
      shown: the folder, for messages.

    Attributes:
      contents: what `acquire` has found, then what `renew` has said.
    """

    def __init__(self, bucket: Bucket, name: str, shown: str):
        self._bucket = bucket
        self._object = name
        self._shown = shown
        self._owner = {
            "name": secrets.token_hex(4),
            **process_owner.this_process(),
            "patience_s": patience_s(),
            "renewals": 0,
        }
        self.contents = Contents()
        self._lock = threading.Lock()
        self._renewed_s = 0.0
        self._generation = 0

    def acquire(self, broken: str = "") -> None:
        """Takes the folder, and finds what it holds.

        Args:
          broken: the name of a lease that is taken over without waiting.

        Raises:
          InputError: another process has the folder.
        """
        while True:
            contents, generation = read_contents(self._bucket, self._object)
            if contents is None:
                contents = Contents()
            if contents.owner is not None and contents.owner.get("name") != broken:
                self._wait_for_its_end(contents, generation)
            self._generation = generation
            try:
                self._write(dataclasses.replace(contents, owner=self._owner))
            except Changed:
                # Another process was quicker.
                continue
            self.contents = contents
            return

    def _wait_for_its_end(self, contents: Contents, generation: int) -> None:
        """Returns when the owner has not renewed its lease for long enough."""
        owner = _described(contents.owner)
        if process_owner.is_gone(contents.owner):
            return
        seconds = _patience_of(contents.owner)
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

    def renew(
        self, files: dict[str, dict[str, Any]] | None = None, unfinished: Sequence[str] = ()
    ) -> None:
        """Says that this process is alive, and what counts.

        Args:
          files: that count from now on; None: those of before.
          unfinished: objects that are on their way there or away; only with `files`.

        Raises:
          RunStopped: the folder was taken over by another process.
        """
        with self._lock:
            if files is not None:
                self.contents = Contents(files, None, list(unfinished))
            self._owner["renewals"] += 1
            self._write_own(dataclasses.replace(self.contents, owner=self._owner))

    def release(self) -> None:
        """Gives the folder up."""
        with self._lock:
            self._write_own(dataclasses.replace(self.contents, owner=None))

    def renew_if_late(self) -> None:
        """Renews it where another process may have taken the folder over meanwhile.

        After a process or its machine was suspended, for instance: before it writes anything.

        Raises:
          RunStopped: the folder was taken over by another process.
        """
        if _clock_s() - self._renewed_s > self._owner["patience_s"]:
            self.renew()

    def check(self) -> None:
        """Finds out whether the folder is still this process's.

        Raises:
          RunStopped: it was taken over by another process.
        """
        with self._lock:
            info = self._bucket.stat(self._object)
            if info is None or info.generation != self._generation:
                raise self._lost()

    def _write_own(self, contents: Contents) -> None:
        try:
            self._write(contents)
        except Changed:
            raise self._lost() from None

    def _write(self, contents: Contents) -> None:
        """Replaces the object of the generation that is known."""
        asked_s = _clock_s()
        info = self._bucket.write(self._object, contents.to_bytes(), self._generation)
        self._generation = info.generation
        self._renewed_s = asked_s

    def _lost(self) -> RunStopped:
        try:
            contents, _ = read_contents(self._bucket, self._object)
        except InputError as error:
            return RunStopped(f"{error}; this process has stopped, since it cannot tell who trains")
        if contents is None:
            return RunStopped(
                f"{self._shown}: {FILE_NAME} was removed while this process trained, and with it "
                "the right to write there; start again to resume from what is complete"
            )
        who = "a process that has ended"
        if contents.owner is not None:
            who = _described(contents.owner)
        return RunStopped(
            f"{self._shown} was taken over by {who}, since this process had not renewed its lease "
            f"({self._owner['name']}) for {self._owner['patience_s']:g} s or it was broken; "
            "nothing that this process wrote since counts"
        )


def _clock_s() -> float:
    """A clock that goes on while the machine is suspended, where there is one."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _patience_of(owner: dict[str, Any]) -> float:
    seconds = owner.get("patience_s")
    if not isinstance(seconds, (int, float)) or not 0 < seconds <= _LONGEST_PATIENCE_S:
        return patience_s()
    return float(seconds)


def _described(owner: dict[str, Any]) -> str:
    return f"process {owner.get('process')} on {owner.get('host')} (lease {owner.get('name')})"
