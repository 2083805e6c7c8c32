"""A prepared dataset as a sequence of fields. No TensorFlow, no Grain.

What is unusual here:

- A TFDS directory of TFRecords is read at random: Ids, labels, folds and sizes come from the shards' indexes; only
  images are read from the shards, with both CRCs checked.
- Which part a field belongs to is stored with it. Fold 0 is the part `validation` of the dataset, the other folds are
  `train`; any other fold can be validated on instead, and then `train` is all that is in neither it nor `test`.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import tensorflow_datasets as tfds

from hpa_jax import codec
from hpa_jax.errors import InputError
from hpa_jax.labels import CHANNELS, LABELS
from hpa_jax.records import Records
from hpa_jax.shard_index import REMEDY, example_image

PARTS = ("train", "validation", "test")
"""The splits of a dataset; `all` is their union, in this order."""

cv2.setNumThreads(1)  # the readers' threads are the parallelism; OpenCV's own would fight them for the same cores


class Fields:
    """The fields of a part in stored order: `fields[i]` is `{"id", "image", "targets"}`. Made by `open_fields`.

    `id` str; `image` uint8 [H, W, 4], red, green, blue, yellow; `targets` uint8 [L], 0 or 1. `image_shape` is the
    (H, W, 4) that all of them have, `n_labels` is L. Safe to share between threads; can be pickled.
    """

    def __init__(
        self,
        records: Records,
        *,
        image_size: int | None,
        label_ids: Sequence[int] | None,
        folds: Sequence[int] | None = None,
    ):
        self._records = records
        targets = records.labels(len(LABELS))
        kept = np.ones(len(records), bool) if folds is None else np.isin(records.folds(), folds)
        if label_ids is not None:
            targets = targets[:, list(label_ids)]
            kept &= targets.any(axis=1)
        self._kept = np.flatnonzero(kept)
        self._targets = targets[self._kept]
        self.n_labels = targets.shape[1]
        sizes = self.sizes()
        if not sizes.all():
            broken = records.where(int(self._kept[np.flatnonzero(~sizes.all(axis=1))[0]]))
            raise InputError(
                f"{broken}: its image is in no codec of {', '.join(codec.CODECS)}: build the dataset again"
            )
        self._several = ""
        stored = np.unique(sizes, axis=0)
        if image_size:
            side = (image_size, image_size)
        elif len(stored) == 1:
            side = tuple(stored[0].tolist())
        else:
            side = (0, 0)
            few = ", ".join(f"{h}x{w}" for h, w in stored[:3]) + (", ..." if len(stored) > 3 else "")
            self._several = f"fields of {len(stored)} sizes ({few})" if len(stored) else ""
        self.image_shape = (*side, len(CHANNELS))

    def check_one_size(self) -> None:
        """Raises InputError where the fields have several sizes and none was chosen: they cannot be batched."""
        if self._several:
            raise InputError(
                f"{self._records.shards[0].parent}: {self._several} cannot be batched as stored: "
                "choose one with --config.data.image_size=PIXELS"
            )

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, i: int) -> dict:
        return {"id": self._records.id(int(self._kept[i])), "image": self.image(i), "targets": self._targets[i].copy()}

    def image(self, i: int) -> np.ndarray:
        """`uint8 [H, W, 4]` of field `i`: resized to `image_shape`, or as stored where the sizes differ."""
        record = int(self._kept[i])
        try:
            image = codec.decode(example_image(self._records[record]))
        except ValueError as error:
            raise InputError(f"{self._records.where(record)}: {error}: {REMEDY}") from None
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != len(CHANNELS):
            found = f"{image.dtype} {list(image.shape)}"
            raise InputError(f"{self._records.where(record)}: {found}, not uint8 [H, W, 4]: {REMEDY}")
        height, width = self.image_shape[:2]
        if height and image.shape != self.image_shape:
            shrinks = height * width < image.shape[0] * image.shape[1]
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        return image

    def ids(self) -> list[str]:
        """All Ids, from the indexes."""
        return [self._records.id(int(record)) for record in self._kept]

    def targets(self) -> np.ndarray:
        """`uint8 [fields, labels]`, 0 or 1, from the indexes."""
        return self._targets.copy()

    def sizes(self) -> np.ndarray:
        """Stored (height, width) in pixels, `int64 [fields, 2]`, from the indexes."""
        return self._records.sizes()[self._kept]

    def folds(self) -> np.ndarray:
        """`int64 [fields]`: each field's fold, -1 in the test part, from the indexes."""
        return self._records.folds()[self._kept]

    def groups(self) -> np.ndarray:
        """`int64 [fields]`: each field's group (near-duplicates, one antibody), which no split cuts."""
        return self._records.groups()[self._kept]

    def fingerprint(self) -> str:
        """SHA-256 over the data CRC of every field in order, as 64 hexadecimal digits; reads no shard."""
        crcs = np.concatenate([np.zeros(0, "<u4"), *(index.rows["crc"] for index in self._records.indexes)])
        return hashlib.sha256(crcs[self._kept].astype("<u4").tobytes()).hexdigest()


