"""The layout that Kaggle hands out: `train.csv` (Id,Target) and `train/<Id>_{red,green,blue,yellow}.png`.

Unusual: every file's header is checked before a build starts, so that a missing or foreign file among 124,288 shows
within seconds and not after an hour. All faulty fields are counted; the message names the first.

The order of the rows in the csv is without meaning: fields are sorted by Id.
"""

import csv
import hashlib
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpa_jax.errors import InputError
from hpa_jax.labels import CHANNELS, LABELS
from tfds_builder.hpa import png
from tfds_builder.hpa.sources import Bar, Field, no_bar

_ID = re.compile(r"[A-Za-z0-9_-]+")  # an Id becomes part of a file name: nothing in it may lead out of the folder
_HOW = "see tfds_builder/hpa/README.md for the layout"


@dataclass(frozen=True)
class Kaggle:
    """A folder in Kaggle's layout."""

    manual_dir: Path
    seed: int = 0
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)

    def settings(self) -> dict:
        """The csv by its digest: with other rows or labels it is another dataset."""
        return {
            "source": "kaggle",
            "csv_sha256": hashlib.sha256(_read(self._csv())).hexdigest(),
            "seed": self.seed,
            "fractions": list(self.fractions),
        }

    def fields(self, bar: Bar = no_bar) -> list[Field]:
        """Reads the csv and checks all four headers of every field; see `Source.fields`."""
        rows = read_rows(self._csv())
        faults = []
        for id, _ in bar(rows, "checking"):
            try:
                self._check(id)
            except InputError as error:
                faults.append(str(error))
        if faults:
            more = f" ({len(faults)} fields of {len(rows)} are faulty; this is the first)" if len(faults) > 1 else ""
            raise InputError(faults[0] + more)
        return [Field(id, labels, index) for index, (id, labels) in enumerate(rows)]

    def image(self, field: Field) -> np.ndarray:
        """Reads the four channels of a field; see `Source.image`."""
        try:
            return np.stack([png.read_gray(self._path(field.id, channel)) for channel in CHANNELS], axis=-1)
        except InputError as error:
            raise InputError(f"Id {field.id}: {error}") from None
        except (OSError, ValueError) as error:  # the files changed after the check
            raise InputError(f"Id {field.id}: its files changed during the build ({error}); start again") from None

    def _csv(self) -> Path:
        return self.manual_dir / "train.csv"

    def _path(self, id: str, channel: str) -> Path:
        return self.manual_dir / "train" / f"{id}_{channel}.png"

    def _check(self, id: str) -> None:
        try:
            sizes = {channel: png.scan(self._path(id, channel)) for channel in CHANNELS}
        except InputError as error:
            raise InputError(f"Id {id}: {error}") from None
        (usual, _), *others = Counter(sizes.values()).most_common()
        if others:
            odd = next(channel for channel in CHANNELS if sizes[channel] != usual)
            (h, w), (height, width) = sizes[odd], usual
            raise InputError(
                f"Id {id}: {self._path(id, odd)} has {w} x {h} pixels, the field's other channels have "
                f"{width} x {height}; download all four again"
            )


def read_rows(path: Path) -> list[tuple[str, tuple[int, ...]]]:
    """Reads Id and label ids from a csv with the columns Id and Target (label ids separated by spaces).

    A byte order mark, CRLF, further columns and empty lines are accepted.

    Returns:
      (Id, ascending label ids) of every row, sorted by Id.

    Raises:
      InputError: names the csv, the line and the Id.
    """
    try:
        text = _read(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    lines = csv.reader(text.splitlines(keepends=True))
    seen: dict[str, int] = {}
    rows = []
    try:
        header = [name.strip() for name in next(lines, [])]
        if "Id" not in header or "Target" not in header:
            raise InputError(f"{path} has no columns Id and Target in its first line; {_HOW}")
        for row in lines:
            if not any(cell.strip() for cell in row):
                continue
            where = f"{path}, line {lines.line_num}"
            if len(row) != len(header):
                raise InputError(f"{where}: {len(row)} columns where the first line has {len(header)}; put it right")
            cells = dict(zip(header, row, strict=True))
            id = cells["Id"].strip(" ")
            if not _ID.fullmatch(id):
                raise InputError(
                    f"{where}: Id {id[:80]!r} is not made of letters, digits, _ and - alone; rename the field"
                )
            if id in seen:
                raise InputError(f"{where}: Id {id} stands in line {seen[id]} already; take one of the two rows out")
            seen[id] = lines.line_num
            rows.append((id, _labels(cells["Target"], f"{where}: Id {id}")))
    except csv.Error as error:
        raise InputError(f"{path}, line {lines.line_num}: {error}; put the line right") from None
    if not rows:
        raise InputError(f"{path} has no rows; {_HOW}")
    return sorted(rows)


def _labels(text: str, where: str) -> tuple[int, ...]:
    words = text.split()
    if not words:
        raise InputError(f"{where} has no label; give it one or take the row out")
    for word in words:
        if not (word.isascii() and word.isdigit() and len(word) <= 2 and int(word) < len(LABELS)):
            raise InputError(f"{where} has the unknown label {word[:40]!r}; labels are 0 to {len(LABELS) - 1}")
    labels = tuple(sorted(map(int, words)))
    if len(set(labels)) != len(labels):
        raise InputError(f"{where} has a label twice ({text.strip()}); take one out")
    return labels


def _read(path: Path) -> bytes:
    if not path.parent.is_dir():
        raise InputError(f"{path.parent} is not a folder; give the folder of train.csv and train/ as --manual_dir")
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); {_HOW}") from None
