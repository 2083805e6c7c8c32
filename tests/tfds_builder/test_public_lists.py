"""Public lists of antibodies: fetched with a digest, read with checks, nobody on two sides."""

import csv
import hashlib

import pytest
from support.antibody_lists import contents, write_lists
from support.misbehaving_server import Server
from support.own_images import build_own

from hpa_jax.data.catalog import load_dataset
from hpa_jax.errors import InputError
from tfds_builder.hpa.__main__ import main as build
from tfds_builder.hpa.lists import antibodies
from tfds_builder.hpa.lists.__main__ import main
from tfds_builder.hpa.lists.catalog import PUBLIC_LISTS, SPLITS, SUBCELL
from tfds_builder.hpa.sources import Example
from tfds_builder.hpa.split import sides


@pytest.fixture
def server():
    with Server() as server:
        for name, data in contents().items():
            server.bodies[f"/{name}"] = data
        yield server


def call(server, folder, *flags):
    url = f"--url=http://127.0.0.1:{server.server_port}"
    return main(["--list=subcell", f"--to={folder}", url, "--backoff=0.01", *flags])


def digest_flags(files):
    return [f"--sha256={name}={hashlib.sha256(data).hexdigest()}" for name, data in files.items()]


def test_what_is_known_of_the_public_lists():
    assert SPLITS == ("subcell",) and set(PUBLIC_LISTS) == {"subcell", "s_biad2443"}
    assert [(file.split, file.lines) for file in SUBCELL.files] == [
        ("train", 10433),
        ("validation", 1487),
        ("test", 3460),
    ]


def test_nothing_is_written_without_a_digest(server, tmp_path, capsys):
    folder = tmp_path / "lists"
    assert call(server, folder) == 2
    line = capsys.readouterr().err
    assert line.startswith("error: no digest of these files is known here, and nothing was written")
    for flag in digest_flags(contents()):
        assert flag in line
    assert line.count("\n") == 1 and not folder.exists()

    # The line's own flags are the next call.
    flags = [word for word in line.split() if word.startswith("--sha256=")]
    assert call(server, folder, *flags) == 0
    out = capsys.readouterr().out
    assert "8 antibodies (train 5, validation 2, test 1); 0 of them in two lists." in out
    assert "test_antibodies.txt has 1 antibodies, and 3460 in the copies that are known" in out
    for name, data in contents().items():
        assert (folder / name).read_bytes() == data
    asked = len(server.log)
    assert call(server, folder, *flags) == 0
    assert capsys.readouterr().out.count("there already") == 3 and len(server.log) == asked


def test_another_file_than_was_stated(server, tmp_path, capsys):
    flags = digest_flags(contents())
    server.bodies["/valid_antibodies.txt"] = b"HPA000009\n"
    assert call(server, tmp_path, *flags) == 2
    assert "valid_antibodies.txt has the SHA-256" in capsys.readouterr().err
    server.bodies["/valid_antibodies.txt"] = b"<html>sign in</html>"
    assert call(server, tmp_path, *flags) == 2
    assert "line 1: '<html>sign in</html>' is no antibody" in capsys.readouterr().err
    server.bodies["/valid_antibodies.txt"] = b"HPA000005\n"
    assert call(server, tmp_path, *digest_flags(contents(valid="HPA000005\n"))) == 2
    assert "HPA000005 is in valid_antibodies.txt and in test_anti" in capsys.readouterr().err
    server.plan["/test_antibodies.txt"] = ["status 404"]
    assert call(server, tmp_path, *flags) == 1
    assert "does not exist there (status 404" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--sha256=train_antibodies.txt=12", "is no FILE=HEX with 64 hex digits"),
        (f"--sha256=other.txt={'0' * 64}", "is no FILE=HEX with 64 hex digits"),
        ("--retries=-1", "out of range"),
    ],
)
def test_flags_that_are_wrong(server, tmp_path, capsys, flag, words):
    assert call(server, tmp_path, flag) == 2
    assert words in capsys.readouterr().err


def test_an_antibody_is_found_by_its_name_or_number(tmp_path):
    split = antibodies.load("subcell", write_lists(tmp_path))
    expected = {
        "HPA000001": "train",
        "hpa000003": "validation",
        "5": "test",
        "000005": "test",
        "115": "train",
        "300": "",
        "HPA000300": "train",
        "CAB000300": "validation",
        "6": "",
        "": "",
        "BJ": "",
    }
    assert {key: split.find(key) for key in expected} == expected


