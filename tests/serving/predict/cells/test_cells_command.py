"""predict --cells: a row a cell, with the net's scores of its crop; a row an image beside it."""

import csv
import os
import re

import anndata
import cv2
import numpy as np
import pytest
from support.drawn_cells import write_fields
from support.exports import tiny_export

from hpa_jax.errors import InputError
from hpa_jax.images.prepare import Preparation
from hpa_jax.labels import CHANNELS
from hpa_jax.segmentation.cell_table import measure_cells
from hpa_jax.segmentation.classical import segment
from hpa_jax.segmentation.crops import CropRule, crop
from hpa_jax.segmentation.numbering import pair
from hpa_jax.serving import __main__ as serving
from hpa_jax.serving import load
from hpa_jax.serving.predict.cells import pooling
from hpa_jax.serving.predict.reference import read_reference
from tfds_builder.hpa.synthetic.render import render

NUMBERS = {
    "p1/A1": (3, 7, 8),
    "p1/A2": (3, 7),
    "p1/A3": (),
    "p2/A4": (8,),
    "p2/A5": (7, 8),
    "p2/A6": (3,),
}
CELLS = sorted(f"{image_id}:{n}" for image_id, some in NUMBERS.items() for n in some)


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    return tiny_export(tmp_path_factory.mktemp("exports") / "export")


@pytest.fixture
def plates(tmp_path):
    """(uint8 [H, W, 4] by Id, the masks by Id); in the folders images and masks."""
    return write_fields(tmp_path / "images", tmp_path / "masks", NUMBERS)


def predict(export, place, out, *flags):
    words = ["predict", export, place / "images", "--cells", f"--masks={place / 'masks'}"]
    assert serving.main([*map(str, words), f"--out={place / out}", *flags]) == 0
    return place / out


def read(path):
    with open(path, encoding="utf-8") as file:
        return list(csv.DictReader(file))


def right_scores(export, made, masks, rule, outputs=("probabilities",)):
    """What the net says of each cell, by its Id."""
    served = load(export, backend="onnx")
    found = {}
    for image_id, labels in masks.items():
        mask = pair(labels)
        for cell, number in zip(measure_cells(mask), np.unique(labels)[1:], strict=True):
            image = crop(made[image_id], mask.cells, cell, rule)
            of_cell = served.run(image[None], outputs)
            found[f"{image_id}:{number}"] = [of_cell[name][0] for name in outputs]
    return served, found


def test_each_cell_has_the_nets_scores_of_its_crop_and_its_place(export, plates, tmp_path, capsys):
    made, masks = plates
    rows = read(predict(export, tmp_path, "cells.csv"))
    outputs = ("probabilities", "embedding")
    served, right = right_scores(export, made, masks, CropRule(32), outputs)
    names = [label["name"] for label in served.description["labels"]]
    thresholds = np.array(served.description["thresholds"], np.float32)
    assert sorted(row["id"] for row in rows) == CELLS
    for row in rows:
        probabilities, embedding = right[row["id"]]
        found = np.array([float(row[name]) for name in names])
        np.testing.assert_allclose(found, probabilities, atol=2e-6)
        decided = np.flatnonzero(probabilities > thresholds)
        assert row["labels"] == " ".join(map(str, decided))
        features = [float(row[f"feature_{k}"]) for k in range(len(embedding))]
        np.testing.assert_allclose(features, embedding, rtol=1e-4, atol=1e-5)
        labels = masks[row["field"]]
        rows_of, columns_of = np.nonzero(labels == int(row["cell"]))
        assert int(row["area_px"]) == len(rows_of)
        assert (int(row["top"]), int(row["left"])) == (rows_of.min(), columns_of.min())
        assert (int(row["bottom"]), int(row["right"])) == (rows_of.max() + 1, columns_of.max() + 1)
        # The middle of the first pixel is at 0.5.
        assert float(row["centroid_y"]) == pytest.approx(rows_of.mean() + 0.5, abs=0.006)
        assert float(row["centroid_x"]) == pytest.approx(columns_of.mean() + 0.5, abs=0.006)
        assert row["touches_border"] == str(int(row["cell"] == "8"))
    said = capsys.readouterr()
    assert "p1/A3: no cell to score" in said.err
    assert "9 cells of 6 images" in said.out
    assert sorted(os.listdir(tmp_path)) == [
        *("cells.csv", "cells.csv.fields.csv", "cells.html", "images", "masks")
    ]


