"""The folder that a download fills: `images/<Id>_<channel>.jpg`, and `labels.csv` once all of a list has been tried.

A file has its name only when it is whole: it is written beside it as `.part` and renamed. `labels.csv`, without which
the builder takes the folder for nothing, holds the fields of which every file is there; what failed stands in
`missing.csv` (id, file, reason). A lock keeps a second download of the same folder out; the kernel takes it from a
killed process, so whoever holds it may remove what such a one has left.
"""

import contextlib
import csv
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from hpa_jax.errors import InputError
from tfds_builder.hpa.download import check as whole
from tfds_builder.hpa.download.fetch import Failed, Line
from tfds_builder.hpa.files.csv_table import Row
from tfds_builder.hpa.lock import held

AGAIN = "start the same command again to go on"


class File(NamedTuple):
    """One channel of one field, here and at the host."""

    id: str
    name: str
    url: str


class Outcome(NamedTuple):
    """What became of a file."""

    file: File
    fetched: int = 0  # bytes; 0 if it was there already, or failed
    reason: str = ""  # of failing; empty otherwise
    missing: bool = False  # it failed because the host says that there is none


def files(rows: Iterable[Row], channels: Sequence[str], url: str) -> Iterator[File]:
    """All files of the rows; `url` holds {antibody}, {rest}, {id} and {channel} in place of the parts of an Id."""
    for row in rows:
        antibody, _, rest = row.id.partition("_")
        for channel in channels:
            place = url
            for name, part in (
                ("antibody", antibody),
                ("rest", rest),
                ("id", row.id),
                ("channel", channel),
            ):
                place = place.replace(f"{{{name}}}", part)
            yield File(row.id, f"{row.id}_{channel}.jpg", place)


def obtain(line: Line, file: File, folder: Path, verify: bool) -> Outcome:
    """Leaves a file that is there and whole (by its header and end; by decoding it if `verify`), and fetches any other.

    Raises:
      OSError: the folder cannot be read or written.
    """
    path = folder / "images" / file.name
    try:
        if not whole.fault_of_file(path, verify):
            return Outcome(file)
        path.unlink()
    except FileNotFoundError:
        pass
    try:
        data = line.fetch(file.url)
    except Failed as error:
        return Outcome(file, reason=f"{file.url} {error}", missing=error.missing)
    _write(path, data)
    return Outcome(file, fetched=len(data))


def write_labels(folder: Path, rows: Sequence[Row], failed: Sequence[Outcome]) -> int:
    """Writes labels.csv (Id,Target) with the rows of which no file has failed, and returns their number."""
    without = {outcome.file.id for outcome in failed}
    whole = [(row.id, " ".join(map(str, row.labels))) for row in rows if row.id not in without]
    _write(folder / "labels.csv", _csv(("Id", "Target"), whole))
    return len(whole)


def write_missing(folder: Path, failed: Sequence[Outcome]) -> Path:
    """Writes missing.csv (id,file,reason), or removes the one of an earlier download if nothing failed."""
    path = folder / "missing.csv"
    if failed:
        lines = sorted(
            (outcome.file.id, f"images/{outcome.file.name}", outcome.reason) for outcome in failed
        )
        _write(path, _csv(("id", "file", "reason"), lines))
    else:
        path.unlink(missing_ok=True)
    return path


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[None]:
    """Makes the folder, locks it, and removes what a killed download has left; system's refusals become one line.

    Raises:
      InputError: another download writes there, or it cannot be written.
    """
    try:
        (folder / "images").mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            for place in (folder, folder / "images"):
                for entry in os.scandir(place):
                    if entry.name.endswith((".jpg.part", ".csv.part")):
                        os.unlink(entry)
            yield
    except OSError as error:
        reason = error.strerror or error
        raise InputError(
            f"cannot write to {error.filename or folder}: {reason}; put it right, and {AGAIN}"
        ) from None


def _locked(folder: Path) -> contextlib.AbstractContextManager[None]:
    return held(
        folder / ".download.lock",
        f"another download writes to {folder}; wait until it has finished",
    )


def _write(path: Path, data: bytes) -> None:
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(data)
        os.replace(part, path)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def _csv(header: Sequence[str], rows: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode()
