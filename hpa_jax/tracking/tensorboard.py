"""Writes TensorBoard's event files: TFRecords of protocol buffers, of which few fields are needed.

Design: no TensorBoard package does it, because importing one costs more than the rest of the log
together: tensorboardX 2.6 takes 1.16 s, since it imports PyTorch where that is installed, and 0.5
s where it is not; this module takes 0.005 s. The format is that of TensorFlow's `event.proto` and
`summary.proto`; the test reads it with another library's parser.
"""

import os
import socket
import struct
import time
from pathlib import Path
from typing import NamedTuple

import google_crc32c

from hpa_jax.tracking.append_file import AppendFile

_VARINT = 0
_EIGHT_BYTES = 1
_LENGTH_DELIMITED = 2
_FOUR_BYTES = 5


class _Field(NamedTuple):
    number: int
    wire_type: int


# Of Event.
_WALL_TIME = _Field(1, _EIGHT_BYTES)
_STEP = _Field(2, _VARINT)
_FILE_VERSION = _Field(3, _LENGTH_DELIMITED)
_SUMMARY = _Field(5, _LENGTH_DELIMITED)
_SESSION_LOG = _Field(7, _LENGTH_DELIMITED)
# Of Summary, Summary.Value and SessionLog.
_VALUE = _Field(1, _LENGTH_DELIMITED)
_TAG = _Field(1, _LENGTH_DELIMITED)
_SIMPLE_VALUE = _Field(2, _FOUR_BYTES)
_STATUS = _Field(1, _VARINT)
_STATUS_START = 1


class EventWriter:
    """Writes a new event file in `folder`; to be closed.

    Each event is on its way to the disk when the call returns.
    """

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        seconds = int(time.time())
        name = f"events.out.tfevents.{seconds:010d}.{socket.gethostname()}.{os.getpid()}"
        self._file = AppendFile(folder / name)
        self._write(_encode(_FILE_VERSION, b"brain.Event:2"))

    def mark_restart(self, step: int) -> None:
        """Voids what was shown from `step` on: a run that was stopped resumes there."""
        status = _encode(_STATUS, _STATUS_START)
        self._write(_encode(_STEP, step) + _encode(_SESSION_LOG, status))

    def write_scalars(self, step: int, values: dict[str, float]) -> None:
        """Writes one number under each name."""
        summary = b""
        for tag, value in values.items():
            entry = _encode(_TAG, tag.encode()) + _encode(_SIMPLE_VALUE, value)
            summary += _encode(_VALUE, entry)
        self._write(_encode(_STEP, step) + _encode(_SUMMARY, summary))

    def close(self) -> None:
        self._file.close()

    def _write(self, event: bytes) -> None:
        event = _encode(_WALL_TIME, time.time()) + event
        length = struct.pack("<Q", len(event))
        self._file.append(length + _masked_crc(length) + event + _masked_crc(event))


def _encode(field: _Field, value: int | float | bytes) -> bytes:
    head = _varint(field.number << 3 | field.wire_type)
    if field.wire_type == _VARINT:
        return head + _varint(value)
    if field.wire_type == _LENGTH_DELIMITED:
        return head + _varint(len(value)) + value
    if field.wire_type == _EIGHT_BYTES:
        return head + struct.pack("<d", value)
    return head + struct.pack("<f", value)


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; the eighth bit says that more follow."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _masked_crc(data: bytes) -> bytes:
    """The checksum of TFRecord frames (tensorflow/core/lib/hash/crc32c.h)."""
    crc = google_crc32c.value(data)
    rotated = crc >> 15 | crc << 17
    return struct.pack("<I", (rotated + 0xA282EAD8) & 0xFFFFFFFF)
