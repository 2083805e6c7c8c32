"""Whatever is wrong with a folder or a call: one line with the remedy, status 2, nothing left."""

import csv
import resource
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from hpa_jax.images import png
from tfds_builder.hpa import prepare
from tfds_builder.hpa.__main__ import main

ROOT = Path(__file__).parents[2]
DUMMY = ROOT / "tfds_builder/hpa/dummy_data"
ID = "dummy-04"


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(DUMMY, tmp_path / "manual")
    return tmp_path / "manual"


def refused(capsys, *flags):
    """Runs the command line, which must refuse; returns its line without `error: `."""
    assert main(list(flags)) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1 and "; " in err, err
    return err.removeprefix("error: ").rstrip("\n")


def refused_folder(capsys, folder):
    data_dir = folder.parent / "data"
    line = refused(
        capsys,
        "--config=kaggle_512",
        f"--manual_dir={folder}",
        f"--data_dir={data_dir}",
        "--workers=1",
    )
    assert not data_dir.exists()
    return line


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def gray_png(width, height, pixels, *extra):
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return (
        png.SIGNATURE
        + head
        + b"".join(extra)
        + chunk(b"IDAT", zlib.compress(pixels))
        + chunk(b"IEND", b"")
    )


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def save(path, mode, size=(16, 16), **options):
    Image.new(mode, size, options.pop("fill", 1)).save(
        path, options.pop("format", "png"), **options
    )


IMAGES = {
    "missing": (lambda path: path.unlink(), "is missing; download it again"),
    "empty": (lambda path: path.write_bytes(b""), "is empty (0 bytes)"),
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:-20]), "is cut short"),
    "cut in the header": (
        lambda path: path.write_bytes(path.read_bytes()[:20]),
        "is cut short: 20 bytes",
    ),
    "flipped pixel data": (lambda path: flip(path, 60), "is damaged: wrong checksum"),
    "flipped size": (
        lambda path: flip(path, 19),
        "pixels, the image's other channels have 16 x 16 pixels",
    ),
    "half of the rows": (
        lambda path: path.write_bytes(gray_png(16, 16, bytes(17 * 8))),
        "its pixel data do not decode",
    ),
    "another size": (
        lambda path: save(path, "L", (16, 8)),
        "has 16 x 8 pixels, the image's other channels have 16 x 16 pixels",
    ),
    "16 bits": (
        lambda path: cv2.imwrite(str(path), np.full((16, 16), 254, np.uint16)),
        "has 16 bits a pixel, not 8",
    ),
    "1 bit": (lambda path: save(path, "1"), "has 1 bits a pixel"),
    "RGB": (lambda path: save(path, "RGB"), "is RGB, not gray"),
    "RGBA": (lambda path: save(path, "RGBA"), "is RGBA, not gray"),
    "gray with alpha": (lambda path: save(path, "LA"), "is gray with alpha, not gray"),
    "gray, one shade transparent": (
        lambda path: save(path, "L", transparency=1),
        "with a transparent shade",
    ),
    "palette": (lambda path: save(path, "P"), "is palette, not gray"),
    "JPEG named .png": (lambda path: save(path, "L", format="jpeg"), "is not a PNG but a JPEG"),
    "a page of a log-in": (
        lambda path: path.write_text("<!doctype html>"),
        "is not a PNG but a web page",
    ),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "is not a file"),
    "a pixel bomb": (
        lambda path: path.write_bytes(gray_png(60000, 60000, b"")),
        "claims 60000 x 60000 pixels",
    ),
}


@pytest.mark.parametrize("fault", IMAGES)
def test_image(fault, folder, capfd):
    damage, reason = IMAGES[fault]
    path = folder / "train" / f"{ID}_green.png"
    damage(path)
    line = refused_folder(capfd, folder)
    assert line.startswith(f"Id {ID}: {path} ") and reason in line


