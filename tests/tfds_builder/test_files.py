"""The sources of image files: the files' own pixels, as another library reads them; faults; a zip as its folder."""

import io
import json
import os
import pickle
import random
import shutil
import struct
import subprocess
import sys
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from hpa_jax.errors import InputError
from hpa_jax.labels import CHANNELS
from tfds_builder.hpa.files import images, layouts, png, store
from tfds_builder.hpa.files.store import Refused
from tfds_builder.hpa.sources import Fault, Field

ROOT = Path(__file__).parents[2]
SAMPLE = os.environ.get("HPA_SAMPLE_DIR")
sample = pytest.mark.skipif(SAMPLE is None, reason="HPA_SAMPLE_DIR is not set")
PLANES = {"red": [0], "green": [1], "blue": [2], "yellow": [0, 1]}


def smooth(shape=(40, 48), seed=0, top=255):
    """Something like a channel: blobs, of values 0 to `top`."""
    noise = cv2.GaussianBlur(np.random.default_rng(seed).random(shape), (0, 0), 4)
    noise = (noise - noise.min()) / (noise.max() - noise.min())
    return np.round(noise * top).astype(np.uint8 if top < 256 else np.uint16)


def coloured(gray, channel):
    image = np.zeros((*gray.shape, 3), gray.dtype)
    image[..., PLANES[channel]] = gray[..., None]
    return image


def encoded(image, kind, **options):
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()


def jpg(gray, channel, **options):
    return encoded(coloured(gray, channel), "jpeg", **{"quality": 90, "subsampling": 2} | options)


def write(folder, name, make, rows="Id,Target\na_1,3\nb_2,0 16\n"):
    """A source's folder: the csv, and `make(channel, seed)` for each file of the fields a_1 and b_2."""
    csv, pattern = name
    for number, id in enumerate(("a_1", "b_2")):
        for channel, colour in enumerate(CHANNELS):
            path = folder / pattern.format(id=id, channel=colour)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(make(colour, 10 * number + channel))
    (folder / csv).write_text(rows)
    return folder


KAGGLE = ("train.csv", "train/{id}_{channel}.png")
FULL = ("train.csv", "train/{id}_{channel}.tif")
V18 = ("labels.csv", "images/{id}_{channel}.jpg")
OWN = ("labels.csv", "images/{id}_{channel}.png")


def gray_png(colour, seed):
    return encoded(smooth(seed=seed), "png")


def gray_tif(colour, seed):
    return encoded(smooth(seed=seed), "tiff", compression="tiff_lzw")


def colour_jpg(colour, seed):
    return jpg(smooth(seed=seed), colour)


LAYOUTS = {
    "kaggle_512": (layouts.kaggle_512, KAGGLE, gray_png),
    "kaggle_full": (layouts.kaggle_full, FULL, gray_tif),
    "hpav18": (layouts.hpav18, V18, colour_jpg),
    "folder": (layouts.folder, OWN, gray_png),
}


@pytest.fixture(params=LAYOUTS)
def layout(request):
    return LAYOUTS[request.param]


def all_images(source):
    listing = source.fields()
    assert not listing.faults, listing.faults[0]
    return {field.id: source.image(field) for field in listing.fields}


# --- pixels ---------------------------------------------------------------------------------------------------------


def test_fields_of_each_layout(layout, tmp_path):
    make, name, content = layout
    source = make(write(tmp_path, name, content))
    listing = source.fields()
    assert listing == ([Field("a_1", (3,), 0), Field("b_2", (0, 16), 1)], [])
    for field in listing.fields:
        image = source.image(field)
        assert (image.dtype, image.shape) == (np.uint8, (40, 48, 4))
        for number, colour in enumerate(CHANNELS):
            own = np.asarray(Image.open(tmp_path / name[1].format(id=field.id, channel=colour)))
            np.testing.assert_array_equal(
                image[..., number], own if own.ndim == 2 else own[..., PLANES[colour][0]]
            )


@sample
def test_real_kaggle_fields_are_the_files_pixels():
    folder = Path(SAMPLE) / "kaggle_512"
    source = layouts.kaggle_512(folder)
    listing = source.fields()
    assert (len(listing.fields), listing.faults) == (77, [])
    for field in listing.fields[::15]:
        image = source.image(field)
        for number, colour in enumerate(CHANNELS):
            own = np.asarray(Image.open(folder / "train" / f"{field.id}_{colour}.png"))
            np.testing.assert_array_equal(image[..., number], own)


@sample
def test_real_v18_fields_are_the_planes_of_their_colours():
    folder = Path(SAMPLE) / "hpav18_jpg"
    source = layouts.hpav18(folder)
    listing = source.fields()
    assert [(field.id, field.family) for field in listing.fields] == [
        ("10580_1610_C1_1", "10580"),
        ("10580_1756_B1_1", "10580"),
        ("10814_50_A1_1", "10814"),
        ("800_A6_1", "800"),
    ]
    for field in listing.fields[1:3]:
        image = source.image(field)
        for number, colour in enumerate(CHANNELS):
            own = np.asarray(Image.open(folder / "images" / f"{field.id}_{colour}.jpg"))
            np.testing.assert_array_equal(image[..., number], own[..., PLANES[colour][0]])
        assert image.shape[0] == {"10580_1756_B1_1": 2048, "10814_50_A1_1": 1728}[field.id]
    assert layouts.hpav18(folder, edge=512).image(listing.fields[0]).shape == (512, 512, 4)


