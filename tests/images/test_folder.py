"""Reading the images of a folder: pixels in their channels, and each fault in one line."""

import os
from pathlib import PurePath

import numpy as np
import pytest
from support.awkward_files import awkward_files, written
from support.image_files import encoded, smooth, zipped
from support.image_folders import planes, write_images

from hpa_jax.errors import InputError
from hpa_jax.images.folder import FaultyImage, find_images
from hpa_jax.images.listing import SUFFIXES
from hpa_jax.images.rule import any_image
from hpa_jax.labels import CHANNELS

AWKWARD = {file.name: file for file in awkward_files()}
ALL_BUT_GREEN = ("red", "blue", "yellow")


def assert_read(images, made):
    assert images.ids == sorted(made)
    for number, image_id in enumerate(images.ids):
        pixels, _ = images.read(number)
        np.testing.assert_array_equal(pixels, made[image_id])


@pytest.mark.parametrize(
    "pattern", ["{id}_{channel}.png", "{channel}/{id}.tif", "deep er/{id} ({channel}).png"]
)
def test_a_folder_and_its_zip_are_the_same(tmp_path, pattern):
    folder = tmp_path / "images"
    made = write_images(folder, pattern, ids=("ä b.c", "x-1"))
    assert_read(find_images(folder), made)
    # As a person zips it: with the folder around, and with what macOS leaves beside.
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX" / "._a_red.png").write_bytes(b"double")
    archive = zipped(folder, tmp_path / "all.zip", under="images/")
    assert_read(find_images(archive), made)


def test_one_file_an_image(tmp_path):
    """By the names in the file, by the user's names, and by an order that the user states."""
    of_image = planes(shape=(32, 40))
    stack = np.stack([of_image[name] for name in ("blue", "green", "red", "yellow")])
    right = np.stack(list(of_image.values()), axis=-1)
    metadata = {"axes": "CYX", "Channel": {"Name": ["DAPI", "Antibody", "Tubulin", "ER"]}}
    ome = written(stack, ome=True, metadata=metadata, photometric="minisblack")
    (tmp_path / "s 1.ome.tif").write_bytes(ome)
    assert_read(find_images(tmp_path), {"s 1": right})

    metadata["Channel"]["Name"] = ["C1", "C2", "C3", "C4"]
    (tmp_path / "s 1.ome.tif").write_bytes(
        written(stack, ome=True, metadata=metadata, photometric="minisblack")
    )
    order = ("blue", "green", "red", "yellow")
    channels = dict(zip(order, ("c1", "c2", "c3", "c4"), strict=True))
    assert_read(find_images(tmp_path, order=order), {"s 1": right})
    assert_read(find_images(tmp_path, channels=channels), {"s 1": right})
    with pytest.raises(FaultyImage, match="planes called C1, C2, C3, C4, of which --channels"):
        find_images(tmp_path, channels={"green": "gfp"}).read(0)


def test_a_composite_has_no_yellow(tmp_path):
    right = np.stack(list(planes().values()), axis=-1)
    right[..., 3] = 0
    (tmp_path / "10_A1_blue_red_green.png").write_bytes(encoded(right[..., :3].copy(), "png"))
    with pytest.raises(FaultyImage, match="holds red, green, blue and no yellow.*--missing=yellow"):
        find_images(tmp_path).read(0)
    assert_read(find_images(tmp_path, missing=("yellow",)), {"10_A1": right})


def test_a_green_picture_has_green_alone(tmp_path):
    right = np.zeros((*planes()["green"].shape, 4), np.uint8)
    right[..., 1] = planes()["green"]
    (tmp_path / "10_A1.png").write_bytes(encoded(right[..., :3].copy(), "png"))
    with pytest.raises(
        FaultyImage, match="holds green and no red and no blue, .*=red,blue,yellow,"
    ):
        find_images(tmp_path, missing=("yellow",)).read(0)
    others = ("red", "blue", "yellow")
    assert_read(find_images(tmp_path, missing=others), {"10_A1": right})


def test_a_channel_that_is_missing_is_black_even_where_it_has_files(tmp_path):
    made = write_images(tmp_path)
    for pixels in made.values():
        pixels[..., [0, 3]] = 0
    assert_read(find_images(tmp_path, missing=("red", "yellow")), made)


