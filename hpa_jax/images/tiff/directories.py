"""The directories of a TIFF file, one a page: their tags, read in bounded memory.

tifffile parses each directory; the chain of directories is walked here, so that a circle, an end
beyond the file or a million pages is told as what it is.
"""

import io
import logging
from collections.abc import Callable, Sequence
from typing import BinaryIO, NamedTuple

import numpy as np
import tifffile

from hpa_jax.images.store import DAMAGE, DOWNLOAD_AGAIN, Refused

# Bytes of a file that may be read for its tags; 65,536 tiles take half a megabyte.
MAX_TAG_BYTES = 2**22
_MAX_PAGES = 4096
_BLOCK = 2**16
_INTEGERS = (
    "BitsPerSample",
    "Compression",
    "ExtraSamples",
    "FillOrder",
    "ImageDepth",
    "ImageLength",
    "ImageWidth",
    "MaxSampleValue",
    "NewSubfileType",
    "Orientation",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "Predictor",
    "ResolutionUnit",
    "RowsPerStrip",
    "SampleFormat",
    "SamplesPerPixel",
    "StripByteCounts",
    "StripOffsets",
    "SubfileType",
    "TileByteCounts",
    "TileDepth",
    "TileLength",
    "TileOffsets",
    "TileWidth",
)
_OTHERS = (
    "ColorMap",
    "CZ_LSMINFO",
    "ImageDescription",
    "IJMetadata",
    "JPEGTables",
    "SMaxSampleValue",
    "XResolution",
    "YResolution",
)
_STACK_TAG = "UIC2tag"

# tifffile reports every oddity of a file; what matters here is refused in one line.
logging.getLogger("tifffile").setLevel(logging.CRITICAL)


class Directory(NamedTuple):
    """The tags of a page.

    Attributes:
      numbers: of each tag of `_INTEGERS` that it has.
      others: of each tag of `_OTHERS` that it has, as tifffile returns it.
      byte_order: of its numbers and pixels, "<" or ">".
      stacked: planes of a MetaMorph stack, which has one directory for all; 1 otherwise.
    """

    numbers: dict[str, Sequence[int]]
    others: dict[str, object]
    byte_order: str
    stacked: int = 1

    def first(self, name: str, default: int) -> int:
        """The first number of a tag."""
        numbers = self.numbers.get(name)
        return numbers[0] if numbers else default


def read_directories(file: BinaryIO) -> tuple[list[Directory], int]:
    """The directories of all pages, at least one, and the file's size in bytes.

    Raises:
      Refused: the file is truncated or damaged, or has too many pages or tags.
    """
    reader = _LimitedReader(file, MAX_TAG_BYTES)
    try:
        directories = _parse(reader)
    except Refused:
        raise
    # What tifffile raises for damaged bytes has no common type.
    except Exception:
        raise reader.failure or _cut_short() from None
    if reader.failure:
        raise reader.failure
    return directories, reader.size


class _LimitedReader:
    """A file of which no more than `limit` bytes can be read, whatever its tags claim.

    tifffile catches some exceptions and goes on, so the first one is kept. It also moves to and
    fro, and in a zip each move backwards unpacks from the start: so a block is read at a time, in
    which a directory and its values usually lie together.

    Attributes:
      failure: why a read failed; Refused, or what a damaged disk or archive raises.
      size: of the file.
    """

    def __init__(self, file: BinaryIO, limit: int):
        self.failure: Exception | None = None
        self.size = file.seek(0, io.SEEK_END)
        self._file = file
        self._left = limit
        self._position = 0
        self._block_start = 0
        self._block = b""

    def read(self, size: int = -1) -> bytes:
        """Reads `size` bytes."""
        if not 0 <= size <= self._left:
            self.failure = Refused("has too many tags; save it as a plain TIFF")
        if self.failure:
            raise self.failure
        self._left -= size
        start = self._position - self._block_start
        if not 0 <= start <= start + size <= len(self._block):
            self._guard(self._file.seek, self._position)
            self._block = self._guard(self._file.read, max(size, _BLOCK))
            self._block_start = self._position
            start = 0
        data = self._block[start : start + size]
        self._position += len(data)
        return data

    def readinto(self, buffer: memoryview) -> int:
        """Fills a buffer as far as the file has bytes."""
        # Of any type: records have no bytes that a memoryview could be cast to.
        room = np.asarray(buffer).reshape(-1).view(np.uint8)
        data = self.read(room.size)
        room[: len(data)] = np.frombuffer(data, np.uint8)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves to a position."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def tell(self) -> int:
        """The current position."""
        return self._position

    def _guard(self, function: Callable, *arguments: int):
        try:
            return function(*arguments)
        except DAMAGE as error:
            self.failure = error
            raise


