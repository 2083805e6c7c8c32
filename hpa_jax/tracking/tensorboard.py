"""TensorBoard's event file, written directly: a TFRecord of protocol buffers, of which a run needs four fields.

Unusual: no TensorBoard package does it, because importing one costs more than the rest of the log together; some import
PyTorch where that is installed, seconds before the first step. The format is that of TensorFlow's `event.proto` and
`summary.proto`; the test reads it with another library's parser.
"""

import os
import socket
import struct
import time
from pathlib import Path

import google_crc32c

# Numbers of the fields, and how each is coded: 0 a number, 1 eight bytes, 2 a length and so many bytes, 5 four bytes.
_WALL_TIME, _STEP, _FILE_VERSION, _SUMMARY, _SESSION_LOG = (1, 1), (2, 0), (3, 2), (5, 2), (7, 2)
_VALUE = (1, 2)
_TAG, _SIMPLE_VALUE = (1, 2), (2, 5)
_STATUS = (1, 0)
_START = 1


class EventWriter:
    """A new event file in `folder`; each event is on its way to the disk when the call returns."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}"
        self._file = open(folder / name, "ab")
        self._write(_field(_FILE_VERSION, b"brain.Event:2"))

    def restart(self, step: int) -> None:
        """What was shown from `step` on is void: a run that was stopped begins there again."""
        self._write(_field(_STEP, step) + _field(_SESSION_LOG, _field(_STATUS, _START)))

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """One number under each name."""
        parts = [
            _field(_TAG, tag.encode()) + _field(_SIMPLE_VALUE, value)
            for tag, value in values.items()
        ]
        self._write(
            _field(_STEP, step) + _field(_SUMMARY, b"".join(_field(_VALUE, part) for part in parts))
        )

    def close(self) -> None:
        self._file.close()

    def _write(self, event: bytes) -> None:
        event = _field(_WALL_TIME, time.time()) + event
        length = struct.pack("<Q", len(event))
        self._file.write(length + _masked_crc(length) + event + _masked_crc(event))
        self._file.flush()


def _field(field: tuple[int, int], value: int | float | bytes) -> bytes:
    number, coding = field
    head = _varint(number << 3 | coding)
    if coding == 0:
        return head + _varint(value)
    if coding == 2:
        return head + _varint(len(value)) + value
    return head + struct.pack("<d" if coding == 1 else "<f", value)


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; the eighth says that more follow."""
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def _masked_crc(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