def test_beside_it_an_images_own_scores_those_of_its_cells_and_how_they_differ(
    export, plates, tmp_path
):
    made, masks = plates
    predict(export, tmp_path, "cells.csv")
    rows = read(tmp_path / "cells.csv.fields.csv")
    served, right = right_scores(export, made, masks, CropRule(32))
    names = [label["name"] for label in served.description["labels"]]
    assert [row["id"] for row in rows] == list(NUMBERS)
    for row in rows:
        image_id = row["id"]
        prepared = Preparation.from_description(served.description).prepare(made[image_id])
        own = served.probabilities(prepared[None])[0]
        np.testing.assert_allclose([float(row[name]) for name in names], own, atol=2e-6)
        assert int(row["cells"]) == len(NUMBERS[image_id])
        assert int(row["border_cells"]) == (8 in NUMBERS[image_id])
        if not NUMBERS[image_id]:
            assert row["divergence"] == row["cells_labels"] == row[f"{names[0]} (cells)"] == ""
            continue
        scores = np.stack([right[f"{image_id}:{n}"][0] for n in sorted(NUMBERS[image_id])])
        thresholds = np.array(served.description["thresholds"], np.float32)
        expected = {
            "cells": scores.mean(axis=0),
            "std": scores.std(axis=0),
            "fraction": (scores > thresholds).mean(axis=0),
        }
        for word, values in expected.items():
            found = [float(row[f"{name} ({word})"]) for name in names]
            np.testing.assert_allclose(found, values, atol=2e-6)
        decided = np.flatnonzero(scores.mean(axis=0) > thresholds)
        assert row["cells_labels"] == " ".join(map(str, decided))
        divergence = pooling.divergence(scores)
        assert float(row["divergence"]) == pytest.approx(divergence.max(), abs=1e-5)
        assert row["most_divergent"] == names[divergence.argmax()]


@pytest.mark.parametrize(
    "flags, rule",
    [
        (["--cell_window=box"], CropRule(32, "box")),
        (["--cell_window=20", "--keep_neighbours", "--batch=3"], CropRule(32, 20, True)),
    ],
)
def test_crops_are_as_they_are_asked_for(export, plates, tmp_path, flags, rule):
    made, masks = plates
    table = anndata.read_h5ad(predict(export, tmp_path, "cells.h5ad", *flags))
    _, right = right_scores(export, made, masks, rule, ("probabilities", "embedding"))
    assert sorted(table.obs_names) == CELLS
    for at, name in enumerate(table.obs_names):
        probabilities, embedding = right[name]
        np.testing.assert_allclose(table.obsm["probabilities"][at], probabilities, atol=2e-6)
        np.testing.assert_allclose(table.X[at], embedding, rtol=1e-4, atol=1e-5)
    assert list(table.obs["field"]) == [name.partition(":")[0] for name in table.obs_names]
    assert table.obs["touches_border"].dtype == bool and table.obs["area_px"].dtype == np.int64


def test_border_cells_can_be_left_out(export, plates, tmp_path, capsys):
    rows = read(predict(export, tmp_path, "cells.csv", "--skip_border", "--pool=max"))
    assert {row["touches_border"] for row in rows} == {"0"}
    assert len(rows) == len(CELLS) - 3
    said = capsys.readouterr()
    assert "p2/A4: no cell to score: all 1 touch the border" in said.err
    assert "left out since they touch the border: 3" in said.out
    by_id = {row["id"]: row for row in read(tmp_path / "cells.csv.fields.csv")}
    assert by_id["p1/A1"]["left_out"] == "1"
    nucleoli = [float(row["Nucleoli"]) for row in rows if row["field"] == "p1/A1"]
    assert float(by_id["p1/A1"]["Nucleoli (cells)"]) == pytest.approx(max(nucleoli), abs=1e-6)


