"""Reads one channel's image, PNG, TIFF or JPG, as eight-bit gray.

Design:
- The format is recognised by the file's first bytes, not by its name, and the header is checked
  before anything is decoded (format, pixels, depth, colours), so memory stays bounded.
- An image in colour yields the plane that holds the channel, never luma, which would make 76 out of
  a red 254: red R, green G, blue B, yellow R.
- PNG has a checksum in every chunk and deflated TIFF one in every strip: both are checked. JPG and
  TIFF of other compressions have none: what decodes is accepted.
"""

import io
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import BinaryIO

import numpy as np

from hpa_jax.images import jpg, png, store, tiff
from hpa_jax.images.header import Header
from hpa_jax.images.quiet import quiet_stderr
from hpa_jax.images.store import DAMAGE, DOWNLOAD_AGAIN, Refused, Store

_DECODERS = {png.SIGNATURE: png, b"\xff\xd8\xff": jpg, b"II*\x00": tiff, b"MM\x00*": tiff}
_NAMES = {png: "PNG", jpg: "JPEG", tiff: "TIFF"}
_OTHER_FORMATS = {
    b"GIF8": "a GIF",
    b"BM": "a BMP",
    b"II+\x00": "a BigTIFF",
    b"MM\x00+": "a BigTIFF",
    b"PK\x03\x04": "a zip file",
    b"7z\xbc\xaf": "a 7z archive",
    b"<": "a web page or other text",
}
_MAGIC_BYTES = 8
# At 24 an Atlas image darkened eightfold and saved at quality 20 looks gray.
_BRIGHT = 32
_PLANES = {"red": (0,), "green": (1,), "blue": (2,), "yellow": (0, 1)}


@dataclass(frozen=True)
class Rule:
    """Which files a source accepts.

    Attributes:
      formats: some of PNG, TIFF, JPEG.
      wanted: what to save instead of a file that is refused, in words.
      bits: accepted depths.
      white: the value that becomes 255; None for the largest value of the depth.
      coloured: whether an image in one colour is accepted.
      by_colour: whether that must be the channel's own colour.
    """

    formats: tuple[str, ...]
    wanted: str
    bits: tuple[int, ...] = (8,)
    white: int | None = None
    coloured: bool = False
    by_colour: bool = False

    def settings(self) -> dict:
        """The value that becomes white by depth, if there is more than one depth."""
        if len(self.bits) == 1:
            return {}
        return {"white": {str(bits): self.white or 2**bits - 1 for bits in self.bits}}


def scan(images: Store, name: str, rule: Rule) -> Header:
    """Checks a file without decoding its pixels.

    Raises:
      Refused: with the reason.
    """
    try:
        with images.open(name) as file:
            return scan_file(file, rule)
    except DAMAGE as error:
        raise store.refusal(error) from None


def scan_file(file: BinaryIO, rule: Rule) -> Header:
    """Checks an open file; see `scan`. Reading it may raise `store.DAMAGE`."""
    magic = file.read(_MAGIC_BYTES)
    file.seek(0)
    header = _decoder(magic, rule).scan(file)
    _check(header, rule)
    return header


def read(data: bytes, rule: Rule, channel: str) -> np.ndarray:
    """Decodes a channel's image.

    Args:
      data: the file.
      rule: of the source.
      channel: one of CHANNELS; matters if the rule is `by_colour`.

    Returns:
      uint8 [H, W]: the values in the file, or if it has 16 bits or the rule a `white`,
      min(255, value * 255 / white), rounded half up.

    Raises:
      Refused: with the reason.
    """
    header = scan_file(io.BytesIO(data), rule)
    decoder = _decoder(data[:_MAGIC_BYTES], rule)
    with quiet_stderr:
        image = decoder.decode(data, header)
    if not _is_as_announced(image, header):
        raise Refused(f"is damaged: its pixel data do not decode; {DOWNLOAD_AGAIN}")
    if image.ndim == 3:
        image = _select_plane(image, rule, channel, lossy=decoder is jpg)
    white = rule.white or 2**header.bits - 1
    if white == 255 and image.dtype == np.uint8:
        return image
    return _scale_to_white(white)[image]


