"""Files of several planes: channels, depth and time, as OME, ImageJ, LSM and others tell them."""

import io
import itertools
import struct

import numpy as np
import pytest
import tifffile
from support.awkward_files import eight, written
from support.image_files import smooth
from support.image_rules import ANY
from support.written_files import ASCII, tiff

from hpa_jax.images import channel_file, image_file
from hpa_jax.images.rule import any_image
from hpa_jax.images.store import Refused
from hpa_jax.labels import CHANNELS

NAMES = ["Nucleus", "antibody", "ER", "Microtubules"]
ORDER = ("blue", "green", "yellow", "red")
PLACES = [ORDER.index(channel) for channel in CHANNELS]
SHAPE = (36, 44)


def volume(channels=4, depth=3, top=65535):
    """[depth, channels, H, W], each plane another."""
    planes = [smooth(SHAPE, seed=seed, top=top) for seed in range(channels * depth)]
    return np.stack(planes).reshape(depth, channels, *SHAPE)


def expected(planes):
    """uint8 [H, W, 4] in the order of CHANNELS, of uint16 [4, H, W] in ORDER."""
    return eight(np.moveaxis(planes[PLACES], 0, -1), 65535)


def by_ome(planes, axes, **metadata):
    return written(planes, ome=True, metadata={"axes": axes} | metadata)


def by_imagej(planes, axes, **metadata):
    return written(planes, imagej=True, metadata={"axes": axes} | metadata)


def refusal(function, *arguments):
    with pytest.raises(Refused) as error:
        function(*arguments)
    assert str(error.value).isprintable() and "; " in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("order", [None, ORDER])
def test_channels_by_ome_names_or_by_a_stated_order(order):
    (planes,) = volume(depth=1)
    data = by_ome(planes, "CYX", Channel={"Name": NAMES})
    read = image_file.read_image(data, ANY, order)
    np.testing.assert_array_equal(read.pixels, expected(planes))
    assert read.channels == CHANNELS
    assert read.description.names == tuple(NAMES)
    assert (read.description.planes, read.description.depth_planes) == (4, 1)
    assert read.largest == planes.max()


def test_channels_by_imagej_labels():
    (planes,) = volume(depth=1)
    read = image_file.read_image(by_imagej(planes, "CYX", Labels=NAMES), ANY, None)
    np.testing.assert_array_equal(read.pixels, expected(planes))


def test_a_skipped_plane_and_a_missing_channel():
    (planes,) = volume(depth=1)
    read = image_file.read_image(by_ome(planes, "CYX"), ANY, ("red", "", "", "green"))
    assert read.channels == ("red", "green")
    np.testing.assert_array_equal(read.pixels[..., 0], eight(planes[0], 65535))
    np.testing.assert_array_equal(read.pixels[..., 1], eight(planes[3], 65535))
    assert not read.pixels[..., 2:].any()


@pytest.mark.parametrize("dimensions", list(itertools.permutations("CZT")))
def test_every_order_of_dimensions_of_ome(dimensions):
    """The pages lie as DimensionOrder says, the fastest first."""
    planes = volume(channels=4, depth=3)
    slowest_first = [axis for axis in reversed(dimensions) if axis != "T"]
    stored = planes if slowest_first == ["Z", "C"] else planes.swapaxes(0, 1)
    sizes = 'SizeX="44" SizeY="36" SizeC="4" SizeZ="3" SizeT="1" Type="uint16"'
    channels = "".join(f'<Channel Name="{name}"/>' for name in NAMES)
    pixels = f'<Pixels DimensionOrder="XY{"".join(dimensions)}" {sizes}>{channels}<TiffData/>'
    xml = f"<OME><Image>{pixels}</Pixels></Image></OME>"
    data = written(stored.reshape(12, *SHAPE), description=xml, metadata=None)
    read = image_file.read_image(data, any_image(projection="max"), None)
    np.testing.assert_array_equal(read.pixels, expected(planes.max(0)))


def test_pages_in_an_order_of_their_own():
    """Each TiffData says which plane its page is."""
    (planes,) = volume(depth=1)
    pages = [2, 0, 3, 1]
    blocks = [
        f'<TiffData IFD="{pages.index(channel)}" FirstC="{channel}" PlaneCount="1"/>'
        for channel in range(4)
    ]
    channels = "".join(f'<Channel Name="{name}"/>' for name in NAMES)
    pixels = '<Pixels DimensionOrder="XYZCT" SizeC="4" SizeZ="1" SizeT="1">'
    xml = f"<OME><Image>{pixels}{channels}{''.join(blocks)}</Pixels></Image></OME>"
    data = written(planes[pages], description=xml, metadata=None, photometric="minisblack")
    read = image_file.read_image(data, ANY, None)
    np.testing.assert_array_equal(read.pixels, expected(planes))


