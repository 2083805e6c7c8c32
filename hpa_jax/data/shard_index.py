"""The frames of a TFRecord shard and the index beside it. No TensorFlow, no Grain.

A TFRecord file is a chain of frames, each to be found only through the one before it:

    uint64 length | uint32 masked CRC-32C of those 8 bytes | data | uint32 masked CRC-32C of the data   (little-endian)

What is unusual here:

- The index holds more than offsets: Id, labels, fold, group and image size of every field, so that without reading a
  shard a run knows its label statistics, and an error the Id of a record that can no longer be read.
- It holds every record's data CRC too, and a reader compares: an index that does not belong to its shard is found out
  at the latest where it would matter.
- Its bytes are a function of the shard's bytes alone, and end in a CRC of their own.

`hpa-train.tfrecord-00000-of-00004` has its index in `hpa-train.index-00000-of-00004`: a glob for `*.tfrecord*`, as
other people's programs use, still finds shards only.
"""

import dataclasses
import os
import struct
import uuid
from pathlib import Path

import google_crc32c
import numpy as np

from hpa_jax.data.tfrecord import CRC, FRAME_HEAD, _masked_crc, example_facts, frame_fault
from hpa_jax.errors import InputError

MAGIC = b"hpaidx\x00\x02"  # the last byte is the version of the layout
_HEAD = struct.Struct(
    "<8sQQQQ"
)  # magic, bytes of the shard, records, bytes of Ids, number of label ids
_ROW = np.dtype(
    [
        ("offset", "<u8"),  # of the frame
        ("length", "<u8"),  # of the data
        ("crc", "<u4"),  # of the data, masked, as the frame has it
        ("height", "<u4"),  # of the image, in pixels; 0 where it is in no codec that we know
        ("width", "<u4"),
        ("fold", "<i4"),  # NO_FOLD in the held-out test part
        ("group", "<u4"),
        (
            "id_end",
            "<u4",
        ),  # where its Id ends among the shard's Ids; it begins where the one before ends
        ("labels_end", "<u4"),
    ]
)
_SAMPLED = (
    16  # frames compared with the index at opening, where the index is younger than its shard
)
REMEDY = "copy the file again or build the dataset again"


@dataclasses.dataclass(frozen=True)
class Index:
    """The index of one shard."""

    size: int  # of the shard, in bytes
    rows: np.ndarray  # [records], of dtype _ROW
    id_bytes: bytes  # all Ids, UTF-8, end to end
    label_ids: np.ndarray  # int32, all records' label ids, end to end

    def __len__(self) -> int:
        return len(self.rows)

    def id(self, i: int) -> str:
        return self.id_bytes[
            self.rows["id_end"][i - 1] if i else 0 : self.rows["id_end"][i]
        ].decode()

    def to_bytes(self) -> bytes:
        head = _HEAD.pack(MAGIC, self.size, len(self.rows), len(self.id_bytes), len(self.label_ids))
        body = head + self.rows.tobytes() + self.id_bytes + self.label_ids.astype("<i4").tobytes()
        return body + CRC.pack(google_crc32c.value(body))

    @classmethod
    def from_bytes(cls, data: bytes) -> "Index":
        """Raises ValueError on bytes that `to_bytes` did not write."""
        if data[: len(MAGIC)] != MAGIC or len(data) < _HEAD.size + CRC.size:
            raise ValueError("not an index of this version")
        if google_crc32c.value(data[: -CRC.size]) != CRC.unpack(data[-CRC.size :])[0]:
            raise ValueError("damaged")
        _, size, records, id_bytes, labels = _HEAD.unpack_from(data)
        ids_at = _HEAD.size + records * _ROW.itemsize
        return cls(
            size=size,
            rows=np.frombuffer(data, _ROW, records, _HEAD.size),
            id_bytes=data[ids_at : ids_at + id_bytes],
            label_ids=np.frombuffer(data, "<i4", labels, ids_at + id_bytes),
        )


def index_path(shard: str | os.PathLike) -> Path:
    """Where the index of `shard` lies."""
    shard = Path(shard)
    head, dot, tail = shard.name.rpartition(".tfrecord")
    return shard.with_name(f"{head}.index{tail}" if dot else f"{shard.name}.index")


