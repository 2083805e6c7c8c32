"""The frames of a TFRecord shard, and what the builder's Examples hold. No TensorFlow, no Grain.

A TFRecord file is a chain of frames, each to be found only through the one before it:

    uint64 length | uint32 masked CRC-32C of those 8 bytes | data | uint32 masked CRC-32C of the data   (little-endian)
"""

import struct
from typing import NamedTuple

import google_crc32c
from google.protobuf.message import DecodeError
from tensorflow_datasets.proto import tf_example_pb2

from hpa_jax.data import codec

FRAME_HEAD = struct.Struct("<QI")


CRC = struct.Struct("<I")


NO_FOLD = -1


def _masked_crc(data: bytes) -> int:
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def frame_fault(frame: bytes) -> str | None:
    """What is wrong with a record's frame, or None. `frame` may be short, where the file ends too early."""
    if len(frame) < FRAME_HEAD.size:
        return "the file ends inside it"
    length, crc = FRAME_HEAD.unpack_from(frame)
    if _masked_crc(frame[:8]) != crc:
        return "its length does not match its CRC"
    end = FRAME_HEAD.size + length
    if len(frame) < end + CRC.size:
        return "the file ends inside it"
    if _masked_crc(frame[FRAME_HEAD.size : end]) != CRC.unpack_from(frame, end)[0]:
        return "its data do not match their CRC"
    return None


class Facts(NamedTuple):
    """What the index keeps of a field."""

    id: str
    labels: list[int]
    size: tuple[
        int, int
    ]  # height and width, from the image's header; (0, 0) where it cannot be read
    fold: int
    group: int


def example_facts(data: bytes) -> Facts:
    """The facts of a serialised `tf.train.Example` as the builder writes it; ValueError where there is no Id."""
    try:
        feature = tf_example_pb2.Example.FromString(data).features.feature
        ids = feature["id"].bytes_list.value
        field_id = ids[0].decode()
    except (DecodeError, IndexError, UnicodeDecodeError) as error:
        raise ValueError("not a tf.train.Example with a feature `id`") from error
    size = codec.size(next(iter(feature["image"].bytes_list.value), b"")[: codec.HEAD_BYTES])
    fold = next(iter(feature["fold"].int64_list.value), NO_FOLD)
    group = next(iter(feature["group"].int64_list.value), 0)
    return Facts(field_id, list(feature["labels"].int64_list.value), size, fold, group)


def example_image(data: bytes) -> bytes:
    """The encoded image of such an Example; b"" where there is none."""
    image = tf_example_pb2.Example.FromString(data).features.feature["image"].bytes_list.value
    return image[0] if image else b""
