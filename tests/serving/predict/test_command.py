"""The command: a folder in, a table out, by either backend; what is wrong is one line."""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.exports import tiny_export
from support.image_folders import write_images

from hpa_jax.errors import InputError
from hpa_jax.images.resize import fit_square
from hpa_jax.serving import __main__ as serving
from hpa_jax.serving import load

REPOSITORY = Path(__file__).resolve().parents[3]
IDS = [f"plate {k % 2}/A{k:02}" for k in range(11)]


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    return tiny_export(tmp_path_factory.mktemp("exports") / "export")


@pytest.fixture
def plates(tmp_path):
    """(folder, uint8 [40, 40, 4] by Id)."""
    return tmp_path / "plates", write_images(tmp_path / "plates", ids=IDS, shape=(40, 40))


def predict(export, folder, out, *flags):
    assert serving.main(["predict", str(export), str(folder), f"--out={out}", *flags]) == 0
    return out


def read(path):
    with open(path, encoding="utf-8") as file:
        return list(csv.DictReader(file))


def scores_of(rows, served):
    names = [label["name"] for label in served.description["labels"]]
    return np.array([[float(row[name]) for name in names] for row in rows])


@pytest.mark.parametrize("backend", ["onnx", "jax"])
def test_scores_are_the_nets_own(export, plates, tmp_path, backend, capsys):
    folder, made = plates
    rows = read(predict(export, folder, tmp_path / "a.csv", f"--backend={backend}"))
    served = load(export, backend=backend)
    prepared = np.stack([fit_square(made[row["id"]], 32) for row in rows])
    assert [row["id"] for row in rows] == sorted(IDS)
    right = served.probabilities(prepared)
    np.testing.assert_allclose(scores_of(rows, served), right, atol=2e-6)
    above = right > np.array(served.description["thresholds"], np.float32)
    assert above.any() and not above.all()
    for row, decided in zip(rows, above, strict=True):
        assert row["labels"] == " ".join(map(str, np.flatnonzero(decided)))
    out = capsys.readouterr().out
    assert "11 images, a file a channel" in out and f"by {backend}" in out
    assert sorted(os.listdir(tmp_path)) == ["a.csv", "plates"]


