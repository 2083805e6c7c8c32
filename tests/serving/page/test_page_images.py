"""How the page reads and prepares images, in a real browser, beside what Python makes of them."""

import itertools

import cv2
import numpy as np
import pytest
from support.awkward_files import awkward_files
from support.image_files import coloured, encoded, smooth
from support.page_engine import Engine
from support.written_files import png

from hpa_jax.images.channel_file import read
from hpa_jax.images.prepare import Preparation
from hpa_jax.images.rule import any_image
from hpa_jax.images.store import Refused


@pytest.fixture(scope="module")
def engine(browser, tmp_path_factory):
    return Engine(browser, tmp_path_factory.mktemp("engine"))


def test_awkward_files_are_read_exactly_or_refused_in_one_line(engine):
    seen = 0
    for file in awkward_files():
        found = engine.channel(file.data)
        if file.data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            assert isinstance(found, str) and "TIFF" in found, file.name
        elif file.pixels is None:
            words = file.words.replace("PNG, TIFF or JPEG", "PNG or JPEG")
            assert isinstance(found, str) and words in found, (file.name, found)
        else:
            np.testing.assert_array_equal(found, file.pixels, err_msg=file.name)
        if isinstance(found, str):
            assert "\n" not in found, file.name
        seen += 1
    assert seen > 40


DEPTHS = [(0, 1, (1, 2, 4, 8, 16)), (2, 3, (8, 16)), (3, 1, (1, 2, 4, 8)), (6, 4, (8, 16))]


@pytest.mark.parametrize("interlaced", [False, True])
def test_png_gives_the_values_in_the_file(engine, interlaced):
    rng = np.random.default_rng(0)
    for colour, samples, depths in DEPTHS:
        for bits, shape in itertools.product(depths, ((1, 1), (3, 2), (17, 23))):
            image = rng.integers(0, 2**bits, (*shape, samples))
            data = png(image, bits, interlaced=interlaced, colour_type=colour)
            np.testing.assert_array_equal(engine.raw(data), image, err_msg=f"{colour} {bits}")


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("samples", [1, 3, 4])
def test_png_with_every_filter(engine, bits, samples):
    image = smooth((60, 50, samples), seed=samples, top=2**bits - 1).reshape(60, 50, samples)
    filters = (
        cv2.IMWRITE_PNG_FILTER_NONE,
        cv2.IMWRITE_PNG_FILTER_SUB,
        cv2.IMWRITE_PNG_FILTER_UP,
        cv2.IMWRITE_PNG_FILTER_AVG,
        cv2.IMWRITE_PNG_FILTER_PAETH,
        cv2.IMWRITE_PNG_ALL_FILTERS,
    )
    # OpenCV's order is BGR.
    order = [0] if samples == 1 else [2, 1, 0, 3][:samples]
    sizes = set()
    for number in filters:
        done, data = cv2.imencode(".png", image[..., order], [cv2.IMWRITE_PNG_FILTER, number])
        assert done
        sizes.add(len(data))
        np.testing.assert_array_equal(engine.raw(data.tobytes()), image)
    assert len(sizes) > 3, "the filters were not used"


@pytest.mark.parametrize("place", [1, 40, 100, 300, -30, -5])
def test_a_flipped_bit_or_an_early_end_is_one_line(engine, place):
    data = bytearray(png(smooth(seed=1), 8))
    cut = engine.channel(bytes(data[:place]))
    assert isinstance(cut, str) and "\n" not in cut
    data[place] ^= 4
    flipped = engine.channel(bytes(data))
    assert isinstance(flipped, str) and "\n" not in flipped


KINDS = [
    {},
    {"subsampling": 2},
    {"subsampling": 1},
    {"subsampling": 0, "optimize": True},
    {"restart_marker_blocks": 3},
    {"progressive": True},
    {"progressive": True, "subsampling": 2},
]


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_jpg_is_read_where_it_is_complete_and_refused_where_it_is_not(engine, options):
    rng = np.random.default_rng(0)
    gray = smooth((61, 83), seed=5)
    noisy = np.minimum(gray + rng.integers(0, 30, gray.shape), 255).astype(np.uint8)
    image = coloured(noisy, "green") if "subsampling" in options else noisy
    data = encoded(image, "jpeg", quality=85, **options)
    right = engine.channel(data)
    assert not isinstance(right, str), right
    expected = read(data, any_image(), "green")
    assert np.abs(right.astype(int) - expected).max() <= 1
    start = data.index(b"\xff\xda") + 14
    # Without the end that the file has, with the one that a program may have put there.
    for length in np.linspace(start, len(data) - 20, 12).astype(int):
        cut = data[:length] + b"\xff\xd9"
        line = engine.channel(cut)
        # Where a scan of a progressive file ends, nothing is missing of those before.
        if _is_refused(cut) or "progressive" not in options:
            assert isinstance(line, str) and "is damaged" in line, length
    seen = 0
    for place in rng.integers(start, len(data) - 2, 30):
        changed = bytearray(data)
        changed[place] ^= 1 << int(rng.integers(8))
        if _is_refused(bytes(changed)):
            seen += isinstance(engine.channel(bytes(changed)), str)
        else:
            # What the library does not notice is not refused here either, but that codes go on
            # behind the last block of a progressive scan.
            refused = isinstance(engine.channel(bytes(changed)), str)
            assert not refused or "progressive" in options, place
    assert seen


