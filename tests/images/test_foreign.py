"""What a file of another format is called, and which are told as what they are."""

import imagecodecs
import numpy as np
import pytest
from support.image_files import smooth
from support.image_rules import ANY

from hpa_jax.images import channel_file
from hpa_jax.images.foreign import START_BYTES, kind_of
from hpa_jax.images.store import Refused

KINDS = {
    "a HEIC": b"\0\0\0\x18ftypheic",
    "an AVIF": b"\0\0\0\x1cftypavif",
    "a video": b"RIFF\0\0\0\0AVI LIST",
    "a WebP": b"RIFF\0\0\0\0WEBPVP8 ",
    "a DICOM file": bytes(128) + b"DICM",
    "a DeltaVision file": bytes(96) + b"\xa0\xc0",
    "a tar archive": b"a.png".ljust(257, b"\0") + b"ustar",
    "an SVG": b'<?xml version="1.0"?>\n<svg xmlns="x">',
    "a web page or other text": b"\xef\xbb\xbf\r\n<!doctype html>",
    "a text": b'{"error": "not found"}\n',
    "a pointer of Git LFS, whose file was not fetched": b"version https://git-lfs.github.com",
    "an ND2 of Nikon": b"\xda\xce\xbe\x0a",
    "": b"\x01\x02\x03 and more",
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_another_format_is_told_as_what_it_is(kind):
    data = KINDS[kind].ljust(START_BYTES, b" ")
    assert kind_of(data) == kind
    expected = f"is not a PNG, TIFF or JPEG but {kind}; export" if kind else "JPEG; download"
    with pytest.raises(Refused, match=expected):
        channel_file.read(data, ANY, "green")


@pytest.mark.parametrize(
    ("pack", "words"),
    [
        (lambda image: imagecodecs.jpeg_encode(image, bitspersample=12), "is a JPG of 12 bits"),
        (lambda image: imagecodecs.ljpeg_encode(image), "is a JPG of 16 bits"),
        (
            lambda image: imagecodecs.jpegls_encode((image >> 4).astype(np.uint8)),
            "is a JPG of a rare kind",
        ),
        (lambda image: imagecodecs.jpeg2k_encode(image), "but a JPEG 2000"),
    ],
)
def test_a_jpg_that_is_none_of_the_usual(pack, words):
    image = smooth((40, 48), seed=1, top=4095).astype(np.uint16)
    with pytest.raises(Refused, match=words):
        channel_file.read(pack(image), ANY, "green")
