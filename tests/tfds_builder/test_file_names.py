"""Files wherever people keep them: a folder a plate, paths in the csv, links, zips made by hand."""

import unicodedata
import zipfile

import numpy as np
import pytest
from support.image_files import FOLDER, KAGGLE, encoded, gray_png, smooth, write, zipped

from hpa_jax.errors import InputError
from hpa_jax.images import store
from hpa_jax.images.disk_folder import Folder
from tfds_builder.hpa.files import layouts
from tfds_builder.hpa.sources import Fault

CHANNELS = {"red": "ch3", "green": "ch1", "blue": "ch4"}


def put(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(smooth(seed=seed), "png"))


def assert_reads(source, ids):
    """All rows are good, and each image is its own files'."""
    listing = source.examples()
    assert not listing.faults, listing.faults
    found = [example.original_id or example.id for example in listing.examples]
    assert sorted(found) == sorted(ids)
    for example in listing.examples:
        seed = ids[example.original_id or example.id]
        image = source.image(example)
        np.testing.assert_array_equal(image[..., 1], smooth(seed=seed))
    return listing


@pytest.mark.parametrize(
    "names",
    [
        ("SQ1/r01c01", "SQ2/r01c01"),
        ("A - 01(fld 02)", "A - 02(fld+02)"),
        ("plate 1.ome", "plate.1.ome"),
        ("caf\u00e9", "\u7d30\u80de"),
        ("plate\\A1", "plate\\A2"),
        ("b_2", "B_2"),
    ],
)
def test_ids_of_any_characters(tmp_path, names):
    ids = {}
    for number, name in enumerate(names):
        ids[name] = 10 * number
        for channel, word in enumerate(("ch1", "ch3", "ch4")):
            path = tmp_path / f"{name}-{word}sk1.tiff".replace("\\", "/")
            put(path, 10 * number + channel)
    rows = "".join(f'"{name}",{number}\n' for number, name in enumerate(names))
    (tmp_path / "labels.csv").write_text("Id,Target\n" + rows)
    arguments = {"pattern": "{id}-{channel}sk1.tiff", "channels": CHANNELS}
    listing = assert_reads(layouts.folder(tmp_path, **arguments), ids)
    zipped(tmp_path, tmp_path / "all.zip")
    packed = layouts.folder(tmp_path / "all.zip", **arguments)
    assert packed.examples()[:2] == listing[:2]
    assert len({example.id for example in listing.examples}) == 2


def test_accents_of_macos(tmp_path):
    """The csv has an accented letter as one character, the file's name as two."""
    composed = unicodedata.normalize("NFC", "caf\u00e9")
    apart = unicodedata.normalize("NFD", composed)
    for channel in ("red", "green", "blue", "yellow"):
        put(tmp_path / f"images/{apart}_{channel}.png", 5)
    (tmp_path / "labels.csv").write_text(f"Id,Target\n{composed},3\n")
    assert_reads(layouts.folder(tmp_path), {composed: 5})


