"""A folder of a bucket with a local copy, which the rest of the program works with.

Everything else reads and writes local files, as ever. Here they come from the bucket before, and
go there afterwards:

- small files are downloaded when the folder is mounted, arrays of checkpoints when they are asked
  for (`fetch`), and shards of datasets are read in ranges (`hpa_jax.buckets.ranges`);
- what has changed is uploaded by `push`, and what was removed is removed there. Files that tell
  that others are complete (manifests) go last and are removed first;
- a run that trains holds the folder's lease. Its files count once `contents.json` names them
  (`hpa_jax.buckets.lease`), so that a kill between two uploads leaves what was there before;
- logs are uploaded as they grow, in parts, by a thread that renews the lease too.
"""

import base64
import contextlib
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import google_crc32c

from hpa_jax.buckets import parts
from hpa_jax.buckets.client import Bucket, Missing, ObjectInfo
from hpa_jax.buckets.lease import FILE_NAME, Contents, Lease, read_contents, renewal_s
from hpa_jax.buckets.ranges import RemoteFile
from hpa_jax.buckets.scratch import local_place
from hpa_jax.buckets.url import BucketUrl
from hpa_jax.errors import InputError, RunStopped

_TRANSFERS = 16
"""Files that are on their way at the same time."""

_STEPS = "checkpoints/"

# Of a run, or of the runs of a sweep.
_OF_STEPS = re.compile(r"(.*/)?checkpoints/.*")

# Large, and not needed to know what there is.
_FETCHED_ON_DEMAND = re.compile(r"checkpoints/[^/]+/state/.+|(.*/)?[^/]+\.tfrecord-\d+-of-\d+")

# Of no use to others, or not complete: see hpa_jax.files.atomic and training.step_folders.
_LOCAL_ONLY = re.compile(
    r"(.*/)?(\.lock|\.lock\.owner|\.[^/]+\.part|\.probe\.[^/]*)"
    r"|(.*/)?\d+\.(saving|deleting|replaced)[^/]*/.*|(.*/)?\.[^/]+\.part/.*"
)

# They tell that what lies beside them is complete.
_LAST = ("manifest.json", "model.json", "metadata.json", "dataset_info.json")

_ATTEMPTS = 5


class _Stamp(NamedTuple):
    """By which a file is known to be the one that was uploaded."""

    size: int
    modified_ns: int
    inode: int