@sample
def test_real_broken_download_is_a_fault_a_row():
    listing = layouts.kaggle_512(Path(SAMPLE) / "one_channel_only").fields()
    assert (listing.fields, len(listing.faults)) == ([], 12)
    assert all(fault.reason.startswith("is missing; download it again") for fault in listing.faults)


@sample
def test_real_v18_jpgs_under_another_channels_name_are_told(tmp_path):
    path = Path(SAMPLE) / "hpav18_jpg/images"
    rule = layouts.hpav18(tmp_path).rule
    for colour in CHANNELS:
        data = (path / f"800_A6_1_{colour}.jpg").read_bytes()
        for other in CHANNELS:
            if other == colour:
                images.read(data, rule, other)
                continue
            with pytest.raises(
                Refused, match=f"is {colour}, not {other}: channels are swapped; download it again"
            ):
                images.read(data, rule, other)


def big_endian(image):
    """A TIFF of big-endian numbers, written by hand: one strip, not packed."""
    height, width = image.shape
    entries = [
        (256, 3, width),
        (257, 3, height),
        (258, 3, 16),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, 200),
        (277, 3, 1),
    ]
    entries += [(278, 3, height), (279, 4, image.nbytes)]
    body = struct.pack(">H", len(entries))
    for tag, kind, value in entries:
        body += (
            struct.pack(">HHIHH", tag, kind, 1, value, 0)
            if kind == 3
            else struct.pack(">HHII", tag, kind, 1, value)
        )
    return (b"MM\0*" + struct.pack(">I", 8) + body).ljust(200, b"\0") + image.astype(
        ">u2"
    ).tobytes()


def tiff_cv(image, packing, *options):
    return cv2.imencode(".tif", image, [cv2.IMWRITE_TIFF_COMPRESSION, packing, *options])[
        1
    ].tobytes()


PIL_TIFF = (None, "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "packbits", "zstd")
SMALL_STRIPS = (cv2.IMWRITE_TIFF_ROWSPERSTRIP, 7)
LOSSLESS = {
    **{
        f"TIFF, Pillow, {packing}": lambda a, p=packing: encoded(a, "tiff", compression=p)
        for packing in PIL_TIFF
    },
    **{
        f"TIFF, OpenCV, {packing}": lambda a, p=packing: tiff_cv(a, p, *SMALL_STRIPS)
        for packing in (1, 5, 8, 32946)
    },
    "TIFF, predictor": lambda a: tiff_cv(a, 8, cv2.IMWRITE_TIFF_PREDICTOR, 2),
    "TIFF, tiled": lambda a: tiled(a, 1),
    "TIFF, tiled, deflated": lambda a: tiled(a, 8),
    "PNG": lambda a: encoded(a, "png"),
    "PNG, OpenCV": lambda a: cv2.imencode(".png", a)[1].tobytes(),
}


def tiled(image, packing, side=16):
    """A TIFF of tiles, written by hand; at the right and lower edge they reach over the image."""
    height, width = image.shape
    down, across = -(-height // side), -(-width // side)
    padded = np.pad(image, ((0, down * side - height), (0, across * side - width)))
    tiles = [
        padded[y * side : (y + 1) * side, x * side : (x + 1) * side].tobytes()
        for y in range(down)
        for x in range(across)
    ]
    tiles = [zlib.compress(tile) for tile in tiles] if packing == 8 else tiles
    lengths, starts, at = [len(tile) for tile in tiles], [], 8
    for length in lengths:
        starts.append(at)
        at += length
    tables = struct.pack(f"<{len(tiles)}I", *starts) + struct.pack(f"<{len(tiles)}I", *lengths)
    entries = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 1, 8 * image.itemsize),
        (259, 3, 1, packing),
    ]
    entries += [(262, 3, 1, 1), (277, 3, 1, 1), (322, 3, 1, side), (323, 3, 1, side)]
    entries += [(324, 4, len(tiles), at), (325, 4, len(tiles), at + 4 * len(tiles))]
    body = (
        struct.pack("<H", len(entries))
        + b"".join(struct.pack("<HHII", *entry) for entry in entries)
        + bytes(4)
    )
    return b"II*\0" + struct.pack("<I", at + len(tables)) + b"".join(tiles) + tables + body


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("kind", LOSSLESS)
def test_lossless_files_are_read_exactly(kind, bits):
    gray = smooth((39, 50), top=2**bits - 1)
    data = LOSSLESS[kind](gray)
    np.testing.assert_array_equal(
        np.asarray(Image.open(io.BytesIO(data))), gray
    )  # the file is what it should be
    header = images._scan(io.BytesIO(data), layouts.folder(ROOT).rule)
    assert (header.height, header.width, header.bits, header.colour) == (39, 50, bits, "gray")
    read = images.read(data, layouts.folder(ROOT).rule, "green")
    exact = np.floor(gray / (2**bits - 1) * 255 + 0.5).astype(np.uint8)
    np.testing.assert_array_equal(read, exact if bits == 16 else gray)