class Joined:
    """The fields of several datasets one after another; `fields[i]` has `"source"` too, the dataset's number (int32).

    Raises InputError where their images differ in size.
    """

    def __init__(self, sources: Sequence[Fields], names: Sequence[str]):
        self._sources = list(sources)
        self.check_one_size()
        if len({fields.image_shape for fields in sources}) > 1:
            sizes = ", ".join(f"{n} {f.image_shape[0]}x{f.image_shape[1]}" for n, f in zip(names, sources, strict=True))
            raise InputError(f"the datasets' sizes differ ({sizes}): choose one with --config.data.image_size=PIXELS")
        self.image_shape, self.n_labels = sources[0].image_shape, sources[0].n_labels
        self._ends = np.cumsum([len(fields) for fields in sources])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, i: int) -> dict:
        number = int(np.searchsorted(self._ends, i, side="right"))
        start = int(self._ends[number - 1]) if number else 0
        return {**self._sources[number][i - start], "source": np.int32(number)}

    def check_one_size(self) -> None:
        """As of `Fields`."""
        for fields in self._sources:
            fields.check_one_size()

    def targets(self) -> np.ndarray:
        """`uint8 [fields, labels]`, 0 or 1."""
        return np.concatenate([fields.targets() for fields in self._sources])

    def lengths(self) -> list[int]:
        """Number of fields of each dataset."""
        return [len(fields) for fields in self._sources]


def open_fields(
    data_dir: str | Path,
    name: str,
    split: str,
    *,
    fold: int = 0,
    image_size: int | None = None,
    label_ids: Sequence[int] | None = None,
) -> Fields:
    """Opens a part of the newest version of `DATA_DIR/hpa/NAME`.

    Args:
      data_dir: what the builder was given as `--data_dir`.
      name: builder config, `kaggle_512` for instance.
      split: one of PARTS that the dataset has, or `all`.
      fold: the fold that `validation` means; `train` is then all the others. 0: as stored.
      image_size: every image is resized to a square of so many pixels a side (area when it shrinks, else bilinear);
        None or 0: as stored.
      label_ids: the labels that `targets` has, in this order; only fields that bear one of them are kept. None: all.

    Raises InputError: no such dataset, split or fold, labels that are not ours, damage (shard, record, Id).
    """
    info = _find_dataset(data_dir, name).info
    if info.file_format != tfds.core.FileFormat.TFRECORD:
        raise InputError(f"{info.data_dir}: stored as {info.file_format.value}: build it with TFRecords")
    if not {"id", "image", "labels", "fold", "group"} <= set(info.features):
        raise InputError(
            f"{info.data_dir}: features {sorted(info.features)}, not id, image, labels, fold, group: build it again"
        )
    if tuple(info.features["labels"].feature.names or ()) != LABELS:
        raise InputError(f"{info.data_dir}: its labels are not the 28 of hpa_jax/labels.py: build the dataset again")
    parts = [part for part in PARTS if part in info.splits]
    if split not in (*parts, "all"):
        raise InputError(f"{info.data_dir}: no split {split!r}: choose one of {', '.join((*parts, 'all'))}")
    moved = fold != 0 and split in ("train", "validation")
    used = ("train", "validation") if moved else parts if split == "all" else (split,)
    used = [info.splits[part] for part in used if part in parts]
    records = Records(
        [Path(path) for part in used for path in part.filepaths], [n for part in used for n in part.shard_lengths]
    )
    folds = None
    if moved:
        there = np.unique(records.folds()).tolist()
        if fold not in there:
            raise InputError(
                f"{info.data_dir}: no fold {fold}: choose --config.data.fold from {', '.join(map(str, there))}"
            )
        folds = [fold] if split == "validation" else [other for other in there if other != fold]
    return Fields(records, image_size=image_size, label_ids=label_ids, folds=folds)


class Figures(NamedTuple):
    """Mean and standard deviation of each stored channel, shares of 255."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def read_figures(data_dir: str | Path, name: str) -> Figures:
    """What the build computed over all fields but those of the test part.

    Raises InputError: no such dataset, or it was built without.
    """
    info = _find_dataset(data_dir, name).info
    try:
        statistics = info.metadata["statistics"]
        return Figures(tuple(map(float, statistics["mean"])), tuple(map(float, statistics["std"])))
    except (TypeError, KeyError, ValueError):
        raise InputError(
            f"{info.data_dir}: its metadata.json has no normalisation figures: build it again, "
            "or give config.data.mean and config.data.std"
        ) from None


def _find_dataset(data_dir: str | Path, name: str) -> tfds.core.DatasetBuilder:
    newest = dataset_folder(data_dir, name)
    try:
        return tfds.builder_from_directory(newest)
    except Exception as error:  # TFDS has no type of its own for metadata that it cannot read
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{newest}: its metadata cannot be read ({reason}): {REMEDY}") from error


def dataset_folder(data_dir: str | Path, name: str) -> Path:
    """The newest version of the dataset NAME, or InputError saying what there is and how to build it."""
    if "://" in str(data_dir):
        raise InputError(f"{data_dir}: not a local directory: mount the bucket (gcsfuse) or copy the dataset")
    found = {}
    for path in sorted(Path(data_dir).glob("hpa/*/*/dataset_info.json")):
        if tfds.core.Version.is_valid(path.parent.name):
            found.setdefault(path.parent.parent.name, []).append(path.parent)
    if name not in found:
        build = f"python -m tfds_builder.hpa --config={name} --manual_dir=DIR --data_dir={data_dir}"
        raise InputError(f"{data_dir}/hpa/{name}: no such dataset (there: {', '.join(found) or 'none'}): {build}")
    return max(found[name], key=lambda path: tfds.core.Version(path.name))
