"""A folder or a zip: the same images, nothing outside, and faults of archives."""

import os
import random
import shutil
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from support.image_files import (
    FOLDER,
    KAGGLE,
    KAGGLE_FULL,
    assert_fault,
    each_layout,
    gray_png,
    gray_tif,
    write,
    zipped,
)

from hpa_jax.errors import InputError
from hpa_jax.images import store
from hpa_jax.images.disk_folder import Folder
from hpa_jax.images.store import Refused
from tfds_builder.hpa.files import layouts
from tfds_builder.hpa.sources import Fault

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@each_layout
def test_a_zip_is_as_its_folder(layout, tmp_path, packing):
    make, name, content = layout
    one = make(write(tmp_path / "folder", name, content))
    other = make(zipped(tmp_path / "folder", tmp_path / "all.zip", packing))
    assert one.settings() == other.settings() and one.examples() == other.examples()
    for example in one.examples().examples:
        np.testing.assert_array_equal(one.image(example), other.image(example))


@pytest.mark.parametrize("under", ["", "train/"])
def test_kaggles_train_zip_beside_the_csv(tmp_path, under):
    one = layouts.kaggle_512(write(tmp_path / "folder", KAGGLE, gray_png))
    (tmp_path / "packed").mkdir()
    shutil.copy(tmp_path / "folder/train.csv", tmp_path / "packed")
    zipped(tmp_path / "folder/train", tmp_path / "packed/train.zip", under=under)
    other = layouts.kaggle_512(tmp_path / "packed")
    assert one.settings() == other.settings() and one.examples() == other.examples()
    np.testing.assert_array_equal(
        one.image(one.examples().examples[1]), other.image(one.examples().examples[1])
    )
    nested = zipped(tmp_path / "packed", tmp_path / "all.zip")
    with pytest.raises(
        InputError,
        match="all.zip/train.zip is a zip in a zip; unzip the outer one and give its folder",
    ):
        layouts.kaggle_512(nested).examples()


def test_a_worker_process_reads_a_zip(tmp_path):
    from tfds_builder.hpa.pool import Pool

    write(tmp_path / "folder", KAGGLE_FULL, gray_tif)
    source = layouts.kaggle_full(zipped(tmp_path / "folder", tmp_path / "all.zip"))
    examples = source.examples().examples * 3
    with Pool(2) as pool:
        read = list(pool.map(source.image, examples))
    for example, image in zip(examples, read, strict=True):
        np.testing.assert_array_equal(image, source.image(example))


def link(target):
    def change(path):
        path.unlink()
        path.symlink_to(target)

    return change


def test_nothing_outside_the_folder_is_read(tmp_path):
    write(tmp_path / "data", FOLDER, gray_png)
    (tmp_path / "secret.png").write_bytes(gray_png("", 0))
    inside = Folder(tmp_path / "data")
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
    """To another disk, and so may the csv; what is in it may not lead out of it again."""
    write(tmp_path / "disk", KAGGLE, gray_png)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/train.csv").symlink_to(tmp_path / "disk/train.csv")
    (tmp_path / "data/train").symlink_to(tmp_path / "disk/train")
    source = layouts.kaggle_512(tmp_path / "data")
    assert len(source.examples().examples) == 2
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
    """Kaggle's layout in a zip whose member a_1_blue.png was changed by hand."""
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
        reason = f"is packed by method {packing}; make the zip with deflate"
        assert_fault(layouts.kaggle_512(path), f"{path}/train/a_1_blue.png", reason)

    path = repacked(tmp_path, packed(zipfile.ZIP_STORED))
    data = bytearray(path.read_bytes())
    at = data.rindex(b"train/a_1_blue.png") - 46  # its entry in the directory
    assert data[at : at + 4] == b"PK\x01\x02"
    data[at + 8] |= 1
    path.write_bytes(data)
    assert_fault(
        layouts.kaggle_512(path), f"{path}/train/a_1_blue.png", "is encrypted; make the zip"
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
        b"\0" * 500,
    ):
        path.write_bytes(content)
        with pytest.raises(InputError) as error:
            layouts.kaggle_512(path).examples()
        line = str(error.value)
        assert (
            line.startswith(f"{path} ")
            and "is no complete zip file" in line
            and "; download it again" in line
        )
    path.write_bytes(b"7z\xbc\xaf'\x1c" + bytes(99))
    with pytest.raises(InputError, match="is no zip file but a 7z archive; give a zip"):
        layouts.kaggle_512(path).examples()
    with pytest.raises(
        InputError, match="is not there; give the folder of the images .* or a zip of it"
    ):
        layouts.kaggle_512(tmp_path / "none").examples()
    with pytest.raises(
        InputError, match="train.csv is missing; see tfds_builder/hpa/README.md for the layout"
    ):
        layouts.kaggle_512(tmp_path / "folder/train").examples()


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
            listing = source.examples()
        except InputError as error:
            assert "\n" not in str(error)
            seen["refused"] += 1
            continue
        assert len(listing.examples) + len(listing.faults) == 2
        for example in listing.examples:
            try:
                assert source.image(example).shape == (40, 48, 4)
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
    first = source.image(source.examples().examples[0])
    write(tmp_path / "folder", KAGGLE, lambda colour, seed: gray_png(colour, seed + 100))
    zipped(tmp_path / "folder", tmp_path / "all.zip", zipfile.ZIP_STORED)
    assert not np.array_equal(source.image(source.examples().examples[0]), first)
