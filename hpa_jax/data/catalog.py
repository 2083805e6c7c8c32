"""The prepared datasets in a folder: their versions, splits, folds, labels, channel statistics.

Which split an image belongs to is stored with it. Fold 0 is the split `validation` of the dataset,
the other folds are `train`. Any other fold can be validated on instead (`config.data.fold`); then
`train` is everything that is neither in that fold nor in `test`.

The builder (`python -m tfds_builder.hpa`) writes `DATA_DIR/hpa/NAME/VERSION`. `NAME` is read as its
newest version, `NAME:VERSION` as that one. TensorFlow is not needed to read.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from hpa_jax.data.dataset import ImageDataset, TargetColumns
from hpa_jax.data.identity import images_digest, split_digest
from hpa_jax.data.metadata import check_files, read_metadata, statistics_fault
from hpa_jax.data.records import Records
from hpa_jax.data.shard_index import REMEDY
from hpa_jax.environment.dataset_names import split_version
from hpa_jax.environment.paths import local_path
from hpa_jax.errors import InputError, one_line
from hpa_jax.labels import CHANNELS, Vocabulary, named

SPLITS = ("train", "validation", "test")
"""The splits of a dataset; `all` is their union, in this order."""

UNLABELLED = "unlabelled"
"""The split of images whose labels nobody knows; `all` reads it where there is no other."""

_ALL = "all"

_FEATURES = {"id", "image", "labels", "fold", "group"}
_MASKS = "masks"  # a feature of datasets that were built with them


def load_dataset(
    data_dir: str | Path,
    name: str,
    *,
    split: str = "train",
    fold: int = 0,
    image_size: int | None = None,
    aspect: str = "pad",
    label_ids: Sequence[int] | None = None,
    vocabulary: Sequence[str] | None = None,
    labels_needed: bool = True,
    with_masks: bool = False,
    transform: Callable[[dict], dict] | None = None,
) -> ImageDataset:
    """Opens a split of `DATA_DIR/hpa/NAME`.

    Only metadata and indexes are read here; images are read when they are asked for.

    Args:
      data_dir: the builder's `--data_dir`.
      name: builder config, `kaggle_512` for instance: its newest version; `kaggle_512:2.0.0`: that
        version.
      split: one of SPLITS that the dataset has, or `all`.
      fold: the fold that `validation` means, `train` being all other folds. 0: as stored.
      image_size: every image is resized to a square with sides of this many px (by area if it
        shrinks, else bilinearly); None or 0: as stored.
      aspect: what is done then with images that are not square: `pad` (with black), `crop` or
        `stretch`.
      label_ids: the labels that are the columns of `targets`, in this order, by their positions in
        `vocabulary`. Only images with one of them are kept. None: all labels, all images.
      vocabulary: names of labels by label id; the dataset's labels are found by these names. None:
        the dataset's own (`read_vocabulary`).
      labels_needed: whether images whose labels are unknown are refused, and so is a dataset
        without some of these labels. If not, the targets of such images are 0, and
        `labels_known()` is False.
      with_masks: whether `dataset[i]` has the instance masks of cells and nuclei too.
      transform: makes of each `dataset[i]` what is read in its place.

    Returns:
      A sequence with `len(dataset)` and `dataset[i]`, `{"id": str, "image": uint8 [H, W, 4],
      "targets": uint8 [L]}`; all Ids and targets at once with `ids()` and `targets()`.

    Raises:
      InputError: no such dataset, split or fold; a dataset of other labels, or without masks where
        they are wanted; damage (names shard, record, Id).
    """
    info, metadata = _open_info(data_dir, name)
    _check_format(info)
    if with_masks and _MASKS not in info.features:
        raise InputError(
            f"{info.data_dir}: it has no instance masks; give a dataset that was built with "
            "--config=synthetic --masks"
        )
    present = [known for known in (*SPLITS, UNLABELLED) if known in info.splits]
    if split not in (*present, _ALL):
        choices = ", ".join((*present, _ALL))
        raise InputError(f"{info.data_dir}: no split {split!r}: choose one of {choices}")

    other_fold = fold != 0 and split in ("train", "validation")
    if other_fold:
        stored_splits = [known for known in ("train", "validation") if known in present]
    elif split == _ALL:
        stored_splits = [known for known in SPLITS if known in present] or present
    else:
        stored_splits = [split]
    records = _open_records(info, metadata, stored_splits)
    # Where nobody knows the labels, it does not matter which there could be.
    labels_matter = labels_needed and bool(records.labels_known().any())
    columns = _columns(info, metadata, vocabulary, label_ids, labels_matter)
    folds = _choose_folds(info, records, split, fold) if other_fold else None
    return ImageDataset(
        records,
        columns,
        image_size=image_size,
        aspect=aspect,
        folds=folds,
        labels_needed=labels_needed,
        with_masks=with_masks,
        transform=transform,
    )


def read_vocabulary(data_dir: str | Path, name: str) -> Vocabulary:
    """The labels of the newest version of a dataset, in the order of its label ids.

    Raises:
      InputError: no such dataset, or damage.
    """
    info, metadata = _open_info(data_dir, name)
    _check_format(info)
    return _vocabulary(info, metadata)


def _vocabulary(info: tfds.core.DatasetInfo, metadata: dict) -> Vocabulary:
    """As its metadata.json names them; an older dataset has them in its features.json alone."""
    names = tuple(info.features["labels"].feature.names or ())
    try:
        if "vocabulary" not in metadata:
            return named(names, otherwise=info.config_name or "own")
        vocabulary = Vocabulary.from_json(metadata["vocabulary"])
    except ValueError as error:
        raise InputError(f"{info.data_dir}: its vocabulary {error}: {REMEDY}") from None
    if vocabulary.labels != names:
        raise InputError(
            f"{info.data_dir}: the labels in its metadata.json are not those in its features.json: "
            f"{REMEDY}"
        )
    return vocabulary


def _columns(
    info: tfds.core.DatasetInfo,
    metadata: dict,
    wanted: Sequence[str] | None,
    label_ids: Sequence[int] | None,
    labels_matter: bool,
) -> TargetColumns:
    """Finds the labels that are wanted among the dataset's, by their names."""
    stored = _vocabulary(info, metadata)
    names = stored.labels if wanted is None else tuple(wanted)
    chosen = names
    if label_ids is not None:
        chosen = [names[label] for label in label_ids]
    lacking = [label for label in chosen if not stored.has(label)]
    if not lacking:
        found = stored.ids_by_name(chosen)
        return TargetColumns(len(stored), found, len(chosen), label_ids is not None)
    if labels_matter:
        raise InputError(
            f"{info.data_dir}: its labels are the {len(stored)} of {stored.name}, and "
            f"{len(lacking)} of the {len(chosen)} of {named(tuple(names)).name} that are asked for "
            f"are not among them, {lacking[0]!r} for one; give a dataset of those labels "
            "(--mode=predict needs none)"
        )
    return TargetColumns(len(stored), None, len(chosen), label_ids is not None)


