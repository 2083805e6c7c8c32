"""What a file says of itself: pixel size, what white is, how its values lie."""

import io
import struct

import numpy as np
import pytest
from support.awkward_files import eight, written
from support.image_files import encoded, smooth
from support.image_rules import ANY
from support.written_files import ASCII, LONG, SHORT, png, tiff

from hpa_jax.images import channel_file
from hpa_jax.images.rule import Rule, any_image
from hpa_jax.images.store import Refused

SHAPE = (24, 30)
RATIONAL = 5


def described(data, rule=ANY):
    return channel_file.scan_file(io.BytesIO(data), rule)


def by_ome(image, **metadata):
    return written(image, ome=True, metadata={"axes": "YX"} | metadata)


@pytest.mark.parametrize(
    ("size", "unit", "expected"),
    [
        (0.08, "µm", 0.08),
        (80, "nm", 0.08),
        (8e-5, "mm", 0.08),
        (650, "pm", None),
        (1.0, "pixel", None),
        (352.8, "µm", None),
    ],
)
def test_the_pixel_size_of_ome(size, unit, expected):
    metadata = {"PhysicalSizeX": size, "PhysicalSizeY": size, "PhysicalSizeXUnit": unit}
    data = by_ome(smooth(SHAPE), PhysicalSizeYUnit=unit, **metadata)
    found = described(data).pixel_size
    assert found == (pytest.approx(expected) if expected else None)


def test_pixels_that_are_not_square_have_no_size():
    data = by_ome(smooth(SHAPE), PhysicalSizeX=0.08, PhysicalSizeY=0.12)
    assert described(data).pixel_size is None


@pytest.mark.parametrize(
    ("unit", "expected"), [("um", 0.08), ("micron", 0.08), ("\\u00B5m", 0.08), ("pixel", None)]
)
def test_the_pixel_size_of_imagej(unit, expected):
    data = written(smooth(SHAPE), imagej=True, resolution=(12.5, 12.5), metadata={"unit": unit})
    found = described(data).pixel_size
    assert found == (pytest.approx(expected) if expected else None)


@pytest.mark.parametrize(
    ("resolution", "unit", "expected"),
    [
        (125000, "CENTIMETER", 0.08),
        (317500, "INCH", 0.08),
        (72, "INCH", None),  # of a screen
        (1200, "INCH", None),  # of a printer
        (125000, "NONE", None),
    ],
)
def test_the_pixel_size_of_the_resolution_tags(resolution, unit, expected):
    data = written(
        smooth(SHAPE), resolution=(resolution, resolution), resolutionunit=unit, metadata=None
    )
    found = described(data).pixel_size
    assert found == (pytest.approx(expected) if expected else None)


@pytest.mark.parametrize("resolution", [(0, 1), (1, 0), (0, 0), (2**32 - 1, 1)])
def test_a_resolution_that_is_none(resolution):
    raw = struct.pack("<II", *resolution)
    # The writer counts bytes; a fraction has eight.
    data = tiff([bytes(720)], SHAPE, 8, [(282, RATIONAL, raw), (283, RATIONAL, raw)])
    for tag in (282, 283):
        data = data.replace(struct.pack("<HHI", tag, 5, 8), struct.pack("<HHI", tag, 5, 1))
    assert described(data).pixel_size is None


@pytest.mark.parametrize("file", ["png", "jpeg", "tiff"])
def test_a_file_that_says_nothing(file):
    found = described(encoded(smooth(SHAPE), file))
    assert (found.pixel_size, found.white, found.names) == (None, None, ("",))
    assert (found.height, found.width, found.bits) == (*SHAPE, 8)


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_white_by_significant_bits_and_by_the_largest_sample_value(bits):
    white = 2**bits - 1
    image = smooth(SHAPE, top=white)
    by_tag = tiff([image.tobytes()], SHAPE, 16, [(281, SHORT, (white,))])
    for data in (by_ome(image, SignificantBits=bits), by_tag):
        read = channel_file.read_plane(data, ANY, "green")
        assert (read.description.white, read.largest) == (white, image.max())
        np.testing.assert_array_equal(read.pixels, eight(image, white))
        # What the user states goes before what the file says.
        stated = channel_file.read(data, any_image(white=white // 2), "green")
        np.testing.assert_array_equal(stated, eight(image, white // 2))


@pytest.mark.parametrize("value", [0, 1, 127, 810, 4096, 2**20 - 1])
def test_a_largest_sample_value_that_is_no_cameras(value):
    """Programs write the largest value of the image there, which is another for the next image."""
    image = smooth(SHAPE, top=810)
    data = tiff([image.tobytes()], SHAPE, 16, [(281, LONG, (value,))])
    read = channel_file.read_plane(data, ANY, "green")
    assert (read.description.white, read.largest) == (None, 810)
    np.testing.assert_array_equal(read.pixels, eight(image, 65535))


def test_floating_point_numbers_need_a_range_and_finite_values():
    image = np.linspace(-1, 3, 720, dtype=np.float32).reshape(SHAPE)
    read = channel_file.read_plane(written(image), any_image(float_range=(0, 2)), "green")
    np.testing.assert_array_equal(read.pixels, eight(np.clip(image, 0, 2).astype(float), 2))
    assert (read.description.number, read.largest) == ("float", 3)
    for bad in (np.nan, np.inf, -np.inf):
        image[3, 4] = bad
        with pytest.raises(Refused, match="has values that are infinite or not a number; "):
            channel_file.read_plane(written(image), any_image(float_range=(0, 2)), "green")
    double = written(image.astype(np.float64))
    with pytest.raises(Refused, match="has floating-point numbers of 64 bits, not 32; "):
        channel_file.read_plane(double, any_image(float_range=(0, 2)), "green")


def test_a_rule_of_few_depths_refuses_the_others():
    rule = Rule(("PNG",), "an eight-bit gray PNG")
    for bits in (1, 2, 4, 16):
        with pytest.raises(Refused, match=f"has {bits} bits a pixel, not 8; save the channel's"):
            described(png(smooth(SHAPE) >> 7, bits), rule)


def test_the_settings_of_a_rule():
    assert Rule(("PNG",), "one").settings() == {}
    assert any_image().settings() == {"white": {"8": 255, "16": 65535}}
    rule = any_image(white=4095, projection="max", float_range=(0, 1.5))
    assert rule.settings() == {
        "white": {"8": 4095, "16": 4095},
        "projection": "max",
        "float_range": [0, 1.5],
    }


@pytest.mark.parametrize(
    "xml",
    [
        "<OME><Image><Pixels SizeC='9' SizeZ='999999' SizeT='99'/></Image></OME>",
        "<OME><Image><Pixels SizeC='x'/></Image></OME>",
        "<OME><Image><Pixels SizeC='2'/></Image></OME>",
        "<OME><Image><Pixels SizeC='2'><Channel/></Pixels></Image></OME>",
        "<OME><Image><Pixels DimensionOrder='XYZZT'/></Image></OME>",
        "<OME><Image/><Image/></OME>",
        "<OME><Image></OME>",
        "<OME>" * 50000 + "</OME>",
        "<OME><Image><Pixels SizeC='2'>" + "<TiffData IFD='0'/>" * 3 + "</Pixels></Image></OME>",
    ],
)
def test_ome_xml_that_does_not_fit_the_file(xml):
    data = tiff([bytes(720)], SHAPE, 8, [(270, ASCII, xml.encode() + b"\0")])
    with pytest.raises(Refused) as error:
        described(data)
    assert "OME-XML" in str(error.value) and "; " in str(error.value)
