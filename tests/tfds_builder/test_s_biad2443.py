"""The two tables of S-BIAD2443, small ones of the same columns: joined, checked and built."""

import csv

import numpy as np
import pytest
from PIL import Image
from support.antibody_lists import write_lists
from support.atlas_downloads import QUICK, counts
from support.image_files import smooth
from support.misbehaving_server import Server

from hpa_jax.errors import InputError
from hpa_jax.labels import CHANNELS, LABELS
from tfds_builder.hpa.__main__ import main
from tfds_builder.hpa.download.__main__ import main as download
from tfds_builder.hpa.files import layouts
from tfds_builder.hpa.files.s_biad2443 import join
from tfds_builder.hpa.lists.__main__ import main as fetch
from tfds_builder.hpa.lists.catalog import MASTER, TRAINED_ON

NAMES = [label.lower() for label in LABELS]
HEADER = ["", "ID", "Path", "protein_location", "cell_type", "source", "U-2 OS", *NAMES]
# Path, cell line, source, labels.
IMAGES = (
    ("/data/512/1_02_A1_3.tiff", "U-2 OS", "Website", (0, 25)),
    ("/data/512/1_03_B1_1.tiff", "HeLa", "Website", (0,)),
    ("/data/512/3_02_A2_1.png", "U-2 OS", "Website", (12,)),
    ("/data/512/5_07_H12_2.tiff", "A-431", "Website", (5,)),
    ("/data/512/000a892-bbb.png", "", "Kaggle", (7, 1, 2)),
    ("/data/512/115_02_A2_1.png", "U-2 OS", "Website", (21,)),
)
TRAIN = ("x/1_02_A1_3.png", "x/5_07_H12_2.png", "x/000a892-bbb.png", "x/115_02_A2_1.png")


def master(images=IMAGES, header=HEADER):
    lines = [",".join(header)]
    for number, (path, cell_line, source, labels) in enumerate(images):
        facts = [str(number), f"id{number}", path, "words", cell_line, source, "False"]
        facts += [str(label in labels) for label in range(len(LABELS))]
        lines.append(",".join(facts))
    return "\n".join(lines).encode() + b"\n"


def trained_on(files=TRAIN):
    return "".join(f"{line}\n" for line in ("n,file", *(f"0,{name}" for name in files))).encode()


def id_of(image):
    return image[0].rpartition("/")[2].partition(".")[0]


def write(folder, pattern="512_whole_images/{id}_{channel}.png"):
    folder.mkdir()
    (folder / MASTER).write_bytes(master())
    (folder / TRAINED_ON).write_bytes(trained_on())
    for number, id in enumerate(map(id_of, IMAGES)):
        for channel, colour in enumerate(CHANNELS):
            file = folder / pattern.format(id=id, channel=colour)
            file.parent.mkdir(exist_ok=True)
            Image.fromarray(smooth((32, 32), 10 * number + channel)).save(file)
    return folder


def test_the_tables_become_one():
    joined = join(master(), trained_on(), "DIR")
    rows = list(csv.DictReader(joined.data.decode().splitlines()))
    assert joined.notes == () and len(rows) == 6
    first = rows[0]
    facts = [first[name] for name in ("Id", "split", "antibody", "plate", "well", "cell_line")]
    assert facts == ["1_02_A1_3", "train", "1", "02", "A1", "U-2 OS"]
    assert [name for name in LABELS if first[name] == "True"] == ["Nucleoplasm", "Cytosol"]
    assert [row["split"] for row in rows] == ["train", "test", "test", "train", "train", "train"]
    # A name of the challenge says nothing.
    assert rows[4]["antibody"] == rows[4]["plate"] == "" and rows[4]["Id"] == "000a892-bbb"


def test_rows_that_fit_nothing_are_told_of():
    again = (IMAGES[0], ("/other/1_02_A1_3.png", "U-2 OS", "Website", (3,)))
    images = (*IMAGES, ("/d/9_1_A1_1.png", "BJ", "Elsewhere", (0,)), *again)
    joined = join(master(images), trained_on((*TRAIN, "x/8_1_A1_1.png")), "DIR")
    assert joined.notes == (
        f"2 rows of {MASTER} are of an image that an earlier row has, 1 of them with other labels; "
        "the first counts.",
        f"1 rows of {MASTER} are of neither Website nor Kaggle, and left out.",
        f"1 files of {TRAINED_ON} are in no row of {MASTER}.",
    )
    assert b"9_1_A1_1" not in joined.data and joined.data.count(b"1_02_A1_3") == 1


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ((master(header=["a", *HEADER[1:-1], "rods"]), trained_on()), "no column rods & rings in"),
        ((master(), b"Path\nx\n"), f"DIR/{TRAINED_ON} has no column file in its first line"),
        ((master(), b""), "has no column file"),
        ((master(), b"file\n"), "has no rows"),
        ((master() + b"1,2\n", trained_on()), "line 8: has another number of columns"),
        ((b"\xff" + master(), trained_on()), "is not UTF-8"),
        ((master(), b'file\n"x'), "cannot be read"),
        ((master(), trained_on(("other.png",))), "is in Master_fovHPA_512.csv; they are of two"),
    ],
)
def test_tables_that_are_wrong(tables, words):
    with pytest.raises(InputError, match=words):
        join(*tables, "DIR")