def test_one_file_of_a_set_is_read_as_the_channel_that_it_holds():
    """Its OME-XML describes the other files as well."""
    plane = smooth(SHAPE, top=65535)
    blocks = "".join(
        f'<TiffData FirstC="{channel}" IFD="0"><UUID FileName="c{channel}.tif">u{channel}</UUID>'
        "</TiffData>"
        for channel in range(4)
    )
    xml = f'<OME UUID="u2"><Image><Pixels SizeC="4">{blocks}</Pixels></Image></OME>'
    beside = '<o:OME xmlns:o="ome"><o:BinaryOnly UUID="u1" MetadataFile="c0.tif"/></o:OME>'
    for text in (xml, xml.replace(' UUID="u2"', ""), beside):
        data = written(plane, description=text, metadata=None)
        read = channel_file.read_plane(data, ANY, "green")
        np.testing.assert_array_equal(read.pixels, eight(plane, 65535))
        assert read.description.planes == 1


@pytest.mark.parametrize("write", [by_ome, by_imagej])
@pytest.mark.parametrize("projection", ["max", "mean"])
def test_a_z_stack_is_refused_unless_a_projection_is_asked_for(write, projection):
    planes = volume()
    data = write(planes, "ZCYX")
    message = refusal(image_file.read_image, data, ANY, ORDER)
    assert message.startswith("is a z-stack of 3 planes; ask for a projection")
    read = image_file.read_image(data, any_image(projection=projection), ORDER)
    if projection == "max":
        flat = planes.max(0)
    else:
        flat = np.floor(planes.astype(np.float64).mean(0) + 0.5).astype(np.uint16)
    np.testing.assert_array_equal(read.pixels, expected(flat))
    assert (read.description.planes, read.description.depth_planes) == (4, 3)


def test_a_mean_of_floating_point_planes():
    planes = volume(channels=1)[:, 0] / np.float32(65535)
    rule = any_image(projection="mean", float_range=(0, 1))
    read = channel_file.read_plane(by_imagej(planes, "ZYX"), rule, "green")
    np.testing.assert_array_equal(read.pixels, np.floor(planes.mean(0, np.float64) * 255 + 0.5))


@pytest.mark.parametrize("projection", ["", "max"])
def test_pages_of_which_nothing_says_what_they_are(projection):
    """Of one channel's file they are planes in depth if the user asks for a projection."""
    planes = volume(channels=1)[:, 0]
    data = written(planes, photometric="minisblack", metadata=None)
    rule = any_image(projection=projection)
    if projection:
        read = channel_file.read_plane(data, rule, "green")
        np.testing.assert_array_equal(read.pixels, eight(planes.max(0), 65535))
    else:
        assert refusal(channel_file.read_plane, data, rule, "green").startswith(
            "has more than one page; save the channel's own plane"
        )
    assert refusal(image_file.read_image, data, rule, None).startswith(
        "holds 3 pages and does not say which they are; state which is which"
    )


@pytest.mark.parametrize("write", [by_ome, by_imagej])
def test_time_points_are_refused_whatever_is_asked_for(write):
    data = write(volume()[:, 0], "TYX")
    for rule in (ANY, any_image(projection="max")):
        assert "has 3 time points" in refusal(channel_file.read_plane, data, rule, "green")


def test_names_that_say_too_little():
    (planes,) = volume(depth=1)
    dyes = by_ome(planes, "CYX", Channel={"Name": ["DAPI", "FITC", "Cy3", "Cy5"]})
    message = refusal(image_file.read_image, dyes, ANY, None)
    assert "(DAPI, FITC, Cy3, Cy5) the protein (green); state which is which" in message
    twice = by_ome(planes, "CYX", Channel={"Name": ["green", "protein", "blue", "red"]})
    assert "has two channels for green" in refusal(image_file.read_image, twice, ANY, None)
    wrong = refusal(image_file.read_image, dyes, ANY, ("red", "green"))
    assert "holds 4 channels (DAPI, FITC, Cy3, Cy5), and the order names 2" in wrong
    again = refusal(image_file.read_image, dyes, ANY, ("red", "red", "", ""))
    assert "cannot have red twice" in again


