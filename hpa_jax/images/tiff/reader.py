"""Reads TIFF files: classic and BigTIFF, of one or many pages.

Design:
- The tags are checked before anything is decoded. They reveal what image libraries silently decode
  to something else (16-bit colours as 8 bits, white as 0), and what they would let pass: a further
  page, a strip beyond the end of the file.
- Pages are decoded one at a time, and only those that are asked for.
- Deflated strips have a checksum, which is checked; TIFF has no other.
"""

from collections.abc import Iterator, Sequence
from typing import BinaryIO, NamedTuple

import numpy as np

from hpa_jax.images.header import Description, Header
from hpa_jax.images.store import DOWNLOAD_AGAIN, Refused
from hpa_jax.images.tiff import directories, notes, ome, stack, units
from hpa_jax.images.tiff.directories import Directory
from hpa_jax.images.tiff.page import Page
from hpa_jax.images.tiff.parse_page import parse
from hpa_jax.images.tiff.segments import decode_page
from hpa_jax.images.tiff.stack import Frame, Stack

STARTS = (b"II*\x00", b"MM\x00*", b"II+\x00\x08\x00", b"MM\x00+\x00\x08")
_MAX_STACKED = 4096
# Bytes of all planes together, unpacked: a hundred planes in depth of four channels of 2048 px.
_MAX_TOTAL = 2**32
_REDUCED = 1
_MASK = 4
_REDUCED_IN_THE_OLD_TAG = 2


class Layout(NamedTuple):
    """Where the pixels are.

    Attributes:
      pages: of the file.
      frames: of each channel, its frames in depth.
    """

    pages: tuple[Page, ...]
    frames: tuple[tuple[Frame, ...], ...]


def scan(file: BinaryIO) -> Header:
    """Reads the tags of a file, and checks that its pixel data are inside.

    Raises:
      Refused: it is truncated, damaged, too large, or of a kind that is not read.
    """
    found, size = directories.read_directories(file)
    pages = [_page(directory, size) for directory in found]
    numbers = [number for number, directory in enumerate(found) if _is_image(directory)]
    if not numbers:
        # Some programs write only a copy, and say so.
        numbers = [0]
        pages[0] = parse(found[0], size)
    first = found[0]
    description = first.others.get("ImageDescription", "")
    if not isinstance(description, str):
        description = ""
    stacked = _stacked(description, first)
    # Of a page in colour ImageJ counts the colours.
    if len(found) == 1 and stacked not in (1, pages[0].samples):
        pages = _behind_each_other(pages[0], stacked, size)
        numbers = list(range(stacked))
    result = _stack(description, first, pages, numbers)
    shown = pages[result.frames[0][0].page]
    _check_total(result, pages)
    pixel_size = result.pixel_size or units.of_resolution(first)
    described = Description(
        format="TIFF",
        height=shown.height,
        width=shown.width,
        bits=shown.bits,
        number=shown.number,
        planes=len(result.frames),
        names=result.names,
        depth_planes=len(result.frames[0]),
        pixel_size=pixel_size,
        white=_white(result.white, first, shown),
        colour=result.colour,
    )
    return Header(described, Layout(tuple(pages), result.frames))


def planes(
    data: bytes,
    header: Header,
    wanted: Sequence[int],
    projection: str,
) -> Iterator[np.ndarray]:
    """Decodes channels of a file that `scan` accepted.

    Args:
      data: the file.
      header: of `scan`.
      wanted: the numbers of the channels.
      projection: over depth, "max" or "mean"; no matter for a single plane.

    Yields:
      [H, W] for each of `wanted`: the values in the file, or over depth their largest or their
      mean (rounded half up for integers).

    Raises:
      Refused: a segment does not decode.
    """
    layout = header.layout
    decoded = _Decoded(data, layout.pages)
    for channel in wanted:
        frames = layout.frames[channel]
        if len(frames) == 1:
            yield decoded.plane(frames[0])
        elif projection == "max":
            yield _largest(decoded, frames)
        else:
            yield _mean(decoded, frames)


