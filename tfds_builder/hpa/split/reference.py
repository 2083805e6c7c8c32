"""A finished dataset whose splits another build follows: `--match_splits_of=NAME`.

Two datasets that are trained on together must not have the same image on both sides of a split, so
near-duplicates of an image of the reference dataset get that image's fold.
"""

import csv
import functools
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpa_jax.data import codec
from hpa_jax.data.records import Records
from hpa_jax.data.tfrecord import example_image
from hpa_jax.errors import InputError


@dataclass(frozen=True)
class ReferenceDataset:
    """The finished dataset in `folder` (DATA_DIR/hpa/NAME/VERSION).

    Its images are numbered in the order of its fields.csv.
    """

    folder: Path

    @property
    def name(self) -> str:
        """Of the dataset."""
        return self.folder.parent.name

    def settings(self) -> dict:
        """The dataset by name and digest."""
        table = (self.folder / "fields.csv").read_bytes()
        return {"name": self.name, "fields_sha256": hashlib.sha256(table).hexdigest()}

    def check(self, folds: int) -> None:
        """Checks that the dataset exists.

        Raises:
          InputError: it is not there or not finished, or has another number of folds.
        """
        flag = f"--match_splits_of={self.name}"
        try:
            metadata = json.loads((self.folder / "metadata.json").read_text())
            reference_folds = metadata["build"]["folds"]
            _rows(self.folder)
        except (OSError, ValueError, KeyError, TypeError):
            raise InputError(
                f"{flag}: {self.folder} is no finished dataset; build it first"
            ) from None
        if reference_folds != folds:
            raise InputError(
                f"{flag}: it has {reference_folds} folds, not {folds}; "
                f"give --folds={reference_folds}"
            )

    @property
    def ids(self) -> list[str]:
        """Id of each image."""
        return [row["id"] for row in _rows(self.folder)]

    @property
    def folds(self) -> list[int]:
        """Fold of each image, -1 in the test split."""
        return [int(row["fold"]) for row in _rows(self.folder)]

    @property
    def hashes(self) -> list[bytes]:
        """`perceptual_hash` of each image."""
        return [bytes.fromhex(row["hash"]) for row in _rows(self.folder)]

    @property
    def group_keys(self) -> list[str]:
        """Each image's group key, or if it has none, a key made of its group's number."""
        keys = []
        for row in _rows(self.folder):
            keys.append(row["family"] or f"{self.name}/{row['group']}")
        return keys

    def image(self, i: int) -> np.ndarray:
        """uint8 [H, W, 4] of image `i`; also called in worker processes."""
        id = _rows(self.folder)[i]["id"]
        records, position = _records(self.folder)
        return codec.decode(example_image(records[position[id]]))


# Cached by process and not in the object, which is sent to a worker with every task.


@functools.cache
def _rows(folder: Path) -> list[dict]:
    with open(folder / "fields.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@functools.cache
def _records(folder: Path) -> tuple[Records, dict[str, int]]:
    """The dataset's records, and the position of each by Id."""
    records = Records(sorted(folder.glob("hpa-*.tfrecord-*")))
    position = {records.id(i): i for i in range(len(records))}
    return records, position