class Mount:
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
        # Of the copy; a thread that renews the lease does not wait for an upload.
        self._lock = threading.RLock()
        self._lease_lock = threading.Lock()
        self._counted: dict[str, dict[str, Any]] = {}
        # By name in the folder: objects that stand for files, and what the copies were like when
        # they were the same.
        self._remote: dict[str, ObjectInfo] = {}
        self._synced: dict[str, _Stamp] = {}
        # Of files that grow: the checksum of each part that was uploaded.
        self._parts: dict[str, list[int]] = {}
        self._lease: Lease | None = None
        self._failure: BaseException | None = None

    # From the bucket.

    def pull(self) -> None:
        """Makes the local copy like the folder, but for what is fetched when it is asked for.

        Raises:
          InputError: there is no such bucket, or no permission.
          RunStopped: the bucket does not answer, or it changes all the time.
        """
        with self._lock:
            for _ in range(_ATTEMPTS):
                try:
                    self._pull()
                    if not self._remote and self.url.prefix:
                        self._pull_object()
                    return
                except Missing:
                    # Whoever trains there has removed it meanwhile: once more.
                    continue
        raise RunStopped(f"{self.url} changes faster than it can be read; start again")

    def _pull(self) -> None:
        contents, _ = read_contents(self._bucket, self.url.name_of(FILE_NAME))
        found = self._files(contents)
        wanted = []
        for name, info in found.items():
            is_new = self._remote.get(name) != info or not self._path(name).exists()
            if is_new and not _FETCHED_ON_DEMAND.fullmatch(name):
                wanted.append(name)
        for name in [known for known in self._synced if known not in found]:
            self._path(name).unlink(missing_ok=True)
            del self._synced[name]
        if self._most_bytes:
            wanted = _newest(wanted, found, self._most_bytes)
        counts = _part_counts(contents, found)
        stamps = self._in_parallel(lambda name: self._download(name, counts[name]), wanted)
        self._synced.update(zip(wanted, stamps, strict=True))
        self._remote = found

    def _pull_object(self) -> None:
        """Downloads the object that the URL names, if it names one and not a folder."""
        if self._bucket.stat(self.url.prefix) is not None:
            self._bucket.download(self.url.prefix, self.folder)

    def _files(self, contents: Contents | None) -> dict[str, ObjectInfo]:
        """The objects that count, by the names of their files.

        What the run has written is what its contents name, whatever a listing shows: that may lag.
        """
        start = self.url.name_of("")
        found_objects = self._bucket.list(start + self._within)
        listed = {info.name[len(start) :]: info for info in found_objects}
        found = {}
        for name, info in listed.items():
            is_of_run = name.startswith(_STEPS) and contents is not None
            if name == FILE_NAME or name.endswith("/") or is_of_run or parts.part_of(name):
                continue
            if not _is_safe(name):
                raise InputError(f"{self.url}/{name}: no name of a file; rename the object")
            found[name] = info
        for name, entry in (contents.files if contents else {}).items():
            known = found.get(name) or listed.get(name)
            if known is None or "parts" in entry:
                known = ObjectInfo(self.url.name_of(name), entry["size"], 0, entry["crc32c"])
            found[name] = known
        return found

    def _download(self, name: str, count: int = 1) -> _Stamp:
        """Makes the local copy of a file that lies in so many parts."""
        path = self._path(name)
        self._bucket.download(self.url.name_of(name), path)
        if count > 1:
            with open(path, "rb+") as file:
                file.truncate(parts.PART_BYTES)
                file.seek(0, os.SEEK_END)
                for number in range(1, count):
                    part = parts.part_name(name, number)
                    content, _ = self._bucket.read(self.url.name_of(part))
                    file.write(content)
        return _stamp(path)

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
            with contextlib.suppress(Missing):
                stamps = self._in_parallel(self._download, wanted)
                self._synced.update(zip(wanted, stamps, strict=True))

    def remote_file(self, path: Path) -> RemoteFile | None:
        """What stands for a file that is not here, to be read in ranges; None: nothing does."""
        info = self._remote.get(path.relative_to(self.folder).as_posix())
        if info is not None and info.generation == 0:
            # Not yet in a listing.
            info = self._bucket.stat(info.name)
        if info is None or path.exists():
            return None
        return RemoteFile(self._bucket, info.name, info.size, info.generation)

    # To the bucket.

    def check_writable(self) -> None:
        """Finds out whether objects can be written and removed, before hours of work.

        Raises:
          InputError: they cannot.
        """
        name = self.url.name_of(f".probe.{os.getpid()}.{threading.get_ident()}")
        self._bucket.write(name, b"")
        self._bucket.delete(name)

    def push(self, *, with_steps: bool = True) -> None:
        """Uploads what has changed, and removes what was removed.

        Args:
          with_steps: also checkpoints; without, they are left as they are.

        Raises:
          InputError, RunStopped: it cannot be done, or the folder was taken over.
        """
        with self._lock:
            if self._failure is not None:
                raise self._failure
            present = self._scan()
            changed = []
            for name, stamp in present.items():
                if self._synced.get(name) != stamp and (with_steps or not _is_of_steps(name)):
                    changed.append(name)
            gone = [name for name in self._gone(present) if with_steps or not _is_of_steps(name)]

            leading = [name for name in changed if not _is_last(name)]
            last = [name for name in changed if _is_last(name)]
            for names in (leading, last):
                uploaded = self._in_parallel(lambda name: self._upload(name, present[name]), names)
                self._remote.update(zip(names, uploaded, strict=True))
                self._synced.update({name: present[name] for name in names})
            removed = {name: self._remote.pop(name) for name in gone}
            for name in gone:
                self._synced.pop(name, None)
            if self._lease is not None:
                self._commit(self._counting())
            self._remove(removed)

    def _commit(self, files: dict[str, dict[str, Any]] | None = None) -> None:
        """Renews the lease; from now on these files count, None: as before."""
        with self._lease_lock:
            if files is not None:
                self._counted = files
            self._lease.renew(self._counted)

    def _scan(self) -> dict[str, _Stamp]:
        present = {}
        for parent, _, names in os.walk(self.folder):
            for file_name in names:
                path = Path(parent, file_name)
                name = path.relative_to(self.folder).as_posix()
                # A file may go while the folder is read.
                with contextlib.suppress(FileNotFoundError):
                    if not _LOCAL_ONLY.fullmatch(name) and path.is_file():
                        present[name] = _stamp(path)
        return present

    def _gone(self, present: dict[str, _Stamp]) -> list[str]:
        """Names of files that were here and are not, with what nobody has fetched beside them."""
        gone = []
        for name in self._remote:
            if name in present:
                continue
            was_here = name in self._synced
            is_step_here = self._path("/".join(name.split("/")[:2])).exists()
            if was_here or (name.startswith(_STEPS) and not is_step_here):
                gone.append(name)
        return gone

    def _upload(self, name: str, stamp: _Stamp) -> ObjectInfo:
        if self._lease is not None and parts.is_appended(name):
            return self._upload_parts(name, stamp.size)
        return self._bucket.upload(self._path(name), self.url.name_of(name))

    def _upload_parts(self, name: str, size: int) -> ObjectInfo:
        """Uploads the parts of a file that grows which are not there yet."""
        known = self._parts.get(name, [])
        checksums = []
        total = google_crc32c.Checksum()
        with open(self._path(name), "rb") as file:
            for number in range(parts.count_parts(size)):
                left = size - number * parts.PART_BYTES
                content = file.read(min(parts.PART_BYTES, left))
                total.update(content)
                checksums.append(google_crc32c.value(content))
                if checksums != known[: number + 1]:
                    part = self.url.name_of(parts.part_name(name, number))
                    self._bucket.write(part, content)
        for number in range(len(checksums), len(known)):
            self._bucket.delete(self.url.name_of(parts.part_name(name, number)))
        self._parts[name] = checksums
        crc32c = base64.b64encode(total.digest()).decode()
        return ObjectInfo(self.url.name_of(name), size, 0, crc32c)

    def _counting(self) -> dict[str, dict[str, Any]]:
        files = {}
        for name, info in sorted(self._remote.items()):
            files[name] = {"size": info.size, "crc32c": info.crc32c}
            if len(self._parts.get(name, [])) > 1:
                files[name]["parts"] = len(self._parts[name])
        return files

    def _remove(self, objects: dict[str, ObjectInfo]) -> None:
        first = [name for name in objects if _is_last(name)]
        others = [name for name in objects if not _is_last(name)]
        for names in (first, others):
            self._in_parallel(lambda name: self._bucket.delete(self.url.name_of(name)), names)

    def _path(self, name: str) -> Path:
        return self.folder / PurePosixPath(name)

    @staticmethod
    def _in_parallel(work: Callable[[str], Any], names: Sequence[str]) -> list[Any]:
        """The results for all names; the work must not ask for the lock that its caller holds."""
        if not names:
            return []
        with ThreadPoolExecutor(min(_TRANSFERS, len(names))) as pool:
            return list(pool.map(work, names))

    # While a run trains.

    @contextlib.contextmanager
    def held(self, broken: str = "", *, as_it_grows: bool = True) -> Iterator[None]:
        """Holds the folder for this process, which uploads what it writes there.

        Args:
          broken: the name of a lease that is taken over without waiting.
          as_it_grows: what is written is uploaded meanwhile, and after an error; else at the end,
            if there was none.

        Raises:
          InputError: another process has it.
          RunStopped: another process has taken it over.
        """
        lease = Lease(self._bucket, self.url.name_of(FILE_NAME), str(self.url))
        contents = lease.acquire(broken)
        self.pull()
        self._lease = lease
        self._counted = contents.files
        self._remove_orphans(contents)
        stop = threading.Event()
        thread = threading.Thread(
            target=self._keep_renewing, args=(stop, as_it_grows), name="bucket", daemon=True
        )
        thread.start()
        try:
            yield
        except BaseException:
            # What was logged until then is of use; what else fails now is not the reason.
            stop.set()
            thread.join()
            with contextlib.suppress(InputError, RunStopped, OSError):
                self._give_up(pushes=as_it_grows)
            raise
        stop.set()
        thread.join()
        self._give_up()

    def _give_up(self, *, pushes: bool = True) -> None:
        with self._lock:
            try:
                if pushes:
                    self.push()
                    self._join_parts()
                self._lease.release(self._counting() if pushes else self._counted)
            finally:
                self._lease = None

    def _join_parts(self) -> None:
        """Makes one object again of each file in parts."""
        in_parts = {name: len(sums) for name, sums in self._parts.items() if len(sums) > 1}
        for name, count in in_parts.items():
            self._remote[name] = self._bucket.upload(self._path(name), self.url.name_of(name))
            del self._parts[name]
            self._commit(self._counting())
            for number in range(1, count):
                self._bucket.delete(self.url.name_of(parts.part_name(name, number)))

    def _keep_renewing(self, stop: threading.Event, pushes: bool) -> None:
        while not stop.wait(renewal_s()):
            try:
                if pushes and self._lock.acquire(blocking=False):
                    try:
                        self.push(with_steps=False)
                    finally:
                        self._lock.release()
                else:
                    # There is nothing to upload yet, or an upload is under way for minutes.
                    self._commit()
            except BaseException as error:
                self._failure = error
                return

    def _remove_orphans(self, contents: Contents) -> None:
        """Removes what uploads have left that a kill has cut short."""
        if not contents.files:
            return
        start = self.url.name_of(_STEPS)
        known = {self.url.name_of(name) for name in self._remote}
        for info in self._bucket.list(start):
            if info.name not in known:
                self._bucket.delete(info.name)

    def check(self) -> None:
        """Says whether the folder can still be written, as far as that is known.

        Raises:
          InputError, RunStopped: it cannot, or another process has taken it over.
        """
        if self._failure is not None:
            raise self._failure


def _stamp(path: Path) -> _Stamp:
    found = os.stat(path)
    return _Stamp(found.st_size, found.st_mtime_ns, found.st_ino)


def _is_of_steps(name: str) -> bool:
    return _OF_STEPS.fullmatch(name) is not None


def _is_last(name: str) -> bool:
    return name.rpartition("/")[2] in _LAST


def _is_safe(name: str) -> bool:
    """Whether a name stays within its folder."""
    return not name.startswith("/") and not {"", ".", ".."} & set(name.split("/"))


def _newest(names: list[str], found: dict[str, ObjectInfo], most_bytes: int) -> list[str]:
    """The names of the newest objects that have so many bytes together."""
    kept = []
    for name in sorted(names, key=lambda name: found[name].generation, reverse=True):
        most_bytes -= found[name].size
        if most_bytes < 0:
            break
        kept.append(name)
    return kept


def _part_counts(contents: Contents | None, found: dict[str, ObjectInfo]) -> dict[str, int]:
    counts = {}
    for name in found:
        entry = (contents.files if contents else {}).get(name, {})
        counts[name] = int(entry.get("parts", 1))
    return counts