class DatasetDigests(NamedTuple):
    """What a dataset is made of: `{SPLIT: SHA-256}` of each of its splits.

    Attributes:
      splits: of Ids, labels and folds (`hpa_jax.data.identity.split_digest`).
      images: of the stored images (`hpa_jax.data.identity.images_digest`).
    """

    splits: dict[str, str]
    images: dict[str, str]


def read_digests(data_dir: str | Path, name: str) -> DatasetDigests:
    """Computes the digests of a dataset from its indexes; no shard is read.

    Raises:
      InputError: no such dataset, damage, or metadata.json has the digests of another build.
    """
    info, metadata = _open_info(data_dir, name)
    _check_format(info)
    digests = DatasetDigests({}, {})
    for split in (*SPLITS, UNLABELLED):
        if split not in info.splits:
            continue
        records = _open_records(info, metadata, [split])
        ids = records.ids()
        digests.splits[split] = split_digest(ids, records.label_ids(), records.folds())
        digests.images[split] = images_digest(ids, records.crcs())
    if metadata.get("digests", digests.splits) != digests.splits:
        raise InputError(
            f"{info.data_dir}: its shards have other Ids, labels or folds than its metadata.json "
            f"says: {REMEDY}"
        )
    return digests


def fitting_version(
    data_dir: str | Path, name: str, splits: Mapping[str, str], images: Mapping[str, str]
) -> str:
    """Names the newest version of a dataset that has the digests that were recorded of it.

    Args:
      data_dir: the builder's `--data_dir`.
      name: of the dataset. One that names a version is returned as it is.
      splits, images: SHA-256 of each split, as `DatasetDigests` has them.

    Returns:
      `NAME:VERSION`; or `name`, where that is the newest version, or none fits.
    """
    bare, version = split_version(name)
    folders = _versions(_root(data_dir)).get(bare, [])
    if version or len(folders) < 2:
        return name
    for folder in reversed(folders):
        versioned = f"{bare}:{folder.name}"
        try:
            found = read_digests(data_dir, versioned)
        except InputError:
            # What is damaged fits nothing. Whoever opens it is told.
            continue
        if splits.items() <= found.splits.items() and images.items() <= found.images.items():
            return name if folder == folders[-1] else versioned
    return name


def stored_sizes(data_dir: str | Path, name: str) -> np.ndarray:
    """(height, width) in px of all images of a dataset, int64 [N, 2], from its indexes.

    Raises:
      InputError: no such dataset, or damage.
    """
    info, metadata = _open_info(data_dir, name)
    _check_format(info)
    splits = [known for known in (*SPLITS, UNLABELLED) if known in info.splits]
    return _open_records(info, metadata, splits).sizes()


