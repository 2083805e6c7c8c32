"""The folder that a download fills: `images/<Id>_<channel>.jpg`, and at its end `labels.csv`.

Design:
- A file is renamed to its name once it is complete (`hpa_jax.files`), so none is ever half.
- `labels.csv`, without which the builder refuses the folder, is written once all of the list has
  been tried. It has the images of which every file is there; what failed is in `missing.csv`.
- A lock keeps a second download of the same folder out.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from hpa_jax.errors import InputError, one_line
from hpa_jax.files import exclusive_lock, remove_partial_files, write_atomically, write_csv
from hpa_jax.http_fetch import Failed, HttpClient
from tfds_builder.hpa.download import check
from tfds_builder.hpa.files.csv_table import Row

RESUME = "start the same command again to resume"


class File(NamedTuple):
    """One channel of one image, here and at the host."""

    id: str
    name: str
    url: str


class Outcome(NamedTuple):
    """What became of a file."""

    file: File
    fetched: int = 0  # bytes; 0 if it was there already, or failed
    reason: str = ""  # of a failure
    missing: bool = False  # the host says that there is no such file


def files(rows: Iterable[Row], channels: Sequence[str], url: str) -> Iterator[File]:
    """All files of the rows.

    Args:
      rows: one image each.
      channels: some of hpa_jax.labels.CHANNELS.
      url: with {antibody}, {rest}, {id} and {channel} in place of the parts of an Id.
    """
    for row in rows:
        antibody, _, rest = row.id.partition("_")
        for channel in channels:
            parts = {"antibody": antibody, "rest": rest, "id": row.id, "channel": channel}
            # Not str.format: an address may have braces of its own.
            address = url
            for name, part in parts.items():
                address = address.replace(f"{{{name}}}", part)
            yield File(row.id, f"{row.id}_{channel}.jpg", address)


def fetch_file(client: HttpClient, file: File, folder: Path, verify: bool) -> Outcome:
    """Fetches a file, unless it is there and complete.

    Args:
      client: of this thread.
      file: what to fetch.
      folder: the download's.
      verify: decodes a file that is there, instead of looking at its header and end marker.

    Raises:
      OSError: the folder cannot be read or written.
    """
    path = folder / "images" / file.name
    try:
        if not check.fault_of_file(path, verify):
            return Outcome(file)
        path.unlink()
    except FileNotFoundError:
        pass
    try:
        data = client.get(file.url, check.fault)
    except Failed as error:
        return Outcome(file, reason=f"{file.url} {error}", missing=error.missing)
    write_atomically(path, data)
    return Outcome(file, fetched=len(data))


def write_labels(folder: Path, rows: Sequence[Row], failed: Sequence[Outcome]) -> None:
    """Writes labels.csv (Id,Target) with the rows of which no file has failed."""
    incomplete = {outcome.file.id for outcome in failed}
    complete = []
    for row in rows:
        if row.id not in incomplete:
            complete.append((row.id, " ".join(map(str, row.labels))))
    write_csv(folder / "labels.csv", ("Id", "Target"), complete)


def write_missing(folder: Path, failed: Sequence[Outcome]) -> None:
    """Writes missing.csv (id,file,reason); removes an earlier one if nothing failed."""
    path = folder / "missing.csv"
    if not failed:
        path.unlink(missing_ok=True)
        return
    lines = []
    for outcome in failed:
        lines.append((outcome.file.id, f"images/{outcome.file.name}", outcome.reason))
    write_csv(path, ("id", "file", "reason"), sorted(lines))


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[None]:
    """Makes the folder, locks it, and removes the partial files of a killed download.

    Raises:
      InputError: another download is filling it, or it cannot be written, now or later.
    """
    lock = exclusive_lock(
        folder / ".download.lock",
        busy=f"{folder} is being filled",
        advice="wait until that download has finished",
    )
    try:
        (folder / "images").mkdir(parents=True, exist_ok=True)
        with lock:
            remove_partial_files(folder)
            remove_partial_files(folder / "images")
            yield
    except OSError as error:
        raise InputError(
            f"cannot write to {error.filename or folder}: {one_line(error)}; "
            f"put it right, and {RESUME}"
        ) from None
