"""Which format a file has, by its first bytes and not by its name; and its decoder."""

import io
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import numpy as np

from hpa_jax.images import foreign, jpg, png, store
from hpa_jax.images.header import Description, Header
from hpa_jax.images.quiet import quiet_stderr
from hpa_jax.images.rule import Rule
from hpa_jax.images.store import DOWNLOAD_AGAIN, Refused, Store
from hpa_jax.images.tiff import reader as tiff

_READ = {
    png.SIGNATURE: "PNG",
    b"\xff\xd8\xff": "JPEG",
    **dict.fromkeys(tiff.STARTS, "TIFF"),
}
_SCANS = {"PNG": png.scan, "JPEG": jpg.scan, "TIFF": tiff.scan}


def scan(images: Store, name: str, rule: Rule) -> Header:
    """Reads the header of a file in a store.

    Raises:
      Refused: with the reason.
    """
    try:
        with images.open(name) as file:
            return scan_file(file, rule)
    except store.DAMAGE as error:
        raise store.refusal(error) from None


def scan_file(file: BinaryIO, rule: Rule) -> Header:
    """Reads the header of an open file; see `scan`. Reading it may raise `store.DAMAGE`."""
    magic = file.read(foreign.START_BYTES)
    file.seek(0)
    return _SCANS[_format(magic, rule)](file)


def planes(
    data: bytes,
    header: Header,
    wanted: Sequence[int],
    projection: str,
) -> Iterator[np.ndarray]:
    """Decodes channels of a file that was scanned; see `tiff.reader.planes`.

    Raises:
      Refused: it is damaged.
    """
    if header.description.format == "TIFF":
        yield from tiff.planes(data, header, wanted, projection)
        return
    image = _decode(data, header)
    for plane in wanted:
        yield image if image.ndim == 2 else image[..., plane]


def colours(data: bytes, header: Header, projection: str) -> np.ndarray:
    """Decodes a file that was scanned and is RGB; see `planes`.

    Returns:
      [H, W, 3]: the values in the file.
    """
    if header.description.format == "TIFF":
        return np.stack(list(tiff.planes(data, header, range(3), projection)), axis=-1)
    return _decode(data, header)


def _decode(data: bytes, header: Header) -> np.ndarray:
    """[H, W] or [H, W, S] of a PNG or JPG."""
    decode = png.decode if header.description.format == "PNG" else jpg.decode
    with quiet_stderr:
        image = decode(data, header)
    if image is None or not _is_as_announced(image, header.description):
        raise Refused(f"is damaged: its pixel data do not decode; {DOWNLOAD_AGAIN}")
    return image


def scan_bytes(data: bytes, rule: Rule) -> Header:
    """Reads the header of a file in memory; see `scan`."""
    return scan_file(io.BytesIO(data), rule)


def _format(start: bytes, rule: Rule) -> str:
    if not start:
        raise Refused(f"is empty (0 bytes); {DOWNLOAD_AGAIN}")
    *others, last = rule.formats
    wanted = f"{', '.join(others)} or {last}" if others else last
    for magic, name in _READ.items():
        if not start.startswith(magic):
            continue
        if name in rule.formats:
            return name
        raise Refused(f"is not a {wanted} but a {name}; {DOWNLOAD_AGAIN} as {wanted}")
    kind = foreign.kind_of(start)
    if kind:
        raise Refused(f"is not a {wanted} but {kind}; export it as {wanted}, or {DOWNLOAD_AGAIN}")
    raise Refused(f"is not a {wanted}; {DOWNLOAD_AGAIN}")


def _is_as_announced(image: np.ndarray, description: Description) -> bool:
    same_size = image.shape[:2] == (description.height, description.width)
    depth = 16 if description.bits > 8 else 8
    samples = 1 if image.ndim == 2 else image.shape[2]
    # The decoder of PNG turns gray with alpha into four samples.
    same_samples = samples == description.planes or description.colour == "gray with alpha"
    return same_size and same_samples and image.dtype == f"uint{depth}"
