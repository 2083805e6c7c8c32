"""Where the strips or tiles of a TIFF page are in the file."""

from hpa_jax.images.header import MAX_PIXELS
from hpa_jax.images.store import DOWNLOAD_AGAIN, Refused
from hpa_jax.images.tiff.directories import Directory
from hpa_jax.images.tiff.page import Page, Segment, packed_row

# Where a TIFF file says what it is, and where its first directory starts.
_HEADER_BYTES = 8


def find_segments(directory: Directory, page: Page, size: int) -> tuple[Segment, ...]:
    """The strips or tiles of a page, all of them inside the file.

    Args:
      directory: of the page.
      page: without segments.
      size: of the file in bytes.

    Raises:
      Refused: they do not make up the page, or lie outside.
    """
    damaged = Refused(f"has a damaged directory; {DOWNLOAD_AGAIN}")
    is_tiled = "TileOffsets" in directory.numbers
    if is_tiled:
        offsets = directory.numbers.get("TileOffsets", ())
        lengths = directory.numbers.get("TileByteCounts", ())
        columns = directory.first("TileWidth", 0)
        rows = directory.first("TileLength", 0)
    else:
        offsets = directory.numbers.get("StripOffsets", ())
        lengths = directory.numbers.get("StripByteCounts", ())
        columns = page.width
        rows = min(directory.first("RowsPerStrip", page.height), page.height)
        if len(offsets) == 1 and not page.separate:
            # A single strip has all rows, whatever number stands there.
            rows = page.height
    if not 0 < columns * rows <= MAX_PIXELS:
        raise damaged
    planes = page.samples if page.separate else 1
    down = -(-page.height // rows)
    across = -(-page.width // columns)
    if len(lengths) != len(offsets) and (page.method == "none" or len(offsets) == 1):
        # Unpacked, their lengths follow from the size of the image; one reaches to the end.
        lengths = (0,) * len(offsets)
    if not len(offsets) == len(lengths) == down * across * planes:
        raise damaged
    segments = []
    for index, (offset, length) in enumerate(zip(offsets, lengths, strict=True)):
        if not offset and not length:
            raise Refused(
                "leaves out some of its strips or tiles, which some programs take for black; "
                "save it with all of them"
            )
        if offset < _HEADER_BYTES:
            raise damaged
        plane, place = divmod(index, down * across)
        top = place // across * rows
        # The last strip of a plane has the rows that are left; a tile is always complete.
        stored = rows if is_tiled else min(rows, page.height - top)
        if page.method == "none":
            needed = packed_row(page, columns) * stored
            is_alone = len(offsets) == 1
            # Old camera programs leave out the length of a single strip, or write it wrongly.
            if 0 < length < needed and not is_alone:
                raise damaged
            length = needed
        elif not length and len(offsets) == 1:
            # To the end; what is unpacked must have the right length.
            length = max(0, size - offset)
        if offset + length > size:
            raise Refused(f"is cut short: it has {size} bytes; {DOWNLOAD_AGAIN}")
        left = place % across * columns
        segments.append(Segment(offset, length, plane, top, left, stored, columns))
    return tuple(segments)
