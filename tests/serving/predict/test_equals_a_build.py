"""A folder's scores are those of a dataset that is built from it, by the run and by its export."""

import csv
import shutil

import cv2
import numpy as np
import pytest
from support.image_files import SAMPLE, sample
from support.made_runs import made_run

from hpa_jax import main as training
from hpa_jax.folders.export_manifest import check_digests
from hpa_jax.labels import CHANNELS
from hpa_jax.serving import __main__ as serving
from hpa_jax.serving.predict.run_net import RunNet
from hpa_jax.workdir import read_config
from tfds_builder.hpa.__main__ import main as build

COUNT = 10


def real_fields(folder):
    """Some real fields of 512 px, in Kaggle's layout."""
    source = f"{SAMPLE}/kaggle_512"
    (folder / "train").mkdir(parents=True)
    with open(f"{source}/train.csv", encoding="utf-8") as file:
        rows = list(csv.reader(file))[: COUNT + 1]
    with open(folder / "train.csv", "w", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    for image_id, _ in rows[1:]:
        for channel in CHANNELS:
            shutil.copy(f"{source}/train/{image_id}_{channel}.png", folder / "train")
    return rows


def as_kaggle(folder):
    real_fields(folder)
    return ["--config=kaggle_512"], {}


def to_an_edge(folder):
    real_fields(folder)
    flags = ["--pattern=train/{id}_{channel}.png", "--csv=train.csv", "--edge=200"]
    return ["--config=folder", *flags], {}


def oblong_of_twelve_bits(folder):
    """As a camera of 12 bits writes them, without yellow, and scaled to the Atlas's pixel size."""
    rows = real_fields(folder)
    for image_id, _ in rows[1:]:
        for channel in CHANNELS:
            path = folder / "train" / f"{image_id}_{channel}.png"
            plane = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[:400]
            cv2.imwrite(str(path.with_suffix(".tif")), plane.astype(np.uint16) * 16)
            path.unlink()
        (folder / "train" / f"{image_id}_yellow.tif").unlink()
    flags = ["--pattern=train/{id}_{channel}.tif", "--csv=train.csv", "--white=4095"]
    flags += ["--channels=red=red,green=green,blue=blue", "--pixel_size=0.05", "--rescale"]
    return ["--config=folder", *flags], {"data__aspect": "pad"}


@sample
@pytest.mark.slow
@pytest.mark.parametrize("make", [as_kaggle, to_an_edge, oblong_of_twelve_bits])
def test_scores_are_those_of_a_dataset(tmp_path, monkeypatch, make):
    source = tmp_path / "source"
    flags, settings = make(source)
    data_dir = tmp_path / "data"
    more = ["--allow_uneven_splits", "--near_duplicates=off", "--name=built", "--workers=1"]
    assert build([*flags, *more, f"--data_dir={data_dir}", f"--manual_dir={source}"]) == 0
    run = tmp_path / "run"
    made_run(run, data_dir, data__name="built", data__image_size=64, **settings)

    call = [f"--workdir={run}", "--mode=predict"]
    built = tmp_path / "built"
    assert training.main([*call, f"--out={built}", "--config.data.eval_split=all"]) == 0
    folder = tmp_path / "folder"
    images = f"--config.predict.images={source}/train"
    # A pixel's size is what the files do not say.
    size = ["--config.predict.pixel_size=0.05"] if make is oblong_of_twelve_bits else []
    assert training.main([*call, f"--out={folder}", images, *size]) == 0
    assert training.main([f"--workdir={run}", "--mode=export"]) == 0
    # Embeddings of a run are comparable with those of its export.
    net = RunNet(read_config(run), run)
    assert net.digest == check_digests(run / "export")["model.safetensors"]

    size = ["--pixel_size=0.05"] if size else []
    for backend in ("onnx", "jax"):
        out = f"--out={tmp_path}/{backend}.csv"
        words = ["predict", f"{run}/export", f"{source}/train", f"--backend={backend}", out, *size]
        assert serving.main(words) == 0

    expected = scores_of(built / "predictions.csv")
    assert len(expected) == COUNT
    for path in ("folder/predictions.csv", "onnx.csv", "jax.csv"):
        found = scores_of(tmp_path / path)
        assert found.keys() == expected.keys()
        for image_id, (scores, labels) in expected.items():
            np.testing.assert_allclose(found[image_id][0], scores, atol=1e-5)
            assert found[image_id][1] == labels


def scores_of(path):
    """Scores, float [28], and the cell `labels` by Id."""
    with open(path, encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name not in ("id", "missing", "note", "label_names")]
    found = {}
    for row in rows:
        scores = np.array([float(row[name]) for name in names if name != "labels"])
        found[row["id"]] = (scores, row["labels"])
    return found
