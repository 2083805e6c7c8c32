"""PNG and TIFF files are read exactly, whatever wrote them; planes in colour; the white value."""

import io
import os
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from PIL import Image
from support.image_files import (
    coloured,
    encoded,
    smooth,
)
from support.image_rules import ANY

from hpa_jax.images import channel_file
from hpa_jax.images.rule import any_image
from hpa_jax.labels import CHANNELS


def big_endian(image):
    """A TIFF of big-endian numbers, written by hand: one strip, not packed."""
    height, width = image.shape
    entries = [
        (256, 3, width),
        (257, 3, height),
        (258, 3, 16),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, 200),
        (277, 3, 1),
    ]
    entries += [(278, 3, height), (279, 4, image.nbytes)]
    body = struct.pack(">H", len(entries))
    for tag, kind, value in entries:
        body += (
            struct.pack(">HHIHH", tag, kind, 1, value, 0)
            if kind == 3
            else struct.pack(">HHII", tag, kind, 1, value)
        )
    return (b"MM\0*" + struct.pack(">I", 8) + body).ljust(200, b"\0") + image.astype(
        ">u2"
    ).tobytes()


def tiff_cv(image, packing, *options):
    return cv2.imencode(".tif", image, [cv2.IMWRITE_TIFF_COMPRESSION, packing, *options])[
        1
    ].tobytes()


PIL_TIFF = (None, "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "packbits", "zstd")
SMALL_STRIPS = (cv2.IMWRITE_TIFF_ROWSPERSTRIP, 7)
LOSSLESS = {
    **{
        f"TIFF, Pillow, {packing}": lambda a, p=packing: encoded(a, "tiff", compression=p)
        for packing in PIL_TIFF
    },
    **{
        f"TIFF, OpenCV, {packing}": lambda a, p=packing: tiff_cv(a, p, *SMALL_STRIPS)
        for packing in (1, 5, 8, 32946)
    },
    "TIFF, predictor": lambda a: tiff_cv(a, 8, cv2.IMWRITE_TIFF_PREDICTOR, 2),
    "TIFF, tiled": lambda a: tiled(a, 1),
    "TIFF, tiled, deflated": lambda a: tiled(a, 8),
    "PNG": lambda a: encoded(a, "png"),
    "PNG, OpenCV": lambda a: cv2.imencode(".png", a)[1].tobytes(),
}


def tiled(image, packing, side=16):
    """A TIFF of tiles, written by hand; at the right and lower edge they reach over the image."""
    height, width = image.shape
    down, across = -(-height // side), -(-width // side)
    padded = np.pad(image, ((0, down * side - height), (0, across * side - width)))
    tiles = [
        padded[y * side : (y + 1) * side, x * side : (x + 1) * side].tobytes()
        for y in range(down)
        for x in range(across)
    ]
    tiles = [zlib.compress(tile) for tile in tiles] if packing == 8 else tiles
    lengths, starts, at = [len(tile) for tile in tiles], [], 8
    for length in lengths:
        starts.append(at)
        at += length
    tables = struct.pack(f"<{len(tiles)}I", *starts) + struct.pack(f"<{len(tiles)}I", *lengths)
    entries = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 1, 8 * image.itemsize),
        (259, 3, 1, packing),
    ]
    entries += [(262, 3, 1, 1), (277, 3, 1, 1), (322, 3, 1, side), (323, 3, 1, side)]
    entries += [(324, 4, len(tiles), at), (325, 4, len(tiles), at + 4 * len(tiles))]
    body = (
        struct.pack("<H", len(entries))
        + b"".join(struct.pack("<HHII", *entry) for entry in entries)
        + bytes(4)
    )
    return b"II*\0" + struct.pack("<I", at + len(tables)) + b"".join(tiles) + tables + body


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("kind", LOSSLESS)
def test_lossless_files_are_read_exactly(kind, bits):
    gray = smooth((39, 50), top=2**bits - 1)
    data = LOSSLESS[kind](gray)
    np.testing.assert_array_equal(
        np.asarray(Image.open(io.BytesIO(data))), gray
    )  # the file is what it should be
    header = channel_file.scan_file(io.BytesIO(data), ANY)
    assert (header.height, header.width, header.bits, header.colour) == (39, 50, bits, "gray")
    read = channel_file.read(data, ANY, "green")
    exact = np.floor(gray / (2**bits - 1) * 255 + 0.5).astype(np.uint8)
    np.testing.assert_array_equal(read, exact if bits == 16 else gray)


def test_big_endian_numbers():
    gray = smooth(top=65535)
    read = channel_file.read(big_endian(gray), ANY, "green")
    np.testing.assert_array_equal(read, np.floor(gray / 65535 * 255 + 0.5))


@pytest.mark.parametrize("kind", ["png", "tif"])
@pytest.mark.parametrize("top", [255, 65535])
@pytest.mark.parametrize("channel", [*CHANNELS, "gray"])
def test_the_plane_of_a_lossless_image_in_one_colour(channel, top, kind):
    gray = smooth(top=top)
    image = np.stack([gray] * 3, -1) if channel == "gray" else coloured(gray, channel)
    data = cv2.imencode(f".{kind}", image[..., ::-1])[1].tobytes()
    read = channel_file.read(data, ANY, "green")
    np.testing.assert_array_equal(read, np.floor(gray / top * 255 + 0.5))


@pytest.mark.parametrize(
    ("white", "top", "value", "expected"),
    [
        (None, 65535, 32768, 128),
        (None, 255, 77, 77),
        (4095, 65535, 4095, 255),
        (4095, 65535, 4096, 255),
        (4095, 65535, 65535, 255),
        (4095, 65535, 2048, 128),  # 127.53
        (510, 65535, 1, 1),  # 0.5, up
        (510, 65535, 3, 2),  # 1.5, up
        (1000, 65535, 1, 0),  # 0.255
        (100, 255, 50, 128),  # 127.5, up
        (100, 255, 101, 255),
    ],
)
def test_white_and_rounding(white, top, value, expected):
    image = np.full((5, 6), value, np.uint8 if top == 255 else np.uint16)
    read = channel_file.read(encoded(image, "png"), any_image(white=white), "green")
    assert (read == expected).all() and read.dtype == np.uint8


def test_stderr_is_there_again_after_any_number_of_threads(capfd):
    """While they decode it is turned off: C libraries write to it."""
    data = encoded(smooth(), "png")
    rule = ANY
    with ThreadPoolExecutor(8) as threads:
        assert (
            len(list(threads.map(lambda _: channel_file.read(data, rule, "green"), range(200))))
            == 200
        )
    os.write(2, b"here")
    assert capfd.readouterr().err == "here"
