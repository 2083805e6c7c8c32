"""Buckets and their objects, in memory or as files."""

import base64
import bisect
import collections
import hashlib
import json
import mmap
import os
import re
import threading
import time
from pathlib import Path

import google_crc32c
from support.fake_gcs.answers import GcsError, number
from support.fake_gcs.faults import Faults
from support.fake_gcs.objects import Conditions, StoredObject

HIGHEST = chr(0x10FFFF)
"""Sorts behind everything that follows a prefix."""


class Bucket:
    """Objects by name, and what a listing that lags does not know yet."""

    def __init__(self, name: str):
        self.name = name
        self.created = time.time()
        self.objects: dict[str, StoredObject] = {}
        # (seconds, name, the object that was there before), oldest first.
        self.changes: collections.deque = collections.deque()
        self._sorted: list[str] | None = None

    def set(self, name: str, stored: StoredObject | None, lag: float) -> None:
        """Puts an object in the place of another; None: none."""
        before = self.objects.pop(name, None)
        if stored is not None:
            self.objects[name] = stored
        if (before is None) != (stored is None):
            self._sorted = None
        if lag:
            self.changes.append((time.monotonic(), name, before))

    def listed(self, lag: float) -> tuple[list[str], dict[str, StoredObject]]:
        """Names in order, and objects, as they were LAG seconds ago."""
        seen = time.monotonic() - lag
        while self.changes and self.changes[0][0] <= seen:
            self.changes.popleft()
        if not self.changes:
            if self._sorted is None:
                self._sorted = sorted(self.objects)
            return self._sorted, self.objects
        objects = dict(self.objects)
        for _, name, before in reversed(self.changes):
            objects.pop(name, None)
            if before is not None:
                objects[name] = before
        return sorted(objects), objects


