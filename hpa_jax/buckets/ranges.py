"""Shards of datasets in a bucket, read in ranges: a record costs one request, or a part of one.

What latency costs is hidden by asking early and on many connections: whoever knows what it reads
next says so (`announce`), and ranges that lie close together in a shard become one request.

What was read is kept on the local disk up to `cache_bytes`, and then nothing more is: an epoch
reads each record once, in another order each time. A cache that made room for the newest would
have lost every record before it is wanted again, where one that keeps what it has serves its part
of every epoch.
"""

import contextlib
import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from hpa_jax.buckets.client import Bucket, Changed, Missing
from hpa_jax.errors import InputError

CONNECTIONS = 32
CACHE_BYTES = 64 * 2**30

# Between two ranges of one request: as long as a connection takes to send that, a request of its
# own would have waited.
_GAP_BYTES = 2**18

_LARGEST_REQUEST = 2**23

# Announced and not yet read.
_WAITING_BYTES = 2**29

_RESERVED_BYTES = 2**31
"""Of the disk that are left to others."""


class RemoteFile(NamedTuple):
    """An object that is read in ranges.

    Attributes:
      bucket: that it lies in.
      name: in the bucket.
      size: bytes.
      generation: that is read; a later one is refused.
    """

    bucket: Bucket
    name: str
    size: int
    generation: int

    @property
    def key(self) -> tuple[str, str, int]:
        return (self.bucket.name, self.name, self.generation)

    def read(self, start: int, size: int) -> bytes:
        """The bytes from `start` on.

        Raises:
          InputError: the object has changed or gone since it was opened.
        """
        place = f"gs://{self.bucket.name}/{self.name}"
        advice = "put it back, or start again with the new ones"
        try:
            return self.bucket.read_range(self.name, start, size, self.generation)
        except Changed:
            raise InputError(f"{place} was replaced while it was read; {advice}") from None
        except Missing:
            raise InputError(f"{place} was removed while it was read; {advice}") from None


class Range(NamedTuple):
    """Some bytes of a file."""

    file: RemoteFile
    start: int
    size: int

    @property
    def key(self) -> tuple:
        return (*self.file.key, self.start)

    @property
    def stop(self) -> int:
        return self.start + self.size


class _Request(NamedTuple):
    """Ranges that are read together.

    Attributes:
      start: of the first one.
      content: of all of them, when it is there.
    """

    start: int
    content: Future


class RangeReader:
    """Reads ranges of files, those that were announced on many connections. Thread-safe.

    Args:
      folder: for what is kept.
      connections: at the same time.
      cache_bytes: that are kept at most.
    """

    def __init__(
        self, folder: Path, connections: int = CONNECTIONS, cache_bytes: int = CACHE_BYTES
    ):
        self._pool = ThreadPoolExecutor(connections, thread_name_prefix="bucket-read")
        self._cache = _DiskCache(folder, cache_bytes)
        self._lock = threading.Lock()
        self._announced: OrderedDict[tuple, tuple[Range, _Request]] = OrderedDict()
        self._waiting_bytes = 0

    def announce(self, ranges: Iterable[Range]) -> None:
        """Starts to read what will be asked for; returns at once."""
        with self._lock:
            new = []
            for wanted in ranges:
                if wanted.key not in self._announced and wanted.key not in self._cache:
                    new.append(wanted)
            for group in coalesce(new):
                first, last = group[0], group[-1]
                size = max(part.stop for part in group) - first.start
                content = self._pool.submit(last.file.read, first.start, size)
                for part in group:
                    self._announced[part.key] = (part, _Request(first.start, content))
                    self._waiting_bytes += part.size
            # What nobody has asked for makes room for what somebody may.
            while self._waiting_bytes > _WAITING_BYTES:
                _, (oldest, _) = self._announced.popitem(last=False)
                self._waiting_bytes -= oldest.size

    def read(self, wanted: Range) -> bytes:
        """The bytes of a range, fewer at the end of its file.

        Raises:
          InputError: the file has changed or gone since it was opened.
          RunStopped: the bucket does not answer.
        """
        content = self._cache.get(wanted)
        if content is not None:
            return content
        with self._lock:
            found = self._announced.pop(wanted.key, None)
            if found is not None:
                self._waiting_bytes -= found[0].size
        if found is None or found[0].size != wanted.size:
            content = wanted.file.read(wanted.start, wanted.size)
        else:
            _, request = found
            offset = wanted.start - request.start
            content = bytes(memoryview(request.content.result())[offset : offset + wanted.size])
        self._cache.put(wanted, content)
        return content

    def close(self) -> None:
        """Ends its threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._cache.close()


def coalesce(ranges: Sequence[Range]) -> list[list[Range]]:
    """Groups of ranges that are read together, each sorted by where they start."""
    groups = []
    for wanted in sorted(ranges, key=lambda part: (part.file.key, part.start)):
        if groups:
            first, last = groups[-1][0], groups[-1][-1]
            is_near = wanted.file.key == last.file.key and wanted.start - last.stop <= _GAP_BYTES
            if is_near and wanted.stop - first.start <= _LARGEST_REQUEST:
                groups[-1].append(wanted)
                continue
        groups.append([wanted])
    return groups


class _DiskCache:
    """Ranges on the local disk, each at its place in a file with holes. Thread-safe."""

    def __init__(self, folder: Path, most_bytes: int):
        self._folder = folder
        self._lock = threading.Lock()
        self._files: dict[tuple, int] = {}
        self._sizes: dict[tuple, int] = {}
        self._left = most_bytes
        if most_bytes:
            folder.mkdir(parents=True, exist_ok=True)
            disk = os.statvfs(folder)
            free = disk.f_bavail * disk.f_frsize - _RESERVED_BYTES
            self._left = max(0, min(most_bytes, free))

    def __contains__(self, key: tuple) -> bool:
        return key in self._sizes

    def get(self, wanted: Range) -> bytes | None:
        size = self._sizes.get(wanted.key)
        if size is None or size != wanted.size:
            return None
        return os.pread(self._files[wanted.file.key], size, wanted.start)

    def put(self, wanted: Range, content: bytes) -> None:
        with self._lock:
            if wanted.key in self._sizes or len(content) > self._left:
                return
            self._left -= len(content)
            file = self._files.get(wanted.file.key)
            if file is None:
                path = self._folder / f"{len(self._files)}"
                file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
                self._files[wanted.file.key] = file
        try:
            os.pwrite(file, content, wanted.start)
        except OSError:
            # The disk is full: what is there already still serves.
            self._left = 0
            return
        if len(content) == wanted.size:
            self._sizes[wanted.key] = wanted.size

    def close(self) -> None:
        with self._lock:
            self._sizes.clear()
            while self._files:
                _, file = self._files.popitem()
                with contextlib.suppress(OSError):
                    os.close(file)
