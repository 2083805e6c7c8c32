"""The image files of an example: their names, what their headers say, and the image they make.

An image is a file for each channel, or one file with all of them. What the files say of themselves
is compared: with each other, and with what the user says of them.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hpa_jax.images import channel_file, formats, image_file, store
from hpa_jax.images.flag_words import with_flags
from hpa_jax.images.header import Description
from hpa_jax.images.open_store import same_name
from hpa_jax.images.rule import Rule
from hpa_jax.images.store import Refused, Store
from hpa_jax.labels import CHANNELS
from tfds_builder.hpa.files import ids
from tfds_builder.hpa.sources import Example, Fault, SourceImage

_GREEN = CHANNELS.index("green")


class Headers(NamedTuple):
    """What the headers of an image's files say.

    Attributes:
      description: of the file with the protein.
      whites: the values that the files call white, other than the largest of their depth.
      missing: the channels that a file with all channels lacks.
      odd_name: of a channel whose file names another one, in words; else empty.
    """

    description: Description
    whites: frozenset[int] = frozenset()
    missing: tuple[str, ...] = ()
    odd_name: str = ""


@dataclass(frozen=True)
class ImageFiles:
    """How files become images.

    Attributes:
      patterns: names of the images, with {id} and {channel}, or {id} alone if a file has all
        channels; of several, the first that exists.
      rule: which files are accepted, and how they become 8 bits.
      names: what replaces {channel}, in the order of CHANNELS; None for a channel that was not
        imaged and is all zeros.
      order: the channel of each plane of a file with all channels; None: by their names.
    """

    patterns: tuple[str, ...]
    rule: Rule
    names: tuple[str | None, ...] = CHANNELS
    order: tuple[str, ...] | None = None

    @property
    def is_single(self) -> bool:
        """Whether one file has all channels of an image."""
        return "{channel}" not in self.patterns[0]

    def of(self, images: Store, example: Example) -> dict[str, str]:
        """The file of each channel that was imaged; of "" if one has them all."""
        if example.files:
            listed = zip(CHANNELS, example.files, strict=True)
            return {channel: same_name(images, name) for channel, name in listed if name}
        id = ids.path_of(example.original_id or example.id)
        if self.is_single:
            return {"": self._first(images, id, "")}
        found = {}
        for channel, name in zip(CHANNELS, self.names, strict=True):
            if name is not None:
                found[channel] = self._first(images, id, name)
        return found

    def _first(self, images: Store, id: str, channel: str) -> str:
        names = []
        for pattern in self.patterns:
            names.append(pattern.replace("{channel}", channel).replace("{id}", id))
        # A single name is not looked up: over a network that takes time.
        name = names[0]
        if len(names) > 1:
            name = next(filter(images.has, names), name)
        return same_name(images, name)

    def check(self, images: Store, example: Example) -> Headers:
        """Checks the headers of an image's files.

        Raises:
          Fault: one of them is not accepted, or they do not belong together.
        """
        files = self.of(images, example)
        if "" in files:
            return self._check_single(images, example, files[""])
        found: dict[str, Description] = {}
        for channel, name in files.items():
            try:
                found[channel] = channel_file.scan(images, name, self.rule)
                self._check_name(found[channel], channel)
            except Refused as refused:
                reason = with_flags(str(refused), "--channel_order")
                raise fault(example, images.where(name), reason) from None
        sizes = {}
        depths = {}
        kinds = {}
        for channel, description in found.items():
            sizes[channel] = f"{description.width} x {description.height} pixels"
            depths[channel] = f"{description.bits} bits a pixel"
            kinds[channel] = f"the format {description.format}"
        for descriptions in (sizes, depths, kinds):
            self._check_equal(images, example, descriptions)
        whites = frozenset().union(*map(_white, found.values()))
        odd = [_odd_name(one, channel) for channel, one in found.items()]
        return Headers(found["green"], whites, odd_name=next(filter(None, odd), ""))

    def _check_single(self, images: Store, example: Example, name: str) -> Headers:
        try:
            description = formats.scan(images, name, self.rule).description
            plane_of = image_file.check_image(description, self.rule, self.order)
        except Refused as refused:
            reason = with_flags(str(refused), "--channel_order")
            raise fault(example, images.where(name), reason) from None
        missing = tuple(channel for channel in CHANNELS if channel not in plane_of)
        return Headers(description, _white(description), missing)

    def _check_name(self, description: Description, channel: str) -> None:
        """Refuses a file that says it is a channel that the user has as another one."""
        said = _only_name(description)
        own = (self.names[CHANNELS.index(channel)] or "").casefold()
        for other, name in zip(CHANNELS, self.names, strict=True):
            if other != channel and name and name.casefold() == said and said != own:
                raise Refused(
                    f"says that its channel is {name}, which is {other} by --channels, not "
                    f"{channel}; put the two right"
                )

    def read(self, images: Store, example: Example) -> SourceImage:
        """Decodes an image.

        Raises:
          Fault: one of its files is damaged, or is not the one that was checked.
        """
        files = self.of(images, example)
        if "" in files:
            return self._read_single(images, example, files[""])
        planes = {}
        largest: list[int | float | None] = [None] * len(CHANNELS)
        sizes = {}
        for channel, name in files.items():
            try:
                found = channel_file.read_plane(store.read(images, name), self.rule, channel)
            except Refused as refused:
                reason = with_flags(str(refused), "--channel_order")
                raise fault(example, images.where(name), reason) from None
            planes[channel] = found.pixels
            largest[CHANNELS.index(channel)] = _range(found.description, found.largest)
            height, width = found.pixels.shape
            sizes[channel] = f"{width} x {height} pixels"
        # The files may have changed since their headers were checked.
        self._check_equal(images, example, sizes)
        missing = np.zeros_like(planes["green"])
        pixels = np.stack([planes.get(channel, missing) for channel in CHANNELS], axis=-1)
        return SourceImage(pixels, tuple(largest), found.description.pixel_size)

    def _read_single(self, images: Store, example: Example, name: str) -> SourceImage:
        try:
            found = image_file.read_image(store.read(images, name), self.rule, self.order)
        except Refused as refused:
            reason = with_flags(str(refused), "--channel_order")
            raise fault(example, images.where(name), reason) from None
        is_composite = self.order is None and found.description.colour in ("RGB", "RGBA")
        if is_composite and len(found.channels) == 1:
            reason = f"shows {found.channels[0]} alone and is no composite"
            reason += "; give each channel's own file"
            raise fault(example, images.where(name), reason)
        largest: list[int | float | None] = [None] * len(CHANNELS)
        # Of all channels together: which of them had it, nobody knows any more.
        largest[_GREEN] = _range(found.description, found.largest)
        return SourceImage(found.pixels, tuple(largest), found.description.pixel_size)

    def _check_equal(
        self, images: Store, example: Example, descriptions: Mapping[str, str]
    ) -> None:
        """Raises a Fault unless all channels have the same description."""
        (usual, _), *others = Counter(descriptions.values()).most_common()
        if not others:
            return
        odd = next(channel for channel, text in descriptions.items() if text != usual)
        name = self.of(images, example)[odd]
        reason = (
            f"has {descriptions[odd]}, the image's other channels have {usual}; "
            "download all four again"
        )
        raise fault(example, images.where(name), reason)


def fault(example: Example, file: str, reason: str) -> Fault:
    """A fault by the Id that the user knows."""
    return Fault(example.original_id or example.id, file, reason)


def _white(description: Description) -> frozenset[int]:
    if description.white is None or description.white == 2**description.bits - 1:
        return frozenset()
    return frozenset([description.white])


def _range(description: Description, largest: int | float) -> int | float | None:
    """The largest value, where a wrong white would lose something: of 16 bits, or a float."""
    if description.number == "float":
        return float(largest)
    return int(largest) if description.bits == 16 else None


def _only_name(description: Description) -> str:
    """The channel's name in a file with one channel, in lower case; empty if it says none."""
    names: Sequence[str] = description.names
    is_one = len(names) == 1 and description.colour == "gray"
    return names[0].casefold() if is_one else ""


def _odd_name(description: Description, channel: str) -> str:
    said = _only_name(description)
    meant = image_file.channel_of(said)
    if not meant or meant == channel:
        return ""
    return f"{channel} that its channel is {description.names[0]}, which is usually {meant}"