def test_big_endian_numbers():
    gray = smooth(top=65535)
    read = images.read(big_endian(gray), layouts.folder(ROOT).rule, "green")
    np.testing.assert_array_equal(read, np.floor(gray / 65535 * 255 + 0.5))


@pytest.mark.parametrize("kind", ["png", "tif"])
@pytest.mark.parametrize("top", [255, 65535])
@pytest.mark.parametrize("channel", [*CHANNELS, "gray"])
def test_the_plane_of_a_lossless_image_in_one_colour(channel, top, kind):
    gray = smooth(top=top)
    image = np.stack([gray] * 3, -1) if channel == "gray" else coloured(gray, channel)
    data = cv2.imencode(f".{kind}", image[..., ::-1])[1].tobytes()
    read = images.read(data, layouts.folder(ROOT).rule, "green")
    np.testing.assert_array_equal(read, np.floor(gray / top * 255 + 0.5))


@pytest.mark.parametrize("channel", CHANNELS)
def test_the_plane_of_a_jpg(channel):
    gray = smooth((64, 64))
    data = jpg(gray, channel)
    for source in (layouts.hpav18(ROOT), layouts.folder(ROOT)):
        read = images.read(data, source.rule, channel)
        np.testing.assert_array_equal(
            read, np.asarray(Image.open(io.BytesIO(data)))[..., PLANES[channel][0]]
        )
    assert (
        np.abs(read.astype(int) - gray).mean() < 3
    )  # no luma: that would be a third of it, or less
    plain = encoded(gray, "jpeg")
    np.testing.assert_array_equal(
        images.read(plain, layouts.hpav18(ROOT).rule, channel),
        np.asarray(Image.open(io.BytesIO(plain))),
    )
    as_rgb = encoded(np.stack([gray] * 3, -1), "jpeg")
    np.testing.assert_array_equal(
        images.read(as_rgb, layouts.hpav18(ROOT).rule, channel),
        np.asarray(Image.open(io.BytesIO(as_rgb)))[..., 0],
    )


@pytest.mark.parametrize("shade", [0, 1, 3, 12, 30])
@pytest.mark.parametrize("channel", CHANNELS)
def test_a_dark_jpg_is_never_refused(channel, shade):
    """In the dark compression mixes the colours."""
    data = jpg(smooth((64, 64), top=shade), channel, quality=30)
    for source in (layouts.hpav18(ROOT), layouts.folder(ROOT)):
        assert images.read(data, source.rule, channel).shape == (64, 64)


@pytest.mark.parametrize(
    ("white", "top", "value", "expected"),
    [
        (None, 65535, 32768, 128),
        (None, 255, 77, 77),
        (4095, 65535, 4095, 255),
        (4095, 65535, 4096, 255),
        (4095, 65535, 65535, 255),
        (4095, 65535, 2048, 128),  # 127.53
        (510, 65535, 1, 1),  # 0.5, up
        (510, 65535, 3, 2),  # 1.5, up
        (1000, 65535, 1, 0),  # 0.255
        (100, 255, 50, 128),  # 127.5, up
        (100, 255, 101, 255),
    ],
)
def test_white_and_rounding(white, top, value, expected):
    image = np.full((5, 6), value, np.uint8 if top == 255 else np.uint16)
    read = images.read(encoded(image, "png"), layouts.folder(ROOT, white=white).rule, "green")
    assert (read == expected).all() and read.dtype == np.uint8


# --- folder and zip -------------------------------------------------------------------------------------------------


def zipped(folder, path, packing=zipfile.ZIP_DEFLATED, under=""):
    with zipfile.ZipFile(path, "w", packing) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file() and file != path:
                archive.write(file, f"{under}{file.relative_to(folder)}")
    return path


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_is_as_its_folder(layout, tmp_path, packing):
    make, name, content = layout
    one = make(write(tmp_path / "folder", name, content))
    other = make(zipped(tmp_path / "folder", tmp_path / "all.zip", packing))
    assert one.settings() == other.settings() and one.fields() == other.fields()
    for field in one.fields().fields:
        np.testing.assert_array_equal(one.image(field), other.image(field))


