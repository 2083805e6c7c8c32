"""The frames of a TFRecord file, and the Examples that the builder stores. No TensorFlow, no Grain.

A TFRecord file is a chain of frames, each of which can be found only through the one before it
(little-endian; the CRCs are masked, see `masked_crc`):

    uint64 length | uint32 CRC-32C of those 8 bytes | data | uint32 CRC-32C of the data

The data of a frame are a serialized `tf.train.Example` with the features `id`, `image` (in an
encoding of `codec.py`), `labels`, `fold` and `group`, since version 3.0.0 of the datasets also
`original_id` and `labels_known`. Those of a dataset that was built with masks have `masks` too
(`masks.py`).
"""

import struct
from typing import NamedTuple

import google_crc32c
from google.protobuf.message import DecodeError
from tensorflow_datasets.proto import tf_example_pb2

from hpa_jax.data import codec

FRAME_HEAD = struct.Struct("<QI")
"""Length of the data, and the masked CRC of that length."""

CRC = struct.Struct("<I")
"""The masked CRC that follows the data."""

NO_FOLD = -1
"""The fold of images in the split `test`, which takes part in no cross-validation."""

_LENGTH_BYTES = 8


def masked_crc(data: bytes) -> int:
    """CRC-32C, rotated and offset as in every TFRecord file (tensorflow/core/lib/hash/crc32c.h)."""
    crc = google_crc32c.value(data)
    rotated = crc >> 15 | crc << 17
    return (rotated + 0xA282EAD8) & 0xFFFFFFFF


def read_length(head: bytes) -> int | None:
    """Length of the data, from a FRAME_HEAD; None if that is short or its CRC is wrong."""
    if len(head) < FRAME_HEAD.size:
        return None
    length, crc = FRAME_HEAD.unpack_from(head)
    if masked_crc(head[:_LENGTH_BYTES]) != crc:
        return None
    return length


def frame_fault(frame: bytes) -> str | None:
    """Says what is wrong with a frame, or None. It may be short, where the file ends too early."""
    if len(frame) < FRAME_HEAD.size:
        return "the file ends inside it"
    length = read_length(frame)
    if length is None:
        return "its length does not match its CRC"
    end = FRAME_HEAD.size + length
    if len(frame) < end + CRC.size:
        return "the file ends inside it"
    stored_crc = CRC.unpack_from(frame, end)[0]
    if masked_crc(frame[FRAME_HEAD.size : end]) != stored_crc:
        return "its data do not match their CRC"
    return None


class ExampleMetadata(NamedTuple):
    """What the index of a shard stores of an example.

    Attributes:
      id: name of the image, unique in the dataset.
      labels: label ids, positions in `hpa_jax.labels.LABELS`.
      size: (height, width) of the image in px, from its header; (0, 0) where that is unreadable.
      fold: of the cross-validation, or NO_FOLD.
      group: number that near-duplicates and images of one antibody have in common.
      original_id: the Id that the source gave the image, if it is another one; else empty.
      labels_known: whether `labels` are all labels of the image; if not, nobody knows them. An
        image with known labels may still have none.
    """

    id: str
    labels: list[int]
    size: tuple[int, int]
    fold: int
    group: int
    original_id: str = ""
    labels_known: bool = True


def example_metadata(data: bytes) -> ExampleMetadata:
    """Parses a serialized Example, without decoding its image.

    Raises:
      ValueError: it is no Example with an Id.
    """
    try:
        feature = tf_example_pb2.Example.FromString(data).features.feature
        example_id = feature["id"].bytes_list.value[0].decode()
        original_id = next(iter(feature["original_id"].bytes_list.value), b"").decode()
    except (DecodeError, IndexError, UnicodeDecodeError) as error:
        raise ValueError("not a tf.train.Example with a feature `id`") from error
    image = next(iter(feature["image"].bytes_list.value), b"")
    return ExampleMetadata(
        id=example_id,
        labels=list(feature["labels"].int64_list.value),
        size=codec.read_size(image[: codec.HEAD_BYTES]),
        fold=next(iter(feature["fold"].int64_list.value), NO_FOLD),
        group=next(iter(feature["group"].int64_list.value), 0),
        original_id="" if original_id == example_id else original_id,
        labels_known=bool(next(iter(feature["labels_known"].int64_list.value), 1)),
    )


def example_image(data: bytes) -> bytes:
    """The encoded image of a serialized Example; b"" if it has none."""
    return _bytes_feature(data, "image")


def example_masks(data: bytes) -> bytes:
    """The encoded instance masks of a serialized Example; b"" if it has none."""
    return _bytes_feature(data, "masks")


def _bytes_feature(data: bytes, name: str) -> bytes:
    values = tf_example_pb2.Example.FromString(data).features.feature[name].bytes_list.value
    return values[0] if values else b""
