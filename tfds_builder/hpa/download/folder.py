"""The folder that a download fills: `images/<Id>_<channel>.jpg`, and at its end `labels.csv`.

Design:
- A file is renamed to its name once it is complete (`hpa_jax.files`), so none is ever half.
- `labels.csv`, without which the builder refuses the folder, is written once all of the list has
  been tried. It has the images of which every file is there; what failed is in `missing.csv`.
- A lock keeps a second download of the same folder out.
- The folder carries a mark. Into one with anybody's files in it nothing is written, and nothing of
  it is removed; one of an older version, without a mark, is known by what it holds. The tables of
  S-BIAD2443 may be there: the builder wants them and the images in one folder.
"""

import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from hpa_jax.errors import InputError, one_line
from hpa_jax.files import (
    exclusive_lock,
    is_partial,
    remove_partial_files,
    write_atomically,
    write_csv,
)
from hpa_jax.folders.mark import has_mark, write_mark
from hpa_jax.http_fetch import Failed, HttpClient
from hpa_jax.labels import CHANNELS
from tfds_builder.hpa.download import check
from tfds_builder.hpa.files.csv_rows import Row
from tfds_builder.hpa.lists.catalog import MASTER, TRAINED_ON

RESUME = "start the same command again to resume"

_KIND = "download"
_LOCK = ".download.lock"
_HEADERS = {"labels.csv": ("Id", "Target"), "missing.csv": ("id", "file", "reason")}
# ANTIBODY_PLATE_WELL_FIELD, as the Atlas names its images.
_IMAGE_NAME = re.compile(rf"\d+_\w+_({'|'.join(CHANNELS)})\.jpg", re.ASCII)


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
    write_csv(folder / "labels.csv", _HEADERS["labels.csv"], complete)


def write_missing(folder: Path, failed: Sequence[Outcome]) -> None:
    """Writes missing.csv (id,file,reason); removes an earlier one if nothing failed."""
    path = folder / "missing.csv"
    if not failed:
        path.unlink(missing_ok=True)
        return
    lines = []
    for outcome in failed:
        lines.append((outcome.file.id, f"images/{outcome.file.name}", outcome.reason))
    write_csv(path, _HEADERS["missing.csv"], sorted(lines))


def _refuse_foreign(folder: Path) -> None:
    """Raises an InputError where a folder without a mark has a file that no download writes."""
    for path in sorted(folder.iterdir()):
        if path.name == "images" and path.is_dir() and not path.is_symlink():
            foreign = [image for image in sorted(path.iterdir()) if not _is_image(image)]
        else:
            foreign = [] if _is_table(path) or is_partial(path.name) else [path]
        if foreign:
            raise InputError(
                f"{foreign[0]} was not written by a download; choose an empty folder or a new one"
            )


def _is_image(path: Path) -> bool:
    return bool(_IMAGE_NAME.fullmatch(path.name) or is_partial(path.name))


def _is_table(path: Path) -> bool:
    """Whether this is the lock, a table of S-BIAD2443, or one of ours by its name and header."""
    if path.name in (_LOCK, MASTER, TRAINED_ON):
        return True
    header = _HEADERS.get(path.name)
    if header is None or not path.is_file():
        return False
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.readline().rstrip("\n") == ",".join(header)


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[None]:
    """Makes the folder, locks it, and removes the partial files of a killed download.

    Raises:
      InputError: another download is filling it, it holds what no download wrote, or it cannot be
        written, now or later.
    """
    lock = exclusive_lock(
        folder / _LOCK,
        busy=f"{folder} is being filled",
        advice="wait until that download has finished",
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not has_mark(folder, _KIND):
            _refuse_foreign(folder)
        with lock:
            write_mark(folder, _KIND)
            (folder / "images").mkdir(exist_ok=True)
            remove_partial_files(folder)
            remove_partial_files(folder / "images")
            yield
    except OSError as error:
        raise InputError(
            f"cannot write to {error.filename or folder}: {one_line(error)}; "
            f"put it right, and {RESUME}"
        ) from None