def test_skip_writes_the_good_and_lists_every_fault(folder, tmp_path, capfd):
    """All these faults at once: rows in = images + rejects, and each reject has its own reason."""
    rows = (folder / "train.csv").read_text().splitlines()
    bad = {f"bad-{number:02d}": fault for number, fault in enumerate(IMAGES)}
    for id, fault in bad.items():
        for channel in ("red", "green", "blue", "yellow"):
            shutil.copy(folder / f"train/{ID}_{channel}.png", folder / f"train/{id}_{channel}.png")
        IMAGES[fault][0](folder / f"train/{id}_green.png")
    lines = {
        "'../x'": "../x,1",
        "no-label": "no-label,",
        "minus": "minus,-1",
        "short": "short",
        "absent": "absent,3",
    }
    (folder / "train.csv").write_text(
        "\n".join([*rows, *(f"{id},2" for id in bad), *lines.values()]), "utf-8-sig"
    )
    flags = [
        "--config=kaggle_512",
        f"--manual_dir={folder}",
        f"--data_dir={tmp_path / 'data'}",
        "--policy=skip",
    ]
    assert main([*flags, "--workers=1"]) == 0
    capfd.readouterr()
    built = prepare.version_dir(tmp_path / "data", "kaggle_512")
    with open(built / "rejects.csv", newline="") as file:
        rejects = {row["id"]: row for row in csv.DictReader(file)}
    assert sum(prepare.split_sizes(built).values()) == len(rows) - 1 == 10
    assert rejects.keys() == bad.keys() | lines.keys()
    for id, fault in bad.items():
        assert (
            rejects[id]["file"] == f"train/{id}_green.png"
            and IMAGES[fault][1] in rejects[id]["reason"]
        )
    assert rejects["absent"]["file"] == "train/absent_red.png"
    assert rejects["minus"]["file"] == f"train.csv, line {len(rows) + len(bad) + 3}"


def test_the_first_fault_is_named_and_all_are_counted(folder, capsys):
    for number in (3, 5, 8):
        (folder / "train" / f"dummy-{number:02d}_blue.png").unlink()
    line = refused_folder(capsys, folder)
    assert line.startswith("Id dummy-03: ") and line.endswith(
        "(3 rows of 10 are faulty; this is the first)"
    )


CSVS = {  # test_csv_table.py has the others
    "unknown label": (
        f"Id,Target\n{ID},28\n",
        f"Id {ID}: {{csv}}, line 2 has the unknown label '28'; labels are 0 to 27",
    ),
    "negative label": (f"Id,Target\n{ID},-1\n", "line 2 has the unknown label '-1'"),
    "no label": (f"Id,Target\n{ID},\n", f"Id {ID}: {{csv}}, line 2 has no label"),
    "Id twice": (
        f"Id,Target\n{ID},1\ndummy-01,2\n{ID},1\n",
        f"Id {ID}: {{csv}}, line 4 has it again after line 2",
    ),
    "Id that climbs": (
        "Id,Target\n../x,1\n",
        "Id '../x': {csv}, line 2 has an Id with an empty part, . or .. between slashes",
    ),
    "Id from the root": (
        "Id,Target\n/etc/passwd,1\n",
        "Id '/etc/passwd': {csv}, line 2 has an Id with an empty part",
    ),
    "Id too long": (f"Id,Target\n{'x' * 300},1\n", "cannot be read (File name too long)"),
    "no column Target": (
        "Id,Predicted\nx,1\n",
        "{csv} has no column Target in its first line; its columns are Id, Predicted; ",
    ),
    "no rows": ("Id,Target\n", "{csv} has no rows"),
    "nothing": ("", "{csv} has no columns"),
    "Latin-1": (
        "Id,Target,Note\nx,1,Zürich\n".encode("latin-1"),
        "{csv} is not UTF-8 (byte 20; in Latin-1 it would be ü); save it as UTF-8",
    ),
    "a quote left open": (f'Id,Target\n"{ID},1\n', "{csv}, line 2: "),
}


