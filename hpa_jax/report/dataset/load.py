"""What is known of a built dataset without decoding an image: the shards' indexes and the tables beside them."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hpa_jax.data.catalog import SPLITS, dataset_dir, load_dataset
from hpa_jax.data.dataset import ImageDataset
from hpa_jax.data.shard_index import REMEDY
from hpa_jax.errors import InputError
from hpa_jax.labels import CHANNELS


class Pair(NamedTuple):
    """Two fields that are nearly the same; one may belong to another dataset that the build was told of."""

    a: str  # Id
    b: str
    distance: int  # bits in which the perceptual hashes differ


class Reject(NamedTuple):
    """A row of the source that was left out."""

    id: str
    file: str
    reason: str


@dataclass(frozen=True)
class Facts:
    """One dataset; N fields in stored order.

    Attributes:
      name: of the builder config.
      version: of the dataset.
      ids: N Ids.
      targets: uint8 [N, 28], 0 or 1.
      folds: int [N], -1 in the test part; fold 0 is the validation part.
      groups: int [N]; fields of one group share a fold.
      sizes: int [N, 2], height and width in pixels as stored.
      histogram: int64 [4, 256], pixels of each value by channel over all fields; None where the build stored none.
      build: the build's settings.
      pairs: near-duplicates, in the build's order; None where the build did not look for any.
      rejects: rows left out; None as for `pairs`.
    """

    name: str
    version: str
    ids: list[str]
    targets: np.ndarray
    folds: np.ndarray
    groups: np.ndarray
    sizes: np.ndarray
    histogram: np.ndarray | None
    build: dict
    pairs: list[Pair] | None
    rejects: list[Reject] | None

    def __len__(self) -> int:
        return len(self.ids)

    def parts(self) -> np.ndarray:
        """int [N]: position of each field's part in SPLITS, with fold 0 to validate on."""
        return part_of(self.folds)

    def part(self, i: int) -> int:
        """The same of field `i`."""
        return int(part_of(self.folds[i]))


def part_of(fold: np.ndarray) -> np.ndarray:
    """int [N]: positions in SPLITS of folds int [N]: -1 is test, 0 validation, any other train."""
    return np.select(
        [fold < 0, fold == 0],
        [SPLITS.index("test"), SPLITS.index("validation")],
        SPLITS.index("train"),
    )


def read_facts(data_dir: str | Path, name: str) -> tuple[Facts, ImageDataset]:
    """A dataset's facts, and its fields (all parts, same order) to read images from.

    Raises InputError: no such dataset, or damage.
    """
    folder = dataset_dir(data_dir, name)
    fields = load_dataset(data_dir, name, split="all")
    metadata = _metadata(folder / "metadata.json")
    # The build writes the other two tables only where there is something to say; fields.csv always.
    looked = (folder / "fields.csv").is_file()
    pairs = _table(folder / "duplicates.csv", ("a", "b", "distance")) if looked else None
    rejects = _table(folder / "rejects.csv", ("id", "file", "reason")) if looked else None
    return (
        Facts(
            name=name,
            version=folder.name,
            ids=fields.ids(),
            targets=fields.targets(),
            folds=fields.folds(),
            groups=fields.groups(),
            sizes=fields.sizes(),
            histogram=_histogram(metadata),
            build=metadata["build"] if isinstance(metadata.get("build"), dict) else {},
            pairs=None
            if pairs is None
            else [Pair(a, b, int(d) if d.isdecimal() else 0) for a, b, d in pairs],
            rejects=None if rejects is None else [Reject(*row) for row in rejects],
        ),
        fields,
    )


def _metadata(path: Path) -> dict:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}): {REMEDY}") from None
    return found if isinstance(found, dict) else {}


def _histogram(metadata: dict) -> np.ndarray | None:
    """int64 [4, 256], or None where there is none of that shape."""
    try:
        histogram = np.asarray(metadata["statistics"]["histogram"], np.int64)
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    fits = (
        histogram.shape == (len(CHANNELS), 256)
        and (histogram >= 0).all()
        and histogram.any(axis=1).all()
    )
    return histogram if fits else None


def _table(path: Path, columns: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The named columns of a csv; no rows where there is no file."""
    try:
        with open(path, encoding="utf-8", errors="replace", newline="") as file:
            return [tuple(row[column] or "" for column in columns) for row in csv.DictReader(file)]
    except FileNotFoundError:
        return []
    except (OSError, KeyError, csv.Error) as error:
        raise InputError(f"{path}: no table of {', '.join(columns)} ({error}): {REMEDY}") from None
