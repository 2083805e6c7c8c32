"""Whether values survive becoming 8 bits: what is asked about, told, and let through."""

import numpy as np
import pytest

from hpa_jax.errors import InputError
from hpa_jax.labels import CHANNELS
from tfds_builder.hpa.files import channel_notes
from tfds_builder.hpa.files.ranges import Asked, judge_ranges
from tfds_builder.hpa.image_statistics import OddImages

NONE = (None, None, None, None)
BRIGHT = (60000,) * 4
NOT_SAID = Asked(None)


def judge(largest, white=None, histogram=None, **can):
    return judge_ranges(largest, histogram, Asked(white, **can), "mine")


def counts(*shades):
    """A histogram of four channels that have these shades equally often."""
    histogram = np.zeros((4, 256), np.int64)
    histogram[:, list(shades)] = 10_000
    return histogram


@pytest.mark.parametrize(("top", "white"), [(300, 4095), (4096, 16383)])
def test_the_white_that_is_proposed(top, white):
    with pytest.raises(InputError, match=f"give --white={white}; or --white={top}, or --white=655"):
        judge([(top, 5, None, 0), (3, 4, None, 0)])
    with pytest.raises(InputError, match=f"give --white={white}; or --white=65535 if they"):
        judge([(white, 5, None, 0)])


@pytest.mark.parametrize(
    "largest", [[], [NONE], [NONE, NONE], [(0, 0, 0, 0)], [(16384,) * 4], [(None, 60000, 0, None)]]
)
def test_nothing_is_asked_of_others(largest):
    assert judge(largest) == []
    assert judge(largest, histogram=counts(0, 40, 250)) == []


def test_a_dark_channel_is_asked_about():
    largest = [BRIGHT, (60000, 60000, 700, 60000), (60000, 60000, 810, 0)]
    with pytest.raises(InputError, match="no value of blue is above 810, .* 4 shades .*e=65535"):
        judge(largest[1:])
    assert judge(largest) == []
    assert judge(largest[1:], white=65535) == []


def test_dark_images_are_told_and_asked_about_if_they_are_half():
    dark = (4000, 300, 20, 0)
    (note,) = judge([BRIGHT, BRIGHT, dark])
    assert note.startswith("1 images of 3 have no value above 4095 of 65535: 17 shades")
    with pytest.raises(InputError, match="mine: 1 images of 2 have no value above 4095"):
        judge([BRIGHT, dark])
    (clipped,) = judge([BRIGHT, BRIGHT, dark], white=4095)
    assert clipped.startswith("2 images of 3 have values above --white=4095 (up to 60000): ")


def test_a_hot_pixel_hides_nothing():
    hot = counts(0, 3, 12)
    hot[:, 255] = 1
    with pytest.raises(InputError, match="99.8% of the pixels of red lie from 0 to 3084 .*=4095"):
        judge([BRIGHT], histogram=hot)
    shifted = counts(128, 129)
    shifted[:, 0] = 1
    with pytest.raises(InputError, match="take what is black off the files, about 32896, or"):
        judge([BRIGHT], histogram=shifted)
    # Images of 8 bits among them have shades of their own.
    assert judge([BRIGHT, NONE], histogram=hot) == []
    assert judge([BRIGHT], white=65535, histogram=hot) == []


def test_masks_are_asked_about():
    with pytest.raises(InputError, match="no value of 2 images is above 1, .*masks.*--white=1, or"):
        judge([NONE, NONE], histogram=counts(0, 1))
    assert len(judge([NONE], histogram=counts(0, 1), can_answer=False)) == 4
    assert judge([NONE], white=255, histogram=counts(0, 1)) == []
    assert judge([(1.0,) * 4], histogram=counts(0, 1)) == []
    one = counts(0, 200)
    one[3] = counts(0, 9)[3]
    assert judge([NONE], histogram=one) == ["no value of yellow is above 9 of 255: is it a mask?"]


def test_black_channels():
    histogram = counts(0, 9)
    histogram[3, 1:] = 0
    there = [True] * len(CHANNELS)
    (note,) = channel_notes.black_channels(5, histogram, there, "mine")
    assert note == "yellow is black in all images, and stored as not imaged."
    assert channel_notes.black_channels(5, histogram, [False] * 4, "mine") == []
    histogram[1, 1:] = 0
    with pytest.raises(InputError, match="mine: green, the protein, is black in all 5 images; "):
        channel_notes.black_channels(5, histogram, there, "mine")


def test_names_of_other_channels():
    (note,) = channel_notes.odd_names(("tubulin", "DAPI", "w3", None), ())
    assert note == "--channels has green=DAPI, which is usually blue: is it so?"
    assert channel_notes.odd_names(("red", "GFP", "Hoechst", None), ("R", "G", "B", None)) == []


def test_channels_that_are_copies():
    random = np.random.default_rng(0).integers(1, 9, (2, 4, 256))
    random[:, 3] = random[:, 0]
    odd = OddImages()
    odd.add("a", random[0])
    odd.add("b", random[1])
    assert odd.notes() == [
        "red and yellow have the same values in every image: are they copies of one file?"
    ]
    random[1, 3, 7] += 1
    odd.add("b", random[1])
    assert odd.notes() == []
    random[0, 1] = 0
    odd.add("c", random[0])
    assert odd.notes() == ["green, the protein, is black in 1 of 4 images, such as c."]
