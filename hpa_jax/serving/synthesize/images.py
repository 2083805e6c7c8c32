"""The images whose channels are to be filled in: a split of a dataset, or a folder."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from hpa_jax.config import Config
from hpa_jax.data import pipeline
from hpa_jax.data.preparation import read_preparation
from hpa_jax.data.sampler import rare_images
from hpa_jax.errors import InputError
from hpa_jax.images.folder import FaultyImage
from hpa_jax.images.prepare import Preparation
from hpa_jax.images.square import Square
from hpa_jax.images.store import Refused
from hpa_jax.labels import CHANNELS
from hpa_jax.serving.predict.intake import open_images
from hpa_jax.serving.predict.request import Request


class Prepared(NamedTuple):
    """An image that is ready for the net.

    Attributes:
      square: uint8 [S, S, 4].
      shape: of the image itself.
    """

    square: np.ndarray
    shape: Square


class Images(Protocol):
    """Images by position. Safe to share between threads.

    Attributes:
      where: they are, for messages.
      ids: theirs.
      missing: names of the channels that were not imaged.
      groups: int [N] of images that are no independent evidence; None: all are.
      version: plain values that change when the images do.
    """

    where: str
    ids: list[str]
    missing: tuple[str, ...]
    groups: np.ndarray | None
    version: list

    def read(self, number: int) -> Prepared:
        """Reads an image and makes it what the net takes.

        Raises:
          InputError: it cannot be read.
        """


class SplitImages:
    """The images of `config.data.eval_split`; see `Images`.

    Args:
      config: of the run, resolved.
    """

    def __init__(self, config: Config):
        # As stored: what is made has the size of what is stored.
        data = dataclasses.replace(config.data, image_size=0)
        self._dataset = pipeline.open_split(data, data.eval_split, labels_needed=False)
        self._side = config.data.image_size
        self._aspect = config.data.aspect
        self.where = f"{data.name}, {data.eval_split}"
        self._numbers = np.arange(len(self._dataset))
        below = config.channels.rare_below
        if below:
            self._numbers = np.flatnonzero(rare_images(self._dataset.targets(), below))
            self.where += f", labels of fewer than {below} images"
        if not len(self._numbers):
            raise InputError(f"{self.where}: there is none; set config.channels.rare_below higher")
        ids = self._dataset.original_ids()
        self.ids = [ids[number] for number in self._numbers]
        self.groups = self._dataset.groups()[self._numbers]
        self.version = [self._dataset.fingerprint(), below]
        imaged = read_preparation(data.data_dir, data.name)["channels"]
        self.missing = ()
        if imaged is not None:
            self.missing = tuple(name for name in CHANNELS if name not in imaged)

    def read(self, number: int) -> Prepared:
        """See `Images`."""
        image = self._dataset.image(int(self._numbers[number]))
        shape = Square(*image.shape[:2], self._side, self._aspect)
        return Prepared(shape.of(image), shape)


class FolderImages:
    """The images of `config.predict.images`; see `Images`.

    Args:
      request: of the folder; its `missing` are the channels that have no files or no use.
      preparation: of the net's images.
      wanted: names of the channels to make, which need no files. Where all images have them, they
        are the truth.
    """

    def __init__(self, request: Request, preparation: Preparation, wanted: Sequence[str]):
        try:
            self._folder = open_images(request, preparation)
        except InputError:
            # If it is not for want of these, it is refused again.
            request = dataclasses.replace(request, missing=(*request.missing, *wanted))
            self._folder = open_images(request, preparation)
        self._pixel_size = request.pixel_size
        self._preparation = preparation
        self.where = self._folder.where
        self.ids = self._folder.ids
        self.missing = request.missing
        self.groups = None
        stamps = [list(self._folder.stamp(number)) for number in range(len(self.ids))]
        self.version = [self.ids, stamps, repr(self._folder.rule)]

    def read(self, number: int) -> Prepared:
        """See `Images`."""
        try:
            pixels, facts = self._folder.read(number)
            pixel_size = self._pixel_size or facts.pixel_size
            square = self._preparation.prepare(pixels, pixel_size)
        except FaultyImage as fault:
            raise InputError(f"{fault}; leave it out") from None
        except Refused as refused:
            raise InputError(f"{self.where}: {self.ids[number]} {refused}") from None
        height, width = pixels.shape[:2]
        preparation = self._preparation
        return Prepared(square, Square(height, width, preparation.size, preparation.aspect))


def folder_of(config: Config) -> Path | None:
    """The folder of images that a configuration names; None: it means a split."""
    return Path(config.predict.images) if config.predict.images else None
