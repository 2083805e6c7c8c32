"""The command: a folder in, masks, outlines, polygons and a csv out; errors are a line."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from hpa_jax import main as training
from hpa_jax.errors import InputError
from hpa_jax.labels import CHANNELS
from hpa_jax.segmentation.classical import segment
from hpa_jax.serving import __main__ as serving
from hpa_jax.serving.segment import methods
from tfds_builder.hpa.synthetic.render import render

REPOSITORY = Path(__file__).resolve().parents[3]
IDS = ["plate 1/A1", "plate 1/A2", "plate 2/A1"]


@pytest.fixture
def plates(tmp_path):
    """(folder, uint8 [128, 128, 4] by Id)."""
    made = {}
    for number, image_id in enumerate(IDS):
        made[image_id] = render(0, number, [number], 128)
        write_field(tmp_path / "plates", image_id, made[image_id])
    return tmp_path / "plates", made


def write_field(folder, image_id, field):
    for number, channel in enumerate(CHANNELS):
        path = folder / f"{image_id}_{channel}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), field[..., number])


def run(folder, out, *flags):
    assert serving.main(["segment", str(folder), f"--out={out}", *flags]) == 0
    return out


def rows_of(out):
    with open(out / "cells.csv", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def contents(folder):
    """The bytes of every file by its name, without the record of what is done."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != "progress.jsonl":
            found[str(path.relative_to(folder))] = path.read_bytes()
    return found


def test_all_of_it_is_written_and_agrees(plates, tmp_path, capsys):
    folder, made = plates
    out = run(folder, tmp_path / "out")
    assert "3 images" in capsys.readouterr().out
    rows = rows_of(out)
    assert sorted({row["id"] for row in rows}) == sorted(IDS)
    for image_id, field in made.items():
        cells, nuclei = segment(field)
        (path,) = (out / "masks").glob(f"{image_id.replace('/', '_').replace(' ', '_')}*_cells.png")
        written = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert written.dtype == np.uint16 and np.array_equal(written, cells)
        stem = path.name.removesuffix("_cells.png")
        of_nuclei = cv2.imread(str(out / "masks" / f"{stem}_nuclei.png"), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(of_nuclei, nuclei)
        own = [row for row in rows if row["id"] == image_id]
        assert [int(row["cell"]) for row in own] == list(range(1, cells.max() + 1))
        for row in own:
            mask = cells == int(row["cell"])
            y, x = np.nonzero(mask)
            assert int(row["area_px"]) == mask.sum()
            assert int(row["nucleus_area_px"]) == (nuclei == int(row["cell"])).sum()
            assert (int(row["left"]), int(row["bottom"])) == (x.min(), y.max() + 1)
            assert float(row["centroid_x"]) == pytest.approx(x.mean() + 0.5, abs=0.01)
            at_rim = min(x.min(), y.min()) == 0 or max(x.max(), y.max()) == 127
            assert int(row["touches_border"]) == at_rim
        collection = json.loads((out / "geojson" / f"{stem}.geojson").read_text())
        assert len(collection["features"]) == len(own)
        assert cv2.imread(str(out / "outlines" / f"{stem}.png")).shape == (128, 128, 3)
    # Ours are found again by Id, whatever the Ids are.
    again = run(folder, tmp_path / "again", f"--masks={out / 'masks'}", "--format=tif")
    assert rows_of(again) == rows
    name = next((again / "masks").glob("*_cells.tif"))
    assert np.array_equal(
        tifffile.imread(name),
        cv2.imread(str(out / "masks" / f"{name.stem}.png"), cv2.IMREAD_UNCHANGED),
    )


def test_a_second_start_does_what_is_missing_and_nothing_else(plates, tmp_path, monkeypatch):
    folder, made = plates
    right = contents(run(folder, tmp_path / "right"))
    out = tmp_path / "out"
    damaged = folder / "plate 1" / "A2_blue.png"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-20])
    with pytest.raises(InputError, match="plate 1/A2: .*A2_blue.png .*--policy=skip"):
        run(folder, out, "--threads=1")
    assert not (out / "cells.csv").exists()
    run(folder, out, "--policy=skip")
    rejects = (out / "cells.csv.rejects.csv").read_text()
    assert "plate 1/A2" in rejects and len({row["id"] for row in rows_of(out)}) == 2

    # What a kill leaves: half a line, and half a file.
    with open(out / "progress.jsonl", "a", encoding="utf-8") as file:
        file.write('deadbeef {"id": "pla')
    (out / "masks" / ".x.png.0123456789abcdef.part").write_bytes(b"")
    damaged.write_bytes(whole)
    seen = []
    opened = methods.open_classical(None)

    def find(image_id, field):
        seen.append(image_id)
        return opened.find(image_id, field)

    monkeypatch.setattr(methods, "open_classical", lambda weights: opened._replace(find=find))
    assert contents(run(folder, out)) == right
    assert seen == ["plate 1/A2"]
    next((out / "geojson").iterdir()).unlink()
    assert contents(run(folder, out)) == right
    assert len(seen) == 2
    # Another image under the same name.
    write_field(folder, IDS[0], made[IDS[2]][::-1])
    run(folder, out)
    assert seen[2:] == [IDS[0]]


