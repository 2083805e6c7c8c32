"""Sources of image files: layouts, sizes, the arguments of `folder`, and rows that add up."""

import json
import pickle
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from support.image_files import (
    FOLDER,
    KAGGLE,
    KAGGLE_FULL,
    PLANES,
    SAMPLE,
    each_layout,
    encoded,
    gray_png,
    gray_tif,
    sample,
    smooth,
    write,
)

from hpa_jax.errors import InputError
from hpa_jax.labels import CHANNELS
from tfds_builder.hpa.files import layouts
from tfds_builder.hpa.sources import Example, Fault

ROOT = Path(__file__).parents[2]


@each_layout
def test_images_of_each_layout(layout, tmp_path):
    make, name, content = layout
    source = make(write(tmp_path, name, content))
    listing = source.examples()
    assert listing[:2] == ([Example("a_1", (3,), 0), Example("b_2", (0, 16), 1)], [])
    for example in listing.examples:
        image = source.image(example)
        assert (image.dtype, image.shape) == (np.uint8, (40, 48, 4))
        for number, colour in enumerate(CHANNELS):
            own = np.asarray(Image.open(tmp_path / name[1].format(id=example.id, channel=colour)))
            np.testing.assert_array_equal(
                image[..., number], own if own.ndim == 2 else own[..., PLANES[colour][0]]
            )


@sample
def test_real_kaggle_images_are_the_files_pixels():
    folder = Path(SAMPLE) / "kaggle_512"
    source = layouts.kaggle_512(folder)
    listing = source.examples()
    assert (len(listing.examples), listing.faults) == (77, [])
    for example in listing.examples[::15]:
        image = source.image(example)
        for number, colour in enumerate(CHANNELS):
            own = np.asarray(Image.open(folder / "train" / f"{example.id}_{colour}.png"))
            np.testing.assert_array_equal(image[..., number], own)


@sample
def test_real_v18_images_are_the_planes_of_their_colours():
    folder = Path(SAMPLE) / "hpav18_jpg"
    source = layouts.hpav18(folder)
    listing = source.examples()
    assert [(example.id, example.group_key) for example in listing.examples] == [
        ("10580_1610_C1_1", "10580"),
        ("10580_1756_B1_1", "10580"),
        ("10814_50_A1_1", "10814"),
        ("800_A6_1", "800"),
    ]
    for example in listing.examples[1:3]:
        image = source.image(example)
        for number, colour in enumerate(CHANNELS):
            own = np.asarray(Image.open(folder / "images" / f"{example.id}_{colour}.jpg"))
            np.testing.assert_array_equal(image[..., number], own[..., PLANES[colour][0]])
        assert image.shape[0] == {"10580_1756_B1_1": 2048, "10814_50_A1_1": 1728}[example.id]
    assert layouts.hpav18(folder, edge=512).image(listing.examples[0]).shape == (512, 512, 4)


@sample
def test_real_broken_download_is_a_fault_a_row():
    listing = layouts.kaggle_512(Path(SAMPLE) / "one_channel_only").examples()
    assert (listing.examples, len(listing.faults)) == ([], 12)
    assert all(fault.reason.startswith("is missing") for fault in listing.faults)
    assert "download it again" in listing.faults[-1].reason


def test_full_size_images_lie_where_their_archive_puts_them(tmp_path):
    for number, folder in enumerate(("train", "train_full_size", ".")):
        name = ("train.csv", f"{folder}/{{id}}_{{channel}}.tif")
        source = layouts.kaggle_full(write(tmp_path / str(number), name, gray_tif))
        assert len(source.examples().examples) == 2
        assert source.image(source.examples().examples[0]).shape == (40, 48, 4)


@each_layout
def test_settings_depend_on_pixels_and_not_on_paths(layout, tmp_path):
    make, name, content = layout
    source = make(write(tmp_path / "one", name, content))
    assert json.loads(json.dumps(source.settings())) == source.settings()
    assert str(tmp_path) not in json.dumps(source.settings())
    assert source.settings() == make(shutil.copytree(tmp_path / "one", tmp_path / "two")).settings()
    (tmp_path / "two" / name[0]).write_text("Id,Target\na_1,4\n")
    assert source.settings() != make(tmp_path / "two").settings()
    same = pickle.loads(pickle.dumps(source))  # as it goes to a worker process
    assert same == source
    np.testing.assert_array_equal(
        same.image(same.examples().examples[0]), source.image(source.examples().examples[0])
    )


