"""metrics.jsonl: a run's metrics, one JSON object a line, each with a checksum of its own.

    {"step": 20, "split": "train", "loss": 0.2, ..., "crc": "8d2f01ab"}

The checksum is the CRC-32 of the other values, so that a damaged line is found and the others are
still read. Older versions wrote lines without one, which no line with one comes before.
"""

import json
import sys
import zlib
from pathlib import Path
from typing import Any

from hpa_jax.deprecations import METRICS_KEYS, current_keys
from hpa_jax.environment import causes
from hpa_jax.errors import InputError, one_line
from hpa_jax.files import write_atomically
from hpa_jax.tracking.append_file import AppendFile

FILE_NAME = "metrics.jsonl"
DAMAGED_NAME = "metrics.damaged.jsonl"
"""Where a run that resumes puts the lines that it cannot read."""

_CRC = "crc"


def format_record(record: dict[str, Any]) -> str:
    r"""A record as a line, with its checksum and a `\n`."""
    return json.dumps({**record, _CRC: _checksum(record)}) + "\n"


def _checksum(record: dict[str, Any]) -> str:
    text = json.dumps(record, sort_keys=True)
    return f"{zlib.crc32(text.encode()):08x}"


def _parse(line: bytes) -> tuple[dict[str, Any], bool]:
    """A record, by current names, and whether it has a checksum.

    Raises:
      ValueError: it is no record of a run, or a damaged one.
    """
    fields = json.loads(line)
    if not isinstance(fields, dict):
        raise ValueError("no object")
    has_checksum = _CRC in fields
    if has_checksum and fields.pop(_CRC) != _checksum(fields):
        raise ValueError("its checksum does not fit")
    step = fields.pop("step", None)
    split = fields.pop("split", None)
    if type(step) is not int or step < 0 or not isinstance(split, str):
        raise ValueError("no step, or no split")
    record = {"step": step, "split": split}
    for name, value in current_keys(fields, METRICS_KEYS).items():
        if type(value) not in (int, float):
            raise ValueError(f"{name} is no number")
        record[name] = float(value)
    return record, has_checksum


class _Parser:
    """Reads the lines of a file in their order."""

    def __init__(self):
        self._has_checksums = False

    def parse(self, line: bytes) -> dict[str, Any]:
        """The record of the next line: `step` (int), `split` (str), and metrics (float).

        Raises:
          ValueError: it is no record of a run, or a damaged one.
        """
        try:
            record, has_checksum = _parse(line)
        except (RecursionError, OverflowError) as error:
            raise ValueError(str(error)) from None
        if self._has_checksums and not has_checksum:
            raise ValueError("no checksum")
        self._has_checksums = has_checksum
        return record


def read_records(path: Path) -> list[dict[str, Any]]:
    """All records of a file; a last line that was interrupted is left out.

    Raises:
      InputError: the file cannot be read, or another line is no record of a run.
    """
    parser = _Parser()
    records = []
    for number, line in enumerate(_read_lines(path), 1):
        try:
            records.append(parser.parse(line))
        except ValueError as error:
            raise InputError(
                f"{path}: line {number} is no record of a run ({one_line(error, limit=80)}): it "
                "was damaged or edited; delete that line to go on without it"
            ) from None
    return records


def _read_lines(path: Path) -> list[bytes]:
    """Lines without their ends, and without one that was interrupted; none where there is no file.

    A run that is killed, or still running, ends within a line, so before its only brace.
    """
    try:
        *lines, last = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {one_line(error)}; {causes.advice(error)}"
        ) from None
    if b"}" in last:
        lines.append(last)
    return lines


def reopen(path: Path, *, last_step: int) -> AppendFile:
    """Opens a run's records for appending, without those past `last_step`.

    A line that is no record goes to DAMAGED_NAME, with a message.

    Raises:
      InputError: the file cannot be read.
      OSError: it cannot be written.
    """
    parser = _Parser()
    kept = []
    damaged = []
    for line in _read_lines(path):
        try:
            if parser.parse(line)["step"] <= last_step:
                kept.append(line + b"\n")
        except ValueError:
            damaged.append(line + b"\n")
    if damaged:
        aside = path.with_name(DAMAGED_NAME)
        with open(aside, "ab") as file:
            file.writelines(damaged)
        print(
            f"warning: {path}: {len(damaged)} damaged lines are no record of a run and left out; "
            f"they are in {aside}",
            file=sys.stderr,
        )
    if path.exists():
        write_atomically(path, b"".join(kept))
    return AppendFile(path)