def test_masks_of_another_program(plates, tmp_path, capsys):
    folder, made = plates
    masks = tmp_path / "masks"
    for image_id, field in made.items():
        path = masks / f"{image_id}_cp_masks.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        # Gaps in the numbers, and 32 bits.
        tifffile.imwrite(path, segment(field).cells.astype(np.uint32) * 70_000)
    out = run(folder, tmp_path / "out", f"--masks={masks}")
    assert f"by the masks of {masks}" in capsys.readouterr().out
    counts = [int(segment(field).count) for field in made.values()]
    assert len(rows_of(out)) == sum(counts)
    assert {row["nucleus_area_px"] for row in rows_of(out)} == {"0"}
    path = masks / f"{IDS[1]}_cp_masks.tif"
    tifffile.imwrite(path, np.zeros((64, 128), np.uint16))
    with pytest.raises(InputError, match="plate 1/A2: .*A2_cp_masks.tif is 128 x 64 px"):
        run(folder, out, f"--masks={masks}")
    with pytest.raises(InputError, match="segmented otherwise .*method"):
        run(folder, out)


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--method=magic"], "--method"),
        (["--method=unet"], "--weights=EXPORT"),
        (["--scale=0.5"], "classical finds its own"),
        (["--scale=none"], "a factor from"),
        (["--weights=x"], "classical has none"),
        (["--masks=.", "--method=classical"], "leave out --method"),
        (["--masks=no/such"], "no folder with label images"),
        (["--missing=blue"], "their nuclei, which are blue"),
        (["--missing=mauve"], "--missing=mauve"),
        (["--format=bmp"], "--format"),
        (["--pattern={id}.bmp"], "no file in"),
        (["--out={plates}/out"], "lies in the folder of the images"),
        (["--out={plates}"], "lies in the folder of the images"),
        (["--out={other}"], "is not empty"),
    ],
)
def test_a_wrong_call_is_one_line_and_writes_nothing(plates, tmp_path, flags, words):
    folder, _ = plates
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    flags = [flag.format(plates=folder, other=other, id="{id}") for flag in flags]
    with pytest.raises(InputError) as error:
        run(folder, tmp_path / "out", *flags)
    assert words in str(error.value) and "\n" not in str(error.value)
    assert sorted(os.listdir(tmp_path)) == ["other", "plates"]
    assert os.listdir(other) == ["notes.txt"]


def test_without_scikit_image_there_is_one_line(plates, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage", None)
    monkeypatch.setattr(methods.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'hpa_jax\[segment\]'"):
        run(plates[0], tmp_path / "out")


def test_channels_that_were_not_imaged(plates, tmp_path):
    folder, _ = plates
    for name in ("yellow", "green"):
        for path in folder.rglob(f"*_{name}.png"):
            path.unlink()
    with pytest.raises(InputError, match="has no green and no yellow, which is needed"):
        run(folder, tmp_path / "out")
    out = run(folder, tmp_path / "out", "--missing=green,yellow")
    assert len({row["id"] for row in rows_of(out)}) == 3


def test_a_split_of_a_dataset(small_data, tmp_path, capsys):
    flags = [
        "--mode=segment",
        f"--workdir={tmp_path}",
        f"--config.data.data_dir={small_data}",
        "--config.data.name=synthetic_32",
        "--config.data.eval_split=test",
    ]
    assert training.main(flags) == 0
    text = capsys.readouterr().out
    assert "synthetic_32, split test" in text and "by classical" in text
    out = tmp_path / "segmentation"
    masks = sorted((out / "masks").glob("*_cells.png"))
    assert len(masks) == len(list((out / "geojson").iterdir())) > 3
    assert cv2.imread(str(masks[0]), cv2.IMREAD_UNCHANGED).shape == (32, 32)
    before = contents(out)
    assert training.main(flags) == 0
    assert contents(out) == before
    for method, message in (("magic", "method=magic is unknown"), ("unet", "--weights=EXPORT")):
        assert training.main([*flags, f"--config.segment.method={method}"]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.slow
def test_ctrl_c_leaves_whole_files(tmp_path):
    field = np.kron(render(0, 0, [0], 256), np.ones((3, 3, 1), np.uint8))
    folder = tmp_path / "plates"
    for number in range(6):
        write_field(folder, f"a{number}", np.roll(field, 40 * number, 0))
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "hpa_jax.serving",
        "segment",
        str(folder),
        f"--out={out}",
        "--threads=1",
    ]
    program = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
    progress = out / "progress.jsonl"
    while not (progress.exists() and len(progress.read_text().splitlines()) > 2):
        assert program.poll() is None
    program.send_signal(signal.SIGINT)
    program.communicate()
    assert program.returncode == 130
    assert not (out / "cells.csv").exists()
    assert not list(out.rglob("*.part"))
    for path in (out / "masks").iterdir():
        assert cv2.imread(str(path), cv2.IMREAD_UNCHANGED).shape == (768, 768)
    right = contents(run(folder, tmp_path / "right"))
    assert contents(run(folder, out)) == right
