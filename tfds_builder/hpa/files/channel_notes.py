"""Channels that may not be what the user takes them for: odd names, or all black."""

from collections.abc import Sequence

import numpy as np

from hpa_jax.errors import InputError
from hpa_jax.images.image_file import channel_of
from hpa_jax.labels import CHANNELS


def odd_names(names: Sequence[str | None], path_columns: Sequence[str | None]) -> list[str]:
    """Tells of channels that have a name by which another one is usually called.

    Args:
      names: the user's name of each channel.
      path_columns: they are names of columns, unless there are none here.
    """
    flag = "--path_columns" if path_columns else "--channels"
    notes = []
    for channel, name in zip(CHANNELS, names, strict=True):
        meant = channel_of(name or "")
        if meant and meant != channel:
            notes.append(f"{flag} has {channel}={name}, which is usually {meant}: is it so?")
    return notes


def black_channels(
    images: int, histogram: np.ndarray, has_files: Sequence[bool], where: str
) -> list[str]:
    """Tells of channels that are black in all of their files.

    Args:
      images: how many there are.
      histogram: int64 [4, 256], the pixels of each value by channel.
      has_files: whether there are files of each channel.
      where: the source, for messages.

    Raises:
      InputError: it is green, the protein, without which there is nothing to see.
    """
    notes = []
    for channel, counts, is_there in zip(CHANNELS, histogram, has_files, strict=True):
        if counts[1:].any():
            continue
        if channel == "green":
            raise InputError(
                f"{where}: green, the protein, is black in all {images} images; put its files "
                "right, or say by which names channels go: --config=folder --channels"
            )
        if is_there:
            notes.append(f"{channel} is black in all images, and stored as not imaged.")
    return notes
