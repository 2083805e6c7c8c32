"""What is known of one page of a TIFF file before it is decoded."""

from typing import NamedTuple


class Segment(NamedTuple):
    """A strip or tile.

    Attributes:
      offset: in the file.
      length: in bytes, as stored.
      plane: the sample that it holds if samples are in separate planes, 0 otherwise.
      top: its first row in the page.
      left: its first column in the page.
      rows: that are stored; of a tile all, also those below the page.
      columns: that are stored.
    """

    offset: int
    length: int
    plane: int
    top: int
    left: int
    rows: int
    columns: int


class Page(NamedTuple):
    """What is needed to decode a page.

    Attributes:
      height: in pixels.
      width: in pixels.
      bits: of one sample.
      number: "unsigned" or "float".
      samples: a pixel.
      separate: whether each sample has segments of its own.
      colour: see `Description`.
      method: how it is packed, a value of `parse_page.METHODS`.
      predictor: 1 none, 2 horizontal differences, 3 of floating-point numbers.
      reversed_bits: whether the lowest bit of a byte comes first.
      byte_order: "<" or ">".
      is_ycbcr: whether packed colours are luma and chroma.
      jpeg_tables: what the segments of a JPEG page share.
      segments: strips or tiles.
    """

    height: int
    width: int
    bits: int
    number: str
    samples: int
    separate: bool
    colour: str
    method: str
    predictor: int
    reversed_bits: bool
    byte_order: str
    is_ycbcr: bool
    jpeg_tables: bytes
    segments: tuple[Segment, ...]

    @property
    def kind(self) -> tuple:
        """Pages of one image agree in this."""
        return (self.height, self.width, self.bits, self.number, self.samples, self.colour)


def packed_row(page: Page, columns: int) -> int:
    """Bytes of a row of a segment when it is unpacked."""
    together = 1 if page.separate else page.samples
    return -(-columns * together * page.bits // 8)
