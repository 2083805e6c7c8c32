"""Files that are no image of their source: each is one fault with its reason."""

import io
import os
import random
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2
from support.image_files import (
    LAYOUTS,
    assert_fault,
    coloured,
    each_layout,
    encoded,
    jpg,
    smooth,
    write,
)

from hpa_jax.images import png

ROOT = Path(__file__).parents[2]


def damaged(path, change):
    data = bytearray(path.read_bytes())
    change(data)
    path.write_bytes(data)


def truncate(fraction):
    return lambda path: path.write_bytes(path.read_bytes()[: int(path.stat().st_size * fraction)])


def put(make):
    return lambda path: path.write_bytes(make())


def link(target):
    def change(path):
        path.unlink()
        path.symlink_to(target)

    return change


def folder_instead(path):
    path.unlink()
    path.mkdir()


def fifo(path):
    path.unlink()
    os.mkfifo(path)


def claims(width, height):
    """A PNG header with these pixels, and hardly any behind it."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return png.SIGNATURE + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def tagged(**tags):
    """A TIFF with other values of these tags."""
    directory = ImageFileDirectory_v2()
    for tag, value in tags.items():
        directory[int(tag[1:])] = value
    return encoded(smooth(), "tiff", tiffinfo=directory)


def with_tag(tag, value, instead=None):
    """A plain TIFF with another value of a SHORT tag, which may stand in place of another."""
    data = bytearray(encoded(smooth(), "tiff"))
    (at,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, at)
    for place in range(at + 2, at + 2 + 12 * count, 12):
        if struct.unpack_from("<H", data, place)[0] == (instead or tag):
            struct.pack_into("<HHIHH", data, place, tag, 3, 1, value, 0)
            return bytes(data)
    raise AssertionError(tag)


def mixed_palette():
    image = Image.fromarray(smooth()).convert("P")
    image.putpalette(list(range(255, -1, -1)) * 3)
    file = io.BytesIO()
    image.save(file, "png")
    return file.getvalue()


def two_pages():
    page = Image.fromarray(smooth())
    file = io.BytesIO()
    page.save(file, "tiff", save_all=True, append_images=[page])
    return file.getvalue()


def flipped_deflate():
    data = bytearray(encoded(smooth(), "tiff", compression="tiff_deflate"))
    (at,) = struct.unpack_from("<I", data, 4)
    data[(8 if at > 200 else len(data) - 8) + 60] ^= 16
    return bytes(data)


def swapped_end(data):
    """Cut in the middle with the end put back: what Pillow and OpenCV fill up with gray."""
    return data[: len(data) // 2] + b"\xff\xd9"


ANY = {
    "missing": (
        lambda path: path.unlink(),
        "is missing; download it again, or take its row out of the csv",
    ),
    "empty": (put(lambda: b""), "is empty (0 bytes); download it again"),
    "cut at the end": (truncate(0.98), "is cut short"),
    "cut in the middle": (truncate(0.5), "is cut short"),
    "cut in the header": (put(lambda: b""), "is empty"),
    "a folder": (folder_instead, "is not a file; put the channel's image there"),
    "a pipe": (fifo, "is not a file"),
    "a link that leads out": (link("/etc/hostname"), "is a link that leads out of"),
    "a link to nothing": (link("nothing"), "is missing"),
    "a page of a log-in": (
        put(lambda: b"<!doctype html>"),
        "but a web page or other text; export it as",
    ),
    "a GIF": (put(lambda: encoded(smooth(), "gif")), "but a GIF"),
    "zeros": (put(lambda: bytes(4000)), "; download it again"),
    "noise": (put(lambda: random.Random(0).randbytes(4000)), "; download it again"),
    "a gigabyte": (lambda path: os.truncate(path, 2**30), "claims 1073741824 bytes, more than the"),
}


@pytest.mark.parametrize("fault", ANY)
@each_layout
def test_a_file_that_is_not_one(fault, layout, tmp_path):
    make, name, content = layout
    damage, reason = ANY[fault]
    source = make(write(tmp_path, name, content))
    path = tmp_path / name[1].format(id="a_1", channel="blue")
    damage(path)
    assert_fault(source, path, reason)


KINDS = {
    ("kaggle_512", "a JPG named .png"): (
        lambda: jpg(smooth(), "blue"),
        "is not a PNG but a JPEG; download it again",
    ),
    ("kaggle_512", "a TIFF named .png"): (
        lambda: encoded(smooth(), "tiff"),
        "is not a PNG but a TIFF",
    ),
    ("kaggle_512", "RGB"): (
        lambda: encoded(coloured(smooth(), "blue"), "png"),
        "is RGB, not gray; save the channel's own",
    ),
    ("kaggle_512", "16 bits"): (
        lambda: encoded(smooth(top=65535), "png"),
        "has 16 bits a pixel, not 8; save the",
    ),
    ("kaggle_512", "another size"): (
        lambda: encoded(smooth((20, 20)), "png"),
        "has 20 x 20 pixels, the image's other channels have 48 x 40 pixels; "
        "download all four again",
    ),
    ("kaggle_512", "a bomb"): (
        lambda: claims(60000, 60000),
        "claims 60000 x 60000 pixels, more than 16777216; ",
    ),
    ("kaggle_512", "no pixels"): (lambda: claims(0, 9), "claims 0 x 9 pixels; "),
    ("kaggle_full", "16 bits"): (
        lambda: encoded(smooth(top=65535), "tiff"),
        "has 16 bits a pixel, not 8; save the",
    ),
    ("kaggle_full", "RGB"): (
        lambda: encoded(coloured(smooth(), "blue"), "tiff"),
        "is RGB, not gray; ",
    ),
    ("kaggle_full", "a PNG"): (
        lambda: encoded(smooth(), "png"),
        "is not a TIFF but a PNG; download it again as TIFF",
    ),
    ("kaggle_full", "1 bit"): (lambda: encoded(smooth() > 99, "tiff"), "has 1 bits a pixel"),
    ("kaggle_full", "floats"): (
        lambda: encoded(smooth() / np.float32(9), "tiff"),
        "is of floating-point numbers; save",
    ),
    ("kaggle_full", "signed"): (lambda: with_tag(339, 2, instead=284), "is of signed numbers"),
    ("kaggle_full", "32 bits"): (lambda: with_tag(258, 32), "; "),
    ("kaggle_full", "palette"): (lambda: palette("tiff"), "is gray in a palette, not gray"),
    ("kaggle_full", "alpha"): (
        lambda: encoded(np.dstack([smooth()] * 4), "tiff"),
        "is RGBA, not gray",
    ),
    ("kaggle_full", "gray and alpha"): (
        lambda: encoded(np.dstack([smooth()] * 2), "tiff"),
        "is gray with alpha, not",
    ),
    ("kaggle_full", "two pages"): (
        two_pages,
        "has more than one page; save the channel's own plane as an eight-bit gray TIFF",
    ),
    ("kaggle_full", "white is 0"): (
        lambda: with_tag(262, 0),
        "stores white as 0; save it with black as 0",
    ),
    ("kaggle_full", "rotated"): (
        lambda: tagged(t274=6),
        "must be rotated or mirrored to be viewed",
    ),
    ("kaggle_full", "LZMA"): (
        lambda: encoded(smooth(), "tiff", compression="lzma"),
        "is packed by method 34925",
    ),
    ("kaggle_full", "a flipped deflated bit"): (
        flipped_deflate,
        "is damaged: wrong checksum or length of its pixel data",
    ),
    ("kaggle_full", "a bomb"): (lambda: with_tag(256, 65535), "; "),
    ("hpav18", "a PNG"): (
        lambda: encoded(coloured(smooth(), "blue"), "png"),
        "is not a JPEG but a PNG",
    ),
    ("hpav18", "another channel's"): (
        lambda: jpg(smooth(), "red"),
        "is red, not blue: channels are swapped; ",
    ),
    ("hpav18", "yellow"): (
        lambda: jpg(smooth(), "yellow"),
        "is yellow, not blue: channels are swapped; ",
    ),
    ("hpav18", "a composite"): (
        lambda: encoded(np.dstack([smooth(), smooth(seed=5), smooth(seed=6)]), "jpeg"),
        "shows several channels at once; "
        "save the channel's own plane as a JPG in the channel's colour",
    ),
    ("hpav18", "magenta"): (
        lambda: encoded(coloured(smooth(), "blue") + coloured(smooth(), "red"), "jpeg"),
        "shows several channels at once",
    ),
    ("hpav18", "the end put back"): (lambda: swapped_end(jpg(smooth(), "blue")), "is damaged ("),
    ("hpav18", "12 bits"): (
        lambda: patched_jpg(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"),
        "is a JPG of 12 bits",
    ),
    ("hpav18", "arithmetic"): (
        lambda: patched_jpg(b"\xff\xc0", b"\xff\xc9"),
        "is a JPG of a rare kind",
    ),
    ("hpav18", "300 scans"): (
        lambda: jpg(smooth(), "blue")[:-2] + b"\xff\xda" * 300 + b"\xff\xd9",
        "has more than 200 scans",
    ),
    ("hpav18", "CMYK"): (lambda: encoded_mode("CMYK", "jpeg"), "is CMYK, not gray"),
    ("hpav18", "another size"): (
        lambda: jpg(smooth((20, 20)), "blue"),
        "has 20 x 20 pixels, the image's other",
    ),
    ("folder", "palette"): (mixed_palette, "is palette, not gray"),
    ("folder", "alpha"): (lambda: encoded(np.dstack([smooth()] * 4), "png"), "is RGBA, not gray"),
    ("folder", "1 bit"): (
        lambda: encoded(smooth() > 99, "png"),
        "has 1 bits a pixel, the image's other channels have 8 bits a pixel",
    ),
    ("folder", "a shade is transparent"): (
        lambda: encoded(smooth(), "png", transparency=1),
        "is gray with a transparent shade, not gray",
    ),
    ("folder", "two channels in colour"): (
        lambda: encoded(np.dstack([smooth(), smooth(seed=5), smooth() * 0]), "png"),
        "shows several channels at once; save the channel's own plane as a gray PNG, TIFF or "
        "JPG of 8 or 16 bits",
    ),
    ("folder", "other bits"): (
        lambda: encoded(smooth(top=65535), "png"),
        "has 16 bits a pixel, the image's other channels have 8 bits a pixel; "
        "download all four again",
    ),
    ("folder", "another format"): (
        lambda: encoded(smooth(), "tiff"),
        "has the format TIFF, the image's other channels have the format PNG; "
        "download all four again",
    ),
    ("folder", "a zip"): (
        lambda: b"PK\x03\x04" + bytes(99),
        "is not a PNG, TIFF or JPEG but a zip file",
    ),
}


def palette(kind):
    file = io.BytesIO()
    Image.fromarray(smooth()).convert("P").save(file, kind)
    return file.getvalue()


def patched_jpg(old, new):
    data = jpg(smooth(), "blue")
    assert data.count(old) == 1
    return data.replace(old, new)


def encoded_mode(mode, kind):
    file = io.BytesIO()
    Image.new(mode, (48, 40), 9).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("fault", KINDS, ids=": ".join)
def test_a_file_of_another_kind(fault, tmp_path):
    make, name, content = LAYOUTS[fault[0]]
    data, reason = KINDS[fault]
    source = make(write(tmp_path, name, content))
    path = tmp_path / name[1].format(id="a_1", channel="blue")
    path.write_bytes(data())
    assert_fault(source, path, reason)