def test_a_path_a_channel_in_the_csv(tmp_path):
    put(tmp_path / "one/a.png", 1)
    put(tmp_path / "one/b.png", 2)
    put(tmp_path / "two/x y.png", 3)
    absolute = tmp_path / "one/b.png"
    (tmp_path / "labels.csv").write_text(
        f"Id,AGP,RNA,Target\nfirst,./one/a.png,one\\b.png,3\nsecond site,two/x y.png,{absolute},4\n"
    )
    source = layouts.folder(tmp_path, path_columns={"green": "AGP", "red": "RNA"})
    listing = assert_reads(source, {"first": 1, "second site": 3})
    assert listing.examples[0].files == ("one/b.png", "one/a.png", None, None)
    red, _, blue, _ = np.moveaxis(source.image(listing.examples[0]), -1, 0)
    np.testing.assert_array_equal(red, smooth(seed=2))
    assert not blue.any()
    settings = source.settings()
    assert settings["pattern"] is None
    assert settings["path_columns"]["red"] == "RNA"


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("../secret.png", "which is none inside --manual_dir; "),
        ("/etc/hostname", "which is none inside --manual_dir; "),
        ("one/../../secret.png", "which is none inside --manual_dir; "),
        ("..\\secret.png", "which is none inside --manual_dir; "),
        ("", "has no path in the column AGP; "),
        ("one", "is not a file; "),
        ("one/none.png", "is missing; "),
    ],
)
def test_a_path_that_leads_nowhere(tmp_path, path, reason):
    put(tmp_path / "data/one/a.png")
    put(tmp_path / "secret.png")
    (tmp_path / "data/labels.csv").write_text(f"Id,AGP,Target\nx,{path},3\n")
    source = layouts.folder(tmp_path / "data", path_columns={"green": "AGP"})
    (fault,) = source.examples().faults
    assert reason in fault.reason and fault.id == "x"


@pytest.mark.parametrize("kind", ["files", "folder"])
def test_links_that_lead_out(tmp_path, kind):
    write(tmp_path / "store", KAGGLE, gray_png)
    (tmp_path / "mine/train").mkdir(parents=True)
    (tmp_path / "mine/train.csv").write_text("Id,Target\na_1,3\nb_2,0 16\n")
    if kind == "files":
        for file in (tmp_path / "store/train").iterdir():
            (tmp_path / "mine/train" / file.name).symlink_to(file)
        ids = {"a_1": 1, "b_2": 11}
    else:
        (tmp_path / "mine/train.csv").write_text("Id,Target\nplate/a_1,3\n")
        (tmp_path / "mine/train/plate").symlink_to(tmp_path / "store/train")
        ids = {"plate/a_1": 1}
    listing = layouts.kaggle_512(tmp_path / "mine").examples()
    assert len(listing.faults) == len(ids) and not listing.examples
    assert "trust links with --follow_links" in listing.faults[0].reason
    trusting = layouts.kaggle_512(tmp_path / "mine", follow_links=True)
    assert_reads(trusting, ids)
    # No bytes depend on it.
    assert trusting.settings() == layouts.kaggle_512(tmp_path / "mine").settings()
    with pytest.raises(store.Refused, match="leads out of"):
        Folder(tmp_path / "mine", follow_links=True).open("../store/train.csv")


def test_a_link_to_nothing_names_what_it_is_to(tmp_path):
    source = layouts.kaggle_512(write(tmp_path, KAGGLE, gray_png), follow_links=True)
    path = tmp_path / "train/a_1_red.png"
    path.unlink()
    path.symlink_to(".git/annex/objects/x")
    (fault,) = source.examples().faults
    assert fault.reason.startswith("is missing: a link to '.git/annex/objects/x', where there is")


