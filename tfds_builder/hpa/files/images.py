"""Reads one channel's image, PNG, TIFF or JPG, as eight-bit gray; and resizes fields.

Unusual: the format is told by the file's first bytes, not by its name, and the header is checked before anything is
decoded (format, pixels, depth, colours), so that memory stays bounded. An image in colour gives the plane that
holds it, never luma, which makes 76 out of a red 254: red R, green G, blue B, yellow R.

PNG has a checksum in every chunk and deflated TIFF one in every strip: both are checked. JPG and TIFF in other
packings have none: what decodes is believed.
"""

import io
import os
import threading
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import BinaryIO

import cv2
import numpy as np

from tfds_builder.hpa.files import jpg, png, store, tiff
from tfds_builder.hpa.files.header import AGAIN, Header
from tfds_builder.hpa.files.store import DAMAGE, Refused, Store

_FORMATS = {png.SIGNATURE: png, b"\xff\xd8\xff": jpg, b"II*\x00": tiff, b"MM\x00*": tiff}
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
_BRIGHT = 32  # at 24 an Atlas image darkened eightfold and saved at quality 20 looks gray
_PLANES = {"red": (0,), "green": (1,), "blue": (2,), "yellow": (0, 1)}


@dataclass(frozen=True)
class Rule:
    """Which files a source takes.

    Attributes:
      formats: some of PNG, TIFF, JPEG.
      wanted: what to save instead of a file that is not taken, in words.
      bits: depths.
      white: the value that becomes 255; None: the largest of the depth.
      coloured: whether an image in one colour is taken.
      by_colour: whether that must be the channel's own colour.
    """

    formats: tuple[str, ...]
    wanted: str
    bits: tuple[int, ...] = (8,)
    white: int | None = None
    coloured: bool = False
    by_colour: bool = False

    def settings(self) -> dict:
        """What becomes white, where that is not plain."""
        return (
            {"white": {str(bits): self.white or 2**bits - 1 for bits in self.bits}}
            if len(self.bits) > 1
            else {}
        )


def scan(pictures: Store, name: str, rule: Rule) -> Header:
    """Checks a file without decoding its pixels; Refused with the reason."""
    try:
        with pictures.open(name) as file:
            return _scan(file, rule)
    except DAMAGE as error:
        raise store.refusal(error) from None


def _scan(file: BinaryIO, rule: Rule) -> Header:
    magic = file.read(8)
    file.seek(0)
    header = _format(magic, rule).scan(file)
    _check(header, rule)
    return header


def read(data: bytes, rule: Rule, channel: str) -> np.ndarray:
    """Decodes a channel's image.

    Args:
      data: the file.
      rule: of the source.
      channel: one of CHANNELS; matters where the rule is `by_colour`.

    Returns:
      uint8 [H, W]: the values in the file, or with 16 bits or a `white` min(255, value * 255 / white), rounded half up.

    Raises:
      Refused: the reason.
    """
    header, kind = _scan(io.BytesIO(data), rule), _format(data[:8], rule)
    with _quiet:
        image = kind.decode(data, header)
    if (
        image is None
        or image.shape[:2] != (header.height, header.width)
        or image.dtype != f"uint{header.bits}"
    ):
        raise Refused(f"is damaged: its pixel data do not decode; {AGAIN}")
    if image.ndim == 3:
        image = _plane(image, rule, channel, lossy=kind is jpg)
    white = rule.white or 2**header.bits - 1
    return image if white == 255 and image.dtype == np.uint8 else _scale(white)[image]


def resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 [H, W, 4] at another size (height, width): area averages to shrink, bilinear to enlarge; both round."""
    if image.shape[:2] == size:
        return image
    shrink = size[0] <= image.shape[0] and size[1] <= image.shape[1]
    return cv2.resize(
        image, size[::-1], interpolation=cv2.INTER_AREA if shrink else cv2.INTER_LINEAR
    )


def _format(magic: bytes, rule: Rule) -> ModuleType:
    """The module of a file's format."""
    if not magic:
        raise Refused(f"is empty (0 bytes); {AGAIN}")
    kind = next((kind for start, kind in _FORMATS.items() if magic.startswith(start)), None)
    if kind and _NAMES[kind] in rule.formats:
        return kind
    wanted = " or ".join(filter(None, [", ".join(rule.formats[:-1]), rule.formats[-1]]))
    if kind:
        raise Refused(f"is not a {wanted} but a {_NAMES[kind]}; {AGAIN} as {wanted}")
    other = next(
        (f" but {name}" for start, name in _OTHER_FORMATS.items() if magic.startswith(start)), ""
    )
    raise Refused(f"is not a {wanted}{other}; {AGAIN}{f' as {wanted}' if other else ''}")


def _check(header: Header, rule: Rule) -> None:
    """What a rule takes; Refused."""
    save = f"save the channel's own plane as {rule.wanted}"
    if header.colour != "gray" and not (rule.coloured and header.colour == "RGB"):
        raise Refused(f"is {header.colour}, not gray; {save}")
    if header.bits not in rule.bits:
        raise Refused(
            f"has {header.bits} bits a pixel, not {' or '.join(map(str, rule.bits))}; {save}"
        )
    if rule.white and rule.white >= 2**header.bits:
        raise Refused(
            f"has {header.bits} bits a pixel, too few for white={rule.white}; put one of the two right"
        )


def _plane(image: np.ndarray, rule: Rule, channel: str, lossy: bool) -> np.ndarray:
    """The plane of a coloured image [H, W, 3] in red, green, blue that holds the channel; Refused if none does alone.

    Lossless: gray (three equal planes), one plane that is not zero, or red and green equal without blue.
    Lossy: colours bleed, so planes count by their energy (sum of squares) in the bright pixels, those with a quarter of
    the largest as lit. In the dark the compression mixes the planes: where hardly a pixel is bright, nothing is told.
    """
    if (image[..., 0] == image[..., 1]).all() and (image[..., 1] == image[..., 2]).all():
        return image[..., 0]
    save = f"save the channel's own plane as {rule.wanted}"
    if not lossy:
        lit = tuple(plane for plane in range(3) if image[..., plane].any())
        alone = len(lit) == 1 or (lit == (0, 1) and (image[..., 0] == image[..., 1]).all())
    else:
        step = max(1, min(image.shape[:2]) // 512)
        sample = image[::step, ::step].reshape(-1, 3)
        bright = sample[sample.max(-1) >= _BRIGHT].astype(np.float32)
        told = len(bright) >= len(sample) / 1000
        energy = np.square(bright if told else sample.astype(np.float32)).sum(0)
        lit = (
            tuple(np.flatnonzero(energy >= energy.max() / 4).tolist())
            if told
            else (int(energy.argmax()),)
        )
        alone = lit in _PLANES.values()
        if rule.by_colour and not told:
            lit, alone = _PLANES[channel], True
    if not alone:
        raise Refused(f"shows several channels at once; {save}")
    if rule.by_colour and lit != _PLANES[channel]:
        seen = next(colour for colour, planes in _PLANES.items() if planes == lit)
        raise Refused(f"is {seen}, not {channel}: channels are swapped; {AGAIN}")
    return image[..., lit[0]]


@lru_cache(maxsize=4)
def _scale(white: int) -> np.ndarray:
    """uint8 of each value: min(255, value * 255 / white), rounded half up."""
    values = np.arange(2**16, dtype=np.int64)
    return np.minimum((values * 510 + white) // (2 * white), 255).astype(np.uint8)


class _Quiet:
    """The C libraries write lines of their own to stderr where pixel data are at odds with a sound header: not here.

    stderr is the whole process's, so of several threads the first turns it off and the last one on.
    """

    def __init__(self):
        self._lock, self._inside, self._kept = threading.Lock(), 0, -1

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, 2)
                os.close(null)

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                os.dup2(self._kept, 2)
                os.close(self._kept)


_quiet = _Quiet()
