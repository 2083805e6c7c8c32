"""The local copy of a folder of a bucket: what is downloaded, and when.

Small files are downloaded by `pull`, arrays of checkpoints when they are asked for (`fetch`), and
shards of datasets are read in ranges (`hpa_jax.buckets.ranges`).
"""

import contextlib
import os
import shutil
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import google_crc32c

from hpa_jax.buckets import names, parts
from hpa_jax.buckets.client import Bucket, Damaged, Missing, ObjectInfo
from hpa_jax.buckets.lease import FILE_NAME, Contents, read_contents
from hpa_jax.buckets.ranges import RemoteFile
from hpa_jax.buckets.scratch import local_place
from hpa_jax.buckets.url import BucketUrl
from hpa_jax.errors import InputError

_TRANSFERS = 16
"""Files that are on their way at the same time."""

_PULLS = 5


class Stamp(NamedTuple):
    """By which a file is known to be the one that was uploaded."""

    size: int
    modified_ns: int
    inode: int


class Part(NamedTuple):
    """A part of a file that grows, as it was uploaded."""

    checksum: int
    generation: int


class FolderCopy:
    """A folder of a bucket, and its local copy. Safe to share between threads.

    Args:
      url: of the folder, or of an object that is mounted alone.
      within: the part of the folder that is read, such as `hpa/`; "": all of it.
      most_bytes: that are downloaded, of the newest objects; 0: all.

    Attributes:
      url: of the folder.
      folder: its local copy.
    """

    def __init__(self, url: BucketUrl, within: str = "", most_bytes: int = 0):
        self.url = url
        self.folder = local_place(url.bucket, url.prefix)
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self._within = within
        self._most_bytes = most_bytes
        self._bucket = Bucket(url)
        self._lock = threading.RLock()
        # By name in the folder: objects that stand for files, and what the copies were like when
        # they were the same.
        self._remote: dict[str, ObjectInfo] = {}
        self._synced: dict[str, Stamp] = {}
        # Of files that grow.
        self._parts: dict[str, list[Part]] = {}

    def pull(self) -> None:
        """Makes the local copy like the folder, but for what is fetched when it is asked for.

        Raises:
          InputError: there is no such bucket, or no permission.
          RunStopped: the bucket does not answer.
        """
        with self._lock:
            for attempt in range(_PULLS):
                # Whoever trains there may remove something meanwhile. What is missing again and
                # again is lost, and its readers say what that means.
                if self._pull(may_miss=attempt == _PULLS - 1):
                    break
            if not self._remote and self.url.prefix:
                self._pull_object()

    def _pull(self, may_miss: bool) -> bool:
        """As `pull`; returns whether nothing was missing, or may be."""
        contents, _ = read_contents(self._bucket, self.url.name_of(FILE_NAME))
        found = self._files(contents)
        wanted = []
        for name, info in found.items():
            is_new = self._remote.get(name) != info or not self._path(name).exists()
            if is_new and not names.is_fetched_on_demand(name):
                wanted.append(name)
        if self._most_bytes:
            wanted = _newest(wanted, found, self._most_bytes)
        counts = _part_counts(contents, found)
        stamps = in_parallel(lambda n: self._download(n, found[n], counts[n]), wanted)
        missing = [name for name, stamp in zip(wanted, stamps, strict=True) if stamp is None]
        if missing and not may_miss:
            return False
        for name in missing:
            del found[name]
        for name in [known for known in self._synced if known not in found]:
            self._path(name).unlink(missing_ok=True)
            del self._synced[name]
        steps = set(filter(None, map(names.step_of, found)))
        for step in set(filter(None, map(names.step_of, self._remote))) - steps:
            # A folder that is empty would be taken for a damaged step.
            shutil.rmtree(self._path(step), ignore_errors=True)
        for step in steps:
            # Also of one of which only the arrays are left: it is damaged, not gone.
            self._path(step).mkdir(parents=True, exist_ok=True)
        for name, stamp in zip(wanted, stamps, strict=True):
            if stamp is not None:
                self._synced[name] = stamp
        self._remote = found
        return True

    def _pull_object(self) -> None:
        """Downloads the object that the URL names, if it names one and not a folder."""
        if self._bucket.stat(self.url.prefix) is not None:
            self._bucket.download(self.url.prefix, self.folder)

    def _files(self, contents: Contents | None) -> dict[str, ObjectInfo]:
        """The objects that count, by the names of their files.

        What the run has written is what its contents name, whatever a listing shows: that may lag.
        """
        objects = self._bucket.list(self.url.name_of(self._within))
        listed = {self.url.relative(info.name): info for info in objects}
        counted = None if contents is None else contents.files
        unfinished = set() if contents is None else set(contents.unfinished)
        found = {}
        for name, info in listed.items():
            is_of_run = counted is not None and name.startswith(names.STEPS)
            if name == FILE_NAME or name.endswith("/") or is_of_run or parts.part_of(name):
                continue
            if name in unfinished or names.is_local_only(name):
                continue
            if not names.is_safe(name):
                raise InputError(f"{self.url}/{name}: no name of a file; rename the object")
            found[name] = info
        for name, entry in (counted or {}).items():
            object_name = entry.get("object", name)
            known = listed.get(object_name)
            if known is None or "parts" in entry:
                place = self.url.name_of(object_name)
                known = ObjectInfo(place, int(entry["size"]), 0, entry["crc32c"])
            found[name] = known
        return found

    def _download(self, name: str, info: ObjectInfo, count: int = 1) -> Stamp | None:
        """Makes the local copy of a file that lies in so many parts; None: it is not there."""
        path = self._path(name)
        try:
            generation = self._bucket.download(info.name, path)
            if count > 1:
                self._append_parts(name, count, generation)
        except Missing:
            return None
        except Damaged:
            if names.is_of_steps(name):
                # The step is without it, and a run passes over that.
                return None
            raise
        return _stamp(path)

    def _append_parts(self, name: str, count: int, generation: int) -> None:
        """Adds what lies behind the first part of a file."""
        with open(self._path(name), "rb+") as file:
            # It may be whole, where a kill has come between that and the word of it.
            file.truncate(parts.PART_BYTES)
            found = [Part(google_crc32c.value(file.read()), generation)]
            for number in range(1, count):
                part = self.url.name_of(parts.part_name(name, number))
                content, generation = self._bucket.read(part)
                file.write(content)
                found.append(Part(google_crc32c.value(content), generation))
        self._parts[name] = found

    def fetch(self, path: Path) -> None:
        """Downloads a file, or all of a folder, as far as it is not here.

        Args:
          path: in the local copy.
        """
        start = path.relative_to(self.folder).as_posix()
        with self._lock:
            wanted = []
            for name in self._remote:
                is_meant = start in (".", name) or name.startswith(f"{start}/")
                if is_meant and name not in self._synced and not self._path(name).exists():
                    wanted.append(name)
            stamps = in_parallel(lambda n: self._download(n, self._remote[n]), wanted)
            for name, stamp in zip(wanted, stamps, strict=True):
                if stamp is not None:
                    self._synced[name] = stamp
            if None in stamps and self._may_change():
                # A run that trains has removed it: then the rest of it goes here, too.
                self.pull()

    def remote_file(self, path: Path) -> RemoteFile | None:
        """What stands for a file that is not here, to be read in ranges; None: nothing does."""
        info = self._remote.get(path.relative_to(self.folder).as_posix())
        if info is not None and info.generation == 0:
            # Not yet in a listing.
            info = self._bucket.stat(info.name)
        if info is None or path.exists():
            return None
        return RemoteFile(self._bucket, info.name, info.size, info.generation)

    def _may_change(self) -> bool:
        """Whether another process may write the folder."""
        return True

    def _scan(self) -> dict[str, Stamp]:
        """The files that are here, by name in the folder."""
        present = {}
        for parent, _, file_names in os.walk(self.folder):
            for file_name in file_names:
                path = Path(parent, file_name)
                name = path.relative_to(self.folder).as_posix()
                # A file may go while the folder is read.
                with contextlib.suppress(FileNotFoundError):
                    if not names.is_local_only(name) and path.is_file():
                        present[name] = _stamp(path)
        return present

    def _path(self, name: str) -> Path:
        return self.folder / PurePosixPath(name)


def in_parallel(work: Callable[[str], Any], wanted: Sequence[str]) -> list[Any]:
    """The results for all names; the work must not ask for the lock that its caller holds."""
    if not wanted:
        return []
    with ThreadPoolExecutor(min(_TRANSFERS, len(wanted))) as pool:
        futures = [pool.submit(work, name) for name in wanted]
        try:
            return [future.result() for future in futures]
        except BaseException:
            # Each of the others would wait as long for what does not answer.
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _stamp(path: Path) -> Stamp:
    found = os.stat(path)
    return Stamp(found.st_size, found.st_mtime_ns, found.st_ino)


def _newest(wanted: list[str], found: dict[str, ObjectInfo], most_bytes: int) -> list[str]:
    """The names of the newest objects that have so many bytes together."""
    kept = []
    for name in sorted(wanted, key=lambda name: found[name].generation, reverse=True):
        most_bytes -= found[name].size
        if most_bytes < 0:
            break
        kept.append(name)
    return kept


def _part_counts(contents: Contents | None, found: dict[str, ObjectInfo]) -> dict[str, int]:
    counts = {}
    for name in found:
        entry = (contents.files or {} if contents else {}).get(name, {})
        counts[name] = int(entry.get("parts", 1))
    return counts
