"""Stored images as a sequence, of one dataset or of several. No TensorFlow, no Grain.

`dataset[i]` is a dict of one image; all that the indexes know (Ids, targets, folds, groups, sizes)
can be had for all images at once without reading a shard. TFRecord shards are read at random
positions, with both CRCs of a record checked.

The order of an image's labels, which is the order of a net's logits, is decided by `TargetColumns`:
column k of `targets` is the label with id `label_ids[k]` (`config.data.labels`) of the run's
vocabulary, found by its name in the dataset's.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from hpa_jax.data import codec
from hpa_jax.data.masks import PLANES, decode_masks
from hpa_jax.data.records import Records
from hpa_jax.data.shard_index import REMEDY
from hpa_jax.data.tfrecord import example_image, example_masks
from hpa_jax.errors import InputError
from hpa_jax.images.resize import fit_square, fit_square_masks
from hpa_jax.labels import CHANNELS

# The threads that read are the parallelism: OpenCV's own would compete for the same cores.
cv2.setNumThreads(1)

_NAMED_SIZES = 3  # of many different ones, in a message


_BY_ASPECT = {
    "pad": "padded with black to {side} x {side} px",
    "crop": "cropped and resized to {side} x {side} px",
    "stretch": "stretched to {side} x {side} px, which distorts them",
}


class TargetColumns(NamedTuple):
    """Where the targets of images come from.

    Attributes:
      stored: number of labels in the dataset's vocabulary.
      label_ids: the dataset's label id of each column of the targets; None where its labels are
        others than those that are asked for: then no image's labels are known.
      count: number of columns, L.
      chosen: whether images with none of these labels are left out.
    """

    stored: int
    label_ids: tuple[int, ...] | None
    count: int
    chosen: bool


class ImageDataset:
    """The images of a split in stored order. Made by `catalog.load_dataset`.

    `dataset[i]` is `{"id": str, "image": uint8 [H, W, 4], "targets": uint8 [L]}`: the channels are
    red, green, blue and yellow, the targets 0 or 1. With masks it has `"masks": uint16 [H, W, 2]`
    too: of cells and nuclei. Safe to share between threads, and can be pickled.

    Attributes:
      image_shape: (H, W, 4) of all images; (0, 0, 4) if they have different sizes.
      num_labels: L.
    """

    def __init__(
        self,
        records: Records,
        columns: TargetColumns,
        *,
        image_size: int | None,
        aspect: str = "pad",
        folds: Sequence[int] | None = None,
        labels_needed: bool = True,
        with_masks: bool = False,
        transform: Callable[[dict], dict] | None = None,
    ):
        """Selects images among the records.

        Args:
          records: of the shards.
          columns: of `targets`.
          image_size: every image becomes a square with sides of this many px; None: as stored.
          aspect: how, if it is none: one of `hpa_jax.images.resize.ASPECTS`.
          folds: only images of these folds; None: all.
          labels_needed: whether images of which nobody knows the labels are refused; if not, their
            targets are 0, and they are not left out for having no label.
          with_masks: whether `dataset[i]` has the instance masks that the records hold.
          transform: makes of each `dataset[i]` what is read in its place, by the threads that read.

        Raises:
          InputError: an image is in no known codec, has a label that is none of ours, or its labels
            are unknown.
        """
        targets = np.zeros((len(records), columns.count), np.uint8)
        known = np.zeros(len(records), bool)
        if columns.label_ids is not None:
            targets = records.labels(columns.stored)[:, list(columns.label_ids)]
            known = records.labels_known()
        kept = np.ones(len(records), bool)
        if folds is not None:
            kept = np.isin(records.folds(), folds)
        if columns.chosen:
            kept &= targets.any(axis=1) | ~known
        self._records = records
        self._kept = np.flatnonzero(kept)  # record number of each image
        self._targets = targets[self._kept]
        self._known = known[self._kept]
        self._aspect = aspect
        self._with_masks = with_masks
        self._transform = transform
        self.num_labels = columns.count

        if labels_needed:
            self._check_labels_known()
        sizes = self.sizes()
        self._check_codecs(sizes)
        height, width = 0, 0
        self._side = image_size or 0
        self._size_conflict = ""
        distinct = np.unique(sizes, axis=0)
        if image_size:
            height, width = image_size, image_size
        elif len(distinct) == 1:
            height, width = distinct[0].tolist()
        elif len(distinct) > 1:
            self._size_conflict = f"images of {len(distinct)} sizes ({_listed_sizes(distinct)})"
        self.image_shape = (height, width, len(CHANNELS))

    def _check_labels_known(self) -> None:
        """No labels and unknown labels look alike in `targets`, and mean opposite things."""
        known = self._known
        if not known.all():
            record = int(self._kept[np.argmin(known)])
            raise InputError(
                f"{self._records.describe(record)}: its labels are unknown, as those of "
                f"{np.count_nonzero(~known)} of {len(known)} images; training and evaluating take "
                "labelled images alone: build the dataset from those. --mode=predict scores these"
            )

    def _check_codecs(self, sizes: np.ndarray) -> None:
        unreadable = ~sizes.all(axis=1)
        if unreadable.any():
            record = int(self._kept[np.argmax(unreadable)])
            raise InputError(
                f"{self._records.describe(record)}: its image is in no codec of "
                f"{', '.join(codec.CODECS)}: build the dataset again"
            )

    def check_one_size(self) -> None:
        """Checks that the images can be batched.

        Raises:
          InputError: they have several sizes, and no `image_size` was chosen.
        """
        if self._size_conflict:
            raise InputError(
                f"{self._records.shards[0].parent}: {self._size_conflict} cannot be batched as "
                "stored: choose one with --config.data.image_size=PIXELS"
            )

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, i: int) -> dict:
        example = {
            "id": self._records.id(int(self._kept[i])),
            "image": self.image(i),
            "targets": self._targets[i].copy(),
        }
        if self._with_masks:
            example["masks"] = self.masks(i)
        return self._transformed(example)

    def announce(self, images: Iterable[int]) -> None:
        """Says which images are read next; of a dataset in a bucket they are asked for now."""
        self._records.announce(int(self._kept[i]) for i in images)

    @property
    def read_ahead(self) -> int:
        """How many images are best announced before they are read; 0: it is on the local disk."""
        return self._records.read_ahead

    def padding(self) -> dict:
        """What fills a batch that is not full: an example without an Id, of zeros."""
        example = {
            "id": "",
            "image": np.zeros(self.image_shape, np.uint8),
            "targets": np.zeros(self.num_labels, np.uint8),
        }
        if self._with_masks:
            example["masks"] = np.zeros((*self.image_shape[:2], len(PLANES)), np.uint16)
        return self._transformed(example)

    def _transformed(self, example: dict) -> dict:
        return self._transform(example) if self._transform else example

    def image(self, i: int) -> np.ndarray:
        """Reads and decodes image `i`.

        It is made to fit `image_shape` (`hpa_jax.images.resize.fit_square`).

        Returns:
          uint8 [H, W, 4]; as stored where no size was chosen.

        Raises:
          InputError: the record or its image is damaged (names shard, record, Id).
        """
        record = int(self._kept[i])
        try:
            image = codec.decode(example_image(self._records[record]))
        except ValueError as error:
            raise InputError(f"{self._records.describe(record)}: {error}: {REMEDY}") from None
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != len(CHANNELS):
            found = f"{image.dtype} {list(image.shape)}"
            raise InputError(
                f"{self._records.describe(record)}: {found}, not uint8 [H, W, 4]: {REMEDY}"
            )
        if not self._side:
            return image
        return fit_square(image, self._side, self._aspect)

    def masks(self, i: int) -> np.ndarray:
        """Reads the instance masks of image `i`, of the size of `image(i)`.

        Returns:
          uint16 [H, W, 2]: cells and nuclei, 0 is background. A nucleus has its cell's number.

        Raises:
          InputError: the record has none, or they are damaged (names shard, record, Id).
        """
        record = int(self._kept[i])
        try:
            masks = decode_masks(example_masks(self._records[record]))
        except ValueError as error:
            raise InputError(
                f"{self._records.describe(record)}: its instance masks: {error}: {REMEDY}"
            ) from None
        if not self._side:
            return masks
        return fit_square_masks(masks, self._side, self._aspect)

    def shape_note(self, name: str) -> str:
        """What happens to images that are not square, in one line; "" where all are.

        Args:
          name: of the dataset.
        """
        sizes = self.sizes()
        oblong = sizes[:, 0] != sizes[:, 1]
        count = int(oblong.sum())
        if not self._side or not count:
            return ""
        height, width = sizes[int(np.argmax(oblong))].tolist()
        done = _BY_ASPECT[self._aspect].format(side=self._side)
        return (
            f"{count} of {len(sizes)} images of {name} are not square, the first {height} x "
            f"{width} px (height x width): they are {done} (config.data.aspect={self._aspect})"
        )

    def ids(self) -> list[str]:
        """All Ids, from the indexes."""
        return [self._records.id(int(record)) for record in self._kept]

    def known(self) -> np.ndarray:
        """Whether the labels of each image are known, bool [images]."""
        return self._known.copy()

    def labels_known(self) -> bool:
        """Whether the labels of all images are known."""
        return bool(self._known.all())

    def original_ids(self) -> list[str]:
        """The Ids that the source gave the images; `ids()` are names made of safe characters."""
        return [self._records.original_id(int(record)) for record in self._kept]

    def targets(self) -> np.ndarray:
        """Labels of all images, uint8 [images, labels], 0 or 1, from the indexes."""
        return self._targets.copy()

    def sizes(self) -> np.ndarray:
        """Stored (height, width) in px, int64 [images, 2], from the indexes."""
        return self._records.sizes()[self._kept]

    def folds(self) -> np.ndarray:
        """Fold of each image, int64 [images], -1 in the split `test`, from the indexes."""
        return self._records.folds()[self._kept]

    def groups(self) -> np.ndarray:
        """Group of each image, int64 [images], from the indexes.

        Near-duplicates and images of one antibody are a group, and a group lies within one split.
        """
        return self._records.groups()[self._kept]

    def fingerprint(self) -> str:
        """SHA-256 over the data CRCs of the images in order, 64 hex digits; reads no shard."""
        crcs = self._records.crcs()[self._kept].astype("<u4")
        return hashlib.sha256(crcs.tobytes()).hexdigest()


def _listed_sizes(sizes: np.ndarray) -> str:
    named = [f"{height}x{width}" for height, width in sizes[:_NAMED_SIZES]]
    if len(sizes) > _NAMED_SIZES:
        named.append("...")
    return ", ".join(named)


class ConcatDataset:
    """The images of several datasets, one dataset after another.

    `dataset[i]` is as in `ImageDataset`, with the number of its dataset as `"source"` (int32).

    Attributes:
      image_shape, num_labels: as in `ImageDataset`.
    """

    def __init__(self, sources: Sequence[ImageDataset], names: Sequence[str]):
        """Concatenates datasets; `names` are theirs, for messages.

        Raises:
          InputError: their images differ in size.
        """
        self._sources = list(sources)
        self._names = list(names)
        self.check_one_size()
        shapes = [source.image_shape for source in sources]
        if len(set(shapes)) > 1:
            sizes = [
                f"{name} {height}x{width}"
                for name, (height, width, _) in zip(names, shapes, strict=True)
            ]
            raise InputError(
                f"the datasets' sizes differ ({', '.join(sizes)}): "
                "choose one with --config.data.image_size=PIXELS"
            )
        self.image_shape = shapes[0]
        self.num_labels = sources[0].num_labels
        self._values: dict[str, np.ndarray] = {}
        self._ends = np.cumsum(self.lengths())

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, i: int) -> dict:
        source = int(np.searchsorted(self._ends, i, side="right"))
        start = int(self._ends[source - 1]) if source else 0
        item = {**self._sources[source][i - start], "source": np.int32(source)}
        for name, values in self._values.items():
            item[name] = values[i]
        return item

    def announce(self, images: Iterable[int]) -> None:
        """As of `ImageDataset`."""
        of_source = {}
        for i in images:
            source = int(np.searchsorted(self._ends, i, side="right"))
            start = int(self._ends[source - 1]) if source else 0
            of_source.setdefault(source, []).append(i - start)
        for source, numbers in of_source.items():
            self._sources[source].announce(numbers)

    @property
    def read_ahead(self) -> int:
        """As of `ImageDataset`."""
        return max(source.read_ahead for source in self._sources)

    def add_values(self, name: str, values: np.ndarray) -> None:
        """From now on every image has `values[i]` under that name, as a task wants it in batches.

        Args:
          name: none that images have already.
          values: `[images, ...]`.
        """
        if len(values) != len(self):
            raise ValueError(f"{len(values)} values for {len(self)} images")
        self._values[name] = values

    def check_one_size(self) -> None:
        """Checks that the images of each dataset can be batched, as in `ImageDataset`."""
        for source in self._sources:
            source.check_one_size()

    def shape_notes(self) -> list[str]:
        """Of each dataset, as in `ImageDataset`, where there is something to say."""
        notes = []
        for source, name in zip(self._sources, self._names, strict=True):
            notes.append(source.shape_note(name))
        return [note for note in notes if note]

    def targets(self) -> np.ndarray:
        """Labels of all images, uint8 [images, labels], 0 or 1."""
        return np.concatenate([source.targets() for source in self._sources])

    def groups(self) -> np.ndarray:
        """Group of each image, int64 [images]; those of different datasets are different ones."""
        numbered = []
        first = 0
        for source in self._sources:
            groups = source.groups()
            numbered.append(groups + first)
            first += int(groups.max(initial=-1)) + 1
        return np.concatenate(numbered)

    def fingerprint(self) -> str:
        """SHA-256 over the fingerprints of the datasets."""
        fingerprints = [source.fingerprint() for source in self._sources]
        return hashlib.sha256("".join(fingerprints).encode()).hexdigest()

    def ids(self) -> list[str]:
        """All Ids, from the indexes."""
        return [image_id for dataset in self._sources for image_id in dataset.ids()]

    def original_ids(self) -> list[str]:
        """All Ids as the sources gave them, as in `ImageDataset`."""
        return [image_id for dataset in self._sources for image_id in dataset.original_ids()]

    def lengths(self) -> list[int]:
        """Number of images of each dataset."""
        return [len(source) for source in self._sources]
