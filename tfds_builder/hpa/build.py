"""What a build is asked for, and what it will write: plain values."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from hpa_jax.data import codec
from tfds_builder.hpa.lists.antibodies import AntibodySplit
from tfds_builder.hpa.sources import Example, Fault, Source
from tfds_builder.hpa.split.perceptual import Rule
from tfds_builder.hpa.split.reference import ReferenceDataset

POLICIES = ("strict", "skip")
TEST = "test"
VALIDATION = "validation"
TRAIN = "train"
UNLABELLED = "unlabelled"
"""The split of images whose labels nobody knows: no net learns from it. TFDS keeps the name `all`
for all splits together, by which this one is read where there is no other."""

Map = Callable[[Callable, Iterable], Iterable]
"""An ordered map, like the built-in `map`; over processes, for instance."""


@dataclass(frozen=True)
class Build:
    """What is to be built.

    Attributes:
      source: of the images.
      codec: one of hpa_jax.data.codec.CODECS.
      policy: `strict` ends the build at the first fault; `skip` leaves faulty rows out and lists
        them in rejects.csv.
      test: fraction of the images in the held-out test split.
      folds: number of folds that all other images are assigned to; fold 0 is `validation`.
      seed: of the split.
      match_splits_of: a finished dataset; near-duplicates of its images get those images' folds.
      near_duplicates: what they are; None: they are not sought, and group keys alone make groups.
      allow_uneven_splits: whether splits may be out of the bounds of `split.evenness`.
      split: of public lists of antibodies, which decides the splits; None: it does not.
    """

    source: Source
    codec: str = codec.CODECS[0]
    policy: str = POLICIES[0]
    test: float = 0.1
    folds: int = 5
    seed: int = 0
    match_splits_of: ReferenceDataset | None = None
    near_duplicates: Rule | None = Rule()
    allow_uneven_splits: bool = False
    split: AntibodySplit | None = None

    def settings(self) -> dict:
        """All that determines the bytes, as JSON.

        It is stored in metadata.json and compared when the build is started again.
        """
        settings = self.source.settings()
        for name in ("codec", "policy", "test", "folds", "seed"):
            settings[name] = getattr(self, name)
        settings["near_duplicates"] = "on" if self.near_duplicates else "off"
        if self.near_duplicates:
            settings["duplicate_bits"] = self.near_duplicates.bits
            settings["duplicate_correlation"] = self.near_duplicates.correlation
        if self.match_splits_of:
            settings["match_splits_of"] = self.match_splits_of.settings()
        if self.split:
            settings["split"] = self.split.settings()
        return settings

    @property
    def split_flag(self) -> str:
        """What puts images into splits, where something else than this program does."""
        if self.split:
            return f"--split={self.split.name}"
        return getattr(self.source, "split_flag", "--split_column")


class Placed(NamedTuple):
    """An example with its place in the dataset.

    Attributes:
      example: as the source lists it.
      fold: -1 in the test split.
      group: number of its group; see `split.duplicates.group_numbers`.
      hash: its `perceptual_hash`.
    """

    example: Example
    fold: int
    group: int
    hash: bytes

    @property
    def split(self) -> str:
        """Name of the split."""
        if not self.example.labels_known:
            return UNLABELLED
        if self.fold < 0:
            return TEST
        return TRAIN if self.fold else VALIDATION


@dataclass(frozen=True)
class Plan:
    """What a build writes.

    Attributes:
      splits: the images of each split that has any, in the source's order.
      statistics: as JSON; see `image_statistics.dataset_statistics`.
      duplicates: (Id, Id, bits that differ in the hashes of the channels that both have) of
        near-duplicates; the second may be of the reference dataset.
      rejects: the rows that were left out.
      notes: what the user should know about the images and the split, a line each.
      pixel_size: micrometres a pixel of the images as they are read, as their files say; None if
        they do not.
    """

    splits: dict[str, list[Placed]]
    statistics: dict
    duplicates: list[tuple[str, str, int]]
    rejects: list[Fault]
    notes: list[str]
    pixel_size: float | None = None
