"""Shards of datasets in a bucket, read in ranges: a record costs one request, or a part of one.

What latency costs is hidden by asking early and on many connections: whoever knows what it reads
next says so (`announce`), and ranges that lie close together in a shard become one request. As
many are under way and unread as have room in memory; the others wait for those to be read.

What was read is kept on the local disk up to `cache_bytes`, and then nothing more is: an epoch
reads each record once, in another order each time. A cache that made room for the newest would
have lost every record before it is wanted again, where one that keeps what it has serves its part
of every epoch.
"""

import collections
import contextlib
import os
import queue
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import NamedTuple

from hpa_jax.buckets.client import Bucket, Changed, Missing
from hpa_jax.errors import InputError

CONNECTIONS = 32
CACHE_BYTES = 64 * 2**30

# Between two ranges of one request: as long as a connection takes to send that, a request of its
# own would have waited.
_GAP_BYTES = 2**18

# Of ranges that are read together. At 50 MB/s it takes twice as long as a usual latency of 20 ms;
# larger ones would leave connections idle, where images are read in the order of a shard.
_LARGEST_REQUEST = 2**21

# Announced ranges to a connection, so that all have work although some were read just now.
_RANGES_A_CONNECTION = 4

_LEAST_READ_AHEAD = 256

_WAITING_BYTES = 2**29
"""Of ranges that are under way or wait to be read."""

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


class _Request:
    """Ranges of a file that are read together.

    Attributes:
      unread: how many of them nobody has read yet.
      is_started: whether it has room in memory.
      content: from the start of the first one, when it is there.
    """

    def __init__(self, group: list[Range]):
        self.file = group[0].file
        self.start = group[0].start
        self.size = max(part.stop for part in group) - self.start
        self.keys = [part.key for part in group]
        self.unread = len(group)
        self.is_started = False
        self.content: Future = Future()

    def run(self) -> None:
        try:
            self.content.set_result(self.file.read(self.start, self.size))
        except BaseException as error:
            # Whoever asks for one of the ranges gets it.
            self.content.set_exception(error)

    def part(self, wanted: Range) -> bytes:
        content = self.content.result()
        if wanted.size == self.size:
            return content
        offset = wanted.start - self.start
        return content[offset : offset + wanted.size]


class RangeReader:
    """Reads ranges of files, those that were announced on many connections. Thread-safe.

    Args:
      folder: for what is kept.
      connections: at the same time.
      cache_bytes: that are kept at most.

    Attributes:
      read_ahead: ranges that are best announced before they are read.
    """

    def __init__(
        self, folder: Path, connections: int = CONNECTIONS, cache_bytes: int = CACHE_BYTES
    ):
        self.read_ahead = max(_LEAST_READ_AHEAD, _RANGES_A_CONNECTION * connections)
        self._connections = connections
        self._cache = _DiskCache(folder, cache_bytes)
        self._lock = threading.Lock()
        # By range, in the order in which they were announced.
        self._announced: dict[tuple, tuple[Range, _Request]] = {}
        self._planned: collections.deque[_Request] = collections.deque()
        self._held_bytes = 0
        self._started: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def announce(self, ranges: Iterable[Range]) -> None:
        """Starts to read what will be asked for, in this order; returns at once."""
        with self._lock:
            new = {}
            for wanted in ranges:
                if wanted.key not in self._announced and wanted.key not in self._cache:
                    new[wanted.key] = wanted
            for group in coalesce(list(new.values())):
                request = _Request(group)
                self._planned.append(request)
                self._announced.update({part.key: (part, request) for part in group})
            self._start_planned()

    def read(self, wanted: Range) -> bytes:
        """The bytes of a range, fewer at the end of its file.

        Raises:
          InputError: the file has changed or gone since it was opened.
          RunStopped: the bucket does not answer.
        """
        content = self._cache.get(wanted)
        if content is not None:
            return content
        is_own = False
        with self._lock:
            announced, request = self._announced.get(wanted.key, (wanted, None))
            if request is not None and not request.is_started:
                # All the room is taken by what others have announced, or never asked for.
                self._forget(wanted.key)
                request = None
                self._drop_oldest()
                self._start_planned()
            if request is None:
                # So that nobody announces, and fetches, what is being read here.
                is_own = True
                request = _Request([wanted])
                request.is_started = True
                self._held_bytes += request.size
                self._announced[wanted.key] = (wanted, request)
        try:
            if is_own:
                request.run()
            if announced.size == wanted.size:
                content = request.part(wanted)
            else:
                content = wanted.file.read(wanted.start, wanted.size)
            self._cache.put(wanted, content)
        finally:
            # Not before it is in the cache: it would be announced and fetched again meanwhile.
            with self._lock:
                self._forget(wanted.key)
                self._start_planned()
        return content

    def close(self) -> None:
        """Ends its threads, when they have read what they are reading."""
        with self._lock:
            self._planned.clear()
            self._announced.clear()
            with contextlib.suppress(queue.Empty):
                while True:
                    self._started.get_nowait().content.cancel()
            for _ in self._threads:
                self._started.put(None)
            self._threads.clear()
        self._cache.close()

    def _start_planned(self) -> None:
        while self._planned:
            request = self._planned[0]
            is_room = self._held_bytes + request.size <= _WAITING_BYTES or not self._held_bytes
            if request.unread and not is_room:
                return
            self._planned.popleft()
            if not request.unread:
                continue
            request.is_started = True
            self._held_bytes += request.size
            self._started.put(request)
            if len(self._threads) < self._connections:
                # Not those of an executor: a program that ends would wait for all that was
                # announced, and for a bucket that does not answer.
                thread = threading.Thread(target=self._work, name="bucket-read", daemon=True)
                self._threads.append(thread)
                thread.start()

    def _work(self) -> None:
        while True:
            request = self._started.get()
            if request is None:
                return
            request.run()
            # Not held until the next one comes.
            del request

    def _drop_oldest(self) -> None:
        """Forgets half of what has been read and not asked for."""
        for _, request in list(self._announced.values()):
            if self._held_bytes <= _WAITING_BYTES // 2:
                return
            if request.unread and request.content.done():
                for key in request.keys:
                    self._forget(key)

    def _forget(self, key: tuple) -> None:
        """What was announced has been read, or is read in another way."""
        _, request = self._announced.pop(key, (None, None))
        if request is not None:
            request.unread -= 1
            if request.is_started and not request.unread:
                self._held_bytes -= request.size