@pytest.mark.parametrize(
    ("edge", "shape"), [(24, (20, 24)), (96, (80, 96)), (48, (40, 48)), (0, (40, 48))]
)
def test_edge_is_the_longer_side(tmp_path, edge, shape):
    source = layouts.kaggle_full(write(tmp_path, KAGGLE_FULL, gray_tif), edge=edge)
    image, native = (
        source.image(source.examples().examples[0]),
        layouts.kaggle_full(tmp_path).image(Example("a_1", (3,), 0)),
    )
    assert image.shape == (*shape, 4) and source.settings()["edge"] == edge
    if edge == 24:  # the mean of each 2 x 2 pixels, rounded
        mean = native.reshape(20, 2, 24, 2, 4).mean((1, 3))
        assert np.abs(image - mean).max() <= 0.5
    elif edge == 96:
        np.testing.assert_array_equal(
            image, cv2.resize(native, (96, 80), interpolation=cv2.INTER_LINEAR)
        )
    else:
        np.testing.assert_array_equal(image, native)


def test_pixel_size(tmp_path):
    write(tmp_path, FOLDER, gray_png)
    plain = layouts.folder(tmp_path, pixel_size=0.16)
    assert plain.image(plain.examples().examples[0]).shape == (40, 48, 4)
    source = layouts.folder(tmp_path, pixel_size=0.16, rescale=True)
    assert source.image(source.examples().examples[0]).shape == (80, 96, 4)
    assert (source.settings()["pixel_size"], source.settings()["rescaled_to"]) == (0.16, 0.08)
    assert plain.settings()["rescaled_to"] is None
    source = layouts.folder(tmp_path, pixel_size=0.04, rescale=True)
    assert source.image(source.examples().examples[0]).shape == (20, 24, 4)
    listing = layouts.folder(tmp_path, pixel_size=10, rescale=True).examples()
    assert not listing.examples and len(listing.faults) == 2
    assert (
        "would have 6000 x 5000 pixels after rescaling, more than 16777216; crop it"
        in listing.faults[0].reason
    )


