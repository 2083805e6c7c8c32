"""From the sections of a configuration to images in an order: which datasets, which split, which sampling."""

import numpy as np

from hpa_jax.config import Config
from hpa_jax.data import sampler
from hpa_jax.data.catalog import open_dataset, read_channel_statistics
from hpa_jax.data.dataset import ConcatDataset, ImageDataset
from hpa_jax.data.sampler import Order
from hpa_jax.errors import InputError


def resolve(config: Config, image_size: int = 0) -> None:
    """Fills in what the configuration leaves to the data: normalisation figures, and the image size if given.

    Raises:
      InputError: a dataset without figures.
    """
    data = config.data
    if not data.mean:
        figures = [read_channel_statistics(data.data_dir, name) for name in config.source_names()]
        data.mean = tuple(value for source in figures for value in source.mean)
        data.std = tuple(value for source in figures for value in source.std)
    data.image_size = data.image_size or image_size


def open_split(config: Config, split: str, name: str = "") -> ImageDataset:
    """The fields of one part of the dataset `name` (default: config.data.name), as the configuration wants them seen.

    Raises:
      InputError: no such dataset or part, or no field in it bears one of the labels.
    """
    data = config.data
    name = name or data.name
    label_ids = tuple(data.labels) or None
    size = data.image_size or None
    fields = open_dataset(
        data.data_dir, name, split, fold=data.fold, image_size=size, label_ids=label_ids
    )
    if len(fields) == 0:
        raise InputError(
            f"no field of split {split!r} of {name} bears one of config.data.labels={data.labels!r}"
        )
    return fields


def open_sources(config: Config) -> ConcatDataset:
    """The fields to train on, of every source."""
    names = config.source_names()
    return ConcatDataset(
        [open_split(config, config.data.train_split, name) for name in names], names
    )


def make_order(config: Config, fields: ConcatDataset) -> Order:
    """Which field comes when: sampling by labels, times the weight of the field's source."""
    data = config.data
    factors = sampler.factors(
        fields.targets(),
        data.sampling,
        rare_below=data.rare_below,
        rare_copies=data.rare_copies,
        repeat_threshold=data.repeat_threshold,
    )
    return Order(factors * np.repeat(config.source_weights(), fields.lengths()), config.train.seed)


def image_size_of(config: Config, fields: ConcatDataset) -> int:
    """The side in px of the images that the net sees: as configured, or as stored.

    Raises:
      InputError: stored images are not square and no size is configured.
    """
    if config.data.image_size:
        return config.data.image_size
    height, width = fields.image_shape[:2]
    if height != width:
        raise InputError(
            f"{config.data.name} holds images of {height} x {width} px; set config.data.image_size"
        )
    return height
