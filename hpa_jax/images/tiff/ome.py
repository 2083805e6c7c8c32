"""What the OME-XML of a TIFF file says: channels and their names, depth, time, pixel size, white.

https://docs.openmicroscopy.org/ome-model/ describes the format.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple
from xml.etree import ElementTree  # nosec B405

from hpa_jax.images.store import Refused
from hpa_jax.images.tiff import stack, units
from hpa_jax.images.tiff.page import Page
from hpa_jax.images.tiff.stack import Frame, Stack

_MAX_PLANES = 4096
# The name may have the prefix of a namespace.
_START = re.compile(r"<(\w+:)?OME[\s>]")
_EXPORT_AGAIN = "export it again, or save each channel as a file of its own"


class _Place(NamedTuple):
    """Where in the image a page belongs."""

    channel: int
    depth: int
    time: int


class _Pixels(NamedTuple):
    """The numbers of the element Pixels."""

    sizes: dict[str, int]
    order: str
    names: tuple[str, ...]
    samples: tuple[int, ...]


def is_ome(description: str) -> bool:
    """Whether a page's description is OME-XML."""
    return description.rstrip().endswith("OME>") and _START.search(description) is not None


def read(description: str, pages: Sequence[Page]) -> Stack:
    """The stack that OME-XML describes.

    Args:
      description: of the first page.
      pages: of the file.

    Raises:
      Refused: it cannot be read, does not fit the pages, or has several images or time points.
    """
    root = _parse(description)
    images = _children(root, "Image")
    if _children(root, "BinaryOnly"):
        # The description is in a file beside it, which is not read.
        return stack.of_unknown_pages(pages, range(len(pages)))
    if len(images) != 1:
        raise Refused(
            f"has {len(images)} images by its OME-XML; "
            "save the one that is meant as a file of its own"
        )
    elements = _children(images[0], "Pixels")
    if len(elements) != 1:
        raise Refused(f"has OME-XML without pixels; {_EXPORT_AGAIN}")
    element = elements[0]
    if element.get("Type", "").startswith("int"):
        raise Refused("is of signed numbers; save it with unsigned integers of 8 or 16 bits")
    pixels = _pixels(element)
    uuid = root.get("UUID", "")
    if not uuid and element.find(".//{*}UUID") is not None:
        # One of a set, which does not say which.
        found = stack.of_unknown_pages(pages, range(len(pages)))
    else:
        stack.check_times(pixels.sizes["T"])
        places = _places(element, uuid, pixels, len(pages))
        found = _stack(places, pixels, pages)
    return found._replace(
        pixel_size=_pixel_size(element),
        white=_white(element),
    )


def _parse(description: str) -> ElementTree.Element:
    # Entities can make gigabytes out of a line. Without them the parser is safe.
    harmless = description.replace("<!--", "").replace("<![CDATA[", "")
    if "<!" in harmless:
        raise Refused(f"has OME-XML with declarations of its own; {_EXPORT_AGAIN}")
    try:
        # The file's encoding is undone already: what a declaration names is no longer true.
        body = description[_START.search(description).start() :]
        return ElementTree.fromstring(body)  # nosec B314
    except (ElementTree.ParseError, ValueError, RecursionError):
        raise Refused(f"has OME-XML that cannot be read; {_EXPORT_AGAIN}") from None