def test_other_names_for_everything(tmp_path):
    (tmp_path / "raw").mkdir()
    names = {"red": "tubulin", "green": "gfp 488", "blue": "dapi"}
    for number, name in enumerate(names.values()):
        (tmp_path / "raw" / name).mkdir()
        (tmp_path / "raw" / name / "f-1.tiff").write_bytes(
            encoded(smooth(seed=number, top=4095), "tiff")
        )
    (tmp_path / "table.tsv").write_text("field\tplace\tdonor\nf-1\tgolgi apparatus\td7\n")
    source = layouts.folder(
        tmp_path,
        csv="table.tsv",
        pattern="raw/{channel}/{id}.tiff",
        channels=names,
        white=4095,
        id_column="field",
        label_column="place",
        group_column="donor",
    )
    listing = source.examples()
    assert listing[:2] == ([Example("f-1", (7,), 0, "d7")], [])
    image = source.image(listing.examples[0])
    for number in range(3):
        exact = np.floor(smooth(seed=number, top=4095) / 4095 * 255 + 0.5)
        np.testing.assert_array_equal(image[..., number], exact)
    assert not image[..., 3].any()
    settings = source.settings()
    assert settings["channels"] == names | {"yellow": None} and settings["white"] == {
        "8": 4095,
        "16": 4095,
    }


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"channels": {"gren": "x"}}, "channels has 'gren'; there are red, green, blue, yellow"),
        ({"channels": {"red": "x"}}, "channels has no green, the protein; "),
        ({"channels": {"green": None}}, "channels has no green"),
        ({"channels": {"green": ""}}, "channels has no green"),
        ({"channels": {"green": "x", "red": "x"}}, "channels has 'x' twice; "),
        ({"channels": {"green": "../x"}}, "channels has '../x'; use letters"),
        ({"channels": {"green": ".."}}, "channels has '..'; use letters"),
        ({"pattern": "images/{id}.png", "channels": {"green": "x"}}, "channels replaces {channel}"),
        ({"channel_order": ["green"]}, "channel_order is for a file with all channels, and pat"),
        ({"pattern": "{id}.tif", "channel_order": ["red"]}, "channel_order=red must name green"),
        ({"pattern": "{id}.tif", "channel_order": ["green"] * 2}, "must name green, and of red"),
        ({"pattern": "{id}.tif", "channel_order": ["green", "x"]}, "channel_order=green,x must"),
        ({"path_columns": {"green": "G"}, "pattern": "{id}_{channel}.png"}, "names every file; "),
        ({"path_columns": {"red": "R"}}, "path_columns has no green, the protein; "),
        ({"path_columns": {"red": "G", "green": "G"}}, "path_columns has 'G' twice; "),
        ({"projection": "sum"}, "projection=sum; there are max and mean"),
        ({"float_range": (1.0, 0.0)}, "float_range=1,0 must be the value of black and a larger"),
        ({"float_range": (0.0, float("nan"))}, "float_range=0,nan must be"),
        ({"unlabelled": True, "label_column": "x"}, "label_column and unlabelled contradict each"),
        ({"unlabelled": True, "labels": "csv"}, "labels=csv takes names from the labels; "),
        ({"label_columns": ["a"], "label_column": "x"}, "label_column and label_columns contra"),
        ({"pattern": "images/{channel}.png"}, "must hold {id} and {channel}"),
        ({"pattern": "{id}_{channel}_{z}.png"}, "and no other braces; put it right"),
        ({"pattern": "{{id}}_{channel}.png"}, "and no other braces"),
        ({"pattern": "{id:>9}_{channel}{id}.png"}, "and no other braces"),
        ({"pattern": "../{id}_{channel}.png"}, "is not a name inside the folder; "),
        ({"pattern": "/data/{id}_{channel}.png"}, "is not a name inside the folder; "),
        ({"csv": ""}, "csv= names no file; "),
        ({"white": 0}, "white=0 is out of range; "),
        ({"white": 65536}, "white=65536 is out of range; "),
        ({"pixel_size": 0.0}, "pixel_size=0.0 is out of range; "),
        ({"pixel_size": -0.08}, "pixel_size=-0.08 is out of range; "),
        ({"pixel_size": float("nan")}, "pixel_size=nan is out of range; "),
        ({"pixel_size": float("inf")}, "pixel_size=inf is out of range; "),
        ({"pixel_size": 1000.0}, "pixel_size=1000.0 is out of range; "),
        ({"rescale": True, "pixel_size": 0.1, "edge": 512}, "both set the size of an image; "),
        ({"edge": 8}, "edge=8 is out of range; "),
        ({"edge": -1}, "edge=-1 is out of range; "),
        ({"edge": 5000}, "edge=5000 is out of range; "),
    ],
)
def test_arguments_that_mean_nothing(arguments, reason):
    with pytest.raises(InputError) as error:
        layouts.folder(ROOT, **arguments)
    assert reason in str(error.value) and "; " in str(error.value) and "\n" not in str(error.value)


def test_too_few_bits_for_white(tmp_path):
    listing = layouts.folder(write(tmp_path, FOLDER, gray_png), white=4095).examples()
    assert len(listing.faults) == 2
    assert listing.faults[0].reason.startswith("has 8 bits a pixel, too few for white=4095; ")


def test_files_that_change_after_the_check(tmp_path):
    source = layouts.kaggle_512(write(tmp_path, KAGGLE, gray_png))
    example = source.examples().examples[0]
    path = tmp_path / "train/a_1_blue.png"
    path.write_bytes(encoded(smooth((20, 20)), "png"))
    with pytest.raises(
        Fault, match="has 20 x 20 pixels, the image's other channels have 48 x 40 pixels"
    ):
        source.image(example)
    path.unlink()
    with pytest.raises(Fault, match="blue.png is missing; download it again"):
        source.image(example)


def test_rows_and_faults_add_up(tmp_path):
    rows = "Id,Target\na_1,3\nb_2,0 16\nc_3,1\nd_4,-1\n../e,1\na_1,3\nf_6,\n"
    listing = layouts.kaggle_512(write(tmp_path, KAGGLE, gray_png, rows)).examples()
    assert [example.id for example in listing.examples] == ["a_1", "b_2"]
    assert sorted(fault.id for fault in listing.faults) == ["'../e'", "a_1", "c_3", "d_4", "f_6"]


def test_the_progress_bar_sees_every_row(tmp_path):
    seen = []
    layouts.kaggle_512(write(tmp_path, KAGGLE, gray_png)).examples(
        lambda rows, caption: seen.append((len(rows), caption)) or rows
    )
    assert seen == [(2, "checking")]