def test_lists_that_are_none(tmp_path):
    with pytest.raises(InputError, match="train_antibodies.txt is missing; .*--list=subcell"):
        antibodies.load("subcell", tmp_path)
    write_lists(tmp_path, valid="")
    with pytest.raises(InputError, match="valid_antibodies.txt is empty"):
        antibodies.load("subcell", tmp_path)
    # The last line of a file that is cut off.
    write_lists(tmp_path, train="HPA000001\nHPA00000")
    with pytest.raises(InputError, match="train_antibodies.txt, line 2: 'HPA00000' is no antibody"):
        antibodies.load("subcell", tmp_path)
    # Twice in one list is on one side. Of Windows, and without a last line end.
    write_lists(tmp_path, valid="\ufeffHPA000003\r\nHPA000007\r\nHPA000003")
    split = antibodies.load("subcell", tmp_path)
    assert split.find("3") == split.find("7") == "validation"
    assert "valid_antibodies.txt has 1 antibodies that it had before." in split.remarks


def test_images_of_no_list_are_told_of(tmp_path):
    split = antibodies.load("subcell", write_lists(tmp_path))
    keys = ("1", "HPA000003", "300", "", "77")
    examples = [Example(f"i{i}", (0,), i, key) for i, key in enumerate(keys)]
    placed, left_out, notes = split.place(examples)
    assert [(example.id, example.split) for example in placed] == [
        ("i0", "train"),
        ("i1", "validation"),
    ]
    assert [fault.id for fault in left_out] == ["i2", "i3", "i4"]
    assert "2 images of 2 antibodies in no list (300, 77), 1 images without an" in notes[0]
    with pytest.raises(InputError, match="has none of the 1 group keys of these images, such as"):
        split.place(examples[4:])
    with pytest.raises(InputError, match="goes by antibodies, and no image here has one"):
        split.place(examples[3:4])


def test_a_build_has_no_antibody_on_two_sides(tmp_path, capsys):
    keys = ("HPA000001", "2", "HPA000003", "5", "115", "115", "CAB000300", "HPA999999", "")
    rows = [f"i_{number},{number % 2},{key}" for number, key in enumerate(keys)]
    write_lists(tmp_path / "lists")
    flags = ["--split=subcell", "--group_column=antibody", "--folds=3"]
    build_own(tmp_path, "own", *flags, rows=rows, header="Id,Target,antibody")
    out = capsys.readouterr().out
    assert "(train 4, validation 2, test 1)" in out
    assert (
        "--split=subcell: 7 images of 6 antibodies are placed; left out, see rejects.csv: 1" in out
    )
    assert "0 of 6 group keys lie in several splits." in out
    folder = tmp_path / "hpa/own/3.0.0"
    assert all(len(splits) == 1 for splits in sides.splits_of_keys(folder / "images.csv").values())
    with open(folder / "rejects.csv", newline="") as file:
        assert [row["id"] for row in csv.DictReader(file)] == ["i_7", "i_8"]
    groups = {}
    for split in ("train", "validation", "test"):
        for group in load_dataset(tmp_path, "own", split=split).groups():
            groups.setdefault(int(group), set()).add(split)
    assert all(len(splits) == 1 for splits in groups.values())

    # Found again in the dataset that is there; other lists are another one.
    arguments = ["--config=folder", f"--manual_dir={tmp_path / 'source_own'}", "--csv=rows.csv"]
    arguments += [f"--data_dir={tmp_path}", "--name=own", "--pattern={id}_{channel}.png", *flags]
    assert build(arguments) == 0
    out = capsys.readouterr().out
    assert "is there already" in out and "0 of 6 group keys lie in several splits." in out
    write_lists(tmp_path / "lists", test="HPA000005\nHPA000006\n")
    assert build(arguments) == 2
    assert "split {'name': 'subcell', 'sha256': " in capsys.readouterr().err


def test_what_contradicts_a_public_split(tmp_path, capsys):
    def refusal(*flags):
        arguments = ["--config=folder", f"--manual_dir={tmp_path}", f"--data_dir={tmp_path}"]
        assert build([*arguments, *flags]) == 2
        return capsys.readouterr().err

    assert "subcell and --split_column both" in refusal("--split=subcell", "--split_column=set")
    assert "subcell and --match_splits_of both" in refusal(
        "--split=subcell", "--match_splits_of=kaggle_512"
    )
    assert "--lists means nothing without --split" in refusal(f"--lists={tmp_path}")
    assert "--split=own is for --config=s_biad2443 alone" in refusal("--split=own")
    assert "lists/train_antibodies.txt is missing; fetch the lists" in refusal("--split=subcell")


def test_a_table_with_an_antibody_on_two_sides(tmp_path):
    table = tmp_path / "images.csv"
    table.write_text(
        "id,split,group_key\na,train,p\nb,test,p\nc,test,q\nd,train,\ne,unlabelled,q\n"
    )
    assert sides.describe(table) == "1 of 2 group keys lie in several splits.\n"
    table.write_text("id,split,group_key\na,train,\n")
    assert sides.describe(table) == ""
    table.write_text("id,split\na,train\n")
    assert "cannot be read" in sides.describe(table)