def _decoder(magic: bytes, rule: Rule) -> ModuleType:
    """The module of a file's format."""
    if not magic:
        raise Refused(f"is empty (0 bytes); {DOWNLOAD_AGAIN}")
    *others, last = rule.formats
    wanted = f"{', '.join(others)} or {last}" if others else last
    for start, decoder in _DECODERS.items():
        if not magic.startswith(start):
            continue
        if _NAMES[decoder] in rule.formats:
            return decoder
        raise Refused(f"is not a {wanted} but a {_NAMES[decoder]}; {DOWNLOAD_AGAIN} as {wanted}")
    for start, name in _OTHER_FORMATS.items():
        if magic.startswith(start):
            raise Refused(f"is not a {wanted} but {name}; {DOWNLOAD_AGAIN} as {wanted}")
    raise Refused(f"is not a {wanted}; {DOWNLOAD_AGAIN}")


def _check(header: Header, rule: Rule) -> None:
    """Raises Refused unless the rule accepts such a file."""
    save = f"save the channel's own plane as {rule.wanted}"
    is_coloured = rule.coloured and header.colour == "RGB"
    if header.colour != "gray" and not is_coloured:
        raise Refused(f"is {header.colour}, not gray; {save}")
    if header.bits not in rule.bits:
        accepted = " or ".join(map(str, rule.bits))
        raise Refused(f"has {header.bits} bits a pixel, not {accepted}; {save}")
    if rule.white and rule.white >= 2**header.bits:
        raise Refused(
            f"has {header.bits} bits a pixel, too few for white={rule.white}; "
            "put one of the two right"
        )


def _is_as_announced(image: np.ndarray | None, header: Header) -> bool:
    if image is None:
        return False
    same_size = image.shape[:2] == (header.height, header.width)
    return same_size and image.dtype == f"uint{header.bits}"


def _select_plane(image: np.ndarray, rule: Rule, channel: str, lossy: bool) -> np.ndarray:
    """The plane that holds the channel.

    Args:
      image: [H, W, 3] in red, green, blue.
      rule: of the source.
      channel: one of CHANNELS.
      lossy: whether colours bleed into each other.

    Returns:
      [H, W].

    Raises:
      Refused: no plane holds it alone, or it is another channel's.
    """
    red = image[..., 0]
    green = image[..., 1]
    blue = image[..., 2]
    if (red == green).all() and (green == blue).all():
        return red
    lit = _lit_planes_lossy(image, rule, channel) if lossy else _lit_planes(image)
    if lit is None:
        raise Refused(
            f"shows several channels at once; save the channel's own plane as {rule.wanted}"
        )
    if rule.by_colour and lit != _PLANES[channel]:
        seen = next(colour for colour, planes in _PLANES.items() if planes == lit)
        raise Refused(f"is {seen}, not {channel}: channels are swapped; {DOWNLOAD_AGAIN}")
    return image[..., lit[0]]


def _lit_planes(image: np.ndarray) -> tuple[int, ...] | None:
    """The only plane that is not zero, or red and green if equal; None for other colours."""
    lit = tuple(plane for plane in range(3) if image[..., plane].any())
    is_yellow = lit == _PLANES["yellow"] and (image[..., 0] == image[..., 1]).all()
    return lit if len(lit) == 1 or is_yellow else None


def _lit_planes_lossy(image: np.ndarray, rule: Rule, channel: str) -> tuple[int, ...] | None:
    """The planes of a channel's colour; None for other colours.

    Compression makes colours bleed, so planes count by their energy (sum of squares) in the bright
    pixels: those with a quarter of the largest are lit. In the dark it mixes the planes: if hardly
      a
    pixel is bright, the file's colour cannot be recognised.
    """
    step = max(1, min(image.shape[:2]) // 512)
    sample = image[::step, ::step].reshape(-1, 3)
    bright = sample[sample.max(-1) >= _BRIGHT].astype(np.float32)
    if len(bright) < len(sample) / 1000:
        if rule.by_colour:
            return _PLANES[channel]
        energy = np.square(sample.astype(np.float32)).sum(0)
        return (int(energy.argmax()),)
    energy = np.square(bright).sum(0)
    lit = tuple(np.flatnonzero(energy >= energy.max() / 4).tolist())
    return lit if lit in _PLANES.values() else None


@lru_cache(maxsize=4)
def _scale_to_white(white: int) -> np.ndarray:
    """uint8 [65536], for each value: min(255, value * 255 / white), rounded half up."""
    values = np.arange(2**16, dtype=np.int64)
    return np.minimum((values * 510 + white) // (2 * white), 255).astype(np.uint8)