class ChannelStatistics(NamedTuple):
    """Mean and standard deviation of each stored channel, as fractions of 255.

    Attributes:
      mean, std: of red, green, blue and yellow.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]


def read_channel_statistics(data_dir: str | Path, name: str) -> ChannelStatistics:
    """Reads the channel statistics that the builder computed over all images outside `test`.

    Raises:
      InputError: no such dataset, it was built without, or they are none that images can have.
    """
    folder = dataset_dir(data_dir, name)
    advice = "build it again, or give config.data.mean and config.data.std"
    try:
        statistics = read_metadata(folder)["statistics"]
        mean = tuple(map(float, statistics["mean"]))
        std = tuple(map(float, statistics["std"]))
    except (TypeError, KeyError, ValueError, OverflowError):
        raise InputError(
            f"{folder}: its metadata.json has no channel statistics: {advice}"
        ) from None
    fault = statistics_fault(mean, std, len(CHANNELS))
    if fault:
        raise InputError(f"{folder}: channel statistics in its metadata.json: {fault}: {advice}")
    return ChannelStatistics(mean, std)


def dataset_dir(data_dir: str | Path, name: str) -> Path:
    """Folder of the dataset NAME: of its newest version, or of the one that is named.

    Raises:
      InputError: there is none; says which there are, and how to build this one.
    """
    data_dir = _root(data_dir)
    name, version = split_version(name)
    versions = _versions(data_dir)
    if name not in versions:
        build = f"python -m tfds_builder.hpa --config={name} --manual_dir=DIR --data_dir={data_dir}"
        present = ", ".join(versions) or "none"
        raise InputError(f"{data_dir}/hpa/{name}: no such dataset (there: {present}): {build}")
    if not version:
        return versions[name][-1]
    for folder in versions[name]:
        if folder.name == version:
            return folder
    present = ", ".join(folder.name for folder in versions[name])
    raise InputError(
        f"{data_dir}/hpa/{name}: no version {version!r} (there: {present}): name one of these, or "
        "none for the newest"
    )


def _root(data_dir: str | Path) -> Path:
    """The folder of the datasets; in a bucket, its local copy without their shards."""
    return local_path(data_dir, within="hpa/")


def _versions(data_dir: str | Path) -> dict[str, list[Path]]:
    """`{NAME: FOLDERS}` of all datasets, the newest version last."""
    versions = {}
    for folder in sorted(Path(data_dir).glob("hpa/*/*/")):
        # Rules out unfinished versions of a build by TFDS that was stopped, too.
        if tfds.core.Version.is_valid(folder.name):
            versions.setdefault(folder.parent.name, []).append(folder)
    for folders in versions.values():
        folders.sort(key=lambda folder: tfds.core.Version(folder.name))
    return versions


def _open_info(data_dir: str | Path, name: str) -> tuple[tfds.core.DatasetInfo, dict]:
    """What TFDS knows of the dataset, and its metadata.json; both checked."""
    folder = dataset_dir(data_dir, name)
    metadata = read_metadata(folder)
    check_files(folder, metadata)
    try:
        return tfds.builder_from_directory(folder).info, metadata
    except Exception as error:  # TFDS has no exception type for metadata that it cannot read
        reason = one_line(str(error).partition("\n")[0] or type(error).__name__)
        raise InputError(f"{folder}: its metadata cannot be read ({reason}): {REMEDY}") from error


def _check_format(info: tfds.core.DatasetInfo) -> None:
    if info.file_format != tfds.core.FileFormat.TFRECORD:
        raise InputError(
            f"{info.data_dir}: stored as {info.file_format.value}: build it with TFRecords"
        )
    if not set(info.features) >= _FEATURES:
        raise InputError(
            f"{info.data_dir}: features {sorted(info.features)}, not id, image, labels, fold, "
            "group: build it again"
        )
    # Label ids are stored, and mean something only with the names that the builder gave them.
    if not info.features["labels"].feature.names:
        raise InputError(
            f"{info.data_dir}: its labels are numbers without names: build the dataset again"
        )


def _open_records(info: tfds.core.DatasetInfo, metadata: dict, splits: Sequence[str]) -> Records:
    shards = []
    expected = []
    for split in splits:
        shards += [Path(path) for path in info.splits[split].filepaths]
        expected += info.splits[split].shard_lengths
    digests = None
    if "records" in metadata:
        digests = [metadata["records"].get(shard.name, "") for shard in shards]
    return Records(shards, expected, digests)


def _choose_folds(
    info: tfds.core.DatasetInfo, records: Records, split: str, fold: int
) -> list[int]:
    """The folds that `split` means where `validation` is the fold `fold`."""
    present = np.unique(records.folds()).tolist()
    if fold not in present:
        choices = ", ".join(map(str, present))
        raise InputError(
            f"{info.data_dir}: no fold {fold}: choose --config.data.fold from {choices}"
        )
    if split == "validation":
        return [fold]
    return [other for other in present if other != fold]
