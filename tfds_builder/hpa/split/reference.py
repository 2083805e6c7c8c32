"""A dataset that is built already, beside which another one is split: `--like=NAME`.

Two datasets that are trained on together must not have the same field on both sides of a split. What is nearly the
same as a field of the neighbour gets that field's fold.
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
class Neighbour:
    """The finished dataset in `folder` (DATA_DIR/hpa/NAME/VERSION); its fields in the order of its fields.csv."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.parent.name

    def settings(self) -> dict:
        """The dataset by name and digest."""
        return {
            "name": self.name,
            "fields_sha256": hashlib.sha256(self._table.read_bytes()).hexdigest(),
        }

    def check(self, folds: int) -> None:
        """Raises InputError where there is no such dataset, or one with another number of folds."""
        try:
            theirs = json.loads((self.folder / "metadata.json").read_text())["build"]["folds"]
            _rows(self.folder)
        except (OSError, ValueError, KeyError, TypeError):
            raise InputError(
                f"--like={self.name}: {self.folder} is no finished dataset; build it first"
            ) from None
        if theirs != folds:
            raise InputError(
                f"--like={self.name}: it has {theirs} folds, not {folds}; give --folds={theirs}"
            )

    @property
    def _table(self) -> Path:
        return self.folder / "fields.csv"

    @property
    def ids(self) -> list[str]:
        return [row["id"] for row in _rows(self.folder)]

    @property
    def folds(self) -> list[int]:
        return [int(row["fold"]) for row in _rows(self.folder)]

    @property
    def hashes(self) -> list[bytes]:
        return [bytes.fromhex(row["hash"]) for row in _rows(self.folder)]

    @property
    def families(self) -> list[str]:
        """Each field's family, or where it is of none, its group as one."""
        return [row["family"] or f"{self.name}/{row['group']}" for row in _rows(self.folder)]

    def image(self, i: int) -> np.ndarray:
        """uint8 [H, W, 4] of field `i`; also in a worker process."""
        records, position = _records(self.folder)
        return codec.decode(example_image(records[position[_rows(self.folder)[i]["id"]]]))


# Once a process, and not in the object, which is sent to a worker with every task.


@functools.cache
def _rows(folder: Path) -> list[dict]:
    with open(folder / "fields.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@functools.cache
def _records(folder: Path) -> tuple[Records, dict[str, int]]:
    records = Records(sorted(folder.glob("hpa-*.tfrecord-*")))
    return records, {records.id(i): i for i in range(len(records))}
