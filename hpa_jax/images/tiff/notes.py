"""What ImageJ, tifffile and Zeiss's LSM write about the pages of a TIFF file."""

import json
from collections.abc import Sequence

from hpa_jax.images.store import DOWNLOAD_AGAIN, Refused
from hpa_jax.images.tiff import stack, units
from hpa_jax.images.tiff.directories import Directory
from hpa_jax.images.tiff.page import Page
from hpa_jax.images.tiff.stack import Stack

_METRES_TO_MICROMETRES = 1e6


def is_imagej(description: str) -> bool:
    """Whether a page's description is ImageJ's."""
    return description.startswith("ImageJ=")


def imagej_values(description: str) -> dict[str, str]:
    """ImageJ's lines of `key=value`."""
    values = {}
    for line in description.splitlines():
        key, separator, value = line.partition("=")
        if separator:
            values[key.strip()] = value.strip()
    return values


def imagej_images(description: str) -> int:
    """How many planes ImageJ says there are."""
    return _count(imagej_values(description), "images")


def read_imagej(
    description: str,
    directory: Directory,
    pages: Sequence[Page],
    numbers: Sequence[int],
) -> Stack:
    """The stack that ImageJ's notes describe: channels, then depth, then time.

    Args:
      description: of the first page.
      directory: of the first page.
      pages: of the file.
      numbers: of the pages that count.

    Raises:
      Refused: the notes do not fit the pages, or there are several time points.
    """
    values = imagej_values(description)
    channels = _count(values, "channels")
    depth = _count(values, "slices")
    frames = _count(values, "frames")
    if values.get("cf") == "0" and values.get("c0", "").startswith("-32768"):
        raise Refused("is of signed numbers; save it with unsigned integers of 8 or 16 bits")
    is_hyperstack = channels * depth * frames == len(numbers)
    if not is_hyperstack:
        # Colours of one page count as channels in some versions.
        channels = 1
    stack.check_times(frames)
    if not is_hyperstack and depth != len(numbers):
        return stack.of_unknown_pages(pages, numbers)
    names = _labels(directory.others.get("IJMetadata"), channels, depth)
    result = stack.of_axes(pages, numbers, channels, depth, names)
    size = units.of_resolution(directory, values.get("unit", ""))
    return result._replace(pixel_size=size)


def _count(values: dict[str, str], name: str) -> int:
    text = values.get(name, "1")
    if not text.isdecimal() or not 0 < int(text) < 2**31:
        raise Refused(f"has a damaged number of {name} in ImageJ's notes; {DOWNLOAD_AGAIN}")
    return int(text)


def _labels(metadata: object, channels: int, depth: int) -> tuple[str, ...]:
    """The labels of the first plane of each channel."""
    labels = metadata.get("Labels") if isinstance(metadata, dict) else None
    if not isinstance(labels, list) or len(labels) != channels * depth:
        return ()
    return tuple(str(label) for label in labels[:channels])


def shape_of(description: str) -> dict | None:
    """tifffile's notes: the shape of the array that was written, and perhaps its axes."""
    if not description.startswith('{"shape":'):
        return None
    try:
        values = json.loads(description)
    except (ValueError, RecursionError):
        return None
    shape = values.get("shape")
    if not isinstance(shape, list) or not all(_is_length(length) for length in shape):
        return None
    return values


def _is_length(value: object) -> bool:
    return isinstance(value, int) and 0 < value < 2**31


def read_shape(values: dict, pages: Sequence[Page], numbers: Sequence[int]) -> Stack:
    """The stack that tifffile's notes describe.

    Args:
      values: of `shape_of`.
      pages: of the file.
      numbers: of the pages that count.

    Raises:
      Refused: they have axes that are neither channels nor depth.
    """
    axes = str(values.get("axes", "")).upper()
    shape = values["shape"]
    if len(axes) != len(shape):
        return stack.of_unknown_pages(pages, numbers)
    lengths = {}
    order = []
    for axis, length in zip(axes, shape, strict=True):
        if axis in "YXS" or length == 1:
            continue
        lengths[axis] = length
        order.append(axis)
    stack.check_times(lengths.pop("T", 1))
    # Channels may be the samples of each page.
    in_pages = [axis for axis in order if axis in "CZ"]
    is_known = set(lengths) <= {"C", "Z"}
    channels = lengths.get("C", 1)
    depth = lengths.get("Z", 1)
    if not is_known or channels * depth != len(numbers):
        return stack.of_unknown_pages(pages, numbers)
    return stack.of_axes(
        pages,
        numbers,
        channels,
        depth,
        channels_first=in_pages != ["C", "Z"],
    )


def read_lsm(metadata: object, pages: Sequence[Page], numbers: Sequence[int]) -> Stack:
    """The stack of a file of Zeiss's LSM: a page a depth, its samples the channels.

    Args:
      metadata: the tag CZ_LSMINFO, as tifffile returns it.
      pages: of the file.
      numbers: of the pages that count.

    Raises:
      Refused: it does not fit the pages, or there are several time points.
    """
    if not isinstance(metadata, dict):
        raise Refused(f"has damaged notes of its microscope; {DOWNLOAD_AGAIN}")
    stack.check_times(metadata.get("DimensionTime", 1))
    colours = metadata.get("ChannelColors")
    names = colours.get("ColorNames", ()) if isinstance(colours, dict) else ()
    result = stack.of_axes(
        pages, numbers, 1, metadata.get("DimensionZ", 1), [str(name) for name in names]
    )
    # Its colours are those that a channel is shown in.
    result = result._replace(colour="channels" if len(result.frames) > 1 else "gray")
    if len(result.frames) > 1:
        if len(names) != len(result.frames):
            result = result._replace(names=("",) * len(result.frames))
    across = float(metadata.get("VoxelSizeX", 0)) * _METRES_TO_MICROMETRES
    down = float(metadata.get("VoxelSizeY", 0)) * _METRES_TO_MICROMETRES
    return result._replace(pixel_size=units.pixel_size(across, down, "µm"))