def test_a_second_start_goes_on_and_gives_the_same_bytes(export, plates, tmp_path):
    folder, _ = plates
    right = predict(export, folder, tmp_path / "right.csv", "--batch=2").read_bytes()

    damaged = folder / "plate 1" / "A07_blue.png"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-20])
    out = tmp_path / "again.csv"
    # Of a call that was killed while it wrote its table.
    (tmp_path / ".again.csv.0123456789abcdef.part").write_bytes(b"")
    with pytest.raises(InputError, match="plate 1/A07: .*A07_blue.png .*--policy=skip"):
        predict(export, folder, out, "--batch=2")
    assert not out.exists() and (tmp_path / "again.csv.progress").exists()

    damaged.write_bytes(whole)
    # Of the same size and age it is taken to be the same: nobody reads it again.
    first = folder / "plate 0" / "A00_red.png"
    before = first.stat()
    first.write_bytes(b"x" * before.st_size)
    os.utime(first, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert predict(export, folder, out, "--batch=2").read_bytes() == right
    assert sorted(os.listdir(tmp_path)) == ["again.csv", "plates", "right.csv"]


def test_what_changed_between_two_starts_is_scored_anew(export, plates, tmp_path):
    folder, _ = plates
    damaged = folder / "plate 1" / "A09_blue.png"
    whole = damaged.read_bytes()
    damaged.write_bytes(b"")
    out = tmp_path / "a.csv"
    with pytest.raises(InputError, match="is empty"):
        predict(export, folder, out)
    damaged.write_bytes(whole)
    shutil.copy(folder / "plate 1" / "A03_green.png", folder / "plate 0" / "A00_green.png")
    found = predict(export, folder, out).read_bytes()
    assert found == predict(export, folder, tmp_path / "b.csv").read_bytes()


def test_images_that_cannot_be_read_are_listed(export, plates, tmp_path, capsys):
    folder, _ = plates
    (folder / "plate 0" / "A02_red.png").write_bytes(b"GIF89a")
    (folder / "plate 1" / "A05_green.png").unlink()
    out = predict(export, folder, tmp_path / "a.csv", "--policy=skip")
    assert len(read(out)) == len(IDS) - 2
    rejects = read(tmp_path / "a.csv.rejects.csv")
    assert [row["id"] for row in rejects] == ["plate 0/A02", "plate 1/A05"]
    assert "is not a PNG, TIFF or JPEG but a GIF" in rejects[0]["reason"]
    assert "has no green" in rejects[1]["reason"]
    assert "cannot be read: 2, listed in" in capsys.readouterr().out


def test_black_is_fed_where_it_is_asked_for_and_every_row_says_so(export, plates, tmp_path):
    folder, made = plates
    for path in folder.rglob("*_yellow.png"):
        path.unlink()
    with pytest.raises(InputError, match="has no yellow, .*--missing=yellow"):
        predict(export, folder, tmp_path / "a.csv")
    rows = read(predict(export, folder, tmp_path / "a.csv", "--missing=yellow"))
    assert {row["missing"] for row in rows} == {"yellow"}
    served = load(export)
    prepared = np.stack([fit_square(made[row["id"]], 32) for row in rows])
    prepared[..., 3] = 0
    np.testing.assert_allclose(scores_of(rows, served), served.probabilities(prepared), atol=2e-6)


def test_dim_files_of_16_bits_are_asked_about(export, plates, tmp_path):
    folder, made = plates
    deep = tmp_path / "deep"
    for path in folder.rglob("*.png"):
        plane = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        name = str(path.relative_to(folder)).replace("/", "-")
        deep.mkdir(exist_ok=True)
        cv2.imwrite(str(deep / name), plane.astype(np.uint16) * 16)
    with pytest.raises(InputError, match="16 bits .*--white=4095"):
        predict(export, deep, tmp_path / "a.csv")
    rows = read(predict(export, deep, tmp_path / "a.csv", "--white=4080"))
    eight = read(predict(export, folder, tmp_path / "b.csv"))
    by_id = {row["id"].replace("/", "-"): row for row in eight}
    for row in rows:
        assert row["labels"] == by_id[row["id"]]["labels"]


def test_too_dark_images_are_told(export, tmp_path, capsys):
    for name, factor in (("usual", 1), ("dark", 80)):
        folder = tmp_path / name
        write_images(folder, ids=("a", "b"), shape=(40, 40))
        for path in folder.glob("*_green.png"):
            plane = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            cv2.imwrite(str(path), plane // factor)
        rows = read(predict(export, folder, tmp_path / f"{name}.csv"))
        warned = "green is darker" in capsys.readouterr().err
        assert warned == (factor > 1)
        assert {"green is dark" in row["note"] for row in rows} == {factor > 1}


def test_overlays(export, plates, tmp_path):
    folder, _ = plates
    overlays = tmp_path / "overlays"
    predict(export, folder, tmp_path / "a.csv", f"--overlays={overlays}")
    assert len(list(overlays.glob("*.png"))) == len(IDS)


@pytest.mark.slow
def test_maps_that_take_a_gradient_are_computed_by_jax(plates, tmp_path, capsys):
    folder, _ = plates
    pooled = tiny_export(tmp_path / "pooled", model__head="pooled")
    overlays = tmp_path / "overlays"
    predict(pooled, folder, tmp_path / "a.csv", f"--overlays={overlays}")
    assert "by jax, not by onnx" in capsys.readouterr().out
    assert len(list(overlays.glob("*.png"))) == len(IDS)
    with pytest.raises(InputError, match="no maps .* give --backend=jax"):
        predict(pooled, folder, tmp_path / "b.csv", f"--overlays={overlays}", "--backend=onnx")


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--out=a.tsv"], "ends in .csv"),
        (["--white=0"], "--white=0"),
        (["--pixel_size=x"], "--pixel_size=x"),
        (["--missing=green"], "green is the protein"),
        (["--missing=mauve"], "--missing=mauve"),
        (["--order=red,red"], "--order=red,red"),
        (["--float_range=1,0"], "--float_range"),
        (["--channels=red"], "--channels=red"),
        (["--pattern={id}.bmp"], "no file in"),
        (["--batch=0"], "--batch=0"),
        (["--nonsense"], "--nonsense"),
        (["--backend=tpu"], "--backend"),
    ],
)
def test_a_wrong_call_is_one_line_and_writes_nothing(export, plates, tmp_path, flags, words):
    folder, _ = plates
    out = [] if "--out" in flags[0] else [f"--out={tmp_path}/a.csv"]
    with pytest.raises(InputError) as error:
        serving.main(["predict", str(export), str(folder), *out, *flags])
    assert words in str(error.value) and "\n" not in str(error.value)
    assert sorted(os.listdir(tmp_path)) == ["plates"]


def test_by_onnx_neither_jax_nor_absl_is_imported(export, plates, tmp_path):
    folder, _ = plates
    program = (
        "import sys; from hpa_jax.serving.__main__ import main; status = main(sys.argv[1:]); "
        "heavy = {'jax', 'flax', 'absl', 'etils', 'ml_collections', 'tensorflow'}; "
        "sys.exit(status or sorted(heavy & set(sys.modules)) or 0)"
    )
    words = ["predict", export, folder, f"--out={tmp_path}/a.h5ad", f"--overlays={tmp_path}/o"]
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, words)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "by onnx" in done.stdout
