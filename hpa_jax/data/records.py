"""Random access to the records of TFRecord shards. No TensorFlow, no Grain.

TFRecord is a format to be read from front to back. With an index beside each shard
(`shard_index.py`) any record is one `pread` away, so that shuffling, sharding and resuming become
positions in a list. Both CRCs of a record are checked at every read.

The columns of the indexes (labels, sizes, folds, groups) are arrays over all records, in the order
of the shards: reading them opens no shard.
"""

import bisect
import logging
import os
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from hpa_jax.buckets import mounts
from hpa_jax.buckets.ranges import Range
from hpa_jax.data.index_builder import open_index, write_index
from hpa_jax.data.shard_index import LABELS_KNOWN, REMEDY, index_path
from hpa_jax.data.tfrecord import CRC, FRAME_HEAD, frame_fault
from hpa_jax.errors import InputError, one_line

__all__ = ["Records", "index_path", "write_index"]

# A common limit is 1,024 open files a process: shards beyond this number are opened for each read.
_MAX_OPEN_FILES = 256

_OPENING_THREADS = 8

# Not absl's, which is silenced for Orbax (training/array_store.py).
_logger = logging.getLogger("hpa_jax")


class Records:
    """The records of several shards as one sequence of bytes, in order.

    Safe to share between threads, and can be pickled. An index that is missing or does not belong
    to its shard is built again, with one log line for all of them.
    """

    def __init__(
        self,
        shards: Sequence[str | os.PathLike],
        expected: Sequence[int] | None = None,
        digests: Sequence[str | None] | None = None,
    ):
        """Opens the indexes of the shards.

        Args:
          shards: paths of TFRecord files.
          expected: number of records in each, as the dataset's metadata say. Only this number
            shows that a file was truncated between two records, since all its CRCs are right.
          digests: of the records of each (`metadata.records_digest`), as the metadata say; only
            they show that intact records are others than those that were built.

        Raises:
          InputError: damage (names shard, record, Id), as far as it shows here. The rest shows
            when the record is read.
        """
        self.shards = [Path(shard) for shard in shards]
        start = time.monotonic()
        with ThreadPoolExecutor(_OPENING_THREADS) as pool:
            unknown = [None] * len(self.shards)
            arguments = self.shards, expected or unknown, digests or unknown
            opened = list(pool.map(open_index, *arguments))
        self.indexes = [index for index, _ in opened]
        rebuilt = [note for _, note in opened if note]
        if rebuilt:
            self._log_rebuilt(rebuilt, time.monotonic() - start)
        self._ends = np.cumsum([len(index) for index in self.indexes]).tolist()
        self._files: dict[int, int] = {}  # shard number -> file descriptor
        self._lock = threading.Lock()
        # Shards that lie in a bucket, by number.
        self._remote = {}
        for number, shard in enumerate(self.shards):
            remote = mounts.remote_file(shard)
            if remote is not None:
                self._remote[number] = remote

    def _log_rebuilt(self, notes: list[str], seconds: float) -> None:
        more = f", and {len(notes) - 1} more" if len(notes) > 1 else ""
        _logger.warning(
            "built %d of %d shard indexes again in %.1f s (%s%s) in %s",
            len(notes),
            len(self.indexes),
            seconds,
            notes[0],
            more,
            self.shards[0].parent,
        )

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def _locate(self, i: int) -> tuple[int, int]:
        """Shard number and record number of record `i`."""
        if not 0 <= i < len(self):
            raise IndexError(f"record {i} of {len(self)}")
        shard = bisect.bisect_right(self._ends, i)
        first = self._ends[shard - 1] if shard else 0
        return shard, i - first

    def id(self, i: int) -> str:
        """The Id of record `i`, from the index."""
        shard, record = self._locate(i)
        return self.indexes[shard].id(record)

    def ids(self) -> list[str]:
        """The Ids of all records, from the index."""
        return [index.id(record) for index in self.indexes for record in range(len(index))]

    def original_id(self, i: int) -> str:
        """The Id that the source gave record `i`, from the index; see `id` for the stored one."""
        shard, record = self._locate(i)
        return self.indexes[shard].original_id(record)

    def describe(self, i: int) -> str:
        """`SHARD: record NUMBER (Id ID)`, for messages."""
        shard, record = self._locate(i)
        return f"{self.shards[shard]}: record {record} (Id {self.indexes[shard].id(record)})"

    def __getitem__(self, i: int) -> bytes:
        """The data of record `i`, both CRCs checked."""
        shard, record = self._locate(i)
        row = self.indexes[shard].rows[record]
        length = int(row["length"])
        try:
            frame = self._pread(shard, _frame_bytes(row), int(row["offset"]))
        except OSError as error:
            reason = one_line(error)
            raise InputError(f"{self.describe(i)} cannot be read ({reason}): {REMEDY}") from None
        fault = frame_fault(frame)
        if fault is not None:
            raise InputError(f"{self.describe(i)} is damaged, {fault}: {REMEDY}")
        stored_length = FRAME_HEAD.unpack_from(frame)[0]
        if stored_length != length or frame[-CRC.size :] != CRC.pack(row["crc"]):
            path = index_path(self.shards[shard])
            raise InputError(
                f"{self.describe(i)} is intact, but not the record in its index: remove {path}"
            )
        return frame[FRAME_HEAD.size : -CRC.size]

    def announce(self, records: Iterable[int]) -> None:
        """Says which records are read next: of shards in a bucket they are asked for now."""
        if not self._remote:
            return
        ranges = []
        for i in records:
            shard, record = self._locate(i)
            remote = self._remote.get(shard)
            if remote is not None:
                row = self.indexes[shard].rows[record]
                ranges.append(Range(remote, int(row["offset"]), _frame_bytes(row)))
        mounts.range_reader().announce(ranges)

    @property
    def read_ahead(self) -> int:
        """How many records are best announced before they are read; 0: no shard is in a bucket."""
        return mounts.range_reader().read_ahead if self._remote else 0

    def _pread(self, shard: int, size: int, offset: int) -> bytes:
        remote = self._remote.get(shard)
        if remote is not None:
            return mounts.range_reader().read(Range(remote, offset, size))
        with self._lock:
            file = self._files.get(shard)
            if file is None and len(self._files) < _MAX_OPEN_FILES:
                file = os.open(self.shards[shard], os.O_RDONLY | os.O_CLOEXEC)
                self._files[shard] = file
        if file is not None:
            return os.pread(file, size, offset)
        with open(self.shards[shard], "rb", buffering=0) as opened_once:
            return os.pread(opened_once.fileno(), size, offset)

    def labels(self, num_labels: int) -> np.ndarray:
        """Labels of all records, from the index, as a multi-hot array.

        Column i is the label with id i: the order of `hpa_jax.labels.LABELS`.

        Returns:
          uint8 [records, num_labels], 0 or 1.

        Raises:
          InputError: a label id is not in [0, num_labels).
        """
        multi_hot = np.zeros((len(self), num_labels), np.uint8)
        for index, end in zip(self.indexes, self._ends, strict=True):
            ends = index.rows["labels_end"].astype(np.int64)
            labels_per_record = np.diff(ends, prepend=0)
            record_of_label = np.repeat(np.arange(end - len(index), end), labels_per_record)
            unknown = (index.label_ids < 0) | (index.label_ids >= num_labels)
            if unknown.any():
                first = int(np.argmax(unknown))
                raise InputError(
                    f"{self.describe(int(record_of_label[first]))}: unknown label "
                    f"{index.label_ids[first]} (known: 0 to {num_labels - 1}): "
                    "build the dataset again"
                )
            multi_hot[record_of_label, index.label_ids] = 1
        return multi_hot

    def label_ids(self) -> list[list[int]]:
        """The label ids of each record, from the index, whatever they are."""
        found = []
        for index in self.indexes:
            ends = index.rows["labels_end"].tolist()
            label_ids = index.label_ids.tolist()
            start = 0
            for end in ends:
                found.append(label_ids[start:end])
                start = end
        return found

    def sizes(self) -> np.ndarray:
        """Image (height, width) of all records in px, int64 [records, 2], from the index."""
        return np.stack([self._column("height"), self._column("width")], axis=1)

    def folds(self) -> np.ndarray:
        """Fold of each record, int64 [records], from the index; NO_FOLD in the split `test`."""
        return self._column("fold")

    def groups(self) -> np.ndarray:
        """Group of each record, int64 [records], from the index: a group lies within one fold."""
        return self._column("group")

    def labels_known(self) -> np.ndarray:
        """Whether the labels of each record are known, bool [records], from the index."""
        return (self._column("flags") & LABELS_KNOWN).astype(bool)

    def crcs(self) -> np.ndarray:
        """Masked CRC-32C of the data of each record, int64 [records], from the index."""
        return self._column("crc")

    def _column(self, name: str) -> np.ndarray:
        columns = [index.rows[name].astype(np.int64) for index in self.indexes]
        return np.concatenate([np.zeros(0, np.int64), *columns])

    def close(self) -> None:
        """Closes the files; a later read opens them again. Not while another thread reads."""
        with self._lock:
            while self._files:
                _, file = self._files.popitem()
                self._close_file(file)

    # At the end of a program a dataset may go after the contents of the module `os`.
    _close_file = staticmethod(os.close)

    def __del__(self):
        # Without a lock the constructor failed, and no file was opened.
        if hasattr(self, "_lock"):
            self.close()

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_files": {}, "_lock": None}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()


def _frame_bytes(row: np.void) -> int:
    """Size of a record in its shard."""
    return FRAME_HEAD.size + int(row["length"]) + CRC.size
