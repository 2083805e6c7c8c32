"""Exports of nets that have learnt embeddings: tables, neighbours; labels are refused by name."""

import csv
import json

import numpy as np
import pytest
from support.image_files import encoded

from hpa_jax import serving
from hpa_jax.data.catalog import load_dataset
from hpa_jax.errors import InputError
from hpa_jax.folders.export_manifest import check_digests
from hpa_jax.labels import CHANNELS
from hpa_jax.probe.embedders import of_run, open_run
from hpa_jax.serving.__main__ import main
from hpa_jax.workdir import read_config

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def workdir(run_quickly, small_data, tmp_path_factory):
    """A run of two steps, exported."""
    folder = tmp_path_factory.mktemp("metric") / "run"
    flags = (
        "--config=configs/metric.py",
        f"--config.data.data_dir={small_data}",
        "--config.data.name=synthetic_32",
        "--config.data.image_size=32",
        "--config.data.batch_size=8",
        "--config.data.eval_split=all",
        "--config.model.name=densenet_tiny",
        "--config.metric.embedding_size=24",
        "--config.train.steps=2",
    )
    for more in (flags, ("--mode=export",)):
        done = run_quickly(*more, f"--workdir={folder}")
        assert done.returncode == 0, done.stderr
    assert "embeddings of 24 values" in done.stdout
    return folder


@pytest.fixture(scope="module")
def images(small_data, tmp_path_factory):
    """Six images of the dataset as files."""
    dataset = load_dataset(small_data, "synthetic_32", split="test")
    pixels = np.stack([dataset.image(number) for number in range(6)])
    folder = tmp_path_factory.mktemp("images")
    for number, image in enumerate(pixels):
        for place, channel in enumerate(CHANNELS):
            plane = encoded(np.ascontiguousarray(image[..., place]), "png")
            (folder / f"{number}_{channel}.png").write_bytes(plane)
    return folder, pixels


def test_both_backends_give_the_run_s_embedding_and_no_class_weights(workdir, images):
    _, pixels = images
    run = open_run(read_config(workdir), workdir)
    embedder, untrained, _ = of_run(run, seed=0)
    batch = np.concatenate([pixels, pixels[:2]])
    expected = embedder.embed(batch)[:6]
    np.testing.assert_allclose(np.linalg.norm(expected, axis=1), 1, rtol=1e-5)
    assert np.abs(untrained.embed(batch)[:6] - expected).max() > 1e-4
    for backend in ("jax", "onnx"):
        served = serving.load(workdir / "export", backend)
        assert served.outputs == ("embedding",) and served.description["labels"] == []
        found = served.run(pixels, ("embedding",))["embedding"]
        np.testing.assert_allclose(found, expected, atol=2e-5)
        assert served.check_golden() < 1e-4
        with pytest.raises(InputError, match="has no output 'probabilities'"):
            served.probabilities(pixels)
    assert "README.md" not in check_digests(workdir / "export")
    size = (workdir / "export" / "model.safetensors").read_bytes()
    assert b"head/classes" not in size
    assert served.description["provenance"]["config"]["metric"]["num_classes"] == 54


def test_neighbours_are_found_in_a_table_of_embeddings(workdir, images, tmp_path, capsys):
    folder, pixels = images
    export = str(workdir / "export")
    for name in ("table.h5ad", "table.parquet"):
        table = str(tmp_path / name)
        assert main(["predict", export, str(folder), f"--out={table}"]) == 0
        assert "6 images, embeddings of 24 values" in capsys.readouterr().out
        out = tmp_path / "similar.csv"
        assert main(["similar", export, table, str(folder), f"--out={out}", "--nearest=1"]) == 0
        rows = list(csv.DictReader(out.open()))
        assert len(rows) == 6
        assert all(row["id"] == row["nearest"] for row in rows)


def test_what_needs_labels_is_refused_by_name(workdir, images, tmp_path, run_quickly):
    folder, _ = images
    export = str(workdir / "export")
    calls = (
        ["predict", export, str(folder), f"--out={tmp_path / 'scores.csv'}"],
        ["predict", export, str(folder), f"--out={tmp_path / 'a.h5ad'}", "--overlays=o"],
        ["predict", export, str(folder), f"--out={tmp_path / 'cells.h5ad'}", "--cells"],
        ["page", export, str(tmp_path / "page.html")],
        ["serve", export, "--port=0"],
    )
    for arguments in calls:
        with pytest.raises(InputError, match="of another kind: it embeds images"):
            main(arguments)
    assert not list(tmp_path.iterdir())
    for mode in ("evaluate", "predict", "report"):
        done = run_quickly(f"--mode={mode}", f"--workdir={workdir}")
        assert done.returncode == 2
        assert "has learnt embeddings (config.train.task='metric'), not labels" in done.stderr
    for flag in ("--config.export.temperature=True", "--config.export.onnx=int8"):
        done = run_quickly("--mode=export", f"--workdir={workdir}", flag)
        assert done.returncode == 2 and "the run has learnt embeddings" in done.stderr


def test_what_an_embedding_knows_is_probed(workdir, run_quickly, tmp_path):
    done = run_quickly(
        "--mode=probe",
        f"--workdir={workdir}",
        f"--out={tmp_path}",
        "--config.data.eval_split=validation",
        "--config.probe.epochs=2",
        "--config.evaluate.replicates=0",
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "probe.json").read_text())["rows"]
    assert [row["size"] for row in rows] == [24, 24, 64]