def by_finder(folder, path):
    """As macOS makes it: a folder around everything, and a double of each file."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                name = f"hpa/{file.relative_to(folder)}"
                archive.write(file, name)
                archive.writestr(f"__MACOSX/hpa/._{file.name}", b"\0\5\x16\7")


def by_backslashes(folder, path):
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.rglob("*"):
            if file.is_file():
                info = zipfile.ZipInfo("x")
                info.filename = str(file.relative_to(folder)).replace("/", "\\")
                archive.writestr(info, file.read_bytes())


def deep(folder, path):
    zipped(folder, path, under="a/b c/")


def lowest(folder, path):
    """A folder on the disk, unzipped by hand."""
    path.mkdir()
    folder.rename(path / "inner")


@pytest.mark.parametrize("pack", [by_finder, by_backslashes, deep, lowest])
@pytest.mark.parametrize("kind", ["folder", "kaggle_512"])
def test_zips_as_people_make_them(tmp_path, pack, kind):
    name = FOLDER if kind == "folder" else KAGGLE
    make = getattr(layouts, kind)
    plain = make(write(tmp_path / "plain", name, gray_png))
    listing = plain.examples()
    image = plain.image(listing.examples[0])
    settings = plain.settings()
    pack(tmp_path / "plain", tmp_path / "packed.zip")
    packed = make(tmp_path / "packed.zip")
    found = packed.examples()
    assert found[:2] == listing[:2] and packed.settings() == settings
    np.testing.assert_array_equal(packed.image(found.examples[0]), image)
    own = [note for note in found.notes if "label ids" not in note]
    assert bool(own) == (pack is not by_backslashes)
    for note in own:
        assert " lies in " in note and note.endswith(", which is read.")


def test_names_in_utf_8_that_do_not_say_so(tmp_path):
    """macOS leaves the flag out, and Python reads the code page of DOS."""
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("labels.csv", "Id,Target\ncafX,3\n".replace("X", "\u00e9"))
        for channel in ("red", "green", "blue", "yellow"):
            archive.writestr(f"images/cafXX_{channel}.png", encoded(smooth(seed=7), "png"))
    path = tmp_path / "all.zip"
    path.write_bytes(path.read_bytes().replace(b"cafXX", "caf\u00e9".encode()))
    assert_reads(layouts.folder(path), {"caf\u00e9": 7})


def test_a_csv_in_several_folders_is_asked_about(tmp_path):
    write(tmp_path / "all/one", FOLDER, gray_png)
    write(tmp_path / "all/two", FOLDER, gray_png)
    zipped(tmp_path / "all", tmp_path / "all.zip")
    for path in ("all", "all.zip"):
        with pytest.raises(InputError, match="has labels.csv in 2 folders, one and two among"):
            layouts.folder(tmp_path / path).examples()


def test_a_fault_names_the_id_that_the_user_knows(tmp_path):
    put(tmp_path / "images/a b_green.png")
    (tmp_path / "labels.csv").write_text("Id,Target\na b,3\n")
    source = layouts.folder(tmp_path, channels={"green": "green", "red": "none"})
    (fault,) = source.examples().faults
    assert (fault.id, fault.reason[:10]) == ("a b", "is missing")
    good = layouts.folder(tmp_path, channels={"green": "green"})
    example = good.examples().examples[0]
    (tmp_path / "images/a b_green.png").unlink()
    with pytest.raises(Fault, match="Id a b: "):
        good.image(example)


@pytest.mark.parametrize("packed", [False, True])
def test_where_no_image_is_there_another_file_is_shown(tmp_path, packed):
    write(tmp_path, FOLDER, gray_png)
    path = zipped(tmp_path, tmp_path / "all.zip", under="top/") if packed else tmp_path
    source = layouts.folder(path, pattern="images/{id}-{channel}.TIF")
    first, second = source.examples().faults
    assert first.reason.startswith("is missing, and a_1_blue.png lies there; put --pattern and")
    assert second.reason.startswith("is missing; download it again")
    nowhere = layouts.folder(path, pattern="images/none/{id}_{channel}.png").examples().faults
    reason = nowhere[0].reason
    assert reason.startswith("is missing, and there is no images/none/; ")
    assert "/images has a_1_blue.png: put --pattern" in reason
    other = layouts.folder(path, pattern="images/{id}_{channel}.TIF").examples().faults
    assert other[0].reason.startswith("is missing, and a_1_red.png lies there; put --p")
    unimaged = layouts.folder(path, channels={"green": "green", "red": "rot"}).examples().faults
    assert "other channels of the image are there; put --channels right" in unimaged[0].reason


@pytest.mark.parametrize("packed", [False, True])
def test_a_csv_of_another_name_is_shown(tmp_path, packed):
    write(tmp_path, KAGGLE, gray_png)
    path = zipped(tmp_path, tmp_path / "all.zip") if packed else tmp_path
    with pytest.raises(InputError, match="labels.csv is missing, and train.csv lies there; give"):
        layouts.folder(path).examples()
