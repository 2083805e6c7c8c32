"""Makes the index of a shard, and makes it again where it is missing or does not fit.

No TensorFlow, no Grain.
"""

import errno
import os
from pathlib import Path

import numpy as np

from hpa_jax.buckets import mounts
from hpa_jax.data.metadata import records_digest
from hpa_jax.data.shard_index import (
    LABELS_KNOWN,
    REMEDY,
    ROW,
    ShardIndex,
    index_path,
    resembles_index,
)
from hpa_jax.data.tfrecord import (
    CRC,
    FRAME_HEAD,
    ExampleMetadata,
    example_metadata,
    frame_fault,
    read_length,
)
from hpa_jax.errors import InputError, one_line
from hpa_jax.files import write_atomically

# Frames compared with the index when it is opened, if the index is younger than its shard.
_SAMPLED_FRAMES = 16


class _IndexBuilder:
    """Collects the rows of an index, record by record."""

    def __init__(self):
        self._rows = []
        self._id_bytes = bytearray()
        self._label_ids = []
        self._original_bytes = bytearray()
        self.offset = 0
        self.last_id: str | None = None

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, frame: bytes, metadata: ExampleMetadata) -> None:
        length = len(frame) - FRAME_HEAD.size - CRC.size
        crc = CRC.unpack_from(frame, FRAME_HEAD.size + length)[0]
        self._id_bytes += metadata.id.encode()
        self._label_ids += metadata.labels
        self._original_bytes += metadata.original_id.encode()
        self._rows.append(
            (
                self.offset,
                length,
                crc,
                *metadata.size,
                metadata.fold,
                metadata.group,
                len(self._id_bytes),
                len(self._label_ids),
                LABELS_KNOWN if metadata.labels_known else 0,
                len(self._original_bytes),
            )
        )
        self.offset += len(frame)
        self.last_id = metadata.id

    def build(self) -> ShardIndex:
        return ShardIndex(
            shard_bytes=self.offset,
            rows=np.array(self._rows, ROW),
            id_bytes=bytes(self._id_bytes),
            label_ids=np.array(self._label_ids, np.int32),
            original_bytes=bytes(self._original_bytes),
        )


def scan_shard(shard: str | os.PathLike, known: ShardIndex | None = None) -> ShardIndex:
    """Reads a complete shard, checks both CRCs of each record, and indexes it.

    Args:
      shard: path of a TFRecord file.
      known: an older index, if there is one: it still knows the Id of a record whose frame cannot
        be followed.

    Raises:
      InputError: a record is damaged; names the first one (shard, record, Id).
    """
    builder = _IndexBuilder()
    # A shard in a bucket is downloaded for that.
    mounts.fetch(Path(shard))
    with open(shard, "rb") as file:
        shard_bytes = os.fstat(file.fileno()).st_size
        while head := file.read(FRAME_HEAD.size):
            # Whatever a frame claims, no more is asked for than the file has.
            length = min(read_length(head) or 0, shard_bytes)
            frame = head + file.read(length + CRC.size)
            data = frame[FRAME_HEAD.size : FRAME_HEAD.size + length]
            fault = frame_fault(frame)
            if fault is None:
                try:
                    metadata = example_metadata(data)
                except ValueError as error:
                    fault = f"it is {error}"
            if fault is not None:
                who = _identify_damaged(known, builder, data)
                raise InputError(
                    f"{shard}: record {len(builder)} ({who}) is damaged, {fault}: {REMEDY}"
                )
            builder.add(frame, metadata)
    return builder.build()


def _identify_damaged(known: ShardIndex | None, builder: _IndexBuilder, data: bytes) -> str:
    """The best guess at whose record comes next, of which only damaged `data` are left."""
    number = len(builder)
    if known is not None and number < len(known):
        if known.rows["offset"][number] == builder.offset:
            return f"Id {known.id(number)}"
    try:
        return f"Id {example_metadata(data).id!r}, as its own damaged data say"
    except ValueError:
        pass
    if builder.last_id is None:
        return "Id unknown"
    return f"Id unknown, next after Id {builder.last_id}"


def write_index(shard: str | os.PathLike) -> Path:
    """Checks every record of `shard` and writes its index beside it, atomically.

    Returns:
      The path of the index.

    Raises:
      InputError: a record is damaged (names shard, record, Id); nothing is written then.
    """
    path = index_path(shard)
    _save(scan_shard(shard), path)
    return path