@pytest.mark.parametrize("under", ["", "train/"])
def test_kaggles_train_zip_beside_the_csv(tmp_path, under):
    one = layouts.kaggle_512(write(tmp_path / "folder", KAGGLE, gray_png))
    (tmp_path / "packed").mkdir()
    shutil.copy(tmp_path / "folder/train.csv", tmp_path / "packed")
    zipped(tmp_path / "folder/train", tmp_path / "packed/train.zip", under=under)
    other = layouts.kaggle_512(tmp_path / "packed")
    assert one.settings() == other.settings() and one.fields() == other.fields()
    np.testing.assert_array_equal(
        one.image(one.fields().fields[1]), other.image(one.fields().fields[1])
    )
    nested = zipped(tmp_path / "packed", tmp_path / "all.zip")
    with pytest.raises(
        InputError,
        match="all.zip/train.zip is a zip in a zip; unzip the outer one and give its folder",
    ):
        layouts.kaggle_512(nested).fields()


def test_full_size_images_lie_where_their_archive_puts_them(tmp_path):
    for number, folder in enumerate(("train", "train_full_size", ".")):
        name = ("train.csv", f"{folder}/{{id}}_{{channel}}.tif")
        source = layouts.kaggle_full(write(tmp_path / str(number), name, gray_tif))
        assert len(source.fields().fields) == 2
        assert source.image(source.fields().fields[0]).shape == (40, 48, 4)


def test_settings_tell_pixels_apart_and_no_paths(layout, tmp_path):
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
        same.image(same.fields().fields[0]), source.image(source.fields().fields[0])
    )


def test_a_worker_process_reads_a_zip(tmp_path):
    from tfds_builder.hpa.pool import Pool

    write(tmp_path / "folder", FULL, gray_tif)
    source = layouts.kaggle_full(zipped(tmp_path / "folder", tmp_path / "all.zip"))
    fields = source.fields().fields * 3
    with Pool(2) as pool:
        read = list(pool.map(source.image, fields))
    for field, image in zip(fields, read, strict=True):
        np.testing.assert_array_equal(image, source.image(field))


# --- resizing -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edge", "shape"), [(24, (20, 24)), (96, (80, 96)), (48, (40, 48)), (0, (40, 48))]
)
def test_edge_is_the_longer_side(tmp_path, edge, shape):
    source = layouts.kaggle_full(write(tmp_path, FULL, gray_tif), edge=edge)
    image, native = (
        source.image(source.fields().fields[0]),
        layouts.kaggle_full(tmp_path).image(Field("a_1", (3,), 0)),
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
    write(tmp_path, OWN, gray_png)
    plain = layouts.folder(tmp_path, pixel_size=0.16)
    assert plain.image(plain.fields().fields[0]).shape == (40, 48, 4)
    source = layouts.folder(tmp_path, pixel_size=0.16, rescale=True)
    assert source.image(source.fields().fields[0]).shape == (80, 96, 4)
    assert (source.settings()["pixel_size"], source.settings()["rescaled_to"]) == (0.16, 0.08)
    assert plain.settings()["rescaled_to"] is None
    source = layouts.folder(tmp_path, pixel_size=0.04, rescale=True)
    assert source.image(source.fields().fields[0]).shape == (20, 24, 4)
    listing = layouts.folder(tmp_path, pixel_size=10, rescale=True).fields()
    assert not listing.fields and len(listing.faults) == 2
    assert (
        "would have 6000 x 5000 pixels after rescaling, more than 16777216; crop it"
        in listing.faults[0].reason
    )


# --- folder ---------------------------------------------------------------------------------------------------------


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
        family_column="donor",
    )
    listing = source.fields()
    assert listing == ([Field("f-1", (7,), 0, "d7")], [])
    image = source.image(listing.fields[0])
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
        ({"pattern": "images/{id}.png"}, "must hold {id} and {channel}"),
        ({"pattern": "images/{channel}.png"}, "must hold {id} and {channel}"),
        ({"pattern": "{id}_{channel}_{z}.png"}, "and no other braces; put it right"),
        ({"pattern": "{{id}}_{channel}.png"}, "and no other braces"),
        ({"pattern": "{id:>9}_{channel}{id}.png"}, "and no other braces"),
        ({"pattern": "../{id}_{channel}.png"}, "is not a name inside the folder; "),
        ({"pattern": "/data/{id}_{channel}.png"}, "is not a name inside the folder; "),
        ({"csv": "../labels.csv"}, "csv=../labels.csv is not a name inside the folder; "),
        ({"csv": ""}, "is not a name inside the folder"),
        ({"white": 0}, "white=0 is out of range; "),
        ({"white": 65536}, "white=65536 is out of range; "),
        ({"pixel_size": 0.0}, "pixel_size=0.0 is out of range; "),
        ({"pixel_size": -0.08}, "pixel_size=-0.08 is out of range; "),
        ({"pixel_size": float("nan")}, "pixel_size=nan is out of range; "),
        ({"pixel_size": float("inf")}, "pixel_size=inf is out of range; "),
        ({"pixel_size": 1000.0}, "pixel_size=1000.0 is out of range; "),
        ({"rescale": True}, "rescale needs the pixel_size of the files; "),
        ({"rescale": True, "pixel_size": 0.1, "edge": 512}, "both say how large a field becomes; "),
        ({"edge": 8}, "edge=8 is out of range; "),
        ({"edge": -1}, "edge=-1 is out of range; "),
        ({"edge": 5000}, "edge=5000 is out of range; "),
    ],
)
def test_arguments_that_mean_nothing(arguments, reason):
    with pytest.raises(InputError) as error:
        layouts.folder(ROOT, **arguments)
    assert reason in str(error.value) and "; " in str(error.value) and "\n" not in str(error.value)


