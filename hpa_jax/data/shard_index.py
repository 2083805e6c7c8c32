"""The index beside each TFRecord shard: where its records start, and their metadata.

Design:

- The index holds more than offsets: the Id, labels, fold, group and image size of every record.
  A run so knows its label statistics without reading a shard, and an error message knows the Id
  of a record that can no longer be read.
- It holds the data CRC of every record too, and a reader compares it: an index that does not
  belong to its shard is found at the latest when a wrong record would be used.
- Its bytes depend on the bytes of the shard alone, and end in a CRC of their own.

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

_MAGIC = b"hpaidx\x00\x02"  # the last byte is the version of the layout

# Magic, bytes of the shard, number of records, bytes of all Ids, number of all label ids.
_HEAD = struct.Struct("<8sQQQQ")

ROW = np.dtype(
    [
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
)
"""A record in the index."""


@dataclasses.dataclass(frozen=True)
class ShardIndex:
    """The index of one shard.

    Attributes:
      shard_bytes: size of the shard.
      rows: [records], of dtype ROW.
      id_bytes: all Ids, UTF-8, end to end.
      label_ids: int32, the label ids of all records, end to end.
    """

    shard_bytes: int
    rows: np.ndarray
    id_bytes: bytes
    label_ids: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def id(self, i: int) -> str:
        """The Id of record `i`."""
        start = self.rows["id_end"][i - 1] if i else 0
        end = self.rows["id_end"][i]
        return self.id_bytes[start:end].decode()

    def to_bytes(self) -> bytes:
        """Serializes the index; the same bytes for the same shard on any machine."""
        head = _HEAD.pack(
            _MAGIC,
            self.shard_bytes,
            len(self.rows),
            len(self.id_bytes),
            len(self.label_ids),
        )
        label_ids = self.label_ids.astype("<i4").tobytes()
        body = head + self.rows.tobytes() + self.id_bytes + label_ids
        return body + CRC.pack(google_crc32c.value(body))

    @classmethod
    def from_bytes(cls, data: bytes) -> "ShardIndex":
        """Reads what `to_bytes` returned.

        Raises:
          ValueError: other bytes, or damaged ones.
        """
        if data[: len(_MAGIC)] != _MAGIC or len(data) < _HEAD.size + CRC.size:
            raise ValueError("not an index of this version")
        stored_crc = CRC.unpack(data[-CRC.size :])[0]
        if google_crc32c.value(data[: -CRC.size]) != stored_crc:
            raise ValueError("damaged")
        _, shard_bytes, records, id_bytes, labels = _HEAD.unpack_from(data)
        ids_start = _HEAD.size + records * ROW.itemsize
        ids_end = ids_start + id_bytes
        return cls(
            shard_bytes=shard_bytes,
            rows=np.frombuffer(data, ROW, records, _HEAD.size),
            id_bytes=data[ids_start:ids_end],
            label_ids=np.frombuffer(data, "<i4", labels, ids_end),
        )


def index_path(shard: str | os.PathLike) -> Path:
    """Where the index of `shard` is kept."""
    shard = Path(shard)
    head, dot, tail = shard.name.rpartition(".tfrecord")
    if not dot:
        return shard.with_name(f"{shard.name}.index")
    return shard.with_name(f"{head}.index{tail}")
