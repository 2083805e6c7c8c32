"""From the `data` section of a configuration to images in an order.

Training reads these, each made once: `resolve_data` fills in what the section leaves to the data,
`open_sources` opens the datasets to train on, and `make_order` decides which image comes when. A
new source of images needs nothing here: build a dataset for it (`tfds_builder`) and name it in
`config.data.sources`.

Nothing here changes the section that it is given.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from hpa_jax.buckets import mounts
from hpa_jax.config import Data, check_label_ids
from hpa_jax.data import sampler
from hpa_jax.data.catalog import (
    dataset_dir,
    fitting_version,
    load_dataset,
    read_channel_statistics,
    read_digests,
    read_vocabulary,
)
from hpa_jax.data.dataset import ConcatDataset, ImageDataset
from hpa_jax.data.identity import DataIdentity, id_hashes
from hpa_jax.data.preparation import read_preparation
from hpa_jax.data.sampler import Order
from hpa_jax.environment.dataset_names import bare_name, split_weight
from hpa_jax.errors import InputError

NEW_ASPECT = "pad"
"""What a new run does with images that are not square."""


def resolve_data(data: Data, dataset: ConcatDataset | None = None) -> Data:
    """Fills in what the section leaves to the data: vocabulary, mean, std, image size, aspect.

    Args:
      data: as configured.
      dataset: `open_sources(data)`, if it is open already; it is opened if that is needed.

    Returns:
      A copy; what was configured stays as it was.

    Raises:
      InputError: a dataset that is missing, damaged or without channel statistics, or images that
        are not square and no size is configured.
    """
    data = resolve_labels(data)
    image_size = data.image_size
    if not image_size:
        if dataset is None:
            dataset = open_sources(data)
        image_size = resolve_image_size(data, dataset)
    mean = data.mean
    std = data.std
    if not mean:
        mean, std = _stored_statistics(data)
    aspect = data.aspect or NEW_ASPECT
    return dataclasses.replace(data, mean=mean, std=std, image_size=image_size, aspect=aspect)


def resolve_labels(data: Data) -> Data:
    """Fills in the vocabulary where the section leaves it to the dataset `data.name`.

    Returns:
      A copy.

    Raises:
      InputError: no such dataset, or it has no label of an id in `data.labels`.
    """
    vocabulary = data.vocabulary
    if not vocabulary:
        vocabulary = read_vocabulary(data.data_dir, data.name).labels
    resolved = dataclasses.replace(data, vocabulary=tuple(vocabulary))
    check_label_ids(resolved)
    return resolved


def _stored_statistics(data: Data) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std of all sources, four numbers of one source after those of another."""
    mean = []
    std = []
    for name in data.source_names():
        statistics = read_channel_statistics(data.data_dir, name)
        mean += statistics.mean
        std += statistics.std
    return tuple(mean), tuple(std)


def resolve_image_size(data: Data, dataset: ConcatDataset) -> int:
    """Side in px of the images that the net sees: as configured, or as stored.

    Raises:
      InputError: the stored images are not square, and no size is configured.
    """
    if data.image_size:
        return data.image_size
    height, width = dataset.image_shape[:2]
    if height != width:
        raise InputError(
            f"{data.name} holds images of {height} x {width} px; set config.data.image_size"
        )
    return height


def open_split(data: Data, split: str, name: str = "", **options) -> ImageDataset:
    """Opens a split of the dataset `name` (default: `data.name`), as configured.

    `options` are those of `load_dataset`: labels_needed, with_masks, transform.

    Raises:
      InputError: no such dataset or split, its labels are others, or none of its images has one of
        them.
    """
    name = name or data.name
    mounts.set_reading(data.connections, data.cache_gb)
    data = resolve_labels(data)
    dataset = load_dataset(
        data.data_dir,
        name,
        split=split,
        fold=data.fold,
        image_size=data.image_size or None,
        aspect=data.aspect or NEW_ASPECT,
        label_ids=tuple(data.labels) or None,
        vocabulary=data.vocabulary,
        **options,
    )
    if len(dataset) == 0:
        raise InputError(
            f"no image of split {split!r} of {name} has one of config.data.labels={data.labels!r}"
        )
    return dataset


def open_sources(data: Data, **options) -> ConcatDataset:
    """Opens the images to train on: `train_split` of every source; `options` as of `open_split`.

    Raises:
      InputError: as of `open_split`, or the sources' images differ in size.
    """
    names = data.source_names()
    data = resolve_labels(data)
    sources = []
    for name in names:
        sources.append(open_split(data, data.train_split, name, **options))
    return ConcatDataset(sources, names)


def identify(data: Data, dataset: ConcatDataset) -> DataIdentity:
    """What the data of a run are: those that it learns from, and those it is evaluated on.

    Args:
      data: section of the configuration.
      dataset: `open_sources(data)`.

    Raises:
      InputError: a dataset is damaged.
    """
    datasets = {}
    images = {}
    versions = {}
    preparations = {}
    for name in dict.fromkeys((*data.source_names(), data.name)):
        digests = read_digests(data.data_dir, name)
        # Whoever names the version that a run has used means the same data.
        bare = bare_name(name)
        datasets[bare] = digests.splits
        images[bare] = digests.images
        versions[bare] = dataset_dir(data.data_dir, name).name
        preparations[bare] = read_preparation(data.data_dir, name)
    return DataIdentity(datasets, images, id_hashes(dataset.ids()), versions, preparations)


def choose_version(
    data_dir: str,
    name: str,
    datasets: Mapping[str, Mapping[str, str]],
    images: Mapping[str, Mapping[str, str]],
) -> str:
    """Names the version of a dataset that a run has recorded, where a newer one lies beside it.

    Args:
      data_dir: where the datasets are.
      name: of the dataset.
      datasets, images: what the run has recorded, as in `DataIdentity`; empty if nothing.

    Returns:
      As of `hpa_jax.data.catalog.fitting_version`; `name` if the run does not know the dataset.
    """
    if name not in datasets:
        return name
    return fitting_version(data_dir, name, datasets[name], images.get(name, {}))


def choose_versions(
    data: Data,
    datasets: Mapping[str, Mapping[str, str]],
    images: Mapping[str, Mapping[str, str]],
) -> Data:
    """The section with `choose_version` of every dataset in it; arguments as there."""
    name = choose_version(data.data_dir, data.name, datasets, images)
    sources = []
    for source in data.sources:
        source_name, weight = split_weight(source)
        chosen = choose_version(data.data_dir, source_name, datasets, images)
        sources.append(f"{chosen}:{weight}" if weight else chosen)
    return dataclasses.replace(data, name=name, sources=tuple(sources))


def make_order(data: Data, dataset: ConcatDataset, seed: int) -> Order:
    """Decides which image of `open_sources(data)` comes when.

    The factor of an image follows from its labels (`data.sampling`), times the weight of its
    source.
    """
    factors = sampler.sampling_factors(
        dataset.targets(),
        data.sampling,
        rare_below=data.rare_below,
        rare_copies=data.rare_copies,
        repeat_threshold=data.repeat_threshold,
    )
    weights = np.repeat(data.source_weights(), dataset.lengths())
    return Order(factors * weights, seed)
