"""Reads one channel's image, PNG, TIFF or JPG, as eight-bit gray.

Design:
- The format is recognised by the file's first bytes, not by its name, and the header is checked
  before anything is decoded (format, pixels, depth, colours), so memory stays bounded.
- An image in colour yields the plane that holds the channel, never luma.
- PNG has a checksum in every chunk and deflated TIFF one in every strip: both are checked. JPG and
  TIFF of other compressions have none: what decodes is accepted.
"""

from typing import BinaryIO, NamedTuple

import numpy as np

from hpa_jax.images import checks, colour, formats, scale
from hpa_jax.images.header import Description
from hpa_jax.images.rule import Rule
from hpa_jax.images.store import Refused, Store

__all__ = ["Plane", "Rule", "read", "read_plane", "scan", "scan_file"]


class Plane(NamedTuple):
    """A channel of an image.

    Attributes:
      pixels: uint8 [H, W].
      description: what the file says of itself.
      largest: the largest value in the file, before it became eight bits.
    """

    pixels: np.ndarray
    description: Description
    largest: int | float


def scan(images: Store, name: str, rule: Rule) -> Description:
    """Checks a file without decoding its pixels.

    Raises:
      Refused: with the reason.
    """
    description = formats.scan(images, name, rule).description
    _check(description, rule)
    return description


def scan_file(file: BinaryIO, rule: Rule) -> Description:
    """Checks an open file; see `scan`. Reading it may raise `store.DAMAGE`."""
    description = formats.scan_file(file, rule).description
    _check(description, rule)
    return description


def read(data: bytes, rule: Rule, channel: str) -> np.ndarray:
    """Decodes a channel's image; see `read_plane`, of which these are the pixels."""
    return read_plane(data, rule, channel).pixels


def read_plane(data: bytes, rule: Rule, channel: str) -> Plane:
    """Decodes a channel's image.

    Args:
      data: the file.
      rule: of the source.
      channel: one of CHANNELS; matters if the rule is `by_colour`.

    Returns:
      its pixels: the values in the file, or if that has another depth than eight bits or a white
      of its own, min(255, value * 255 / white), rounded half up.

    Raises:
      Refused: with the reason.
    """
    header = formats.scan_bytes(data, rule)
    description = header.description
    _check(description, rule)
    if description.colour == "RGB":
        image = formats.colours(data, header, rule.projection)
        is_lossy = description.format == "JPEG"
        plane = colour.select_plane(image, rule, channel, is_lossy)
    elif description.colour == "pages":
        plane = _over_pages(data, header, rule.projection)
    else:
        (plane,) = formats.planes(data, header, (0,), rule.projection)
    pixels, largest = scale.to_uint8(plane, description, rule)
    return Plane(pixels, description, largest)


def _over_pages(data: bytes, header: formats.Header, projection: str) -> np.ndarray:
    """The projection of pages of which nothing says what they are: the user says that, in depth."""
    layout = header.layout
    depth = tuple(frame for frames in layout.frames for frame in frames)
    in_depth = header._replace(layout=layout._replace(frames=(depth,)))
    (plane,) = formats.planes(data, in_depth, (0,), projection)
    return plane


def _check(description: Description, rule: Rule) -> None:
    """Raises Refused unless the rule accepts such a file for one channel."""
    save = f"save the channel's own plane as {rule.wanted}"
    colours = description.colour
    if colours == "pages" and not rule.projection:
        raise Refused(
            f"has more than one page; {save}, give all channels in one file with their order, "
            "or ask for a projection if they are planes in depth"
        )
    if colours == "channels":
        raise Refused(
            f"holds {description.planes} channels{checks.listed(description.names)}; {save}, or "
            "give one file an image with all channels in it"
        )
    is_read = colours in ("gray", "pages") or (
        rule.coloured and colours in ("RGB", "gray in a palette")
    )
    if not is_read:
        raise Refused(f"is {colours}, not gray; {save}")
    checks.check_depth(description, rule, save)
    checks.check_numbers(description, rule, save)