def _check_total(result: Stack, pages: Sequence[Page]) -> None:
    """Pages may share their strips: a small file can claim to be thousands of planes."""
    total = 0
    for frames in result.frames:
        shown = pages[frames[0].page]
        total += len(frames) * shown.width * shown.height * -(-shown.bits // 8)
    if total > _MAX_TOTAL:
        raise Refused(
            f"claims {total} bytes in all its planes, more than {_MAX_TOTAL}; save those that are "
            "meant"
        )


def _page(directory: Directory, size: int) -> Page | None:
    """A page; None for a smaller copy or a mask of a kind that is not read."""
    try:
        return parse(directory, size)
    except Refused:
        if _is_image(directory):
            raise
        return None


def _is_image(directory: Directory) -> bool:
    """Whether a page is neither a smaller copy nor a mask."""
    kind = directory.first("NewSubfileType", 0)
    old = directory.first("SubfileType", 0)
    return not kind & (_REDUCED | _MASK) and old != _REDUCED_IN_THE_OLD_TAG


def _stacked(description: str, first: Directory) -> int:
    """How many planes lie behind each other with a single directory."""
    if first.stacked > 1:
        return first.stacked
    if notes.is_imagej(description):
        return notes.imagej_images(description)
    values = notes.shape_of(description)
    if values and values.get("truncated"):
        *others, _, _ = values["shape"] if len(values["shape"]) > 2 else (1, 0, 0)
        return int(np.prod(others, dtype=object))
    return 1


def _behind_each_other(first: Page, count: int, size: int) -> list[Page]:
    """The pages of a stack with one directory: ImageJ's of more than 4 GB, MetaMorph's."""
    if count > _MAX_STACKED:
        raise Refused(f"claims {count} planes; save those that are meant")
    end = first.segments[0].offset
    for segment in first.segments:
        if first.method != "none" or segment.offset != end or segment.left:
            raise Refused(
                f"says that it has {count} planes, and has one page; "
                f"{DOWNLOAD_AGAIN}, or save it again"
            )
        end += segment.length
    step = end - first.segments[0].offset
    if first.segments[0].offset + step * count > size:
        raise Refused(
            f"says that it has {count} planes, and is too short for them ({size} bytes); "
            f"{DOWNLOAD_AGAIN}, or save it again"
        )
    pages = []
    for number in range(count):
        segments = [
            segment._replace(offset=segment.offset + number * step) for segment in first.segments
        ]
        pages.append(first._replace(segments=tuple(segments)))
    return pages


def _stack(
    description: str,
    first: Directory,
    pages: Sequence[Page],
    numbers: Sequence[int],
) -> Stack:
    if ome.is_ome(description):
        return ome.read(description, pages)
    if notes.is_imagej(description):
        return notes.read_imagej(description, first, pages, numbers)
    if "CZ_LSMINFO" in first.others:
        return notes.read_lsm(first.others["CZ_LSMINFO"], pages, numbers)
    if values := notes.shape_of(description):
        return notes.read_shape(values, pages, numbers)
    return stack.of_unknown_pages(pages, numbers)


def _white(said: int | None, first: Directory, shown: Page) -> int | None:
    """What is white by the camera's bits: OME's, or the tags where it is all ones.

    Any other value of the tag is the largest of this image, which is not the same in the next.
    """
    if shown.number == "float":
        return None
    depth_white = 2**shown.bits - 1
    tagged = first.first("MaxSampleValue", 0) or first.others.get("SMaxSampleValue")
    if isinstance(tagged, tuple) and tagged:
        tagged = tagged[0]
    if not isinstance(tagged, int):
        tagged = 0
    is_all_ones = tagged > 0 and not tagged & (tagged + 1)
    white = said or (tagged if is_all_ones else None)
    if white is None or not 255 <= white <= depth_white:
        return None
    return white


class _Decoded:
    """The pages of a file, decoded when first asked for; the last one is kept."""

    def __init__(self, data: bytes, pages: Sequence[Page]):
        self._data = data
        self._pages = pages
        self._kept: tuple[int, np.ndarray] | None = None

    def plane(self, frame: Frame) -> np.ndarray:
        """[H, W] of a frame."""
        shown = self._pages[frame.page]
        if shown.separate:
            return decode_page(self._data, shown, frame.sample)[..., 0]
        if self._kept is None or self._kept[0] != frame.page:
            # First, so that two are never held at once.
            self._kept = None
            self._kept = (frame.page, decode_page(self._data, shown))
        return self._kept[1][..., frame.sample]


def _largest(decoded: _Decoded, frames: Sequence[Frame]) -> np.ndarray:
    largest = decoded.plane(frames[0]).copy()
    for frame in frames[1:]:
        np.maximum(largest, decoded.plane(frame), out=largest)
    return largest


def _mean(decoded: _Decoded, frames: Sequence[Frame]) -> np.ndarray:
    first = decoded.plane(frames[0])
    is_float = first.dtype == np.float32
    total = first.astype(np.float64 if is_float else np.uint32)
    for frame in frames[1:]:
        total += decoded.plane(frame)
    count = len(frames)
    if is_float:
        return (total / count).astype(np.float32)
    total *= 2
    total += count
    return (total // (2 * count)).astype(first.dtype)
