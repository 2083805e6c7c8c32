"""The images of a folder or zip, in whatever layout, each with its four channels. No csv.

images = find_images(Path("plates"))
print(images.layout)
pixels, facts = images.read(0)
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hpa_jax.environment import causes
from hpa_jax.errors import InputError, one_line
from hpa_jax.images import channel_file, layouts, store
from hpa_jax.images.channel_file import Rule
from hpa_jax.images.channel_names import words_of
from hpa_jax.images.listing import SUFFIXES, list_images
from hpa_jax.images.pattern import match_pattern
from hpa_jax.images.store import Refused, Store
from hpa_jax.labels import CHANNELS

ANY_IMAGE = Rule(
    ("PNG", "TIFF", "JPEG"),
    "a gray PNG, TIFF or JPG of 8 or 16 bits",
    bits=(8, 16),
    coloured=True,
)
"""What is read unless the user narrows it."""


class Facts(NamedTuple):
    """What is known of an image besides its pixels.

    Attributes:
      files: the names of its files.
      pixel_size: in micrometres, as its files say; None where they do not.
      largest: the largest value in each channel's file, before white; None where it was not read.
      bits: of the files.
    """

    files: tuple[str, ...]
    pixel_size: float | None
    largest: dict[str, float]
    bits: int


class FaultyImage(Exception):
    """An image that cannot be read.

    Attributes:
      id: of the image.
      file: its file, with the folder.
      reason: what is wrong and what to do.
    """

    def __init__(self, id: str, file: str, reason: str):
        super().__init__(id, file, reason)
        self.id = id
        self.file = file
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.id}: {self.file} {self.reason}"


@dataclass(frozen=True)
class ImageFolder:
    """Images by position. Safe to share between threads.

    Attributes:
      where: the folder or zip, for messages.
      layout: which layout was found, one line.
      ids: of the images, sorted.
      files: names of each image's files, as `layouts.Layout` has them.
      missing: channels that are black in every image, and not sought.
      order: the channels of the planes of a file that holds several; None: by their names.
      rule: which files are accepted.
      images: where the files are.
    """

    where: str
    layout: str
    ids: list[str]
    files: list[tuple[str | None, ...]]
    missing: tuple[str, ...]
    order: tuple[str, ...] | None
    rule: Rule
    images: Store

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, i: int) -> tuple[np.ndarray, Facts]:
        """Reads an image.

        Args:
          i: its position.

        Returns:
          uint8 [H, W, 4], red, green, blue, yellow, as in the files, with the rule's white; and
          what else is known of it.

        Raises:
          FaultyImage: a file is missing, damaged or none that is accepted.
        """
        return self._read_channels(i)

    def stamp(self, i: int) -> tuple:
        """What changes when an image's files do: names, sizes, times of change."""
        stamp = []
        for name in filter(None, self.files[i]):
            stamp.append((name, *_stamp_of(self.images, name)))
        return tuple(stamp)

    def _read_channels(self, i: int) -> tuple[np.ndarray, Facts]:
        planes: dict[str, np.ndarray] = {}
        names = []
        for channel, name in zip(CHANNELS, self.files[i], strict=True):
            if channel in self.missing:
                continue
            if name is None:
                raise FaultyImage(
                    self.ids[i],
                    f"has no {channel}:",
                    f"its other files are {self._others(i)}; add it, or leave the image out",
                )
            try:
                data = store.read(self.images, name)
                plane = channel_file.read(data, self.rule, channel)
            except Refused as refused:
                raise self._fault(i, name, refused) from None
            names.append(name)
            first = next(iter(planes.values()), plane)
            if plane.shape != first.shape:
                raise self._fault(
                    i,
                    name,
                    f"has {_size(plane)} pixels, {names[0]} {_size(first)}; put the files of one "
                    "image together",
                )
            planes[channel] = plane
        black = np.zeros_like(next(iter(planes.values())))
        pixels = np.stack([planes.get(channel, black) for channel in CHANNELS], axis=-1)
        return pixels, Facts(tuple(names), None, {}, 8)

    def _others(self, i: int) -> str:
        return ", ".join(filter(None, self.files[i]))

    def _fault(self, i: int, name: str, reason: object) -> FaultyImage:
        return FaultyImage(self.ids[i], self.images.where(name), str(reason))


def find_images(
    path: Path,
    pattern: str | None = None,
    channels: Mapping[str, str] | None = None,
    order: Sequence[str] | None = None,
    missing: Sequence[str] = (),
    follow_links: bool = False,
    rule: Rule = ANY_IMAGE,
) -> ImageFolder:
    """Finds the images of a folder or zip; reads none of them.

    Args:
      path: of the folder or zip.
      pattern: of the files' names, with `{id}` and `{channel}` (`match_pattern`); None:
        the layout is found from the names.
      channels: the user's name of each channel in the names of files, or of planes; None: the usual
        ones (`channel_names.USUAL_NAMES`).
      order: the channels of the planes of a file that holds several, "" for one to leave out; None:
        by the planes' names.
      missing: channels to fill with black.
      follow_links: whether links that lead out of the folder are followed.
      rule: which files are accepted, and what is white.

    Raises:
      InputError: there is no such folder, no image in it, no telling which files make an image, or
        a channel that no image has and that is not in `missing`.
    """
    where = str(path)
    images = store.open_store(path, follow_links=follow_links)
    try:
        names = list_images(images, follow_links)
    except OSError as error:
        raise InputError(
            f"{error.filename or path} cannot be read: {one_line(error)}; {causes.advice(error)}"
        ) from None
    if not names.images:
        others = f"{names.others} other files, {names.other!r} one" if names.others else "no file"
        raise InputError(
            f"{where} has no image file ({', '.join(SUFFIXES)}) but {others}; give the folder of "
            "the images, or a zip of it"
        )
    words = words_of(channels)
    if pattern:
        layout = match_pattern(where, names.images, words, pattern)
    else:
        layout = layouts.find_layout(where, names.images, words)
    _check_channels(where, layout, missing)
    return ImageFolder(
        where=where,
        layout=layout.text,
        ids=layout.ids,
        files=layout.files,
        missing=tuple(missing),
        order=tuple(order) if order is not None else None,
        rule=rule,
        images=images,
    )


def _check_channels(where: str, layout: layouts.Layout, missing: Sequence[str]) -> None:
    """Refuses a channel that no image has."""
    if len(layout.files[0]) == 1:
        return
    has = [any(files[number] for files in layout.files) for number in range(len(CHANNELS))]
    lacking = []
    found = []
    for channel, is_there in zip(CHANNELS, has, strict=True):
        if is_there:
            found.append(channel)
        elif channel not in missing:
            lacking.append(channel)
    if lacking:
        raise InputError(
            f"{where} has no {' and no '.join(lacking)}, which the net was trained on (found: "
            f"{', '.join(found)}; {layout.text}); say what the channel is called with --channels="
            f"{lacking[0]}=NAME, or feed black with --missing={','.join(lacking)}"
        )


def _stamp_of(images: Store, name: str) -> tuple:
    # Of a zip it is the archive that changes.
    path = images.path
    if isinstance(images, store.Folder):
        path = f"{images.path}/{name}"
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return found.st_size, found.st_mtime_ns


def _size(plane: np.ndarray) -> str:
    return f"{plane.shape[1]} x {plane.shape[0]}"
