"""A finished dataset whose splits another build follows: `--match_splits_of=NAME`.

Two datasets that are trained on together must not have the same image on both sides of a split, so
near-duplicates of an image of the reference dataset get that image's fold.
"""

import csv
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hpa_jax.data import codec
from hpa_jax.data.metadata import check_file, file_digest, read_metadata
from hpa_jax.data.records import Records
from hpa_jax.data.shard_index import REMEDY
from hpa_jax.data.tfrecord import example_image
from hpa_jax.errors import InputError
from hpa_jax.files import plain_cell
from tfds_builder.hpa.split.perceptual import HASH_BYTES


class _Row(NamedTuple):
    """An image of the table."""

    id: str
    fold: int
    group: int
    group_key: str
    hash: bytes


@dataclass(frozen=True)
class ReferenceDataset:
    """The finished dataset in `folder` (DATA_DIR/hpa/NAME/VERSION).

    Its images are numbered in the order of its table: images.csv, or fields.csv of a dataset before
    version 3.0.0.
    """

    folder: Path

    @property
    def name(self) -> str:
        """Of the dataset."""
        return self.folder.parent.name

    def settings(self) -> dict:
        """The dataset by name and digest."""
        digest = file_digest(_table_path(self.folder))
        return {"name": self.name, "images_sha256": digest}

    def check(self, folds: int) -> None:
        """Checks that the dataset exists.

        Raises:
          InputError: it is not there, not finished or damaged, or has another number of folds.
        """
        flag = f"--match_splits_of={self.name}"
        try:
            if not self.folder.is_dir():
                raise FileNotFoundError
            metadata = read_metadata(self.folder)
            reference_folds = metadata["build"]["folds"]
            check_file(self.folder, metadata, _table_path(self.folder).name)
            self._check_table()
        except (OSError, ValueError, KeyError, TypeError):
            raise InputError(
                f"{flag}: {self.folder} is no finished dataset; build it first"
            ) from None
        except InputError as error:
            raise InputError(f"{flag}: {error}") from None
        if reference_folds != folds:
            raise InputError(
                f"{flag}: it has {reference_folds} folds, not {folds}; "
                f"give --folds={reference_folds}"
            )

    def _check_table(self) -> None:
        """Compares the table with the records: older datasets have no digest of it."""
        records, position = _records(self.folder)
        folds = records.folds().tolist()
        groups = records.groups().tolist()
        for row in _rows(self.folder):
            i = position.get(row.id)
            if i is None or (folds[i], groups[i]) != (row.fold, row.group):
                path = _table_path(self.folder)
                raise InputError(f"{path}: the row of Id {row.id} is not of its record: {REMEDY}")

    @property
    def ids(self) -> list[str]:
        """Id of each image."""
        return [row.id for row in _rows(self.folder)]

    @property
    def folds(self) -> list[int]:
        """Fold of each image, -1 in the test split."""
        return [row.fold for row in _rows(self.folder)]

    @property
    def hashes(self) -> list[bytes]:
        """`perceptual_hash` of each image."""
        return [row.hash for row in _rows(self.folder)]

    @property
    def group_keys(self) -> list[str]:
        """Each image's group key, or if it has none, a key made of its group's number."""
        keys = []
        for row in _rows(self.folder):
            keys.append(row.group_key or f"{self.name}/{row.group}")
        return keys

    def image(self, i: int) -> np.ndarray:
        """uint8 [H, W, 4] of image `i`; also called in worker processes."""
        id = _rows(self.folder)[i].id
        records, position = _records(self.folder)
        if id not in position:
            raise InputError(
                f"{self.folder}: no record of Id {id}, which its table lists: {REMEDY}"
            )
        try:
            return codec.decode(example_image(records[position[id]]))
        except ValueError as error:
            raise InputError(f"{records.describe(position[id])}: {error}: {REMEDY}") from None


# Cached by process and not in the object, which is sent to a worker with every task.


@functools.cache
def _rows(folder: Path) -> list[_Row]:
    rows = []
    path = _table_path(folder)
    with open(path, encoding="utf-8", newline="") as file:
        for number, cells in enumerate(csv.DictReader(file), start=2):
            try:
                rows.append(_parse(cells))
            except (KeyError, TypeError, ValueError):
                raise InputError(f"{path}: row {number} is damaged: {REMEDY}") from None
    return rows


def _parse(cells: dict[str, str]) -> _Row:
    # Before version 3.0.0 the column had another name, and its cells no marks.
    old = "family" in cells
    return _Row(
        id=plain_cell(cells["id"]),
        fold=int(cells["fold"]),
        group=int(cells["group"]),
        group_key=cells["family"] if old else plain_cell(cells["group_key"]),
        hash=_parse_hash(cells["hash"]),
    )


def _parse_hash(text: str) -> bytes:
    found = bytes.fromhex(text)
    if len(found) != HASH_BYTES:
        raise ValueError("a hash of another length")
    return found


def _table_path(folder: Path) -> Path:
    old = folder / "fields.csv"
    return old if old.exists() else folder / "images.csv"


@functools.cache
def _records(folder: Path) -> tuple[Records, dict[str, int]]:
    """The dataset's records, and the position of each by Id."""
    shards = sorted(folder.glob("hpa-*.tfrecord-*"))
    known = read_metadata(folder).get("records", {})
    records = Records(shards, digests=[known.get(shard.name) for shard in shards])
    position = {records.id(i): i for i in range(len(records))}
    return records, position
