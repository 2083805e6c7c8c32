"""Random access to the records of TFRecord shards. No TensorFlow, no Grain.

TFRecord is a format to read from front to back; with an index beside each shard (`shard_index.py`) any record is one
`pread` away, so that shuffling, sharding and resuming become positions in a list. Both CRCs are checked at every read.
"""

import bisect
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from absl import logging

from hpa_jax.data.shard_index import REMEDY, index_path, open_index, write_index
from hpa_jax.data.tfrecord import CRC, FRAME_HEAD, frame_fault
from hpa_jax.errors import InputError

__all__ = ["Records", "index_path", "write_index"]

_OPEN_FILES = 256  # kept open; files beyond that are opened for each read (1,024 is a common limit for a process)


class Records:
    """The records of several shards as one sequence of bytes, in order. Safe to share between threads; can be pickled.

    Args:
      shards: paths of TFRecord files.
      expected: the number of records in each, as the dataset's metadata say: a file that was cut between two records
        is whole by every CRC and is found out by this alone.

    An index that is missing or does not belong to its shard is built again, with one log line for all of them.
    Raises InputError (shard, record, Id) on damage: here where it shows, else when the record is read.
    """

    def __init__(self, shards: Sequence[str | os.PathLike], expected: Sequence[int] | None = None):
        self.shards = [Path(shard) for shard in shards]
        start = time.monotonic()
        with ThreadPoolExecutor(8) as pool:
            opened = list(pool.map(open_index, self.shards, expected or [None] * len(self.shards)))
        self.indexes = [index for index, _ in opened]
        notes = [note for _, note in opened if note]
        if notes:
            message = "built %d of %d shard indexes again in %.1f s (%s%s) in %s"
            more = f", and {len(notes) - 1} more" if len(notes) > 1 else ""
            logging.warning(
                message,
                len(notes),
                len(opened),
                time.monotonic() - start,
                notes[0],
                more,
                self.shards[0].parent,
            )
        self._ends = np.cumsum([len(index) for index in self.indexes]).tolist()
        self._files: dict[int, int] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def _find(self, i: int) -> tuple[int, int]:
        """Shard number and record number of record `i`."""
        if not 0 <= i < len(self):
            raise IndexError(f"record {i} of {len(self)}")
        shard = bisect.bisect_right(self._ends, i)
        return shard, i - (self._ends[shard - 1] if shard else 0)

    def id(self, i: int) -> str:
        """The Id of record `i`, from the index."""
        shard, record = self._find(i)
        return self.indexes[shard].id(record)

    def where(self, i: int) -> str:
        """`SHARD: record NUMBER (Id ID)`, for messages."""
        shard, record = self._find(i)
        return f"{self.shards[shard]}: record {record} (Id {self.indexes[shard].id(record)})"

    def __getitem__(self, i: int) -> bytes:
        """The data of record `i`, both CRCs checked."""
        shard, record = self._find(i)
        row = self.indexes[shard].rows[record]
        length = int(row["length"])
        frame = self._pread(shard, FRAME_HEAD.size + length + CRC.size, int(row["offset"]))
        fault = frame_fault(frame)
        if fault is not None:
            raise InputError(f"{self.where(i)} is damaged, {fault}: {REMEDY}")
        if FRAME_HEAD.unpack_from(frame)[0] != length or frame[-CRC.size :] != CRC.pack(row["crc"]):
            path = index_path(self.shards[shard])
            raise InputError(
                f"{self.where(i)} is whole, but not the record that its index knows: remove {path}"
            )
        return frame[FRAME_HEAD.size : -CRC.size]

    def _pread(self, shard: int, size: int, offset: int) -> bytes:
        with self._lock:
            file = self._files.get(shard)
            if file is None and len(self._files) < _OPEN_FILES:
                file = self._files[shard] = os.open(self.shards[shard], os.O_RDONLY | os.O_CLOEXEC)
        if file is not None:
            return os.pread(file, size, offset)
        with open(self.shards[shard], "rb", buffering=0) as once:
            return os.pread(once.fileno(), size, offset)

    def labels(self, n_labels: int) -> np.ndarray:
        """Labels of all records as `uint8 [records, n_labels]`, 0 or 1, from the index.

        Raises InputError where a label id is not in [0, n_labels).
        """
        multi_hot = np.zeros((len(self), n_labels), np.uint8)
        for index, end in zip(self.indexes, self._ends, strict=True):
            counts = np.diff(index.rows["labels_end"].astype(np.int64), prepend=0)
            bearers = np.repeat(np.arange(end - len(index), end), counts)
            unknown = np.flatnonzero((index.label_ids < 0) | (index.label_ids >= n_labels))
            if len(unknown):
                who, label = self.where(int(bearers[unknown[0]])), index.label_ids[unknown[0]]
                raise InputError(
                    f"{who}: unknown label {label} (known: 0 to {n_labels - 1}): build the dataset again"
                )
            multi_hot[bearers, index.label_ids] = 1
        return multi_hot

    def sizes(self) -> np.ndarray:
        """Image (height, width) of all records in pixels, `int64 [records, 2]`, from the index."""
        rows = [
            np.stack([index.rows["height"], index.rows["width"]], 1).astype(np.int64)
            for index in self.indexes
        ]
        return np.concatenate(rows) if rows else np.zeros((0, 2), np.int64)

    def folds(self) -> np.ndarray:
        """The fold of each record, `int64 [records]`, from the index; NO_FOLD in the test part."""
        return self._column("fold")

    def groups(self) -> np.ndarray:
        """The group of each record, `int64 [records]`, from the index: fields of one group share a fold."""
        return self._column("group")

    def _column(self, name: str) -> np.ndarray:
        columns = [index.rows[name].astype(np.int64) for index in self.indexes]
        return np.concatenate(columns) if columns else np.zeros(0, np.int64)

    def close(self) -> None:
        """Closes the files; a later read opens them again. Not while another thread reads."""
        with self._lock:
            while self._files:
                os.close(self._files.popitem()[1])

    def __del__(self):
        if hasattr(self, "_lock"):
            self.close()

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_files": {}, "_lock": None}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()
