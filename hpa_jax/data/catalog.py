"""Prepared datasets in a folder: which there are, their parts and folds, their normalisation figures. No TensorFlow.

Which part a field belongs to is stored with it. Fold 0 is the part `validation` of the dataset, the other folds are
`train`; any other fold can be validated on instead, and then `train` is all that is in neither it nor `test`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from hpa_jax.data.dataset import ImageDataset
from hpa_jax.data.records import Records
from hpa_jax.data.shard_index import REMEDY
from hpa_jax.errors import InputError
from hpa_jax.labels import LABELS

PARTS = ("train", "validation", "test")
"""The splits of a dataset; `all` is their union, in this order."""


def open_dataset(
    data_dir: str | Path,
    name: str,
    split: str,
    *,
    fold: int = 0,
    image_size: int | None = None,
    label_ids: Sequence[int] | None = None,
) -> ImageDataset:
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
        raise InputError(
            f"{info.data_dir}: stored as {info.file_format.value}: build it with TFRecords"
        )
    if not {"id", "image", "labels", "fold", "group"} <= set(info.features):
        raise InputError(
            f"{info.data_dir}: features {sorted(info.features)}, not id, image, labels, fold, group: build it again"
        )
    if tuple(info.features["labels"].feature.names or ()) != LABELS:
        raise InputError(
            f"{info.data_dir}: its labels are not the 28 of hpa_jax/labels.py: build the dataset again"
        )
    parts = [part for part in PARTS if part in info.splits]
    if split not in (*parts, "all"):
        raise InputError(
            f"{info.data_dir}: no split {split!r}: choose one of {', '.join((*parts, 'all'))}"
        )
    moved = fold != 0 and split in ("train", "validation")
    used = ("train", "validation") if moved else parts if split == "all" else (split,)
    used = [info.splits[part] for part in used if part in parts]
    records = Records(
        [Path(path) for part in used for path in part.filepaths],
        [n for part in used for n in part.shard_lengths],
    )
    folds = None
    if moved:
        there = np.unique(records.folds()).tolist()
        if fold not in there:
            raise InputError(
                f"{info.data_dir}: no fold {fold}: choose --config.data.fold from {', '.join(map(str, there))}"
            )
        folds = [fold] if split == "validation" else [other for other in there if other != fold]
    return ImageDataset(records, image_size=image_size, label_ids=label_ids, folds=folds)


class Figures(NamedTuple):
    """Mean and standard deviation of each stored channel, shares of 255."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def read_channel_statistics(data_dir: str | Path, name: str) -> Figures:
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
    newest = dataset_dir(data_dir, name)
    try:
        return tfds.builder_from_directory(newest)
    except Exception as error:  # TFDS has no type of its own for metadata that it cannot read
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{newest}: its metadata cannot be read ({reason}): {REMEDY}") from error


def dataset_dir(data_dir: str | Path, name: str) -> Path:
    """The newest version of the dataset NAME, or InputError saying what there is and how to build it."""
    if "://" in str(data_dir):
        raise InputError(
            f"{data_dir}: not a local directory: mount the bucket (gcsfuse) or copy the dataset"
        )
    found = {}
    for path in sorted(Path(data_dir).glob("hpa/*/*/dataset_info.json")):
        if tfds.core.Version.is_valid(path.parent.name):
            found.setdefault(path.parent.parent.name, []).append(path.parent)
    if name not in found:
        build = f"python -m tfds_builder.hpa --config={name} --manual_dir=DIR --data_dir={data_dir}"
        raise InputError(
            f"{data_dir}/hpa/{name}: no such dataset (there: {', '.join(found) or 'none'}): {build}"
        )
    return max(found[name], key=lambda path: tfds.core.Version(path.name))