def _is_refused(data):
    try:
        read(data, any_image(), "green")
    except Refused:
        return True
    return False


SHAPES = [
    (512, 512, 64),
    (128, 128, 64),
    (96, 96, 32),
    (100, 100, 64),
    (173, 130, 64),
    (64, 48, 64),
    (48, 200, 64),
    (31, 37, 64),
    (30, 64, 64),
]


@pytest.mark.parametrize(("height", "width", "size"), SHAPES)
@pytest.mark.parametrize("aspect", ["stretch", "pad", "crop"])
def test_images_are_prepared_as_the_training_set_was(engine, height, width, size, aspect):
    pixels = np.random.default_rng(height).integers(0, 256, (height, width, 4), np.uint8)
    _assert_prepared_alike(engine, pixels, size, {"aspect": aspect})


@pytest.mark.parametrize(
    ("preparation", "pixel_size"),
    [
        ({"edge": 96}, None),
        ({"edge": 300, "aspect": "pad"}, None),
        ({"rescaled_to": 0.08}, 0.05),
        ({"rescaled_to": 0.08, "aspect": "crop"}, 0.13),
    ],
)
def test_sizes_in_the_dataset_come_first(engine, preparation, pixel_size):
    pixels = np.dstack([smooth((151, 202), seed=seed) for seed in range(4)])
    _assert_prepared_alike(engine, pixels, 64, preparation, pixel_size)


def _assert_prepared_alike(engine, pixels, size, preparation, pixel_size=None):
    description = {"input": {"shape": ["B", size, size, 4]}, "preparation": preparation}
    expected = Preparation.from_description(description).prepare(pixels, pixel_size)
    found = engine.prepared(pixels, size, preparation, pixel_size)
    difference = np.abs(found.astype(int) - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.02


def test_a_pixel_size_that_is_needed_is_asked_for(engine):
    pixels = np.zeros((8, 8, 4), np.uint8)
    line = engine.prepared(pixels, 16, {"rescaled_to": 0.08})
    assert "give the pixel size under Settings" in line
    assert "put the pixel size" in engine.prepared(pixels, 16, {"rescaled_to": 0.08}, 100.0)


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("A1_red.png", ("A1", "red")),
        ("A1-Green.PNG", ("A1", "green")),
        ("a1.b.yellow.jpg", ("a1.b", "yellow")),
        ("plate 2/A1_blue.png", ("plate 2/A1", "blue")),
        ("A1/red.png", ("A1", "red")),
        ("red/A1.png", ("A1", "red")),
        ("A1_DAPI.png", ("A1", "blue")),
        ("reduced.png", ("reduced", None)),
        ("10_A1_blue_red_green.jpg", ("10_A1", None)),
        ("Zelle ä_red.png", ("Zelle ä", "red")),
        ("A1 (green).png", ("A1", "green")),
        ("field.png", ("field", None)),
    ],
)
def test_names_say_which_field_and_channel(engine, path, place):
    names = {"red": "", "green": "", "blue": "", "yellow": ""}
    found = engine.call("((path, names) => placeOf(path, wordsOf(names)))", path, names)
    assert (found["id"], found["channel"]) == place


def test_a_channel_in_the_name_of_a_field_is_told_from_its_own(engine):
    paths = [f"x/red dead_{channel}.png" for channel in ("red", "green", "blue", "yellow")]
    paths.append("x/A1_blue_red_green.png")
    names = {"red": "", "green": "", "blue": "", "yellow": ""}
    call = """((paths, names) => {
      const files = paths.map((path) => ({ file: null, path }));
      const fields = [...groupFiles(files, names)];
      return fields.map(([id, found]) => [id, found.map(({ channel }) => channel)]);
    })"""
    found = engine.call(call, paths, names)
    assert found == [["red dead", ["red", "green", "blue", "yellow"]], ["A1", [None]]]


def test_names_of_ones_own_replace_the_usual_ones(engine):
    names = {"red": "tub", "green": "GFP", "blue": "", "yellow": ""}
    call = "((path, names) => placeOf(path, wordsOf(names)))"
    assert engine.call(call, "A1_tub.png", names) == {"id": "A1", "channel": "red"}
    assert engine.call(call, "A1-gfp.png", names) == {"id": "A1", "channel": "green"}
    assert engine.call(call, "A1_red.png", names) == {"id": "A1_red", "channel": None}


def test_a_channel_in_colour_gives_its_plane(engine):
    gray = smooth(seed=2)
    for channel in ("red", "green", "blue", "yellow"):
        found = engine.channel(encoded(coloured(gray, channel), "png"))
        np.testing.assert_array_equal(found, gray)
