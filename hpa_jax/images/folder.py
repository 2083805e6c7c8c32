"""The images of a folder or zip, in whatever layout, each with its four channels. No csv.

images = find_images(Path("plates"))
print(images.layout)
pixels, facts = images.read(0)
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpa_jax.environment import causes
from hpa_jax.errors import InputError, one_line, printable
from hpa_jax.images import field, layouts
from hpa_jax.images.channel_names import words_of
from hpa_jax.images.disk_folder import Folder
from hpa_jax.images.field import Facts, FileRefused
from hpa_jax.images.listing import SUFFIXES, Names, list_images
from hpa_jax.images.open_store import open_store
from hpa_jax.images.pattern import match_pattern
from hpa_jax.images.rule import Rule, any_image
from hpa_jax.images.store import Store
from hpa_jax.labels import CHANNELS


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
        return printable(f"{self.id}: {self.file} {self.reason}")


@dataclass(frozen=True)
class ImageFolder:
    """Images by position. Safe to share between threads.

    Attributes:
      where: the folder or zip, for messages.
      layout: which layout was found, one line.
      ids: of the images, sorted.
      files: names of each image's files, as `layouts.Layout` has them.
      missing: channels that are black in every image, whether they have files or not.
      channels: the user's name of each channel, None: the usual ones.
      order: the channels of the planes of a file that holds several; None: by their names.
      rule: which files are accepted.
      images: where the files are.
    """

    where: str
    layout: str
    ids: list[str]
    files: list[tuple[str | None, ...]]
    missing: tuple[str, ...]
    channels: Mapping[str, str] | None
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
        files = self.files[i]
        try:
            if len(files) == 1:
                return field.read_whole(
                    self.images, files[0], self.rule, self.missing, self.order, self.channels
                )
            return field.read_channels(self.images, files, self.rule, self.missing)
        except FileRefused as refused:
            where = self.images.where(refused.file) if refused.file else self.where
            raise FaultyImage(self.ids[i], where, refused.reason) from None

    def stamp(self, i: int) -> tuple:
        """What changes when an image's files do: names, sizes, times of change."""
        stamp = []
        for name in filter(None, self.files[i]):
            stamp.append((name, *_stamp_of(self.images, name)))
        return tuple(stamp)


def find_images(
    path: Path,
    pattern: str | None = None,
    channels: Mapping[str, str] | None = None,
    order: Sequence[str] | None = None,
    missing: Sequence[str] = (),
    follow_links: bool = False,
    rule: Rule | None = None,
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
      rule: which files are accepted, and what is white; None: `any_image()`.

    Raises:
      InputError: there is no such folder, no image in it, no telling which files make an image, or
        a channel that no image has and that is not in `missing`.
    """
    if path.suffix.lower() in SUFFIXES and path.is_file():
        raise InputError(f"{path} is one image file; give the folder that it lies in, or a zip")
    images = open_store(path, follow_links=follow_links)
    try:
        names = list_images(images, follow_links)
    except OSError as error:
        raise InputError(
            f"{error.filename or path} cannot be read: {one_line(error)}; {causes.advice(error)}"
        ) from None
    return find_in_store(images, names, str(path), pattern, channels, order, missing, rule)


def find_in_store(
    images: Store,
    names: Names,
    where: str,
    pattern: str | None = None,
    channels: Mapping[str, str] | None = None,
    order: Sequence[str] | None = None,
    missing: Sequence[str] = (),
    rule: Rule | None = None,
) -> ImageFolder:
    """Finds the images among files, wherever those are; see `find_images`.

    Args:
      images: the files.
      names: theirs (`list_images`).
      where: they are, for messages.
      pattern, channels, order, missing, rule: see `find_images`.

    Raises:
      InputError: as `find_images`.
    """
    if not names.images:
        others = "and no other"
        if names.others:
            others = f"but {names.others} others, {names.other!r} one"
        raise InputError(
            f"{where} has no image file ({', '.join(SUFFIXES)}) {others}; give the folder of the "
            "images, or a zip of it"
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
        channels=channels,
        order=tuple(order) if order is not None else None,
        rule=rule or any_image(),
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
        black = [channel for channel in CHANNELS if channel in (*lacking, *missing)]
        raise InputError(
            f"{where} has no {' and no '.join(lacking)}, which is needed (found: "
            f"{', '.join(found)}; {layout.text}); say what the channel is called with --channels="
            f"{lacking[0]}=NAME, or feed black with --missing={','.join(black)}"
        )


def _stamp_of(images: Store, name: str) -> tuple:
    # Of a zip it is the archive that changes.
    path = images.path
    if isinstance(images, Folder):
        path = f"{images.path}/{name}"
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return found.st_size, found.st_mtime_ns
