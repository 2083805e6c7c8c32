"""A folder of a bucket with a local copy, which the rest of the program works with.

Everything else reads and writes local files, as ever. Here they come from the bucket before, and
go there afterwards:

- small files are downloaded when the folder is mounted, arrays of checkpoints when they are asked
  for (`fetch`), and shards of datasets are read in ranges (`hpa_jax.buckets.ranges`);
- what has changed is uploaded by `push`, and what was removed is removed there. Files that tell
  that others are complete (manifests) go last and are removed first;
- a run that trains holds the folder's lease. Its files count once `contents.json` names them
  (`hpa_jax.buckets.lease`), so that a kill between two uploads leaves what was there before;
- a checkpoint that replaces one of the same number lies in objects of other names until it counts;
- logs are uploaded as they grow, in parts, by a thread. Another one renews the lease, however long
  an upload takes.

Whoever has lost the lease may not know it yet, while the next owner writes: therefore each object
is written and removed by its generation, so that neither touches what the other has written since.
"""

import base64
import contextlib
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import google_crc32c

from hpa_jax.buckets import names, parts
from hpa_jax.buckets.client import Bucket, Changed, Damaged, Missing, ObjectInfo
from hpa_jax.buckets.lease import FILE_NAME, Contents, Lease, read_contents, renewal_s
from hpa_jax.buckets.ranges import RemoteFile
from hpa_jax.buckets.scratch import local_place
from hpa_jax.buckets.url import BucketUrl
from hpa_jax.errors import InputError, RunStopped

_TRANSFERS = 16
"""Files that are on their way at the same time."""

_ATTEMPTS = 5


class _Stamp(NamedTuple):
    """By which a file is known to be the one that was uploaded."""

    size: int
    modified_ns: int
    inode: int