def coalesce(ranges: Sequence[Range]) -> list[list[Range]]:
    """Groups of ranges that are read together, each sorted by where they start.

    The groups are in the order in which the first of each stands in `ranges`.
    """
    places = {wanted.key: place for place, wanted in enumerate(ranges)}
    groups = []
    for wanted in sorted(ranges, key=lambda part: (part.file.key, part.start)):
        if groups:
            first, last = groups[-1][0], groups[-1][-1]
            is_near = wanted.file.key == last.file.key and wanted.start - last.stop <= _GAP_BYTES
            if is_near and wanted.stop - first.start <= _LARGEST_REQUEST:
                groups[-1].append(wanted)
                continue
        groups.append([wanted])
    return sorted(groups, key=lambda group: min(places[part.key] for part in group))


class _DiskCache:
    """Ranges on the local disk, one after another in a file. Thread-safe."""

    def __init__(self, folder: Path, most_bytes: int):
        self._folder = folder
        self._lock = threading.Lock()
        self._file: int | None = None
        # Where each lies in the file, and its size.
        self._places: dict[tuple, tuple[int, int]] = {}
        self._end = 0
        self._most = most_bytes
        if most_bytes:
            folder.mkdir(parents=True, exist_ok=True)
            disk = os.statvfs(folder)
            free = disk.f_bavail * disk.f_frsize - _RESERVED_BYTES
            self._most = max(0, min(most_bytes, free))

    def __contains__(self, key: tuple) -> bool:
        return key in self._places

    def get(self, wanted: Range) -> bytes | None:
        place, size = self._places.get(wanted.key, (0, None))
        if size != wanted.size:
            return None
        return os.pread(self._file, size, place)

    def put(self, wanted: Range, content: bytes) -> None:
        with self._lock:
            is_new = wanted.key not in self._places and len(content) == wanted.size
            if not is_new or self._end + len(content) > self._most:
                return
            if self._file is None:
                path = self._folder / "cache"
                flags = os.O_CREAT | os.O_TRUNC | os.O_RDWR | os.O_CLOEXEC
                self._file = os.open(path, flags, 0o600)
            place = self._end
            self._end += len(content)
        try:
            written = os.pwrite(self._file, content, place)
        except OSError:
            written = 0
        if written < len(content):
            # The disk is full: what is there already still serves.
            self._most = 0
            return
        self._places[wanted.key] = (place, wanted.size)

    def close(self) -> None:
        with self._lock:
            self._places.clear()
            self._most = 0
            if self._file is not None:
                os.close(self._file)
                self._file = None
