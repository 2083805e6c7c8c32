"""What is known of a dataset without decoding an image: indexes, and the tables beside them."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hpa_jax.data.catalog import (
    SPLITS,
    UNLABELLED,
    dataset_dir,
    load_dataset,
    read_vocabulary,
    stored_sizes,
)
from hpa_jax.data.dataset import ImageDataset
from hpa_jax.data.metadata import FILE_NAME, check_file, read_metadata
from hpa_jax.data.shard_index import REMEDY
from hpa_jax.errors import InputError, one_line
from hpa_jax.files import plain_cell
from hpa_jax.labels import CHANNELS, LABELS, named

_TRAIN = SPLITS.index("train")
_VALIDATION = SPLITS.index("validation")
_TEST = SPLITS.index("test")


class Duplicate(NamedTuple):
    """Two images that are nearly the same; one may belong to a dataset that the build was given.

    Attributes:
      a: Id.
      b: Id.
      distance: bits in which the perceptual hashes differ.
    """

    a: str
    b: str
    distance: int


class Reject(NamedTuple):
    """A row of the source that was left out."""

    id: str
    file: str
    reason: str


@dataclass(frozen=True)
class DatasetSummary:
    """One dataset; N images in stored order.

    Attributes:
      name: of the builder config.
      version: of the dataset.
      ids: N Ids.
      targets: uint8 [N, L], 0 or 1.
      folds: int [N], -1 in the test split; fold 0 is the validation split.
      groups: int [N]; images of one group share a fold.
      sizes: int [N, 2], height and width in pixels as stored.
      histogram: int64 [4, 256], pixels of each value by channel over all images; None where the
        build stored none.
      build: the build's settings.
      duplicates: in the build's order; None where the build did not search for them.
      rejects: rows left out; None where the build did not list them.
      labels: names of the L labels, by label id.
      labels_known: bool [N], whether the labels of each image are known; None: all are.
      original_ids: N Ids as the source gave them; None: they are `ids`.
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
    duplicates: list[Duplicate] | None
    rejects: list[Reject] | None
    labels: tuple[str, ...] = LABELS
    labels_known: np.ndarray | None = None
    original_ids: list[str] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def label_counts(self) -> np.ndarray:
        """Returns int64 [L], the images that have each label."""
        return self.targets.sum(axis=0, dtype=np.int64)

    def split_indices(self) -> np.ndarray:
        """Returns int [N]: each image's split as a position in `shown_splits` of it."""
        index = np.select([self.folds < 0, self.folds == 0], [_TEST, _VALIDATION], _TRAIN)
        if self.labels_known is None:
            return index
        return np.where(self.labels_known, index, len(SPLITS))

    def shown_id(self, i: int) -> str:
        """Returns the Id of image `i` as whoever built the dataset knows it."""
        return self.original_ids[i] if self.original_ids else self.ids[i]

    def split_of(self, i: int) -> str:
        """Returns the split of image `i`."""
        return (*SPLITS, UNLABELLED)[int(self.split_indices()[i])]

    def labels_of(self, i: int) -> list[str]:
        """Returns the names of the labels of image `i`."""
        return [self.labels[label] for label in np.flatnonzero(self.targets[i])]

    def unknown(self) -> int:
        """Returns the number of images of which nobody knows the labels."""
        if self.labels_known is None:
            return 0
        return int(np.count_nonzero(~self.labels_known))


def shown_splits(datasets: Sequence[DatasetSummary]) -> tuple[str, ...]:
    """SPLITS, and that of images without labels if there are any."""
    if any(dataset.unknown() for dataset in datasets):
        return (*SPLITS, UNLABELLED)
    return SPLITS


def read_dataset(data_dir: str | Path, name: str) -> tuple[DatasetSummary, ImageDataset]:
    """Reads a dataset's summary, and opens its images (all splits, in the same order).

    Raises:
      InputError: the dataset does not exist or is damaged.
    """
    folder = dataset_dir(data_dir, name)
    images = load_dataset(data_dir, name, split="all", labels_needed=False)
    metadata = read_metadata(folder)

    duplicates = None
    rejects = None
    # The build leaves out an empty table of duplicates or rejects; it always writes that of all
    # images, which had another name before version 3.0.0.
    if any((folder / table).exists() for table in ("images.csv", "fields.csv")):
        for table in ("images.csv", "duplicates.csv", "rejects.csv"):
            check_file(folder, metadata, table)
        duplicates = []
        for a, b, distance in _read_table(folder / "duplicates.csv", ("a", "b", "distance")):
            duplicates.append(Duplicate(a, b, int(distance) if distance.isdecimal() else 0))
        rejects = []
        for row in _read_table(folder / "rejects.csv", ("id", "file", "reason")):
            rejects.append(Reject(*row))

    build = metadata.get("build")
    summary = DatasetSummary(
        name=name,
        version=folder.name,
        ids=images.ids(),
        targets=images.targets(),
        folds=images.folds(),
        groups=images.groups(),
        sizes=images.sizes(),
        # Of all images, those without labels too.
        histogram=_histogram(metadata, stored_sizes(data_dir, name), folder),
        build=build if isinstance(build, dict) else {},
        duplicates=duplicates,
        rejects=rejects,
        labels=read_vocabulary(data_dir, name).labels,
        labels_known=images.known(),
        original_ids=images.original_ids(),
    )
    return summary, images


def check_same_labels(datasets: Sequence[DatasetSummary]) -> None:
    """Refuses datasets of different vocabularies: one page has one row for each label.

    Raises:
      InputError: names two of them.
    """
    first = datasets[0]
    for dataset in datasets:
        if dataset.labels != first.labels:
            raise InputError(
                f"hpa/{dataset.name} has the {len(dataset.labels)} labels of "
                f"{named(dataset.labels).name}, and hpa/{first.name} the {len(first.labels)} of "
                f"{named(first.labels).name}: give each a report of its own "
                "(--config.data.name=NAME)"
            )


def _histogram(metadata: dict, sizes: np.ndarray, folder: Path) -> np.ndarray | None:
    """int64 [4, 256], or None where the metadata has none of that shape.

    Raises:
      InputError: it is of another number of pixels than the images have.
    """
    try:
        histogram = np.asarray(metadata["statistics"]["histogram"], np.int64)
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    if histogram.shape != (len(CHANNELS), 256):
        return None
    if (histogram < 0).any() or not histogram.any(axis=1).all():
        return None
    # Of an older dataset nothing else shows that a digit was changed.
    if (histogram.sum(axis=1) != sizes.prod(axis=1).sum()).any():
        path = folder / FILE_NAME
        raise InputError(f"{path}: its histogram is not of the dataset's pixels: {REMEDY}")
    return histogram


def _read_table(path: Path, columns: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The named columns of a csv file; no rows where the file does not exist."""
    try:
        # Names of files need not be UTF-8; one odd character must not hide the table.
        with open(path, encoding="utf-8", errors="replace", newline="") as file:
            reader = csv.DictReader(file)
            return [tuple(plain_cell(row[column] or "") for column in columns) for row in reader]
    except FileNotFoundError:
        return []
    except (OSError, KeyError, csv.Error) as error:
        wanted = ", ".join(columns)
        raise InputError(f"{path}: no table of {wanted} ({one_line(error)}): {REMEDY}") from None