def _cut_short() -> Refused:
    return Refused(f"is cut short, or its directory is damaged; {DOWNLOAD_AGAIN}")


def _parse(reader: _LimitedReader) -> list[Directory]:
    # Files of these kinds would be read by rules of their own.
    with tifffile.TiffFile(
        reader,
        is_ndpi=False,
        is_scanimage=False,
        is_lsm=False,
    ) as parsed:
        page = parsed.pages.first
        directories = [_directory(page, parsed)]
        seen = {page.offset}
        while following := _next_offset(reader, parsed, page.offset):
            if following in seen:
                raise Refused(f"has directories that form a circle; {DOWNLOAD_AGAIN}")
            if len(directories) == _MAX_PAGES:
                raise Refused(f"has more than {_MAX_PAGES} pages; save those that are meant")
            seen.add(following)
            reader.seek(following)
            page = tifffile.TiffPage(parsed, index=len(directories))
            directories.append(_directory(page, parsed))
        return directories


def _next_offset(reader: _LimitedReader, parsed: tifffile.TiffFile, offset: int) -> int:
    """Where the directory after the one at `offset` starts; 0 if that is the last."""
    reader.seek(offset)
    layout = parsed.tiff
    count = _integer(reader.read(layout.tagnosize), parsed)
    reader.seek(offset + layout.tagnosize + count * layout.tagsize)
    raw = reader.read(layout.offsetsize)
    if len(raw) < layout.offsetsize:
        raise _cut_short()
    following = _integer(raw, parsed)
    if following >= reader.size:
        raise Refused(
            f"says that its next page starts at byte {following}, beyond its end at {reader.size}: "
            f"it is cut short, or a program wrote that wrongly; {DOWNLOAD_AGAIN}, or save it again"
        )
    return following


def _integer(raw: bytes, parsed: tifffile.TiffFile) -> int:
    return int.from_bytes(raw, "little" if parsed.byteorder == "<" else "big")


def _directory(page: tifffile.TiffPage, parsed: tifffile.TiffFile) -> Directory:
    numbers = {}
    others = {}
    for name in _INTEGERS:
        if name in page.tags:
            numbers[name] = _integers(name, page.tags.valueof(name))
    for name in _OTHERS:
        if name in page.tags:
            others[name] = page.tags.valueof(name)
    # The values of this tag are dates; how many there are is what counts.
    stacked = page.tags[_STACK_TAG].count if _STACK_TAG in page.tags else 1
    return Directory(numbers, others, parsed.byteorder, stacked)


def _integers(name: str, value: object) -> Sequence[int]:
    """The values of a tag, which tifffile returns by themselves, in a sequence or in an array."""
    values = value.tolist() if isinstance(value, np.ndarray) else value
    if isinstance(values, int):
        values = (values,)
    is_sequence = isinstance(values, (bytes, list, tuple))
    if not is_sequence or not all(isinstance(one, int) and one >= 0 for one in values):
        raise Refused(f"has a damaged tag {name}; {DOWNLOAD_AGAIN}")
    return values