def test_a_channel_that_no_image_has_is_refused_once(tmp_path):
    write_images(tmp_path)
    for image_id in ("a", "b"):
        (tmp_path / f"{image_id}_yellow.png").unlink()
    with pytest.raises(InputError, match="has no yellow.*--missing=yellow") as error:
        find_images(tmp_path)
    assert "\n" not in str(error.value)
    assert find_images(tmp_path, missing=("yellow",)).ids == ["a", "b"]


def test_a_channel_that_one_image_lacks_is_its_own_fault(tmp_path):
    made = write_images(tmp_path)
    (tmp_path / "a_green.png").unlink()
    images = find_images(tmp_path)
    with pytest.raises(FaultyImage, match="a: .* has no green, only a_red.png"):
        images.read(0)
    np.testing.assert_array_equal(images.read(1)[0], made["b"])


def test_sizes_that_differ_are_named(tmp_path):
    write_images(tmp_path)
    (tmp_path / "b_blue.png").write_bytes(encoded(smooth((41, 48)), "png"))
    with pytest.raises(FaultyImage, match="b: .*b_blue.png has 48 x 41 pixels, b_red.png 48 x 40"):
        find_images(tmp_path).read(1)


def test_files_of_channels_with_names_of_their_own_are_asked_about(tmp_path):
    """As a microscope numbers them: nobody but the user knows which is which."""
    made = write_images(tmp_path)
    for path in list(tmp_path.iterdir()):
        number = CHANNELS.index(path.stem.partition("_")[2])
        path.rename(tmp_path / f"{path.stem[0]}f01-ch{number}sk1.png")
    with pytest.raises(FaultyImage, match="holds one channel .* --channels=red=NAME"):
        find_images(tmp_path).read(0)
    names = {channel: f"ch{number}" for number, channel in enumerate(CHANNELS)}
    made = {f"{image_id}f01sk1": pixels for image_id, pixels in made.items()}
    assert_read(find_images(tmp_path, channels=names), made)


def test_links_are_followed_where_they_are_trusted(tmp_path):
    made = write_images(tmp_path / "store")
    links = tmp_path / "links"
    links.mkdir()
    for path in (tmp_path / "store").iterdir():
        os.symlink(path, links / path.name)
    with pytest.raises(FaultyImage, match="--follow_links"):
        find_images(links).read(0)
    assert_read(find_images(links, follow_links=True), made)
    # A circle of folders is walked once.
    os.symlink(links, links / "again")
    assert_read(find_images(links, follow_links=True), made)


@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_files_are_read_exactly_or_refused_in_one_line(tmp_path, name):
    file = AWKWARD[name]
    path = PurePath(name)
    suffix = path.suffix if path.suffix.lower() in SUFFIXES else ".tif"
    (tmp_path / f"{path.stem}_green{suffix}").write_bytes(file.data)
    images = find_images(tmp_path, missing=ALL_BUT_GREEN, rule=any_image())
    assert len(images) == 1
    if file.pixels is None:
        with pytest.raises(FaultyImage) as error:
            images.read(0)
        assert file.words in str(error.value) and str(error.value).isprintable()
    else:
        pixels, _ = images.read(0)
        np.testing.assert_array_equal(pixels[..., 1], file.pixels)
        assert not pixels[..., [0, 2, 3]].any()


def test_a_name_that_is_no_text_is_one_line(tmp_path):
    write_images(tmp_path)
    with open(os.fsencode(tmp_path) + b"/\xff_red.png", "wb"):
        pass
    with pytest.raises(InputError, match="not UTF-8.*rename it") as error:
        find_images(tmp_path)
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda folder: None, "has no image file .* and no other"),
        (lambda folder: (folder / "a.csv").write_text("x"), "has no image file .*'a.csv'"),
        (lambda folder: folder.rmdir(), "is not there"),
        (lambda folder: (folder / "a.tif").mkdir(), "has no image file .* and no other"),
        (lambda folder: (folder.rmdir(), folder.write_bytes(b"7z")), "is no complete zip"),
    ],
)
def test_where_there_are_no_images_that_is_one_line(tmp_path, make, words):
    folder = tmp_path / "images"
    folder.mkdir()
    make(folder)
    with pytest.raises(InputError, match=words):
        find_images(folder)