class Store:
    """Buckets and their objects, in memory or as files; thread-safe.

    Args:
      root: folder of the files: BUCKET/GENERATION.data, and beside it GENERATION.json.
      faults: how far listings lag.
    """

    def __init__(self, root: Path | None, faults: "Faults"):
        self.lock = threading.RLock()
        self._buckets: dict[str, Bucket] = {}
        self._root = root
        self._faults = faults
        self._last_generation = 0
        if root is not None:
            self._load()

    def create_bucket(self, name: str) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", name):
            raise GcsError(400, "invalid", f"Invalid bucket name: '{name}'")
        with self.lock:
            if name in self._buckets:
                message = "Your previous request to create the named bucket succeeded."
                raise GcsError(409, "conflict", message)
            self._buckets[name] = Bucket(name)
            if self._root is not None:
                (self._root / name).mkdir(parents=True, exist_ok=True)

    def delete_bucket(self, name: str) -> None:
        with self.lock:
            if self.bucket(name).objects:
                raise GcsError(409, "conflict", "The bucket you tried to delete is not empty.")
            del self._buckets[name]
            if self._root is not None:
                (self._root / name).rmdir()

    def buckets(self) -> list[Bucket]:
        with self.lock:
            return [self._buckets[name] for name in sorted(self._buckets)]

    def bucket(self, name: str) -> Bucket:
        try:
            return self._buckets[name]
        except KeyError:
            message = "The specified bucket does not exist."
            raise GcsError(404, "notFound", message) from None

    def find(self, bucket: str, name: str) -> StoredObject | None:
        with self.lock:
            return self.bucket(bucket).objects.get(name)

    def get(self, bucket: str, name: str, generation: int | None = None) -> StoredObject:
        stored = self.find(bucket, name)
        if stored is None or generation not in (None, stored.generation):
            raise GcsError(404, "notFound", f"No such object: {bucket}/{name}")
        return stored

    def put(
        self,
        bucket: str,
        name: str,
        data: bytes,
        fields: dict | None = None,
        conditions: Conditions | None = None,
        components: int | None = None,
    ) -> StoredObject:
        """Writes an object, if the conditions hold."""
        check_name(name)
        crc32c = google_crc32c.value(data).to_bytes(4, "big")
        md5 = hashlib.md5(data, usedforsecurity=False).digest()
        now = time.time()
        with self.lock:
            before = self.find(bucket, name)
            if conditions is not None:
                conditions.check(before)
            stored = StoredObject(
                bucket=bucket,
                name=name,
                data=data,
                generation=self._next_generation(),
                crc32c=base64.b64encode(crc32c).decode(),
                # Composed objects have none.
                md5=None if components else base64.b64encode(md5).decode(),
                created=now,
                updated=now,
                fields=fields or {},
                components=components,
            )
            if self._root is not None:
                stored.data = self._save_data(stored, data)
                self._save_description(stored)
            self.bucket(bucket).set(name, stored, self._faults.list_lag_s)
            if before is not None:
                self._remove_files(before)
        return stored

    def delete(
        self,
        bucket: str,
        name: str,
        generation: int | None = None,
        conditions: Conditions | None = None,
    ) -> None:
        with self.lock:
            stored = self.get(bucket, name, generation)
            if conditions is not None:
                conditions.check(stored)
            self.bucket(bucket).set(name, None, self._faults.list_lag_s)
            self._remove_files(stored)

    def patch(self, bucket: str, name: str, fields: dict, conditions: Conditions) -> StoredObject:
        """Changes what is said of an object; a value of None removes a field."""
        with self.lock:
            stored = self.get(bucket, name)
            conditions.check(stored)
            merged = dict(stored.fields)
            for field, value in fields.items():
                if field == "metadata" and value is not None:
                    value = merged.get("metadata", {}) | value
                    value = {key: text for key, text in value.items() if text is not None}
                merged[field] = value
            stored.fields = {field: value for field, value in merged.items() if value is not None}
            stored.metageneration += 1
            stored.updated = time.time()
            self._save_description(stored)
        return stored

    def flip_bit(self, bucket: str, name: str, position: int) -> None:
        """Flips the lowest bit of the byte at a position; what is said of the object stays."""
        with self.lock:
            stored = self.get(bucket, name)
            changed = bytearray(stored.data)
            changed[position] ^= 1
            stored.data = bytes(changed)
            if self._root is not None:
                stored.data = self._save_data(stored, stored.data)

    def names(self, bucket: str, prefix: str = "") -> list[str]:
        """Names as they are, however far listings lag."""
        with self.lock:
            return sorted(name for name in self.bucket(bucket).objects if name.startswith(prefix))

    def page(self, bucket: str, query: dict) -> tuple[list[StoredObject], list[str], str | None]:
        """One page of a listing: objects, prefixes and the token of the next page."""
        prefix = query.get("prefix", "")
        delimiter = query.get("delimiter", "")
        end = query.get("endOffset", "")
        limit = number(query.get("maxResults", "1000"), "maxResults")
        limit = min(limit, 1000) if limit > 0 else 1000
        objects: list[StoredObject] = []
        prefixes: list[str] = []
        last = _read_token(query.get("pageToken", ""))
        with self.lock:
            names, found = self.bucket(bucket).listed(self._faults.list_lag_s)
            position = bisect.bisect_left(names, max(prefix, query.get("startOffset", "")))
            if last:
                position = max(position, _position_after(names, last))
            while position < len(names):
                name = names[position]
                if not name.startswith(prefix) or (end and name >= end):
                    break
                if len(objects) + len(prefixes) == limit:
                    return objects, prefixes, base64.urlsafe_b64encode(last.encode()).decode()
                cut = name.find(delimiter, len(prefix)) if delimiter else -1
                if cut < 0:
                    objects.append(found[name])
                    last = "n" + name
                else:
                    prefixes.append(name[: cut + len(delimiter)])
                    last = "p" + prefixes[-1]
                position = _position_after(names, last)
        return objects, prefixes, None

    def _next_generation(self) -> int:
        # Of the clock, so that it does not repeat after a restart either.
        self._last_generation = max(self._last_generation + 1, time.time_ns() // 1000)
        return self._last_generation

    def _file(self, stored: StoredObject, kind: str) -> Path:
        return self._root / stored.bucket / f"{stored.generation}.{kind}"

    def _save_data(self, stored: StoredObject, data: bytes) -> bytes | mmap.mmap:
        path = self._file(stored, "data")
        part = path.with_suffix(".part")
        part.write_bytes(data)
        part.replace(path)
        return _mapped(path)

    def _save_description(self, stored: StoredObject) -> None:
        if self._root is None:
            return
        # Written last and at once: without it the data are no object.
        path = self._file(stored, "json")
        part = path.with_suffix(".part")
        part.write_text(json.dumps(stored.description()), encoding="utf-8")
        part.replace(path)

    def _remove_files(self, stored: StoredObject) -> None:
        if self._root is None:
            return
        self._file(stored, "json").unlink(missing_ok=True)
        self._file(stored, "data").unlink(missing_ok=True)

    def _load(self) -> None:
        self._root.mkdir(parents=True, exist_ok=True)
        for folder in sorted(self._root.iterdir()):
            bucket = Bucket(folder.name)
            self._buckets[folder.name] = bucket
            descriptions = sorted(folder.glob("*.json"), key=lambda path: int(path.stem))
            for path in descriptions:
                description = json.loads(path.read_text(encoding="utf-8"))
                stored = StoredObject(data=_mapped(path.with_suffix(".data")), **description)
                older = bucket.objects.get(stored.name)
                if older is not None:
                    self._remove_files(older)
                bucket.set(stored.name, stored, 0)
                self._last_generation = max(self._last_generation, stored.generation)


def _mapped(path: Path) -> bytes | mmap.mmap:
    """A file's bytes, of which only those that are read are in memory."""
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return b""
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def check_name(name: str) -> None:
    fits = 1 <= len(name.encode()) <= 1024
    if not fits or name in (".", "..") or "\n" in name or "\r" in name:
        raise GcsError(400, "invalid", f"Invalid object name: {name[:100]!r}")


def _read_token(token: str) -> str:
    try:
        return base64.urlsafe_b64decode(token.encode()).decode()
    except ValueError:
        raise GcsError(400, "invalid", "Invalid page token.") from None


def _position_after(names: list[str], last: str) -> int:
    """Where a listing goes on after a name (n...) or a prefix (p...)."""
    if last.startswith("p"):
        return bisect.bisect_left(names, last[1:] + HIGHEST)
    return bisect.bisect_right(names, last[1:])