@pytest.mark.parametrize(
    ("name", "channel"),
    [
        ("Hoechst 33342", "blue"),
        ("ENDOPLASMIC_RETICULUM", "yellow"),
        ("α-tubulin", "red"),
        ("alpha-Tubulin", "red"),
        ("Protein", "green"),
        ("GFP", ""),
        ("", ""),
    ],
)
def test_what_a_name_means(name, channel):
    assert image_file.channel_of(name) == channel


def test_a_composite_gives_red_green_and_blue_alone():
    image = np.dstack([smooth(SHAPE, seed=seed, top=65535) for seed in range(3)])
    read = image_file.read_image(written(image, photometric="rgb"), ANY, None)
    assert read.channels == ("red", "green", "blue")
    np.testing.assert_array_equal(read.pixels[..., :3], eight(image, 65535))
    assert not read.pixels[..., 3].any()
    gray = written(np.dstack([image[..., 0]] * 3), photometric="rgb")
    assert "is gray, though in colours" in refusal(image_file.read_image, gray, ANY, None)


@pytest.mark.parametrize(("lit", "channel"), [([1], "green"), ([0, 1], "yellow")])
def test_a_picture_of_one_channel_is_no_composite(lit, channel):
    """The other colours are not there, and whoever wants them black has to say so."""
    gray = smooth(SHAPE, seed=1)
    image = np.zeros((*SHAPE, 3), np.uint8)
    image[..., lit] = gray[..., None]
    data = written(image, photometric="rgb")
    read = image_file.read_image(data, ANY, None)
    assert read.channels == (channel,)
    alone = np.zeros((*SHAPE, 4), np.uint8)
    alone[..., CHANNELS.index(channel)] = gray
    np.testing.assert_array_equal(read.pixels, alone)
    stated = image_file.read_image(data, ANY, ("red", "green", "blue"))
    np.testing.assert_array_equal(stated.pixels[..., :3], image)


def test_a_fourth_sample_is_alpha_only_if_it_is_opaque():
    image = np.dstack([smooth(SHAPE, seed=seed) for seed in range(4)])
    data = written(image, photometric="rgb", extrasamples=["unassalpha"])
    assert "a fourth sample a pixel that may be" in refusal(image_file.read_image, data, ANY, None)
    read = image_file.read_image(data, ANY, CHANNELS)
    np.testing.assert_array_equal(read.pixels, image)
    image[..., 3] = 255
    opaque = written(image, photometric="rgb", extrasamples=["unassalpha"])
    read = image_file.read_image(opaque, ANY, None)
    np.testing.assert_array_equal(read.pixels[..., :3], image[..., :3])
    assert read.channels == ("red", "green", "blue")


@pytest.mark.parametrize("cut", [0, 100])
def test_imagejs_planes_behind_a_single_directory(cut):
    """As it writes more than 4 GB; the directory describes the first plane alone."""
    (planes,) = volume(depth=1)
    notes = b"ImageJ=1.54f\nimages=4\nchannels=4\nhyperstack=true\n\0"
    rest = planes[1:].tobytes()
    data = tiff([planes[0].tobytes()], SHAPE, 16, [(270, ASCII, notes)], behind=rest)
    if cut:
        # The directory stays, and the planes would now reach over the end.
        data = tiff(
            [planes[0].tobytes()], SHAPE, 16, [(270, ASCII, notes)], behind=rest[: -2 * 3168]
        )
        message = refusal(image_file.read_image, data, ANY, ORDER)
        assert message.startswith("says that it has 4 planes, and is too short for them")
        return
    read = image_file.read_image(data, ANY, ORDER)
    np.testing.assert_array_equal(read.pixels, expected(planes))


def test_imagejs_colours_of_16_bits():
    """One page of three samples, which its notes count as images."""
    image = np.stack([smooth(SHAPE, seed=seed, top=65535) for seed in range(3)])
    notes = "ImageJ=1.54f\nimages=3\nchannels=3\nmode=composite\n"
    data = written(
        image, photometric="rgb", planarconfig="separate", description=notes, metadata=None
    )
    read = image_file.read_image(data, ANY, None)
    np.testing.assert_array_equal(read.pixels[..., :3], eight(np.moveaxis(image, 0, -1), 65535))
    assert read.channels == ("red", "green", "blue")


