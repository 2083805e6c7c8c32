"""What files say of themselves: white, pixel size, channels; and files with all channels."""

import io

import numpy as np
import pytest
import tifffile
from support.image_files import encoded, smooth

from hpa_jax.errors import InputError
from tfds_builder.hpa.files import layouts

COLOURS = ("red", "green", "blue", "yellow")


def tiff(image, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, image, **options)
    return file.getvalue()


def ome(image, names, size=None, **metadata):
    """An OME-TIFF of [channels, H, W]."""
    metadata |= {"axes": "CYX", "Channel": {"Name": list(names)}}
    if size:
        metadata |= {"PhysicalSizeX": size, "PhysicalSizeY": size}
    return tiff(image, ome=True, metadata=metadata, photometric="minisblack")


def folder(path, make, images=("a", "b"), **arguments):
    """A file a channel, `make(channel number, image number)`."""
    for number, image in enumerate(images):
        for channel, colour in enumerate(COLOURS):
            (path / f"{image}_{colour}.tif").write_bytes(make(channel, number))
    return listed(path, images, pattern="{id}_{channel}.tif", **arguments)


def single(path, make, images=("a", "b"), **arguments):
    """A file an image, `make(image number)`."""
    for number, image in enumerate(images):
        (path / f"{image}.tif").write_bytes(make(number))
    return listed(path, images, pattern="{id}.tif", **arguments)


def listed(path, images, **arguments):
    rows = "".join(f"{image},{number}\n" for number, image in enumerate(images))
    (path / "labels.csv").write_text("Id,Target\n" + rows)
    return layouts.folder(path, labels="hpa2018", **arguments)


def dim(channel, number, top=810):
    return tiff(smooth(seed=10 * number + channel, top=top))


def read_all(source):
    listing = source.examples()
    assert not listing.faults, listing.faults
    images = [source.read(example) for example in listing.examples]
    return listing, images


def test_a_camera_of_12_bits_is_asked_about(tmp_path):
    source = folder(tmp_path, dim)
    _, images = read_all(source)
    assert images[0].largest == (810, 810, 810, 810)
    with pytest.raises(InputError) as error:
        source.judge([image.largest for image in images])
    line = str(error.value)
    assert "no value of 2 images is above 810, of the 65535" in line
    assert "4 shades of gray" in line and "--white=4095" in line and "--white=65535" in line
    shades = np.unique(np.stack([image.pixels for image in images]))
    assert len(shades) == 4
    answered = layouts.folder(tmp_path, pattern="{id}_{channel}.tif", white=65535)
    _, images = read_all(answered)
    assert answered.judge([image.largest for image in images]) == []


def test_a_white_that_files_name_is_asked_for(tmp_path):
    def told(channel, number):
        return tiff(smooth(seed=channel, top=4000), extratags=[(281, "H", 1, 4095, True)])

    source = folder(tmp_path, told)
    with pytest.raises(InputError, match="files of all 2 images say that 4095 is white, .*=4095"):
        source.examples()
    told_otherwise = layouts.folder(
        tmp_path, pattern="{id}_{channel}.tif", white=4000, labels="hpa2018"
    )
    listing, images = read_all(told_otherwise)
    assert listing.notes == ("files say that 4095 is white; --white=4000 is taken.",)
    assert images[0].pixels.max() == 255


def sized(size):
    return {"resolution": (1e4 / size, 1e4 / size), "resolutionunit": "CENTIMETER"}


def test_a_pixel_size_that_files_name(tmp_path):
    source = folder(tmp_path, lambda c, n: tiff(smooth(seed=c), **sized(0.16)))
    listing, images = read_all(source)
    assert listing.pixel_size == pytest.approx(0.16, rel=1e-3)
    assert listing.notes == ("the files of all 2 images say 0.16 um a pixel.",)
    # Settings do not depend on it: they are compared before any file is opened.
    assert source.settings()["pixel_size"] is None
    assert images[0].pixels.shape == (40, 48, 4)
    arguments = {"pattern": "{id}_{channel}.tif", "rescale": True}
    rescaled = layouts.folder(tmp_path, **arguments)
    _, images = read_all(rescaled)
    assert images[0].pixels.shape == (80, 96, 4)
    listing, images = read_all(layouts.folder(tmp_path, pixel_size=0.04, **arguments))
    assert images[0].pixels.shape == (20, 24, 4)
    assert listing.notes[0].endswith("say 0.16 um a pixel; --pixel_size=0.04 is taken.")


def test_pixel_sizes_that_differ_are_brought_to_one(tmp_path):
    sizes = (0.16, 0.08)
    source = folder(tmp_path, lambda c, n: tiff(smooth(seed=c), **sized(sizes[n])), rescale=True)
    listing, images = read_all(source)
    assert listing.pixel_size is None
    assert listing.notes == ("the files of all 2 images say 0.08 to 0.16 um a pixel.",)
    assert [image.pixels.shape[:2] for image in images] == [(80, 96), (40, 48)]


