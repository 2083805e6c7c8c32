"""The images that are segmented: a folder's or a zip's, or any others with the same members."""

import hashlib
from pathlib import Path
from typing import Protocol

import numpy as np

from hpa_jax.errors import InputError
from hpa_jax.images.folder import ImageFolder
from hpa_jax.images.prepare import Preparation
from hpa_jax.labels import CHANNELS
from hpa_jax.serving.predict.intake import open_images
from hpa_jax.serving.predict.request import Request


class Fields(Protocol):
    """Images by position. Several threads may read at a time.

    Attributes:
      where: they are, for messages.
      layout: how they lie there, for people; one line.
      ids: of the images.
      settings: what the pixels follow from, besides the files: plain values by name.
    """

    where: str
    layout: str
    ids: list[str]
    settings: dict

    def read(self, number: int) -> np.ndarray:
        """Reads an image, uint8 [H, W, 4].

        Raises:
          FaultyImage: it cannot be read.
        """

    def stamp(self, number: int) -> str:
        """A digest that changes when the image does."""


class FolderFields:
    """The images of a folder or zip, as `predict` reads them; see `Fields`.

    Args:
      images: of the folder.
    """

    def __init__(self, images: ImageFolder):
        self._images = images
        self.where = images.where
        self.layout = images.layout
        self.ids = images.ids
        rule = images.rule
        self.settings = {
            "missing": list(images.missing),
            "order": list(images.order) if images.order is not None else None,
            "channels": dict(images.channels) if images.channels is not None else None,
            "white": rule.white,
            "projection": rule.projection,
            "float_range": list(rule.float_range) if rule.float_range else None,
        }

    def read(self, number: int) -> np.ndarray:
        """See `Fields`."""
        pixels, _ = self._images.read(number)
        return pixels

    def stamp(self, number: int) -> str:
        """See `Fields`: names, sizes and times of change of its files."""
        return digest(repr(self._images.stamp(number)))


def open_folder(request: Request) -> FolderFields:
    """Finds the images of a folder or zip.

    Args:
      request: of which the members about finding and reading count.

    Raises:
      InputError: as of `open_images`; or blue is missing.
    """
    if "blue" in request.missing:
        raise InputError("--missing=blue: cells are found from their nuclei, which are blue")
    # Nothing was trained, so that nothing says how images were prepared.
    return FolderFields(open_images(request, Preparation(size=0)))


def missing_flag(text: str) -> tuple[str, ...]:
    """Parses --missing, in which green may stand: cells are found without the protein."""
    found = tuple(item.strip().lower() for item in text.split(","))
    if len(set(found)) < len(found) or not set(found) <= set(CHANNELS):
        raise InputError(
            f"--missing={text}: give some of {', '.join(CHANNELS)}, each once, with commas between"
        )
    return found


def digest(text: str) -> str:
    """16 hexadecimal digits of the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def is_inside(out: Path, images: Path) -> bool:
    """Whether a folder for results lies in that of the images."""
    return out.resolve().is_relative_to(images.resolve())