def test_a_second_start_goes_on_and_gives_the_same_bytes(export, plates, tmp_path):
    right = predict(export, tmp_path, "right.csv").read_bytes()
    damaged = tmp_path / "masks" / "p2" / "A6.png"
    whole = damaged.read_bytes()
    cv2.imwrite(str(damaged), np.ones((5, 5), np.uint16))
    with pytest.raises(InputError, match="A6.png is 5 x 5 px and its field 60 x 48;"):
        predict(export, tmp_path, "again.csv")
    assert (tmp_path / "again.csv.progress").exists() and not (tmp_path / "again.csv").exists()
    damaged.write_bytes(whole)
    # The first group was scored: nobody reads it again.
    first = tmp_path / "images" / "p1" / "A1_red.png"
    before = first.stat()
    first.write_bytes(b"x" * before.st_size)
    os.utime(first, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert predict(export, tmp_path, "again.csv").read_bytes() == right
    fields = "right.csv.fields.csv", "again.csv.fields.csv"
    assert len({(tmp_path / name).read_bytes() for name in fields}) == 1


def test_images_without_a_mask_are_left_out_where_that_is_asked_for(export, plates, tmp_path):
    (tmp_path / "masks" / "p1" / "A2.png").unlink()
    with pytest.raises(InputError, match=r"has no masks of 'p1/A2'.*\(--policy=skip"):
        predict(export, tmp_path, "cells.csv")
    rows = read(predict(export, tmp_path, "cells.csv", "--policy=skip"))
    assert {row["field"] for row in rows} == {"p1/A1", "p2/A4", "p2/A5", "p2/A6"}
    assert [row["id"] for row in read(tmp_path / "cells.csv.rejects.csv")] == ["p1/A2"]


def test_pictures_and_page_show_the_cells(export, plates, tmp_path):
    overlays = tmp_path / "overlays"
    predict(export, tmp_path, "cells.parquet", f"--overlays={overlays}")
    assert len(list(overlays.glob("*.png"))) == len(NUMBERS)
    page = (tmp_path / "cells.html").read_text()
    assert page.count("<polygon") == len(CELLS) and page.count("<section>") == len(NUMBERS)
    assert page.count('class="border"') == 3
    assert len(re.findall(r"<td>cells</td><td>[^<]+ \(mean\)</td>", page)) == sum(
        map(bool, NUMBERS.values())
    )
    assert re.search(r"cells differ most in [^:]+: 0\.\d\d bits", page)
    # Nothing is asked of any network.
    assert "http" not in page.replace("http-equiv", "")
    # Whole images are not compared with cells.
    with pytest.raises(InputError, match="is a table of cells"):
        read_reference(tmp_path / "cells.parquet")


def test_without_masks_cells_are_segmented(export, tmp_path):
    field = render(0, 2, (5,), 128)
    (tmp_path / "images").mkdir()
    for number, channel in enumerate(CHANNELS):
        cv2.imwrite(str(tmp_path / "images" / f"a_{channel}.png"), field[..., number])
    words = ["predict", str(export), str(tmp_path / "images"), "--cells"]
    assert serving.main([*words, f"--out={tmp_path}/cells.csv"]) == 0
    right = measure_cells(segment(field))
    assert len(right) > 5
    for row, cell in zip(read(tmp_path / "cells.csv"), right, strict=True):
        for name, value in cell._asdict().items():
            assert float(row[name]) == value


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--masks=nowhere", "--cells"], "nowhere is no folder with label images"),
        (["--cells", "--cell_window=0"], "--cell_window=0"),
        (["--cells", "--cell_window=5px"], "--cell_window=5px"),
        (["--skip_border"], "give cells too"),
        (["--pool=max"], "give cells too"),
        (["--cells", "--pool=attention"], "pool=attention is for nets that have learnt from cells"),
        (["--cells", "--keep_neighbours"], "keep_neighbours is for a cell_window of field"),
    ],
)
def test_a_wrong_call_is_one_line(export, plates, tmp_path, flags, words):
    with pytest.raises(InputError) as error:
        words_of = ["predict", str(export), str(tmp_path / "images"), f"--out={tmp_path}/a.csv"]
        serving.main([*words_of, *flags])
    assert words in str(error.value) and "\n" not in str(error.value)
    assert sorted(os.listdir(tmp_path)) == ["images", "masks"]


def test_images_without_any_cell_are_one_line(export, tmp_path):
    write_fields(tmp_path / "images", tmp_path / "masks", {"a": (), "b": ()})
    with pytest.raises(InputError, match="none of 2 images has a cell to score"):
        predict(export, tmp_path, "cells.csv")
    assert not (tmp_path / "cells.csv").exists()