class _Part(NamedTuple):
    """A part of a file that grows, as it was uploaded."""

    checksum: int
    generation: int


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
        self._counted: dict[str, dict[str, Any]] | None = None
        self._unfinished: list[str] = []
        # By name in the folder: objects that stand for files, and what the copies were like when
        # they were the same.
        self._remote: dict[str, ObjectInfo] = {}
        self._synced: dict[str, _Stamp] = {}
        # Of files that grow.
        self._parts: dict[str, list[_Part]] = {}
        self._lease: Lease | None = None
        self._failure: BaseException | None = None

    # From the bucket.

    def pull(self) -> None:
        """Makes the local copy like the folder, but for what is fetched when it is asked for.

        Raises:
          InputError: there is no such bucket, or no permission.
          RunStopped: the bucket does not answer.
        """
        with self._lock:
            for attempt in range(_ATTEMPTS):
                # Whoever trains there may remove something meanwhile. What is missing again and
                # again is lost, and its readers say what that means.
                if self._pull(may_miss=attempt == _ATTEMPTS - 1):
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
        stamps = self._in_parallel(lambda n: self._download(n, found[n], counts[n]), wanted)
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
        start = self.url.name_of("")
        found_objects = self._bucket.list(start + self._within)
        listed = {info.name[len(start) :]: info for info in found_objects}
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

    def _download(self, name: str, info: ObjectInfo, count: int = 1) -> _Stamp | None:
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
            found = [_Part(google_crc32c.value(file.read()), generation)]
            for number in range(1, count):
                part = self.url.name_of(parts.part_name(name, number))
                content, generation = self._bucket.read(part)
                file.write(content)
                found.append(_Part(google_crc32c.value(content), generation))
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
            stamps = self._in_parallel(lambda n: self._download(n, self._remote[n]), wanted)
            for name, stamp in zip(wanted, stamps, strict=True):
                if stamp is not None:
                    self._synced[name] = stamp
            if None in stamps and self._lease is None:
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
            self.check()
            try:
                self._push(with_steps)
            except (InputError, RunStopped) as error:
                if self._lease is not None:
                    # Nothing more is uploaded: each try would wait as long again.
                    self._failure = error
                raise

    def _push(self, with_steps: bool) -> None:
        present = self._scan()
        changed = []
        for name, stamp in present.items():
            if self._synced.get(name) != stamp and (with_steps or not names.is_of_steps(name)):
                changed.append(name)
        gone = self._gone(present)
        gone = [name for name in gone if with_steps or not names.is_of_steps(name)]
        places = self._places(changed)
        self._announce(places)

        leading = [name for name in changed if not names.is_last(name)]
        last = [name for name in changed if names.is_last(name)]
        replaced = {}
        for group in (leading, last):
            uploaded = self._in_parallel(lambda n: self._upload(n, present[n], places[n]), group)
            for name, info in zip(group, uploaded, strict=True):
                # None: it went meanwhile.
                if info is not None:
                    if name in self._remote and self._remote[name].name != info.name:
                        replaced[name] = self._remote[name]
                    self._remote[name] = info
                    self._synced[name] = present[name]
        removed = {name: self._remote.pop(name) for name in gone}
        for name in gone:
            self._synced.pop(name, None)
        if self._lease is not None and (changed or gone):
            left = [info.name for info in (*removed.values(), *replaced.values())]
            self._commit(self._counting(), self._relative(left))
        for name, info in replaced.items():
            if info.name != self.url.name_of(name):
                removed[name] = info
        self._remove(removed)
        # Said with the next renewal.
        self._unfinished = []
        if with_steps and self._lease is not None:
            self._settle()

    def _places(self, changed: list[str]) -> dict[str, str]:
        """The objects, by name in the folder, in which changed files are uploaded."""
        places = {}
        for name in changed:
            places[name] = name
            known = self._remote.get(name)
            if self._lease is None or known is None or not names.step_of(name):
                continue
            if known.name == self.url.name_of(name):
                # What counts stays as it is until the checkpoint that replaces it is complete.
                places[name] = names.next_of(name)
        return places

    def _announce(self, places: dict[str, str]) -> None:
        """Names the objects of checkpoints that are about to be uploaded."""
        known = {info.name for info in self._remote.values()}
        coming = []
        for name, place in places.items():
            if names.step_of(name) and self.url.name_of(place) not in known:
                coming.append(place)
        if coming and self._lease is not None:
            self._commit(self._counting(), coming)

    def _settle(self) -> None:
        """Has each file of a checkpoint lie in the object of its name."""
        elsewhere = {}
        for name, info in self._remote.items():
            if info.name != self.url.name_of(name):
                elsewhere[name] = info
        if not elsewhere:
            return
        for step in set(map(names.step_of, elsewhere)):
            self.fetch(self._path(step))

        def settle(name: str) -> ObjectInfo | None:
            try:
                return self._put(name, self._path(name))
            except FileNotFoundError:
                return None

        for name, info in zip(elsewhere, self._in_parallel(settle, list(elsewhere)), strict=True):
            if info is not None:
                self._remote[name] = info
        self._commit(self._counting(), self._relative(info.name for info in elsewhere.values()))
        self._remove(elsewhere)

    def _relative(self, object_names: Iterable[str]) -> list[str]:
        return [name[len(self.url.name_of("")) :] for name in object_names]

    def _commit(
        self, files: dict[str, dict[str, Any]] | None = None, unfinished: Sequence[str] = ()
    ) -> None:
        """Renews the lease, and says what counts.

        Args:
          files: that count from now on; None: those of before.
          unfinished: objects that are on their way there or away; only with `files`.
        """
        with self._lease_lock:
            if files is not None:
                self._counted = files
                self._unfinished = list(unfinished)
            self._lease.renew(self._counted, self._unfinished)

    def _put(self, place: str, content: Path | bytes, generation: int | None = 0) -> ObjectInfo:
        """Writes an object of the folder, in place of the one that this process knows.

        Args:
          place: the name of the object in the folder.
          content: of it, or the file that has it.
          generation: of the object that is replaced, 0 for none.
        """
        object_name = self.url.name_of(place)
        for _ in range(_ATTEMPTS):
            if self._lease is None:
                generation = None
            try:
                if isinstance(content, bytes):
                    return self._bucket.write(object_name, content, generation)
                return self._bucket.upload(content, object_name, generation)
            except Changed:
                # By another program, or by one that has lost this folder, if not by the next
                # owner: then it is this process that has lost it.
                with self._lease_lock:
                    self._lease.check()
                info = self._bucket.stat(object_name)
                generation = 0 if info is None else info.generation
        raise RunStopped(
            f"gs://{self.url.bucket}/{object_name}: another program writes there all the time; "
            "stop it, and start again to resume"
        )

    def _scan(self) -> dict[str, _Stamp]:
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

    def _gone(self, present: dict[str, _Stamp]) -> list[str]:
        """Names of files that were here and are not, with what nobody has fetched beside them."""
        rewritten = set()
        for name, stamp in present.items():
            if names.is_last(name) and self._synced.get(name) != stamp:
                rewritten.add(names.step_of(name))
        gone = []
        for name in self._remote:
            if name in present:
                continue
            is_step_gone = False
            step = names.step_of(name)
            if self._lease is not None and step:
                is_step_gone = step in rewritten or not self._path(step).exists()
            if name in self._synced or is_step_gone:
                gone.append(name)
        return gone

    def _upload(self, name: str, stamp: _Stamp, place: str) -> ObjectInfo | None:
        """Uploads a file; None if it has gone meanwhile."""
        try:
            if self._lease is not None and parts.is_appended(name):
                return self._upload_parts(name, stamp.size)
            known = self._remote.get(name)
            is_replaced = known is not None and known.name == self.url.name_of(place)
            generation = known.generation if is_replaced else 0
            return self._put(place, self._path(name), generation)
        except FileNotFoundError:
            return None

    def _upload_parts(self, name: str, size: int) -> ObjectInfo:
        """Uploads the parts of a file that grows which are not there yet."""
        known = self._parts.get(name, [])
        if not known and name in self._remote:
            known = [_Part(-1, self._remote[name].generation)]
        found = []
        total = google_crc32c.Checksum()
        with open(self._path(name), "rb") as file:
            for number in range(parts.count_parts(size)):
                left = size - number * parts.PART_BYTES
                content = file.read(min(parts.PART_BYTES, left))
                total.update(content)
                before = known[number] if number < len(known) else _Part(-1, 0)
                part = _Part(google_crc32c.value(content), before.generation)
                if part != before:
                    place = parts.part_name(name, number)
                    info = self._put(place, content, before.generation)
                    part = _Part(part.checksum, info.generation)
                found.append(part)
        for number in range(len(found), len(known)):
            place = self.url.name_of(parts.part_name(name, number))
            self._bucket.delete(place, known[number].generation)
        self._parts[name] = found
        crc32c = base64.b64encode(total.digest()).decode()
        return ObjectInfo(self.url.name_of(name), size, found[0].generation, crc32c)

    def _counting(self) -> dict[str, dict[str, Any]]:
        files = {}
        for name, info in sorted(self._remote.items()):
            files[name] = {"size": info.size, "crc32c": info.crc32c}
            if len(self._parts.get(name, [])) > 1:
                files[name]["parts"] = len(self._parts[name])
            if info.name != self.url.name_of(name):
                (files[name]["object"],) = self._relative([info.name])
        return files

    def _remove(self, objects: dict[str, ObjectInfo]) -> None:
        """Removes objects; what another process has put in their place stays."""

        def remove(name: str) -> None:
            info = objects[name]
            # It may be known from the contents alone.
            known = info if info.generation else self._bucket.stat(info.name)
            if known is not None:
                self._bucket.delete(known.name, known.generation)

        first = [name for name in objects if names.is_last(name)]
        others = [name for name in objects if not names.is_last(name)]
        for group in (first, others):
            self._in_parallel(remove, group)

    def _path(self, name: str) -> Path:
        return self.folder / PurePosixPath(name)

    @staticmethod
    def _in_parallel(work: Callable[[str], Any], wanted: Sequence[str]) -> list[Any]:
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
        self._lease = lease
        self._counted = contents.files
        self._unfinished = contents.unfinished
        self._failure = None
        stop = threading.Event()
        threads = []

        def start(work: Callable[[threading.Event], None]) -> None:
            threads.append(threading.Thread(target=work, args=(stop,), name="bucket", daemon=True))
            threads[-1].start()

        def end_threads() -> None:
            stop.set()
            for thread in threads:
                thread.join()

        start(self._keep_renewing)
        # Until the folder was read, what is known of it may be of before the lease.
        end = self._release
        try:
            self._open()
            if as_it_grows:
                end = self._give_up
                start(self._keep_uploading)
            yield
            end = self._give_up
        except BaseException:
            # What was logged until then is of use; what else fails now is not the reason.
            with contextlib.suppress(InputError, RunStopped, OSError):
                end(end_threads)
            raise
        else:
            end(end_threads)
        finally:
            stop.set()
            self._lease = None

    def _open(self) -> None:
        """Finds what the folder holds, and removes what a killed process has left there."""
        self.check_writable()
        self.pull()
        counted = {info.name for info in self._remote.values()}
        left = {}
        for place in self._unfinished:
            object_name = self.url.name_of(place)
            if names.step_of(place) and object_name not in counted:
                left[place] = ObjectInfo(object_name, 0, 0, "")
        self._remove(left)
        self._warn_of_others()
        # From here on only what this process says counts.
        self._commit(self._counting())

    def _give_up(self, end_threads: Callable[[], None]) -> None:
        # The lease is renewed until all is there.
        self.push()
        with self._lock:
            self._join_parts()
            self._release(end_threads)

    def _release(self, end_threads: Callable[[], None]) -> None:
        end_threads()
        self._lease.release(self._counted, self._unfinished)

    def _join_parts(self) -> None:
        """Makes one object again of each file in parts."""
        in_parts = {name: found for name, found in self._parts.items() if len(found) > 1}
        for name, found in in_parts.items():
            self._remote[name] = self._put(name, self._path(name), found[0].generation)
            del self._parts[name]
            self._commit(self._counting())
            for number, part in enumerate(found[1:], 1):
                self._bucket.delete(
                    self.url.name_of(parts.part_name(name, number)), part.generation
                )

    def _keep_renewing(self, stop: threading.Event) -> None:
        while not stop.wait(renewal_s()):
            try:
                self._commit()
            except BaseException as error:
                self._failure = error
                return

    def _keep_uploading(self, stop: threading.Event) -> None:
        """Uploads logs, and all else that is no checkpoint, unless an upload is under way."""
        while not stop.wait(renewal_s()):
            if not self._lock.acquire(blocking=False):
                continue
            try:
                self.push(with_steps=False)
            except BaseException as error:
                self._failure = error
                return
            finally:
                self._lock.release()

    def _warn_of_others(self) -> None:
        """Names the checkpoints that somebody has put into the folder of the run."""
        if self._counted is None:
            return
        found = self._bucket.list(self.url.name_of(names.STEPS))
        steps = set(map(names.step_of, self._relative(info.name for info in found)))
        others = []
        for step in sorted(steps - set(map(names.step_of, self._remote))):
            # A listing that lags may show what was removed.
            if self._bucket.stat(self.url.name_of(f"{step}/manifest.json")) is not None:
                others.append(step)
        if others:
            print(
                f"warning: {self.url} has {', '.join(others)}, which this run has not saved there: "
                f"left as it is, and not read; if it is to count, delete {FILE_NAME}",
                file=sys.stderr,
            )

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