@pytest.mark.parametrize("fault", CSVS)
def test_csv(fault, folder, capsys):
    content, reason = CSVS[fault]
    (folder / "train.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    line = refused_folder(capsys, folder)
    assert reason.format(csv=folder / "train.csv") in line


def test_no_csv_and_no_folder(folder, capsys):
    (folder / "train.csv").unlink()
    assert "train.csv is missing; see tfds_builder/hpa/README.md" in refused_folder(capsys, folder)
    assert (
        "is not there; give the folder of the images (and of their csv, for a dataset) or a zip"
        in refused_folder(capsys, folder / "none")
    )


VALUES = ["--data_dir=/nowhere/at/all", "--workers=1"]


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (
            ["--config=kagle"],
            "unknown --config=kagle; there are kaggle_512, kaggle_full, hpav18, s_biad2443, "
            "folder, synthetic",
        ),
        ([], "the following arguments are required: --config"),
        (["--config=synthetic", "--imagse=3"], "unrecognized arguments: --imagse=3"),
        (["--config=synthetic", "--image=3"], "unrecognized arguments: --image=3"),
        (["--config=synthetic", "--images=many"], "argument --images: invalid int value: 'many'"),
        (
            ["--config=synthetic", "--images=0"],
            "--images=0 --size=64 is out of range; ask for at least 1 image",
        ),
        (["--config=synthetic", "--size=31"], "of 32 to 4096 pixels"),
        (["--config=synthetic", "--frequencies=even"], "invalid choice: 'even'"),
        (["--config=synthetic", "--seed=-1"], "--seed=-1 is out of range"),
        (["--config=synthetic", "--workers=0"], "--workers=0 is too few"),
        (
            ["--config=synthetic_64", "--size=32"],
            "--config=synthetic_64 and --size=32 contradict each other",
        ),
        (["--config=kaggle_512"], "--config=kaggle_512 needs --manual_dir"),
        (["--config=kaggle_512", "--size=64"], "--size is for --config=synthetic alone"),
    ],
)
def test_call(flags, reason, capsys):
    line = refused(capsys, *VALUES, *flags)
    assert reason in line


def test_data_dir_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    flags = [
        "--config=synthetic_32",
        "--images=3",
        f"--data_dir={tmp_path}/file/data",
        "--workers=1",
    ]
    line = refused(capsys, *flags)
    # No word of a full disk, which nobody has seen.
    assert line.startswith("cannot use ") and "Not a directory; check the path" in line


def test_disk_that_takes_no_more(tmp_path, capfd):
    """A limit on the size of files stands for a full disk, which TensorFlow meets the same way."""
    flags = [
        "--config=synthetic_32",
        "--images=60",
        f"--data_dir={tmp_path / 'data'}",
        "--workers=1",
    ]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        line = refused(capfd, *flags)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert line.startswith(f"cannot write to {tmp_path / 'data'}: ") and "File too large" in line
    assert not (tmp_path / "data").exists()


def test_without_tensorflow(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    line = refused(
        capsys,
        "--config=synthetic_32",
        "--images=3",
        f"--data_dir={tmp_path / 'data'}",
        "--workers=1",
    )
    assert line == "building needs the package tensorflow; pip install 'hpa_jax[build]'"
    assert not (tmp_path / "data").exists()


def test_folder_of_someone_else(tmp_path, capsys):
    prepare.version_dir(tmp_path, "synthetic").mkdir(parents=True)
    assert "was not written by this program; move it away" in refused(
        capsys, "--config=synthetic", f"--data_dir={tmp_path}"
    )


def test_status_and_stderr_of_the_real_command(folder, tmp_path):
    """Without TensorFlow in the way: a faulty file is found before it is even loaded."""
    (folder / "train.csv").write_text(f"Id,Target\n{ID},99\n")
    command = [
        sys.executable,
        "-m",
        "tfds_builder.hpa",
        "--config=kaggle_512",
        f"--manual_dir={folder}",
    ]
    done = subprocess.run(
        [*command, f"--data_dir={tmp_path / 'data'}"], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "")
    reason = "has the unknown label '99'; labels are 0 to 27, or their names"
    assert done.stderr == f"error: Id {ID}: {folder}/train.csv, line 2 {reason}\n"


def test_fault_found_by_a_worker(folder, capfd):
    path = folder / "train" / f"{ID}_red.png"
    flip(path, 60)
    data_dir = folder.parent / "data"
    line = refused(
        capfd,
        "--config=kaggle_512",
        f"--manual_dir={folder}",
        f"--data_dir={data_dir}",
        "--workers=2",
    )
    assert line.startswith(f"Id {ID}: {path} is damaged: wrong checksum")
    assert not data_dir.exists()
