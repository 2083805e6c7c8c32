"""The index beside each TFRecord shard: where its records start, and their metadata.

Design:

- The index holds more than offsets: the Id, labels, fold, group and image size of every record.
  A run so knows its label statistics without reading a shard, and an error message knows the Id
  of a record that can no longer be read.
- It holds the data CRC of every record too, and a reader compares it: an index that does not
  belong to its shard is found at the latest when a wrong record would be used.
- Its bytes depend on the bytes of the shard alone, and end in a CRC of their own.
- Layout 2, of datasets before version 3.0.0, is read as well; layout 3 is written.

The index of `hpa-train.tfrecord-00000-of-00004` is `hpa-train.index-00000-of-00004`: a glob for
`*.tfrecord*`, as other programs use it, finds shards only. `index_builder.py` makes indexes.
"""

import dataclasses
import os
import struct
from pathlib import Path

import google_crc32c
import numpy as np

from hpa_jax.data.tfrecord import CRC

REMEDY = "copy the file again or build the dataset again"

# The last byte is the version of the layout.
_MAGIC = b"hpaidx\x00\x03"
_MAGIC_2 = b"hpaidx\x00\x02"
_NAME_BYTES = len("hpaidx")

# Magic, bytes of the shard, number of records, bytes of all Ids, number of all label ids, bytes of
# all original Ids.
_HEAD = struct.Struct("<8sQQQQQ")
_HEAD_2 = struct.Struct("<8sQQQQ")

LABELS_KNOWN = 1
"""Bit of a row's `flags`: without it nobody knows which labels the image has."""

_COLUMNS = [
    ("offset", "<u8"),  # of the frame
    ("length", "<u8"),  # of the data
    ("crc", "<u4"),  # of the data, masked, as in the frame
    ("height", "<u4"),  # of the image, in pixels; 0 where it is in no codec that we know
    ("width", "<u4"),
    ("fold", "<i4"),  # tfrecord.NO_FOLD in the split `test`
    ("group", "<u4"),
    ("id_end", "<u4"),  # end of its Id among the shard's Ids; it starts where the last one ends
    ("labels_end", "<u4"),  # the same for its label ids
]
# What layout 3 has more.
_NEW_COLUMNS = [
    ("flags", "<u4"),
    ("original_end", "<u4"),  # the same for its original Id, which is empty if it is the Id itself
]

_LABEL = np.dtype("<i4")
_ROW_2 = np.dtype(_COLUMNS)
ROW = np.dtype(_COLUMNS + _NEW_COLUMNS)
"""A record in the index."""


@dataclasses.dataclass(frozen=True)
class ShardIndex:
    """The index of one shard.

    Attributes:
      shard_bytes: size of the shard.
      rows: [records], of dtype ROW.
      id_bytes: all Ids, UTF-8, end to end.
      label_ids: int32, the label ids of all records, end to end.
      original_bytes: the original Ids, UTF-8, end to end, of the records that have another one.
      layout: in which it was read; layout 2 knows no original Ids and no unknown labels.
    """

    shard_bytes: int
    rows: np.ndarray
    id_bytes: bytes
    label_ids: np.ndarray
    original_bytes: bytes = b""
    layout: int = _MAGIC[-1]

    def __len__(self) -> int:
        return len(self.rows)

    def id(self, i: int) -> str:
        """The Id of record `i`."""
        return self._text(self.id_bytes, "id_end", i)

    def original_id(self, i: int) -> str:
        """The Id that the source gave record `i`, which may have any characters."""
        return self._text(self.original_bytes, "original_end", i) or self.id(i)

    def _text(self, texts: bytes, end_column: str, i: int) -> str:
        start = self.rows[end_column][i - 1] if i else 0
        end = self.rows[end_column][i]
        return texts[start:end].decode()

    def to_bytes(self) -> bytes:
        """Serializes the index; the same bytes for the same shard on any machine."""
        head = _HEAD.pack(
            _MAGIC,
            self.shard_bytes,
            len(self.rows),
            len(self.id_bytes),
            len(self.label_ids),
            len(self.original_bytes),
        )
        label_ids = self.label_ids.astype(_LABEL).tobytes()
        body = head + self.rows.tobytes() + self.id_bytes + label_ids + self.original_bytes
        return body + CRC.pack(google_crc32c.value(body))

    @classmethod
    def from_bytes(cls, data: bytes) -> "ShardIndex":
        """Reads what `to_bytes` returned, in layout 2 as well.

        Raises:
          ValueError: other bytes, or damaged ones.
        """
        magic = data[: len(_MAGIC)]
        if magic not in (_MAGIC, _MAGIC_2) or len(data) < _HEAD.size + CRC.size:
            raise ValueError("not an index of this version")
        stored_crc = CRC.unpack(data[-CRC.size :])[0]
        if google_crc32c.value(data[: -CRC.size]) != stored_crc:
            raise ValueError("damaged")
        if magic == _MAGIC:
            head = _HEAD
            row_dtype = ROW
            _, shard_bytes, records, id_bytes, labels, original_bytes = head.unpack_from(data)
        else:
            head = _HEAD_2
            row_dtype = _ROW_2
            _, shard_bytes, records, id_bytes, labels = head.unpack_from(data)
            original_bytes = 0
        ids_start = head.size + records * row_dtype.itemsize
        labels_start = ids_start + id_bytes
        original_start = labels_start + labels * _LABEL.itemsize
        rows = np.frombuffer(data, row_dtype, records, head.size)
        return cls(
            shard_bytes=shard_bytes,
            rows=rows if magic == _MAGIC else _as_layout_3(rows),
            id_bytes=data[ids_start:labels_start],
            label_ids=np.frombuffer(data, _LABEL, labels, labels_start),
            original_bytes=data[original_start : original_start + original_bytes],
            layout=magic[-1],
        )


def _as_layout_3(rows: np.ndarray) -> np.ndarray:
    """Rows of layout 2, where all labels were known and every Id was the original one."""
    converted = np.zeros(len(rows), ROW)
    for name in _ROW_2.names:
        converted[name] = rows[name]
    converted["flags"] = LABELS_KNOWN
    return converted


def index_path(shard: str | os.PathLike) -> Path:
    """Where the index of `shard` is kept."""
    shard = Path(shard)
    head, dot, tail = shard.name.rpartition(".tfrecord")
    if not dot:
        return shard.with_name(f"{shard.name}.index")
    return shard.with_name(f"{head}.index{tail}")


def resembles_index(path: Path) -> bool:
    """Whether a file is an index, damaged perhaps: it starts as one, but for one byte at most.

    Raises:
      OSError: it cannot be read.
    """
    if path.is_symlink() or not path.is_file():
        return False
    with open(path, "rb") as file:
        start = file.read(_NAME_BYTES)
    if len(start) < _NAME_BYTES:
        # Cut: of an empty file nothing is lost either.
        return _MAGIC.startswith(start)
    equal = sum(one == other for one, other in zip(start, _MAGIC[:_NAME_BYTES], strict=True))
    return equal >= _NAME_BYTES - 1