def test_imagejs_channels_that_are_shown_in_a_colour():
    """The table of the colour comes with every page; the numbers are the values."""
    planes = np.stack([smooth(SHAPE, seed=seed) for seed in range(4)])
    shades = np.zeros((3, 256), np.uint16)
    shades[1] = np.arange(256) * 257
    notes = "ImageJ=1.54f\nimages=4\nchannels=4\nhyperstack=true\nmode=color\n"
    options = {"photometric": "palette", "colormap": shades, "metadata": None}
    data = written(planes, description=notes, **options)
    read = image_file.read_image(data, ANY, ORDER)
    np.testing.assert_array_equal(read.pixels, np.moveaxis(planes[PLACES], 0, -1))
    one = image_file.read_image(written(planes[0], **options), ANY, ("green",))
    np.testing.assert_array_equal(one.pixels[..., 1], planes[0])


def lsm_notes(depth, channels, times=1, pixel=80e-9):
    """The tag that Zeiss's LSM 510 writes."""
    head = struct.pack("<IiiiiiiiiI", 0x0400494C, 500, 44, 36, depth, channels, times, 2, 0, 0)
    return (head + struct.pack("<ddd", pixel, pixel, 3e-7)).ljust(500, b"\0")


@pytest.mark.parametrize("depth", [1, 3])
def test_zeisss_lsm(depth):
    """A page a depth, its samples the channels, and a small page behind each."""
    planes = volume(depth=depth)
    notes = lsm_notes(depth, 4)
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for number, page in enumerate(planes):
            tags = [(34412, 1, len(notes), notes, True)] if number == 0 else []
            options = {"photometric": "minisblack", "metadata": None}
            writer.write(page, planarconfig="separate", extratags=tags, **options)
            writer.write(page[0, ::2, ::2], subfiletype=1, **options)
    data = file.getvalue()
    if depth > 1:
        assert "is a z-stack of 3 planes" in refusal(image_file.read_image, data, ANY, ORDER)
    read = image_file.read_image(data, any_image(projection="max"), ORDER)
    np.testing.assert_array_equal(read.pixels, expected(planes.max(0)))
    assert read.description.pixel_size == pytest.approx(0.08)
    assert read.description.colour == "channels"


OME = (
    '<OME><Image><Pixels SizeC="{count}" {said}><Channel Name="DNA"/><Channel Name="protein"/>'
    "{more}<TiffData/></Pixels></Image></OME>\0"
)


def saying(count=2, said="", more=""):
    """Two pages with OME-XML of their own."""
    text = OME.format(count=count, said=said, more=more)
    return written(volume(2, 1)[0], description=text, metadata=None)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"count": 3, "more": "<Channel/>"}, "tells of 3 pages in its OME-XML, and has 2; "),
        ({"said": 'SizeT="2"'}, "2 time points"),
        ({"said": 'Type="int16"'}, "is of signed numbers; "),
    ],
)
def test_ome_that_does_not_fit_its_file(said, words):
    assert words in refusal(image_file.read_image, saying(**said), ANY, None)


def test_a_page_of_which_ome_does_not_tell():
    (planes,) = volume(3, 1)
    text = OME.format(count=2, said="", more="")
    data = written(planes, photometric="minisblack", description=text, metadata=None)
    assert "tells of 2 pages" in refusal(image_file.read_image, data, ANY, None)


def test_ome_with_two_units_and_text_of_its_own():
    sizes = 'PhysicalSizeX="80" PhysicalSizeXUnit="nm" PhysicalSizeY="0.08"'
    data = saying(said=sizes, more="<x><![CDATA[a < b]]></x>")
    read = image_file.read_image(data, ANY, None)
    assert read.channels == ("green", "blue")
    assert read.description.pixel_size == pytest.approx(0.08)


def test_a_metamorph_stack():
    """One directory, and the number of planes in a tag of its own."""
    planes = volume(channels=1, depth=2)[:, 0]
    dates = np.ones(2 * 6, np.uint32).tobytes()
    tags = [(33629, 5, dates)]
    data = tiff([planes[0].tobytes()], SHAPE, 16, tags, behind=planes[1].tobytes())
    # A fraction has eight bytes; the writer counts one.
    data = data.replace(struct.pack("<HHI", 33629, 5, len(dates)), struct.pack("<HHI", 33629, 5, 2))
    assert "has more than one page" in refusal(channel_file.read_plane, data, ANY, "green")
    read = channel_file.read_plane(data, any_image(projection="max"), "green")
    np.testing.assert_array_equal(read.pixels, eight(planes.max(0), 65535))