# --- faults of files ------------------------------------------------------------------------------------------------


def damaged(path, change):
    data = bytearray(path.read_bytes())
    change(data)
    path.write_bytes(data)


def cut(share):
    return lambda path: path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


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
    """A plain TIFF whose SHORT tag (or that which stands `instead`) was given another value by hand."""
    data = bytearray(encoded(smooth(), "tiff"))
    (at,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, at)
    for place in range(at + 2, at + 2 + 12 * count, 12):
        if struct.unpack_from("<H", data, place)[0] == (instead or tag):
            struct.pack_into("<HHIHH", data, place, tag, 3, 1, value, 0)
            return bytes(data)
    raise AssertionError(tag)


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
    "cut at the end": (cut(0.98), "is cut short"),
    "cut in the middle": (cut(0.5), "is cut short"),
    "cut in the header": (put(lambda: b""), "is empty"),
    "a folder": (folder_instead, "is not a file; put the channel's image there"),
    "a pipe": (fifo, "is not a file"),
    "a link that leads out": (link("/etc/hostname"), "is a link that leads out of"),
    "a link to nothing": (link("nothing"), "is missing"),
    "a page of a log-in": (
        put(lambda: b"<!doctype html>"),
        "but a web page or other text; download it again as",
    ),
    "a GIF": (put(lambda: encoded(smooth(), "gif")), "but a GIF"),
    "zeros": (put(lambda: bytes(4000)), "; download it again"),
    "noise": (put(lambda: random.Random(0).randbytes(4000)), "; download it again"),
    "a gigabyte": (lambda path: os.truncate(path, 2**30), "claims 1073741824 bytes, more than the"),
}


@pytest.mark.parametrize("fault", ANY)
def test_a_file_that_is_not_one(fault, layout, tmp_path):
    make, name, content = layout
    damage, reason = ANY[fault]
    source = make(write(tmp_path, name, content))
    path = tmp_path / name[1].format(id="a_1", channel="blue")
    damage(path)
    assert_fault(source, path, reason)


