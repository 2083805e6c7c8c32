"""The folders of buckets that this process works with, by where their local copies lie.

`local_copy` makes a path of a URL; every other function takes a path, and does nothing where it is
an ordinary one. So nothing else has to know of buckets.
"""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

from hpa_jax.buckets.url import BucketUrl, parse

# By URL; the innermost one that holds a path is that of the longest.
_mounts: dict[BucketUrl, object] = {}
_lock = threading.Lock()
_readers: list = []
_reading: dict[str, int] = {}


def local_copy(url: str, shown: str = "", within: str = "", most_bytes: int = 0) -> Path:
    """The local copy of a folder of a bucket with all that is small in it, or of a single object.

    Args:
      url: `gs://BUCKET/FOLDER`.
      shown: the flag with its value, for messages.
      within: the part of the folder that is read, such as `hpa/`; "": all of it.
      most_bytes: that are downloaded, of the newest objects; 0: all.

    Raises:
      InputError: it is no such URL, or the bucket cannot be read.
      RunStopped: the bucket does not answer.
    """
    from hpa_jax.buckets.mount import Mount

    place = parse(url, shown)
    with _lock:
        mount = _mounts.get(place)
        if mount is None:
            mount = Mount(place, within, most_bytes)
            mount.pull()
            _mounts[place] = mount
    return mount.folder


def mount_of(path: Path):
    """The `Mount` whose local copy a path lies in; None for an ordinary path."""
    found = None
    for mount in _mounts.values():
        if Path(path).is_relative_to(mount.folder):
            if found is None or len(mount.folder.parts) > len(found.folder.parts):
                found = mount
    return found


def fetch(path: Path) -> None:
    """Downloads a file, or all of a folder, that a reader needs as it is."""
    mount = mount_of(path) if _mounts else None
    if mount is not None:
        mount.fetch(path)


def check(path: Path) -> None:
    """Says whether the folder of a bucket that `path` lies in can still be written.

    Raises:
      InputError, RunStopped: it cannot, or another process has taken it over.
    """
    mount = mount_of(path) if _mounts else None
    if mount is not None:
        mount.check()


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Holds the folder of a bucket for this process, which uploads what it has written at the end.

    After an error nothing is uploaded.

    Raises:
      InputError: another process has it.
      RunStopped: another process has taken it over, or the bucket does not answer.
    """
    mount = mount_of(path) if _mounts else None
    if mount is None:
        yield
        return
    with mount.held(as_it_grows=False):
        yield


def publish(path: Path) -> None:
    """Uploads what has changed in the folder of a bucket that `path` lies in.

    Raises:
      InputError, RunStopped: it cannot be done.
    """
    mount = mount_of(path) if _mounts else None
    if mount is not None:
        mount.push()


def remote_file(path: Path):
    """What stands in a bucket for a file that is not here, to be read in ranges; None: nothing.

    Raises:
      InputError, RunStopped: the bucket cannot be read.
    """
    mount = mount_of(path) if _mounts else None
    return None if mount is None else mount.remote_file(path)


def set_reading(connections: int, cache_gb: float) -> None:
    """Sets with how many connections shards are read, and how much of them is kept on the disk.

    To be called before the first one is read.
    """
    _reading.update(connections=connections, cache_bytes=round(cache_gb * 1e9))


def range_reader():
    """The `RangeReader` of this process."""
    from hpa_jax.buckets.ranges import RangeReader
    from hpa_jax.buckets.scratch import scratch_folder

    with _lock:
        if not _readers:
            _readers.append(RangeReader(scratch_folder() / "ranges", **_reading))
        return _readers[0]


def refresh(path: Path) -> None:
    """Downloads what has changed in the folder of a bucket that `path` lies in."""
    mount = mount_of(path) if _mounts else None
    if mount is not None:
        mount.pull()


def forget() -> None:
    """Ends all mounts; for tests."""
    with _lock:
        _mounts.clear()
        while _readers:
            _readers.pop().close()