def _children(element: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    """By name, whichever version of the namespace it is in."""
    return [child for child in element if child.tag.rpartition("}")[2] == name]


def _integer(element: ElementTree.Element, name: str, default: int) -> int:
    text = element.get(name)
    if text is None:
        return default
    try:
        value = int(text)
    except ValueError:
        value = -1
    if not 0 <= value < 2**31:
        raise Refused(f"has a damaged {name} in its OME-XML; {_EXPORT_AGAIN}")
    return value


def _pixels(element: ElementTree.Element) -> _Pixels:
    sizes = {axis: _integer(element, f"Size{axis}", 1) for axis in "CZT"}
    if not 0 < sizes["C"] * sizes["Z"] * sizes["T"] <= _MAX_PLANES:
        raise Refused(f"has a damaged number of planes in its OME-XML; {_EXPORT_AGAIN}")
    channels = _children(element, "Channel")
    # The dye is the next best name.
    names = [channel.get("Name") or channel.get("Fluor", "") for channel in channels]
    samples = [_integer(channel, "SamplesPerPixel", 1) for channel in channels]
    if not channels:
        names = [""] * sizes["C"]
        samples = [1] * sizes["C"]
    if sum(samples) != sizes["C"]:
        raise Refused(
            f"tells of {sizes['C']} channels in its OME-XML and describes {sum(samples)}; "
            f"{_EXPORT_AGAIN}"
        )
    order = element.get("DimensionOrder", "XYCZT")[2:]
    if sorted(order) != ["C", "T", "Z"]:
        raise Refused(f"has a damaged DimensionOrder in its OME-XML; {_EXPORT_AGAIN}")
    return _Pixels(sizes, order, tuple(names), tuple(samples))


def _places(
    element: ElementTree.Element,
    uuid: str,
    pixels: _Pixels,
    pages: int,
) -> dict[_Place, int]:
    """The page of each place that this file holds; a set of files describes all of them in each."""
    sizes = dict(pixels.sizes, C=len(pixels.names))
    total = sizes["C"] * sizes["Z"] * sizes["T"]
    blocks = _children(element, "TiffData")
    places = {}
    told = 0
    is_one_of_a_set = element.find(".//{*}UUID") is not None
    if not blocks:
        for number in range(total):
            places[_place(number, sizes, pixels.order)] = number
    for block in blocks:
        if _is_elsewhere(block, uuid):
            continue
        has_page = block.get("IFD") is not None
        page = _integer(block, "IFD", 0)
        count = _integer(block, "PlaneCount", 1 if has_page else min(total, pages))
        start = _number_of(block, sizes, pixels.order)
        count = max(0, min(count, total - start))
        told += count
        has_rest = has_page or start or block.get("PlaneCount") is not None
        if not has_rest and not is_one_of_a_set and pages < total:
            raise _other_pages(total, pages)
        if told > total:
            break
        for step in range(count):
            places[_place(start + step, sizes, pixels.order)] = page + step
    last = max(places.values(), default=-1)
    if last >= pages:
        raise _other_pages(last + 1, pages)
    if told > total or len(set(places.values())) < len(places):
        raise Refused(f"has OME-XML that tells of a plane or a page twice; {_EXPORT_AGAIN}")
    if not places:
        raise Refused(
            "is one of several files that make an image together, and its OME-XML names none of "
            f"its own pages; {_EXPORT_AGAIN}"
        )
    return places


def _other_pages(told: int, pages: int) -> Refused:
    return Refused(f"tells of {told} pages in its OME-XML, and has {pages}; {_EXPORT_AGAIN}")


def _is_elsewhere(block: ElementTree.Element, uuid: str) -> bool:
    """Whether a block of pages is in another file of the set."""
    names = _children(block, "UUID")
    return bool(names and uuid and (names[0].text or "").strip() != uuid)


def _place(number: int, sizes: dict[str, int], order: str) -> _Place:
    """Where the plane belongs that has this number in the order of dimensions."""
    index = {}
    for axis in order:
        number, index[axis] = divmod(number, sizes[axis])
    return _Place(index["C"], index["Z"], index["T"])


def _number_of(block: ElementTree.Element, sizes: dict[str, int], order: str) -> int:
    number = 0
    stride = 1
    for axis in order:
        number += stride * _integer(block, f"First{axis}", 0)
        stride *= sizes[axis]
    return number


def _stack(places: dict[_Place, int], pixels: _Pixels, pages: Sequence[Page]) -> Stack:
    numbers = sorted(set(places.values()))
    stack.check_same_kind(pages, numbers)
    first = pages[numbers[0]]
    # Copies of another size may stand beside them without a word.
    alike = [page for page in pages if page is not None and page.kind == first.kind]
    if len(alike) > len(numbers):
        raise _other_pages(len(numbers), len(alike))
    channels = sorted({place.channel for place in places})
    depths = sorted({place.depth for place in places})
    if len(places) != len(channels) * len(depths):
        raise Refused(f"lacks some of the planes that its OME-XML tells of; {_EXPORT_AGAIN}")
    samples_are_channels = first.samples > 1 and set(pixels.samples) == {1}
    if samples_are_channels and len(pixels.names) != first.samples:
        raise Refused(
            f"has {first.samples} samples a pixel, of which its OME-XML says nothing; "
            f"{_EXPORT_AGAIN}"
        )
    frames = []
    names = []
    if samples_are_channels:
        for sample, name in enumerate(pixels.names):
            frames.append(tuple(_frames(places, channels[0], depths, sample)))
            names.append(name)
    else:
        for channel in channels:
            if pixels.samples[channel] != first.samples:
                raise Refused(
                    f"has {first.samples} samples a pixel, and by its OME-XML "
                    f"{pixels.samples[channel]}; {_EXPORT_AGAIN}"
                )
            for sample in range(first.samples):
                frames.append(tuple(_frames(places, channel, depths, sample)))
                names.append(pixels.names[channel])
    colour = first.colour
    is_composite = first.samples > 1 and len(channels) == 1 and not samples_are_channels
    if is_composite:
        names = stack.sample_names(first)
    elif len(frames) > 1 and colour in (*stack.GRAY, "RGB", "RGBA"):
        colour = "channels"
    return Stack(tuple(frames), tuple(names), colour)


def _frames(places: dict[_Place, int], channel: int, depths: Sequence[int], sample: int):
    time = next(iter(places)).time
    for depth in depths:
        yield Frame(places[_Place(channel, depth, time)], sample)


def _pixel_size(element: ElementTree.Element) -> float | None:
    sizes = []
    for axis in "XY":
        has_own = f"PhysicalSize{axis}" in element.keys()
        name = f"PhysicalSize{axis}" if has_own else "PhysicalSizeX"
        try:
            size = float(element.get(name, ""))
        except ValueError:
            return None
        sizes.append(size * units.in_micrometres(element.get(f"{name}Unit", "µm")))
    across, down = sizes
    return units.pixel_size(across, down, "µm")


def _white(element: ElementTree.Element) -> int | None:
    bits = _integer(element, "SignificantBits", 0)
    return 2**bits - 1 if 0 < bits <= 16 else None
