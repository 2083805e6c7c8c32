"""Which files make an image: layouts as people have them, and those that allow two readings."""

import pytest

from hpa_jax.errors import InputError
from hpa_jax.images.channel_names import parse_channels, words_of
from hpa_jax.images.layouts import find_layout
from hpa_jax.images.pattern import match_pattern
from hpa_jax.labels import CHANNELS

USUAL = words_of(None)
PAINTING = words_of(parse_channels("red=w3,green=w2,blue=w1,yellow=w4"))


def four(pattern, words=CHANNELS):
    return [pattern.replace("*", word) for word in words]


CASES = {
    "kaggle": (four("train/a-1_*.png") + four("train/b_*.png"), USUAL, ["a-1", "b"]),
    "atlas": (
        four("images/10580_1610_C1_1_*.jpg") + ["images/10580_1610_C1_1_blue_red_green.jpg"],
        USUAL,
        ["10580_1610_C1_1"],
    ),
    "masks beside": (four("a_*.png") + ["a_predictedmask.png", "a_nuclei_mask.png"], USUAL, ["a"]),
    "masks in a folder": (four("p/*/1.png") + ["p/masks/1.png"], USUAL, ["1"]),
    "upper case": (four("A 1_*.TIF", ("Red", "GREEN", "Blue", "Yellow")), USUAL, ["A 1"]),
    "stains": (
        four("x.y (*).ome.tif", ("tubulin", "antibody", "DAPI", "ER")),
        USUAL,
        ["x.y"],
    ),
    "a folder a channel": (four("*/1.png") + four("*/2.png"), USUAL, ["1", "2"]),
    "and in the name": (four("*/1_*.png") + four("*/2_*.png"), USUAL, ["1", "2"]),
    "a folder a plate": (four("p1/A1_*.png") + four("p2/A1_*.png"), USUAL, ["p1/A1", "p2/A1"]),
    "a folder an image": (four("p/f1/*.png") + four("p/f2/*.png"), USUAL, ["f1", "f2"]),
    "plates of channels": (four("p1/*/1.png") + four("p2/*/1.png"), USUAL, ["p1/1", "p2/1"]),
    "a colour in the Id": (
        four("red_cell_*.png") + four("blue_*.png"),
        USUAL,
        ["blue", "red_cell"],
    ),
    "joined": (four("A01f3*.tif", ("w3", "w2", "w1", "w4")), PAINTING, ["A01f3"]),
    "InCell": (
        four("A - 01(fld 02 wv *).tif", ("Cy3", "FITC", "DAPI", "Cy5")),
        words_of(parse_channels("red=Cy3,green=FITC,blue=DAPI,yellow=Cy5")),
        ["A - 01(fld 02 wv)"],
    ),
    "Unicode": (four("Zelle-ä_*.png"), USUAL, ["Zelle-ä"]),
}


@pytest.mark.parametrize("names, words, ids", CASES.values(), ids=CASES)
def test_a_file_a_channel(names, words, ids):
    layout = find_layout("here", sorted(names), words)
    assert layout.ids == ids
    listed = [name for files in layout.files for name in files]
    assert len(listed) == 4 * len(ids) and set(listed) <= set(names)
    for files in layout.files:
        for channel, name in zip(CHANNELS, files, strict=True):
            words_there = [word for word, of in words.items() if of == channel]
            assert any(word in name.lower() for word in words_there), (channel, name)
    assert "\n" not in layout.text


@pytest.mark.parametrize(
    "names, ids",
    [
        (["scan 1.ome.tif", "scan 2.ome.tif"], ["scan 1", "scan 2"]),
        (["p1/a.tif", "p2/a.tif"], ["p1/a", "p2/a"]),
        (["800_A6_1_blue_red_green.jpg", "9_blue_red_green.jpg"], ["800_A6_1", "9"]),
        (["redshift.tif", "reduced.tif"], ["redshift", "reduced"]),
    ],
)
def test_one_file_an_image(names, ids):
    layout = find_layout("here", names, USUAL)
    assert layout.ids == ids
    assert [files[0] for files in layout.files] == sorted(names)
    assert layout.text.startswith("one file an image")


def test_an_image_that_lacks_a_channel_is_still_one():
    layout = find_layout("here", sorted([*four("a_*.png"), "b_red.png"]), USUAL)
    assert layout.ids == ["a", "b"]
    assert layout.files[1] == ("b_red.png", None, None, None)


@pytest.mark.parametrize(
    "names, shown",
    [
        ([*four("a_*.png"), "scan.tif"], "'scan.tif'"),
        ([*four("a_*.png"), "a_red.tif"], "a_red.tif"),
        (["a_red.png", "scan.tif"], "'scan.tif'"),
        (["a.png", "a.tif"], "a.tif"),
        ([*four("a_*.png"), *four("*_a.png")], "'a_{channel}'"),
    ],
)
def test_two_readings_are_refused_with_what_was_found_and_how_to_say_it(names, shown):
    with pytest.raises(InputError) as error:
        find_layout("here", sorted(names), USUAL)
    message = str(error.value)
    assert message.startswith("here has ") and shown in message
    assert "--pattern=" in message and "\n" not in message


@pytest.mark.parametrize(
    "pattern, names, ids",
    [
        ("{id}_{channel}.png", four("p/a_*.png"), ["p/a"]),
        ("p/{id}_{channel}.png", [*four("p/a_*.png"), "p/a.txt", "q.png"], ["a"]),
        ("{plate}/{channel}/{id}.PNG", four("p1/*/7.png"), ["p1/7"]),
        ("{id}.tif", ["red.tif", "a_b/c.tif"], ["a_b/c", "red"]),
    ],
)
def test_patterns(pattern, names, ids):
    layout = match_pattern("here", sorted(names), USUAL, pattern)
    assert layout.ids == ids
    assert {len(files) for files in layout.files} == {4 if "{channel}" in pattern else 1}


@pytest.mark.parametrize(
    "pattern, words",
    [
        ("{channel}.png", "must hold {id}"),
        ("{id}_{id}.png", "must hold {id} once"),
        ("{id}_{channel.png", "brace"),
        ("images/{id}_{channel}.png", "no file in here has such a name; there are 4"),
    ],
)
def test_a_wrong_pattern_is_one_line(pattern, words):
    with pytest.raises(InputError, match=f".*{words}.*"):
        match_pattern("here", four("a_*.png"), USUAL, pattern)


@pytest.mark.parametrize("text", ["red", "red=", "mauve=a", "red=a,red=b", "red=a,green=A"])
def test_wrong_channels_are_one_line(text):
    with pytest.raises(InputError, match="--channels"):
        parse_channels(text)