def scan(shard: str | os.PathLike, known: Index | None = None) -> Index:
    """Reads a whole shard and checks both CRCs of each record; raises InputError at the first that is damaged.

    `known` is an older index, if there is one: it still tells the Id of a record whose frame cannot be followed.
    """
    rows, ids, labels = [], bytearray(), []
    offset, field_id = 0, None
    with open(shard, "rb") as file:
        while head := file.read(FRAME_HEAD.size):
            length = 0
            if len(head) == FRAME_HEAD.size and _masked_crc(head[:8]) == FRAME_HEAD.unpack(head)[1]:
                length = FRAME_HEAD.unpack(head)[0]
            frame = head + file.read(length + CRC.size)
            data = frame[FRAME_HEAD.size : FRAME_HEAD.size + length]
            fault = frame_fault(frame)
            if fault is None:
                try:
                    facts = example_facts(data)
                    field_id = facts.id
                except ValueError as error:
                    fault = f"it is {error}"
            if fault is not None:
                who = _name_damaged(known, len(rows), offset, data, field_id)
                raise InputError(
                    f"{shard}: record {len(rows)} ({who}) is damaged, {fault}: {REMEDY}"
                )
            ids += field_id.encode()
            labels += facts.labels
            crc = CRC.unpack_from(frame, FRAME_HEAD.size + length)[0]
            rows.append(
                (offset, length, crc, *facts.size, facts.fold, facts.group, len(ids), len(labels))
            )
            offset += len(frame)
    return Index(offset, np.array(rows, _ROW), bytes(ids), np.array(labels, np.int32))


def _name_damaged(
    known: Index | None, i: int, offset: int, data: bytes, previous_id: str | None
) -> str:
    """The best that can be said about whose record this was."""
    if known is not None and i < len(known) and known.rows["offset"][i] == offset:
        return f"Id {known.id(i)}"
    try:
        return f"Id {example_facts(data).id!r}, as its own damaged data say"
    except ValueError:
        return "Id unknown" + (f", next after Id {previous_id}" if previous_id is not None else "")


def write_index(shard: str | os.PathLike) -> Path:
    """Checks every record of `shard` and writes its index beside it, in one atomic step. Returns the index's path.

    Raises InputError (shard, record, Id) on damage, and then writes nothing.
    """
    return _save(scan(shard), index_path(shard))


def _save(index: Index, path: Path) -> Path:
    half = path.with_name(
        f".{path.name}.{uuid.uuid4().hex}"
    )  # several processes may write the same index at once
    try:
        half.write_bytes(index.to_bytes())
        os.replace(half, path)
    finally:
        half.unlink(missing_ok=True)
    return path


def _stale(shard: Path, path: Path, index: Index) -> str | None:
    """Why `index` cannot belong to `shard`, or None.

    Frames are compared by their data CRC: all of them where the shard is younger than its index, else a sample, since
    every later read compares its own (a copy may turn times around, and a read over the network costs milliseconds).
    """
    shard_stat = os.stat(shard)
    if shard_stat.st_size != index.size:
        return "of another size"
    sample = np.linspace(0, len(index) - 1, min(_SAMPLED, len(index))).astype(int)
    rows = index.rows if shard_stat.st_mtime_ns >= os.stat(path).st_mtime_ns else index.rows[sample]
    crcs_at = rows["offset"] + FRAME_HEAD.size + rows["length"]
    with open(shard, "rb", buffering=0) as file:
        for at, crc in zip(crcs_at.tolist(), rows["crc"].tolist(), strict=True):
            if os.pread(file.fileno(), CRC.size, at) != CRC.pack(crc):
                return "of other content"
    return None


def open_index(shard: Path, expected: int | None) -> tuple[Index, str | None]:
    """The shard's index, and what had to be done to have it (None if it was there and right)."""
    path = index_path(shard)
    known = why = None
    if not shard.exists():
        raise InputError(f"{shard}: no such file: {REMEDY}")
    try:
        known = Index.from_bytes(path.read_bytes())
        why = _stale(shard, path, known)
    except FileNotFoundError:
        why = "missing"
    except (ValueError, OSError) as error:
        why = getattr(error, "strerror", None) or str(error)
    index = known if why is None else scan(shard, known)
    if expected is not None and len(index) != expected:
        lost = known is not None and len(index) < len(known)
        first = f", the first one missing is Id {known.id(len(index))}" if lost else ""
        raise InputError(
            f"{shard}: {len(index)} records where the dataset's metadata say {expected}{first}: {REMEDY}"
        )
    if why is None:
        return index, None
    try:
        _save(index, path)
    except OSError as error:
        return index, f"{path.name}: {why}, kept in memory only: {error.strerror}"
    return index, f"{path.name}: {why}"
