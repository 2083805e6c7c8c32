"""Label images: one plane, in which each pixel has the number of its instance, 0 is background.

This is what Cellpose, QuPath, ImageJ and CellProfiler exchange. Written are PNG or TIFF of 16 bits.
Read are anyone's: PNG of 8 or 16 bits, TIFF of 8, 16 or 32, with gaps in the numbers too.
"""

import io
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import tifffile

from hpa_jax.errors import InputError, one_line
from hpa_jax.images import png
from hpa_jax.images.header import MAX_PIXELS
from hpa_jax.images.store import MAX_BYTES, Refused, too_large
from hpa_jax.images.tiff.reader import STARTS as TIFF_STARTS

_MOST_LABELS = 2**16 - 1
_WANTED = "a label image has one plane of whole numbers, 0 for background"
# What programs write for the foreground of a mask without instances.
_WHITE = (255, _MOST_LABELS)


def encode_png(labels: np.ndarray) -> bytes:
    """A label image as PNG of 16 bits, gray.

    Args:
      labels: int32 [H, W], 0 to 65535.
    """
    _, encoded = cv2.imencode(".png", _of_16_bits(labels))
    return encoded.tobytes()


def encode_tiff(labels: np.ndarray) -> bytes:
    """A label image as TIFF of 16 bits, deflated; see `encode_png`."""
    file = io.BytesIO()
    tifffile.imwrite(file, _of_16_bits(labels), compression="zlib", metadata=None)
    return file.getvalue()


FORMATS: dict[str, Callable[[np.ndarray], bytes]] = {"png": encode_png, "tif": encode_tiff}
"""How a label image is written, by the suffix of its name."""


def read_labels(path: Path, height: int, width: int) -> np.ndarray:
    """Reads a label image of a field, whoever wrote it.

    Args:
      path: of a PNG or TIFF.
      height: of the field.
      width: of the field.

    Returns:
      int32 [H, W], the numbers in the file.

    Raises:
      InputError: it cannot be read, is no label image, or is of another size.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise too_large(path.stat().st_size)
        data = path.read_bytes()
        if data.startswith(png.SIGNATURE):
            labels = _from_png(data)
        elif data.startswith(TIFF_STARTS):
            labels = _from_tiff(data)
        else:
            raise Refused("is neither PNG nor TIFF; export the masks as one of them")
        _check(labels, height, width)
    except Refused as refused:
        raise InputError(f"{path} {refused}") from None
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {one_line(error)}; make it readable, or export it again"
        ) from None
    return labels.astype(np.int32)


def _of_16_bits(labels: np.ndarray) -> np.ndarray:
    if labels.max(initial=0) > _MOST_LABELS:
        raise ValueError(f"{labels.max()} does not fit into a label image of 16 bits")
    return labels.astype(np.uint16)


def _from_png(data: bytes) -> np.ndarray:
    header = png.scan(io.BytesIO(data))
    colour = header.description.colour
    if colour not in ("gray", "gray in a palette"):
        raise Refused(f"is {colour}, no label image: {_WANTED}; export the labels, not a picture")
    labels = png.decode(data, header)
    if labels is None:
        raise Refused("is damaged: its pixel data do not decode; export it again")
    return labels


def _from_tiff(data: bytes) -> np.ndarray:
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page = file.pages[0]
            shape = file.series[0].shape
            samples = page.samplesperpixel
            if samples > 1:
                name = {3: "RGB", 4: "RGBA"}.get(samples, f"of {samples} samples a pixel")
                raise Refused(
                    f"is {name}, no label image: {_WANTED}; export the labels, not a picture"
                )
            planes = [length for length in shape if length > 1]
            if len(file.pages) > 1 or len(planes) > 2:
                raise Refused(f"holds several planes ({shape}); export the labels of one field")
            if page.imagewidth * page.imagelength > MAX_PIXELS:
                raise Refused(f"claims {shape} pixels, more than {MAX_PIXELS}; export it again")
            return page.asarray()
    except Refused:
        raise
    except Exception as error:
        # The decoders of a hundred compressions have errors of their own.
        raise Refused(
            f"does not decode as TIFF ({one_line(error, limit=120)}); export it again"
        ) from None


def _check(labels: np.ndarray, height: int, width: int) -> None:
    """Raises Refused for what is not the label image of a field of this size."""
    if labels.shape != (height, width):
        found = " x ".join(map(str, labels.shape[::-1]))
        raise Refused(
            f"is {found} px and its field {width} x {height}; give masks of the field's own size"
        )
    if labels.dtype.kind == "f" and not np.array_equal(labels, np.floor(labels)):
        raise Refused(f"has fractions, no label image: {_WANTED}")
    if labels.dtype.kind not in "uif" or labels.dtype.itemsize > 4:
        raise Refused(f"has values of type {labels.dtype}; save it with 8, 16 or 32 bits")
    if labels.min(initial=0) < 0 or labels.max(initial=0) > np.iinfo(np.int32).max:
        raise Refused(f"has values from {labels.min()} to {labels.max()}: {_WANTED}")
    numbers = np.unique(labels)
    numbers = numbers[numbers > 0]
    if len(numbers) == 1 and int(numbers[0]) in _WHITE:
        raise Refused(
            f"is black and white (0 and {int(numbers[0])}): a mask of all cells together; export "
            "one with a number for each cell"
        )
    if len(numbers) > _MOST_LABELS:
        raise Refused(f"has {len(numbers)} labels: {_WANTED}")
