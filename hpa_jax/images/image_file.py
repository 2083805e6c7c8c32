"""Reads one file with all channels of an image, as pages, planes or samples.

Which plane is which channel is said by the names in the file, or by the user. A composite in colour
has red, green and blue alone: its yellow is red and green at once.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hpa_jax.images import checks, colour, formats, scale
from hpa_jax.images.channel_names import USUAL_NAMES
from hpa_jax.images.header import COMPOSITE, Description
from hpa_jax.images.rule import Rule
from hpa_jax.images.store import Refused, Store
from hpa_jax.labels import CHANNELS

# Beside the usual names those that mean one channel only where nothing but channels is named, in
# letters and digits alone. A dye such as FITC is not among them: what it stains, the user knows.
_MORE_NAMES = {
    "red": ("alphatubulin",),
    "green": ("target",),
    "blue": ("dna", "hoechst33342"),
    "yellow": ("endoplasmicreticulum",),
}
_CHANNEL_OF = {}
for _names in (USUAL_NAMES, _MORE_NAMES):
    for _channel, _own in _names.items():
        _CHANNEL_OF.update(dict.fromkeys(_own, _channel))


class ImageFile(NamedTuple):
    """An image that one file holds.

    Attributes:
      pixels: uint8 [H, W, 4], in the order of CHANNELS; zeros for a channel that it lacks.
      channels: that it holds, in the order of CHANNELS; one if it is a picture in one colour.
      description: what the file says of itself.
      largest: the largest value of these channels in the file, before it became eight bits.
    """

    pixels: np.ndarray
    channels: tuple[str, ...]
    description: Description
    largest: int | float


def read_image(data: bytes, rule: Rule, order: Sequence[str] | None) -> ImageFile:
    """Decodes a file with the channels of an image in it.

    Args:
      data: the file.
      rule: of the source.
      order: the channel of each plane, "" for one that is skipped; None: by their names.

    Raises:
      Refused: with the reason.
    """
    header = formats.scan_bytes(data, rule)
    description = header.description
    plane_of = check_image(description, rule, order)
    needs_alpha = order is None and description.colour == "RGBA"
    wanted = list(plane_of.values())
    if needs_alpha:
        wanted.append(3)
    pixels = np.zeros((description.height, description.width, len(CHANNELS)), np.uint8)
    largest = 0
    decoded = formats.planes(data, header, wanted, rule.projection)
    for channel, plane in zip(plane_of, decoded, strict=False):
        scaled, largest_here = scale.to_uint8(plane, description, rule)
        pixels[..., CHANNELS.index(channel)] = scaled
        largest = max(largest, largest_here)
    if needs_alpha:
        _check_opaque(next(decoded), description)
    is_composite = order is None and tuple(plane_of) == COMPOSITE
    if is_composite and colour.is_gray(pixels):
        raise Refused(
            "is gray, though in colours: its red, green and blue are equal; give each channel's "
            "own file, or state its order"
        )
    channels = tuple(channel for channel in CHANNELS if channel in plane_of)
    if is_composite and (only := colour.only_channel(pixels[..., :3])):
        # The picture of one channel in its colour: the other two are not dark, they are not there.
        pixels = _of_one_channel(pixels, only)
        channels = (only,)
    return ImageFile(pixels, channels, description, largest)


def scan(
    images: Store,
    name: str,
    rule: Rule,
    order: Sequence[str] | None,
) -> Description:
    """Checks a file with the channels of an image in it, without decoding its pixels.

    Args:
      images: where it is.
      name: of the file.
      rule: of the source.
      order: see `read_image`.

    Raises:
      Refused: with the reason.
    """
    description = formats.scan(images, name, rule).description
    check_image(description, rule, order)
    return description


def check_image(
    description: Description,
    rule: Rule,
    order: Sequence[str] | None,
) -> dict[str, int]:
    """The plane of each channel that a file with such a description holds.

    Args:
      description: of the file.
      rule: of the source.
      order: see `read_image`.

    Raises:
      Refused: the rule does not accept it, or nothing says which plane is which channel.
    """
    save = f"save each channel as {rule.wanted}"
    readable = ("gray", "gray in a palette", "RGB", "RGBA", "channels", "pages")
    if description.colour not in readable:
        raise Refused(f"is {description.colour}, not gray or RGB; {save}")
    checks.check_depth(description, rule, save)
    checks.check_numbers(description, rule, save)
    if order is None:
        return _by_names(description)
    return _by_order(description, order)


def channel_of(name: str) -> str:
    """The channel that a name in a file means; "" if it may mean another.

    Args:
      name: as a program wrote it, such as "Hoechst 33342".
    """
    letters = re.sub(r"[^a-z0-9]", "", name.casefold())
    return _CHANNEL_OF.get(letters, "")


def _by_names(description: Description) -> dict[str, int]:
    names = description.names
    if not any(names):
        what = "pages" if description.colour == "pages" else "channels"
        if description.planes == 1:
            raise Refused("holds one channel and does not say which; give each channel's own file")
        raise Refused(
            f"holds {description.planes} {what} and does not say which they are; "
            f"{_state_order(description.planes)}"
        )
    plane_of = {}
    for number, name in enumerate(names):
        channel = channel_of(name)
        if not channel:
            continue
        if channel in plane_of:
            raise Refused(
                f"has two channels for {channel}{checks.listed(names)}; {_state_order(len(names))}"
            )
        plane_of[channel] = number
    if "green" not in plane_of:
        raise Refused(
            f"names none of its channels{checks.listed(names)} the protein (green); "
            f"{_state_order(len(names))}"
        )
    return plane_of


def _state_order(planes: int) -> str:
    """What to do, with as many channels as there are planes to name."""
    return f"state which is which, such as order={','.join(CHANNELS[:planes])}"


def _by_order(description: Description, order: Sequence[str]) -> dict[str, int]:
    if len(order) != description.planes:
        raise Refused(
            f"holds {description.planes} channels{checks.listed(description.names)}, and the "
            f"order names {len(order)}; put the order right"
        )
    plane_of = {}
    for number, channel in enumerate(order):
        if not channel:
            continue
        if channel not in CHANNELS:
            raise Refused(f"cannot have a channel {channel!r}; there are {', '.join(CHANNELS)}")
        if channel in plane_of:
            raise Refused(f"cannot have {channel} twice; put the order right")
        plane_of[channel] = number
    if not plane_of:
        raise Refused("has no channel that is wanted; put the order right")
    return plane_of


def _of_one_channel(pixels: np.ndarray, channel: str) -> np.ndarray:
    """[H, W, 4] with that channel alone, of an image that shows its colour alone."""
    alone = np.zeros_like(pixels)
    alone[..., CHANNELS.index(channel)] = pixels[..., :3].max(axis=-1)
    return alone


def _check_opaque(alpha: np.ndarray, description: Description) -> None:
    if int(alpha.min()) < 2**description.bits - 1:
        raise Refused(
            "has a fourth sample a pixel that may be a channel or how opaque it is; "
            f"{_state_order(description.planes)}, or save it without"
        )
