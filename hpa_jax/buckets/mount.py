"""A folder of a bucket with a local copy, which the rest of the program works with.

Everything else reads and writes local files, as ever. Here they come from the bucket before, and
go there afterwards:

- what is downloaded, and when: `hpa_jax.buckets.folder_copy`;
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
import importlib
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import google_crc32c

from hpa_jax.buckets import names, parts
from hpa_jax.buckets.client import Changed, ObjectInfo
from hpa_jax.buckets.folder_copy import FolderCopy, Part, Stamp, in_parallel
from hpa_jax.buckets.lease import FILE_NAME, Lease, renewal_s
from hpa_jax.buckets.url import BucketUrl
from hpa_jax.errors import InputError, RunStopped

_ATTEMPTS = 5

_REPLACE_IMPORT = ("tensorflow_datasets.public_api", "grain")
"""Packages that replace the interpreter's `import` while they are imported themselves (etils,
lazy_imports): a relative one in another thread is an error meanwhile, such as urllib3's own."""


class Mount(FolderCopy):
    """A folder of a bucket whose local copy goes back there. Safe to share between threads.

    Args:
      url, within, most_bytes: as of `FolderCopy`.
    """

    def __init__(self, url: BucketUrl, within: str = "", most_bytes: int = 0):
        super().__init__(url, within, most_bytes)
        self._lease: Lease | None = None
        self._failure: BaseException | None = None

    def _may_change(self) -> bool:
        return self._lease is None

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
        places = self._choose_places(changed)
        self._announce(places)

        leading = [name for name in changed if not names.is_last(name)]
        last = [name for name in changed if names.is_last(name)]
        replaced = {}
        for group in (leading, last):
            uploaded = in_parallel(lambda n: self._upload(n, present[n], places[n]), group)
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
            leaving = (*removed.values(), *replaced.values())
            self._lease.renew(self._counting(), self._places_of(leaving))
        for name, info in replaced.items():
            if info.name != self.url.name_of(name):
                removed[name] = info
        self._remove(removed)
        if self._lease is not None:
            # Said with the next renewal.
            self._lease.contents.unfinished = []
            if with_steps:
                self._settle()

    def _choose_places(self, changed: list[str]) -> dict[str, str]:
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
            self._lease.renew(self._counting(), coming)

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

        for name, info in zip(elsewhere, in_parallel(settle, list(elsewhere)), strict=True):
            if info is not None:
                self._remote[name] = info
        self._lease.renew(self._counting(), self._places_of(elsewhere.values()))
        self._remove(elsewhere)

    def _places_of(self, objects: Iterable[ObjectInfo]) -> list[str]:
        return [self.url.relative(info.name) for info in objects]

    def _put(self, place: str, content: Path | bytes, generation: int | None = 0) -> ObjectInfo:
        """Writes an object of the folder, in place of the one that this process knows.

        Args:
          place: the name of the object in the folder.
          content: of it, or the file that has it.
          generation: of the object that is replaced, 0 for none.
        """
        object_name = self.url.name_of(place)
        if self._lease is not None:
            self._lease.renew_if_late()
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
                self._lease.check()
                info = self._bucket.stat(object_name)
                generation = 0 if info is None else info.generation
        raise RunStopped(
            f"gs://{self.url.bucket}/{object_name}: another program writes there all the time; "
            "stop it, and start again to resume"
        )

    def _gone(self, present: dict[str, Stamp]) -> list[str]:
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

    def _upload(self, name: str, stamp: Stamp, place: str) -> ObjectInfo | None:
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
            known = [Part(-1, self._remote[name].generation)]
        found = []
        total = google_crc32c.Checksum()
        with open(self._path(name), "rb") as file:
            for number in range(parts.count_parts(size)):
                left = size - number * parts.PART_BYTES
                content = file.read(min(parts.PART_BYTES, left))
                total.update(content)
                before = known[number] if number < len(known) else Part(-1, 0)
                part = Part(google_crc32c.value(content), before.generation)
                if part != before:
                    place = parts.part_name(name, number)
                    info = self._put(place, content, before.generation)
                    part = Part(part.checksum, info.generation)
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
                files[name]["object"] = self.url.relative(info.name)
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
            in_parallel(remove, group)

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
        # Before there is a thread that they could be in the way of.
        for name in _REPLACE_IMPORT:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
        lease = Lease(self._bucket, self.url.name_of(FILE_NAME), str(self.url))
        lease.acquire(broken)
        self._lease = lease
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
        for place in self._lease.contents.unfinished:
            object_name = self.url.name_of(place)
            if names.step_of(place) and object_name not in counted:
                left[place] = ObjectInfo(object_name, 0, 0, "")
        self._remove(left)
        self._warn_of_others()
        # From here on only what this process says counts.
        self._lease.renew(self._counting())

    def _give_up(self, end_threads: Callable[[], None]) -> None:
        # The lease is renewed until all is there.
        self.push()
        with self._lock:
            self._join_parts()
            self._release(end_threads)

    def _release(self, end_threads: Callable[[], None]) -> None:
        end_threads()
        self._lease.release()

    def _join_parts(self) -> None:
        """Makes one object again of each file in parts."""
        in_parts = {name: found for name, found in self._parts.items() if len(found) > 1}
        for name, found in in_parts.items():
            self._remote[name] = self._put(name, self._path(name), found[0].generation)
            del self._parts[name]
            self._lease.renew(self._counting())
            for number, part in enumerate(found[1:], 1):
                self._bucket.delete(
                    self.url.name_of(parts.part_name(name, number)), part.generation
                )

    def _keep_renewing(self, stop: threading.Event) -> None:
        while not stop.wait(renewal_s()):
            try:
                self._lease.renew()
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
        if self._lease.contents.files is None:
            return
        found = self._bucket.list(self.url.name_of(names.STEPS))
        steps = set(map(names.step_of, self._places_of(found)))
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