def _save(index: ShardIndex, path: Path) -> None:
    """Writes an index; raises an OSError where it cannot, or where the file is no index."""
    if os.path.lexists(path) and not resembles_index(path):
        raise FileExistsError(errno.EEXIST, "left alone, it is no index", str(path))
    write_atomically(path, index.to_bytes())


def open_index(
    shard: Path, expected: int | None, digest: str | None = None
) -> tuple[ShardIndex, str | None]:
    """Opens the index of a shard; builds it again if it is missing, damaged or of another shard.

    Args:
      shard: path of a TFRecord file.
      expected: number of its records according to the dataset's metadata; None: unknown.
      digest: `metadata.records_digest` of its records according to the metadata; None: unknown.

    Returns:
      (index, note): what had to be built again and why, or None if nothing had to be.

    Raises:
      InputError: no such shard, one that cannot be read, a damaged record, or other records than
        expected.
    """
    try:
        return _open_index(shard, expected, digest)
    except FileNotFoundError:
        raise InputError(f"{shard}: no such file: {REMEDY}") from None
    except OSError as error:
        raise InputError(f"{shard}: cannot be read ({one_line(error)}): {REMEDY}") from None


def _open_index(
    shard: Path, expected: int | None, digest: str | None
) -> tuple[ShardIndex, str | None]:
    path = index_path(shard)
    known, fault = _read_index(shard, path)
    if fault is None and _is_other(known, digest):
        fault = "of other records"
    # Datasets with digests have layout 3; an older program may have made the index again.
    if fault is None and digest is not None and known.layout < 3:
        fault = "of an older layout"
    index = known if fault is None else scan_shard(shard, known)
    if expected is not None and len(index) != expected:
        lost = ""
        if known is not None and len(index) < len(known):
            lost = f", the first one missing is Id {known.id(len(index))}"
        raise InputError(
            f"{shard}: {len(index)} records where the dataset's metadata say {expected}{lost}: "
            f"{REMEDY}"
        )
    if fault is None:
        return index, None
    if _is_other(index, digest):
        raise InputError(
            f"{shard}: intact, but its records are not those that were built, by their digest in "
            f"metadata.json: {REMEDY}"
        )
    try:
        _save(index, path)
    except OSError as error:
        return index, f"{path.name}: {fault}, kept in memory only: {error.strerror}"
    return index, f"{path.name}: {fault}"


def _is_other(index: ShardIndex, digest: str | None) -> bool:
    return digest is not None and records_digest(index.rows["crc"]) != digest


def _read_index(shard: Path, path: Path) -> tuple[ShardIndex | None, str | None]:
    """The index stored at `path`, and why it cannot be used (None if it can)."""
    try:
        known = ShardIndex.from_bytes(path.read_bytes())
    except FileNotFoundError:
        return None, "missing"
    except (ValueError, OSError) as error:
        return None, one_line(error)
    return known, _stale(shard, path, known)


def _stale(shard: Path, path: Path, index: ShardIndex) -> str | None:
    """Says why `index` cannot belong to `shard`, or None.

    Frames are compared by their data CRC. All of them are where the shard is younger than its
    index. Else a sample is enough, since every later read compares its own frame: a copy may swap
    the times of two files, and each comparison costs milliseconds over a network.
    """
    remote = mounts.remote_file(shard)
    if remote is not None:
        # Frames are compared when they are read: a request each would cost seconds.
        return None if remote.size == index.shard_bytes else "of another size"
    shard_stat = os.stat(shard)
    if shard_stat.st_size != index.shard_bytes:
        return "of another size"
    rows = index.rows
    if shard_stat.st_mtime_ns < os.stat(path).st_mtime_ns:
        count = min(_SAMPLED_FRAMES, len(rows))
        rows = rows[np.linspace(0, len(rows) - 1, count).astype(int)]
    crc_offsets = rows["offset"] + FRAME_HEAD.size + rows["length"]
    with open(shard, "rb", buffering=0) as file:
        for offset, crc in zip(crc_offsets.tolist(), rows["crc"].tolist(), strict=True):
            if os.pread(file.fileno(), CRC.size, offset) != CRC.pack(crc):
                return "of other content"
    return None
