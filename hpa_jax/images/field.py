"""Reads one image of a folder: from a file for each channel, or from one file with all of them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from hpa_jax.images import formats, store
from hpa_jax.images.channel_file import read_plane
from hpa_jax.images.header import Description
from hpa_jax.images.image_file import read_image
from hpa_jax.images.rule import Rule
from hpa_jax.images.store import Refused, Store
from hpa_jax.labels import CHANNELS


class Facts(NamedTuple):
    """What is known of an image besides its pixels.

    Attributes:
      files: the names of its files, in the order of CHANNELS.
      description: of the first of them.
      largest: the largest value in any of them, before it became eight bits.
    """

    files: tuple[str, ...]
    description: Description
    largest: int | float

    @property
    def pixel_size(self) -> float | None:
        """In micrometres, as the files say; None where they do not."""
        return self.description.pixel_size


class FileRefused(Exception):
    """A file that is refused.

    Attributes:
      file: its name in the store; empty where it is the image that has a fault, not a file.
      reason: what is wrong and what to do.
    """

    def __init__(self, file: str, reason: str):
        super().__init__(file, reason)
        self.file = file
        self.reason = reason


def read_channels(
    images: Store, files: Sequence[str | None], rule: Rule, missing: Sequence[str]
) -> tuple[np.ndarray, Facts]:
    """Reads an image that has a file for each channel.

    Args:
      images: where the files are.
      files: their names in the order of CHANNELS; None where there is none.
      rule: which are accepted.
      missing: channels that become black, whether they have a file or not.

    Returns:
      uint8 [H, W, 4], and what else is known.

    Raises:
      FileRefused: a file is missing or is none that is accepted, or sizes differ.
    """
    _check_complete(files, missing)
    planes = {}
    names = []
    for channel, name in zip(CHANNELS, files, strict=True):
        if channel in missing or name is None:
            continue
        try:
            planes[channel] = read_plane(store.read(images, name), rule, channel)
        except Refused as refused:
            raise FileRefused(name, str(refused)) from None
        names.append(name)
    if not planes:
        raise FileRefused("", "has no channel that the net sees; leave it out")
    first = next(iter(planes.values()))
    pixels = np.zeros((*first.pixels.shape, len(CHANNELS)), np.uint8)
    for name, (channel, plane) in zip(names, planes.items(), strict=True):
        if plane.pixels.shape != first.pixels.shape:
            raise FileRefused(
                name,
                f"has {_size(plane.pixels)} pixels, {names[0]} {_size(first.pixels)}; put the "
                "files of one image together",
            )
        pixels[..., CHANNELS.index(channel)] = plane.pixels
    largest = max(plane.largest for plane in planes.values())
    return pixels, Facts(tuple(names), first.description, largest)


def _check_complete(files: Sequence[str | None], missing: Sequence[str]) -> None:
    lacking = []
    for channel, name in zip(CHANNELS, files, strict=True):
        if name is None and channel not in missing:
            lacking.append(channel)
    if lacking:
        there = ", ".join(filter(None, files))
        raise FileRefused(
            "", f"has no {' and no '.join(lacking)}, only {there}; add it, or leave the image out"
        )


def read_whole(
    images: Store,
    name: str,
    rule: Rule,
    missing: Sequence[str],
    order: Sequence[str] | None,
    names: Mapping[str, str] | None,
) -> tuple[np.ndarray, Facts]:
    """Reads an image that is one file.

    Args:
      images: where the file is.
      name: of the file.
      rule: which are accepted.
      missing: channels that become black, whether the file has them or not.
      order: the channel of each plane, "" for one to leave out; None: by the planes' names.
      names: the user's name of each channel; None: the usual ones.

    Returns:
      uint8 [H, W, 4], and what else is known.

    Raises:
      FileRefused: it is none that is accepted, or lacks a channel.
    """
    try:
        data = store.read(images, name)
        description = formats.scan_bytes(data, rule).description
        if order is None and description.planes == 1 and not any(description.names):
            raise Refused(
                "holds one channel and does not say which; if it is one of several files of an "
                "image, say what their names call the channels: --channels=red=NAME,green=NAME,... "
                "and if it is the protein alone: --order=green --missing=red,blue,yellow"
            )
        if order is None and names:
            order = _order_by(description, names)
        found = read_image(data, rule, order)
    except Refused as refused:
        raise FileRefused(name, str(refused)) from None
    lacking = [channel for channel in CHANNELS if channel not in (*found.channels, *missing)]
    if lacking:
        black = [channel for channel in CHANNELS if channel in (*lacking, *missing)]
        raise FileRefused(
            name,
            f"holds {', '.join(found.channels)} and no {' and no '.join(lacking)}, which is "
            f"needed; feed black with --missing={','.join(black)}, or say what its "
            "planes are with --order",
        )
    pixels = found.pixels
    for channel in missing:
        pixels[..., CHANNELS.index(channel)] = 0
    return pixels, Facts((name,), found.description, found.largest)


def _order_by(description: Description, names: Mapping[str, str]) -> list[str]:
    """The channel of each plane, by the user's names; "" for a plane of another name.

    Raises:
      Refused: no plane has such a name.
    """
    channel_of = {name.casefold(): channel for channel, name in names.items()}
    order = [channel_of.get(name.casefold(), "") for name in description.names]
    if any(order):
        return order
    planes = [name or "?" for name in description.names]
    raise Refused(
        f"has planes called {', '.join(planes)}, of which --channels names none; put the names "
        "right, or say the order of the planes with --order"
    )


def _size(plane: np.ndarray) -> str:
    return f"{plane.shape[1]} x {plane.shape[0]}"