def test_what_the_source_lists(tmp_path):
    folder = write(tmp_path / "ebi")
    pattern = "512_whole_images/{id}_{channel}.png"
    source = layouts.s_biad2443(folder, pattern=pattern)
    listing = source.examples()
    found = {example.id: example for example in listing.examples}
    assert found["1_02_A1_3"].labels == (0, 25) and found["1_02_A1_3"].group_key == "1"
    assert found["000a892-bbb"].labels == (1, 2, 7) and found["000a892-bbb"].group_key == ""
    assert "1 rows of 6 have no antibody: each is a group of its own." in listing.notes
    by_plate = layouts.s_biad2443(folder, pattern=pattern, group_column="plate", split="own")
    found = {example.id: example for example in by_plate.examples().examples}
    assert found["1_02_A1_3"].group_key == found["3_02_A2_1"].group_key == "02"
    assert {example.split for example in found.values()} == {""}
    assert source.settings() != by_plate.settings()
    with pytest.raises(InputError, match="group_column=well is none of antibody, plate, cell_line"):
        layouts.s_biad2443(folder, pattern=pattern, group_column="well")
    (folder / TRAINED_ON).unlink()
    missing = layouts.s_biad2443(folder, pattern=pattern)
    with pytest.raises(InputError, match=f"{TRAINED_ON} is missing; fetch it: .*=s_biad2443"):
        missing.examples()


def test_one_file_an_image(tmp_path):
    folder = write(tmp_path / "ebi")
    for number, id in enumerate(map(id_of, IMAGES)):
        planes = [smooth((32, 32), 10 * number + plane) for plane in range(4)]
        file = folder / f"512_whole_images/{id}.png"
        Image.fromarray(np.dstack(planes), "RGBA").save(file)
    with pytest.raises(InputError, match="no table says which plane is which channel; look at one"):
        layouts.s_biad2443(folder)
    order = ("yellow", "green", "blue", "red")
    source = layouts.s_biad2443(folder, channel_order=order)
    example = source.examples().examples[0]
    pixels = source.image(example)
    # 000a892-bbb, the fifth, is the first by its Id.
    np.testing.assert_array_equal(pixels[..., 3], smooth((32, 32), 40))
    np.testing.assert_array_equal(pixels[..., 0], smooth((32, 32), 43))


def test_the_tables_are_fetched_with_digests(tmp_path, capsys):
    folder = tmp_path / "ebi"
    with Server() as server:
        server.bodies |= {f"/{MASTER}": master(), f"/{TRAINED_ON}": trained_on()}
        flags = ["--list=s_biad2443", f"--url=http://127.0.0.1:{server.server_port}"]
        assert fetch([*flags, f"--to={folder}"]) == 2
        line = capsys.readouterr().err
        digests = [word for word in line.split() if word.startswith("--sha256=")]
        assert len(digests) == 2 and not folder.exists()
        assert fetch([*flags, *digests, f"--to={folder}"]) == 0
        assert (folder / MASTER).read_bytes() == master()
        assert (folder / TRAINED_ON).read_bytes() == trained_on()
        server.bodies[f"/{MASTER}"] = b"<!DOCTYPE html><title>sign in</title>"
        assert fetch([*flags, *digests, f"--to={tmp_path / 'page'}"]) == 2
    assert f"{MASTER} has no column Path in its first line" in capsys.readouterr().err


def test_images_of_the_website_are_fetched_beside_the_tables(tmp_path, capsys):
    folder = tmp_path / "ebi"
    folder.mkdir()
    again = (IMAGES[0], ("/d/oddly-named.png", "BJ", "Website", (0,)))
    (folder / MASTER).write_bytes(master((*IMAGES, *again)))
    (folder / TRAINED_ON).write_bytes(trained_on())
    website = sorted(id for id in map(id_of, IMAGES) if "_" in id)
    with Server() as server:
        flags = [f"--to={folder}", f"--url={server.url}", *QUICK]
        assert download([f"--csv={folder / MASTER}", *flags]) == 0
        assert counts(capsys.readouterr().out) == (4 * len(website), 0, 4 * len(website), 0)
    names = {f"{id}_{channel}.jpg" for id in website for channel in CHANNELS}
    assert {path.name for path in (folder / "images").iterdir()} == names
    source = layouts.s_biad2443(folder, pattern="images/{id}_{channel}.jpg")
    listing = source.examples()
    assert website == [example.id for example in listing.examples]
    # Of the challenge, and without an address.
    assert [fault.id for fault in listing.faults] == ["000a892-bbb", "oddly-named"]


@pytest.mark.slow
def test_built_by_its_own_split_and_by_that_of_lists(tmp_path, capsys):
    folder = write(tmp_path / "ebi")
    lists = write_lists(tmp_path / "antibodies")
    flags = ["--config=s_biad2443", f"--manual_dir={folder}", f"--data_dir={tmp_path}"]
    flags += ["--pattern=512_whole_images/{id}_{channel}.png", "--workers=1", "--folds=2"]
    assert main(flags) == 0
    out = capsys.readouterr().out
    assert "test 2" in out
    assert "1 groups of 4 lie in several splits of --split=published, such as 1: scores" in out
    assert "1 of 4 group keys lie in several splits." in out
    subcell = ["--split=subcell", f"--lists={lists}", "--name=by_antibody"]
    assert main([*flags, *subcell]) == 0
    out = capsys.readouterr().out
    assert "(train 3, validation 1, test 1)" in out and "1 images without an antibody" in out
    assert "0 of 4 group keys lie in several splits." in out
    own = ["--split=own", "--name=own", "--allow_uneven_splits"]
    assert main([*flags, *own]) == 0
    assert "0 of 4 group keys lie in several splits." in capsys.readouterr().out