def test_no_pixel_size_to_rescale_by(tmp_path):
    source = folder(tmp_path, lambda c, n: encoded(smooth(seed=c), "png"), rescale=True)
    listing = source.examples()
    assert not listing.examples and len(listing.faults) == 2
    reason = "does not say how large its pixels are; give --pixel_size"
    assert listing.faults[0].reason == reason


def test_a_file_that_says_it_is_another_channel(tmp_path):
    names = dict(zip(COLOURS, ("tubulin", "gfp", "dapi", "er"), strict=True))
    said = dict(names)

    def make(path):
        for image in ("a", "b"):
            for number, (colour, name) in enumerate(names.items()):
                data = ome(smooth(seed=number)[None], [said[colour]])
                (path / f"{image}_{name}.tif").write_bytes(data)
        return listed(path, ("a", "b"), pattern="{id}_{channel}.tif", channels=names)

    assert not make(tmp_path).examples().faults
    said |= {"green": "DAPI", "blue": "GFP"}
    listing = make(tmp_path).examples()
    assert len(listing.faults) == 2
    reason = "says that its channel is dapi, which is blue by --channels, not green; "
    assert listing.faults[0].reason.startswith(reason)
    said = {**names, "yellow": "Hoechst"}
    listing = make(tmp_path).examples()
    assert not listing.faults
    note = "say of yellow that its channel is Hoechst, which is usually blue."
    assert listing.notes[-1] == f"the files of all 2 images {note}"


def stack(number):
    return np.stack([smooth(seed=10 * number + channel) for channel in range(4)])


def test_one_file_with_all_channels_by_their_names(tmp_path):
    order = (2, 0, 3, 1)
    names = ("DAPI", "Tubulin", "ER", "Antibody")
    source = single(tmp_path, lambda n: ome(stack(n)[list(order)], names, size=0.1))
    listing, images = read_all(source)
    assert listing.pixel_size == pytest.approx(0.1)
    for number, image in enumerate(images):
        np.testing.assert_array_equal(np.moveaxis(image.pixels, -1, 0), stack(number))


def test_one_file_with_all_channels_in_an_order(tmp_path):
    pages = {"photometric": "minisblack"}
    source = single(
        tmp_path,
        lambda n: tiff(stack(n)[:3], **pages),
        channel_order=("blue", "", "green"),
    )
    listing, images = read_all(source)
    assert listing.notes == (
        "the files of all 2 images hold no red, which is black in them.",
        "the files of all 2 images hold no yellow, which is black in them.",
    )
    red, green, blue, yellow = np.moveaxis(images[1].pixels, -1, 0)
    np.testing.assert_array_equal(green, stack(1)[2])
    np.testing.assert_array_equal(blue, stack(1)[0])
    assert not red.any() and not yellow.any()
    assert source.settings()["channel_order"] == ["blue", "", "green"]
    unsaid = layouts.folder(tmp_path, pattern="{id}.tif").examples()
    assert "state which is which, such as --channel_order=red," in unsaid.faults[0].reason


def test_planes_in_depth(tmp_path):
    def make(channel, number):
        depth = np.stack([smooth(seed=channel), smooth(seed=channel + 50)])
        return tiff(depth, imagej=True, metadata={"axes": "ZYX"})

    refused = folder(tmp_path, make).examples()
    assert "ask for --projection=max or mean" in refused.faults[0].reason
    source = layouts.folder(tmp_path, pattern="{id}_{channel}.tif", projection="max")
    _, images = read_all(source)
    wanted = np.maximum(smooth(seed=1), smooth(seed=51))
    np.testing.assert_array_equal(images[0].pixels[..., 1], wanted)
    assert source.settings()["projection"] == "max"


def test_floating_point_numbers(tmp_path):
    source = folder(tmp_path, lambda c, n: tiff(smooth(seed=c).astype(np.float32) / 255))
    assert "(--float_range)" in source.examples().faults[0].reason
    ranged = layouts.folder(tmp_path, pattern="{id}_{channel}.tif", float_range=(0.0, 1.0))
    _, images = read_all(ranged)
    np.testing.assert_array_equal(images[0].pixels[..., 2], smooth(seed=2))
    assert ranged.settings()["float_range"] == [0.0, 1.0]
    largest = [image.largest for image in images]
    assert largest[0] == (1.0, 1.0, 1.0, 1.0) and ranged.judge(largest) == []
    wrong = layouts.folder(tmp_path, pattern="{id}_{channel}.tif", float_range=(0.0, 0.5))
    (note,) = wrong.judge(largest)
    assert note.startswith("all 2 images have values above --float_range=0,0.5 (up to 1): ")
    wide = layouts.folder(tmp_path, pattern="{id}_{channel}.tif", float_range=(0.0, 255.0))
    assert wide.judge(largest) == [
        "no value is above 1, where --float_range=0,255: 2 shades of gray."
    ]