def assert_fault(source, path, reason, id="a_1"):
    """One fault by the listing or else by decoding; the other field is as good as before."""
    listing = source.fields()
    if listing.faults:
        (fault,) = listing.faults
        assert [field.id for field in listing.fields] == ["b_2"]
    else:
        with pytest.raises(Fault) as error:
            source.image(listing.fields[0])
        fault = error.value
    assert source.image(listing.fields[-1]).any()
    assert (fault.id, fault.file) == (id, str(path))
    assert reason in fault.reason and "; " in fault.reason and "\n" not in str(fault), fault.reason
    assert pickle.loads(pickle.dumps(fault)).args == fault.args  # it comes back from a worker


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
        "has 20 x 20 pixels, the field's other channels have 48 x 40 pixels; download all four again",
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
    ("kaggle_full", "palette"): (lambda: palette("tiff"), "is palette, not gray"),
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
        "has more than one page; save the channel's own plane as a plain gray",
    ),
    ("kaggle_full", "white is 0"): (
        lambda: with_tag(262, 0),
        "stores white as 0; save it with black as 0",
    ),
    ("kaggle_full", "turned"): (lambda: tagged(t274=6), "is to be turned or mirrored to be seen"),
    ("kaggle_full", "JPG inside"): (
        lambda: encoded(smooth(), "tiff", compression="jpeg"),
        "is packed by method 7; save",
    ),
    ("kaggle_full", "LZMA"): (
        lambda: encoded(smooth(), "tiff", compression="lzma"),
        "is packed by method 34925",
    ),
    ("kaggle_full", "BigTIFF"): (
        lambda: encoded(smooth(), "tiff", big_tiff=True),
        "is not a TIFF but a BigTIFF",
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
        "shows several channels at once; save the channel's own plane as a JPG in the channel's colour",
    ),
    ("hpav18", "magenta"): (
        lambda: encoded(coloured(smooth(), "blue") + coloured(smooth(), "red"), "jpeg"),
        "shows several channels at once",
    ),
    ("hpav18", "the end put back"): (lambda: swapped_end(jpg(smooth(), "blue")), "is damaged ("),
    ("hpav18", "12 bits"): (
        lambda: patched_jpg(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"),
        "has 12 bits a pixel, not 8",
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
        "has 20 x 20 pixels, the field's other",
    ),
    ("folder", "palette"): (lambda: palette("png"), "is palette, not gray"),
    ("folder", "alpha"): (lambda: encoded(np.dstack([smooth()] * 4), "png"), "is RGBA, not gray"),
    ("folder", "1 bit"): (lambda: encoded(smooth() > 99, "png"), "has 1 bits a pixel, not 8 or 16"),
    ("folder", "a shade is transparent"): (
        lambda: encoded(smooth(), "png", transparency=1),
        "is gray with a transparent shade, not gray",
    ),
    ("folder", "two channels in colour"): (
        lambda: encoded(np.dstack([smooth(), smooth(seed=5), smooth() * 0]), "png"),
        "shows several channels at once; save the channel's own plane as a gray PNG, TIFF or JPG of 8 or 16 bits",
    ),
    ("folder", "other bits"): (
        lambda: encoded(smooth(top=65535), "png"),
        "has 16 bits a pixel, the field's other channels have 8 bits a pixel; download all four again",
    ),
    ("folder", "another format"): (
        lambda: encoded(smooth(), "tiff"),
        "has the format TIFF, the field's other channels have the format PNG; download all four again",
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


def test_a_jpg_cut_in_the_middle_with_its_end_put_back():
    """Pillow and OpenCV give the half of it with the rest gray, and say nothing."""
    data = swapped_end(jpg(smooth((400, 400)), "red"))
    assert np.asarray(Image.open(io.BytesIO(data))).shape == (400, 400, 3)
    with pytest.raises(Refused, match="is damaged .*premature end.*; download it again"):
        images.read(data, layouts.hpav18(ROOT).rule, "red")


def test_stderr_is_there_again_after_any_number_of_threads(capfd):
    """While they decode it is turned off: C libraries write to it."""
    data, rule = encoded(smooth(), "png"), layouts.folder(ROOT).rule
    with ThreadPoolExecutor(8) as threads:
        assert len(list(threads.map(lambda _: images.read(data, rule, "green"), range(200)))) == 200
    os.write(2, b"here")
    assert capfd.readouterr().err == "here"


def test_too_few_bits_for_white(tmp_path):
    listing = layouts.folder(write(tmp_path, OWN, gray_png), white=4095).fields()
    assert len(listing.faults) == 2
    assert listing.faults[0].reason.startswith("has 8 bits a pixel, too few for white=4095; ")


def test_files_that_change_after_the_check(tmp_path):
    source = layouts.kaggle_512(write(tmp_path, KAGGLE, gray_png))
    field = source.fields().fields[0]
    path = tmp_path / "train/a_1_blue.png"
    path.write_bytes(encoded(smooth((20, 20)), "png"))
    with pytest.raises(
        Fault, match="has 20 x 20 pixels, the field's other channels have 48 x 40 pixels"
    ):
        source.image(field)
    path.unlink()
    with pytest.raises(Fault, match="blue.png is missing; download it again"):
        source.image(field)


def test_rows_and_faults_add_up(tmp_path):
    rows = "Id,Target\na_1,3\nb_2,0 16\nc_3,1\nd_4,-1\n../e,1\na_1,3\nf_6,\n"
    listing = layouts.kaggle_512(write(tmp_path, KAGGLE, gray_png, rows)).fields()
    assert [field.id for field in listing.fields] == ["a_1", "b_2"]
    assert sorted(fault.id for fault in listing.faults) == ["'../e'", "a_1", "c_3", "d_4", "f_6"]


def test_the_bar_sees_every_row(tmp_path):
    seen = []
    layouts.kaggle_512(write(tmp_path, KAGGLE, gray_png)).fields(
        lambda rows, caption: seen.append((len(rows), caption)) or rows
    )
    assert seen == [(2, "checking")]


# --- stores ---------------------------------------------------------------------------------------------------------


def test_nothing_outside_the_folder_is_read(tmp_path):
    write(tmp_path / "data", OWN, gray_png)
    (tmp_path / "secret.png").write_bytes(gray_png("", 0))
    inside = store.Folder(tmp_path / "data")
    for name in (
        "../secret.png",
        "images/../../secret.png",
        str(tmp_path / "secret.png"),
        "images/..",
        "",
    ):
        with pytest.raises(Refused):
            store.read(inside, name)
    (tmp_path / "data/link.png").symlink_to(
        "images/a_1_red.png"
    )  # a link that stays inside is fine
    assert store.read(inside, "link.png") == (tmp_path / "data/images/a_1_red.png").read_bytes()
    (tmp_path / "data/out").symlink_to(tmp_path)
    with pytest.raises(Refused, match="leads out of"):
        store.read(inside, "out/secret.png")


def test_the_folder_of_the_images_may_be_a_link(tmp_path):
    """To another disk, for example, and so may the csv; what lies in it may not lead out of it again."""
    write(tmp_path / "disk", KAGGLE, gray_png)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/train.csv").symlink_to(tmp_path / "disk/train.csv")
    (tmp_path / "data/train").symlink_to(tmp_path / "disk/train")
    source = layouts.kaggle_512(tmp_path / "data")
    assert len(source.fields().fields) == 2
    (tmp_path / "disk/secret.png").write_bytes(gray_png("", 0))
    path = tmp_path / "disk/train/a_1_red.png"
    link("../secret.png")(path)
    assert_fault(source, tmp_path / "data/train/a_1_red.png", "is a link that leads out of")


def test_faults_in_a_zip(tmp_path):
    write(tmp_path / "folder", KAGGLE, gray_png)
    (tmp_path / "folder/train/a_1_red.png").unlink()
    path = zipped(tmp_path / "folder", tmp_path / "all.zip", zipfile.ZIP_STORED)
    source = layouts.kaggle_512(path)
    assert_fault(source, f"{path}/train/a_1_red.png", "is missing; download it again")
    write(tmp_path / "folder", KAGGLE, gray_png)
    for change, reason in (
        (lambda data, at: data.__setitem__(at, data[at] ^ 1), "; download it again"),
        (lambda data, at: data.__setitem__(slice(at, at + 9), b"x" * 9), "; download it again"),
    ):
        path = zipped(tmp_path / "folder", tmp_path / "all.zip", zipfile.ZIP_STORED)
        inside = (tmp_path / "folder/train/a_1_blue.png").read_bytes()
        data = bytearray(path.read_bytes())
        change(data, data.index(inside) + 50)
        path.write_bytes(data)
        assert_fault(layouts.kaggle_512(path), f"{path}/train/a_1_blue.png", reason)


def repacked(tmp_path, change):
    """Kaggle's layout in a zip whose entries were changed by hand; the member at fault is a_1_blue.png."""
    write(tmp_path / "folder", KAGGLE, gray_png)
    path = tmp_path / "all.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted((tmp_path / "folder").rglob("*")):
            if file.is_file():
                name = str(file.relative_to(tmp_path / "folder"))
                change(archive, name, file.read_bytes()) if name.endswith(
                    "a_1_blue.png"
                ) else archive.write(file, name)
    return path


def test_members_that_are_not_unpacked(tmp_path):
    def packed(packing):
        return lambda archive, name, data: archive.writestr(name, data, compress_type=packing)

    for packing in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        path = repacked(tmp_path, packed(packing))
        reason = f"is packed by method {packing}; unpack the archive and give the folder"
        assert_fault(layouts.kaggle_512(path), f"{path}/train/a_1_blue.png", reason)

    path = repacked(tmp_path, packed(zipfile.ZIP_STORED))
    data = bytearray(path.read_bytes())
    at = data.rindex(b"train/a_1_blue.png") - 46  # its entry in the directory
    assert data[at : at + 4] == b"PK\x01\x02"
    data[at + 8] |= 1
    path.write_bytes(data)
    assert_fault(
        layouts.kaggle_512(path), f"{path}/train/a_1_blue.png", "is encrypted; unpack the archive"
    )
    data[at + 8] &= 254
    struct.pack_into("<I", data, at + 24, 2**31)  # unpacked, it would have 2 GiB
    path.write_bytes(data)
    assert_fault(
        layouts.kaggle_512(path),
        f"{path}/train/a_1_blue.png",
        "claims 2147483648 bytes, more than the",
    )


def test_archives_that_are_none(tmp_path):
    path = zipped(write(tmp_path / "folder", KAGGLE, gray_png), tmp_path / "all.zip")
    data = path.read_bytes()
    for content in (
        data[: len(data) // 2],
        data[: len(data) - 9],
        b"",
        b"7z\xbc\xaf'\x1c" + bytes(99),
        b"x" * 500,
    ):
        path.write_bytes(content)
        with pytest.raises(InputError) as error:
            layouts.kaggle_512(path).fields()
        line = str(error.value)
        assert (
            line.startswith(f"{path} ")
            and "is no whole zip file" in line
            and "; download it again" in line
        )
    with pytest.raises(
        InputError, match="is not a folder; give the folder of the csv and the images, or their zip"
    ):
        layouts.kaggle_512(tmp_path / "none").fields()
    with pytest.raises(
        InputError, match="train.csv is missing; see tfds_builder/hpa/README.md for the layout"
    ):
        layouts.kaggle_512(tmp_path / "folder/train").fields()


def test_random_damage_to_an_archive_gives_faults_or_one_line(tmp_path):
    data = zipped(write(tmp_path / "folder", KAGGLE, gray_png), tmp_path / "all.zip").read_bytes()
    path, rng = tmp_path / "bad.zip", random.Random(3)
    seen = {"read": 0, "fault": 0, "refused": 0}
    for number in range(250):
        bad = bytearray(data)
        for _ in range(1 if number % 2 else 6):  # half of it in the directory, at the end
            at = (
                rng.randrange(len(bad)) if rng.random() < 0.5 else len(bad) - 1 - rng.randrange(800)
            )
            bad[at] = rng.choice((0, 255, rng.randrange(256)))
        path.write_bytes(bad)
        os.utime(path, ns=(number, number))  # a file that is changed within a tick of the clock
        source = layouts.kaggle_512(path)
        try:
            listing = source.fields()
        except InputError as error:
            assert "\n" not in str(error)
            seen["refused"] += 1
            continue
        assert len(listing.fields) + len(listing.faults) == 2
        for field in listing.fields:
            try:
                assert source.image(field).shape == (40, 48, 4)
                seen["read"] += 1
            except Fault as fault:
                assert "\n" not in str(fault)
                seen["fault"] += 1
        seen["fault"] += len(listing.faults)
    assert min(seen.values()) > 20, seen


def test_a_zip_that_is_replaced_is_read_anew(tmp_path):
    source = layouts.kaggle_512(
        zipped(write(tmp_path / "folder", KAGGLE, gray_png), tmp_path / "all.zip")
    )
    first = source.image(source.fields().fields[0])
    write(tmp_path / "folder", KAGGLE, lambda colour, seed: gray_png(colour, seed + 100))
    zipped(tmp_path / "folder", tmp_path / "all.zip", zipfile.ZIP_STORED)
    assert not np.array_equal(source.image(source.fields().fields[0]), first)


# --- damage at random, and bombs ------------------------------------------------------------------------------------

FUZZED = {
    "PNG": (lambda: encoded(smooth(), "png"), 0),  # share of flips that may pass unseen
    "PNG, 16 bits": (lambda: encoded(smooth(top=65535), "png"), 0),
    "TIFF, deflated": (lambda: encoded(smooth(), "tiff", compression="tiff_deflate"), 0.5),
    "TIFF, LZW": (lambda: encoded(smooth(), "tiff", compression="tiff_lzw"), 1),
    "TIFF": (lambda: encoded(smooth(top=65535), "tiff"), 1),
    "JPG": (lambda: jpg(smooth(), "green"), 1),
    "JPG, progressive": (lambda: jpg(smooth(), "green", progressive=True), 1),
}


@pytest.mark.parametrize("kind", FUZZED)
def test_random_damage_gives_an_image_or_a_reason(kind, capfd):
    make, unseen = FUZZED[kind]
    data, rule = make(), layouts.folder(ROOT).rule
    right = images.read(data, rule, "green")
    rng = random.Random(1)
    passed = 0
    for number in range(300):
        bad = bytearray(data)
        for _ in range(1 if number % 2 else 8):
            bad[rng.randrange(len(bad))] = rng.randrange(256)
        if number % 7 == 0:
            del bad[rng.randrange(len(bad)) :]
        try:
            read = images.read(bytes(bad), rule, "green")
        except Refused as refused:
            assert "; " in str(refused) and "\n" not in str(refused)
            continue
        assert read.dtype == np.uint8 and read.ndim == 2
        passed += not np.array_equal(read, right)
    assert passed <= unseen * 300
    assert capfd.readouterr().err == ""  # the C libraries' lines stay out of the way


BOMBS = r"""
import sys
from pathlib import Path
from tfds_builder.hpa import files
from tfds_builder.hpa.files import images, store
from tfds_builder.hpa.files.store import Refused

folder = Path(sys.argv[1])
places = {"png": store.Folder(folder), "tif": store.Folder(folder), "zip": store.Zip(folder / "all.zip")}
for name, place in places.items():
    try:
        rule = files.folder(folder).rule
        images.scan(place, f"bomb.{name}", rule)
        print(name, images.read(store.read(place, f"bomb.{name}"), rule, "green").shape)
    except Refused as refused:
        print(name, refused)
# Its own peak: ru_maxrss starts from that of the process that it was forked from.
print(int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) // 1024)
"""


def test_bombs_do_not_fill_the_memory(tmp_path):
    """Each claims to be an image, and unpacks to 671 MB."""
    packing = zlib.compressobj(1)
    bomb = b"".join(packing.compress(bytes(2**24)) for _ in range(40)) + packing.flush()

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 4096, 4096, 8, 0, 0, 0, 0))
    (tmp_path / "bomb.png").write_bytes(
        png.SIGNATURE + head + chunk(b"IDAT", bomb) + chunk(b"IEND", b"")
    )
    entries = [
        (256, 64),
        (257, 64),
        (258, 8),
        (259, 8),
        (262, 1),
        (273, 200),
        (277, 1),
        (278, 64),
        (279, len(bomb)),
    ]
    body = struct.pack("<H", len(entries)) + b"".join(
        struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries
    )
    (tmp_path / "bomb.tif").write_bytes(
        (b"II*\0" + struct.pack("<I", 8) + body).ljust(200, b"\0") + bomb
    )
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("bomb.zip", bomb[2:-4])
    data = bytearray((tmp_path / "all.zip").read_bytes())
    at = data.rindex(b"PK\x01\x02")
    struct.pack_into("<H", data, at + 10, zipfile.ZIP_DEFLATED)
    struct.pack_into("<I", data, at + 24, 5000)  # what it claims to hold
    (tmp_path / "all.zip").write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", BOMBS, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    *said, peak = done.stdout.splitlines()
    assert said == [
        "png (4096, 4096)",  # nothing is unpacked beyond what its header says
        "tif is damaged: wrong checksum or length of its pixel data; download it again",
        "zip is not a PNG, TIFF or JPEG; download it again",
    ]
    assert int(peak) < 500, f"{peak} MB"
    assert done.stderr == ""
