"""Embeddings of a run, of its export, of the net untrained, and of intensities."""

import json

import numpy as np
import pytest
from support.drawn_variables import drawn_state
from support.made_runs import made_run

from hpa_jax import main as command
from hpa_jax.evaluation.predictor import load_run
from hpa_jax.probe import embedders
from hpa_jax.probe.histogram import intensity_histograms
from hpa_jax.serving import load


@pytest.fixture(scope="module")
def folder(tmp_path_factory, small_data):
    """A run with an export beside it."""
    folder = tmp_path_factory.mktemp("probe")
    run = folder / "run"
    made_run(run, small_data, changed=drawn_state, model__head="linear")
    assert command.main(["--mode=export", f"--workdir={run}"]) == 0
    return folder


def call(*flags):
    short = ("--config.evaluate.replicates=20", "--config.probe.epochs=2")
    return command.main(["--mode=probe", *short, *flags])


@pytest.mark.slow
def test_a_run_and_its_export_give_the_same_features(folder):
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 4), np.uint8)
    of_run = embedders.of_run(load_run(folder / "run"), seed=3)
    of_export = embedders.of_export(load(folder / "run" / "export"), 8, seed=3)
    names = ["embedding", "untrained", "histogram"]
    assert [embedder.name for embedder in of_run] == names
    assert [embedder.name for embedder in of_export] == names
    made = [[embedder.embed(images) for embedder in found] for found in (of_run, of_export)]
    for ours, exported in zip(*made, strict=True):
        assert ours.shape == exported.shape
        np.testing.assert_allclose(ours, exported, atol=1e-4 * np.abs(ours).max())
    trained, untrained, histogram = made[0]
    assert trained.shape == untrained.shape
    assert np.abs(trained - untrained).max() > 0.1
    np.testing.assert_array_equal(histogram, intensity_histograms(images))
    other = embedders.of_run(load_run(folder / "run"), seed=4)
    assert np.abs(other[1].embed(images) - untrained).max() > 0.1


@pytest.mark.slow
def test_a_run_and_its_export_are_probed(folder, small_data, capsys):
    run = folder / "run"
    assert call(f"--workdir={run}") == 0
    of_run = json.loads((run / "probe.json").read_text())
    out = folder / "elsewhere"
    data = (f"--config.data.data_dir={small_data}", "--config.data.name=synthetic_32")
    export = f"--config.probe.export={run / 'export'}"
    assert call(f"--workdir={out}", export, *data, "--config.data.batch_size=8") == 0
    of_export = json.loads((out / "probe.json").read_text())
    assert of_run["learned_images"] == 0
    assert of_run["dataset"] == of_export["dataset"] == "synthetic_32"
    for report in (of_run, of_export):
        assert [row["features"] for row in report["rows"]] == [
            "embedding",
            "untrained",
            "histogram",
        ]
        embedding, *baselines = report["rows"]
        for row in baselines:
            less = row["embedding_less_this"]
            difference = embedding["macro_average_precision"] - row["macro_average_precision"]
            assert less["value"] == pytest.approx(difference)
            assert less["interval"][0] <= less["interval"][1]
    for ours, exported in zip(of_run["rows"], of_export["rows"], strict=True):
        assert ours["size"] == exported["size"]
        found = exported["macro_average_precision"]
        assert ours["macro_average_precision"] == pytest.approx(found, abs=0.01)
    capsys.readouterr()
    same = call(f"--workdir={run}", "--config.probe.split=validation")
    assert same == 2
    assert "give config.data.train_split" in capsys.readouterr().err


@pytest.mark.slow
def test_test_images_that_the_run_has_learnt_from_are_told_of(folder, small_data, capsys):
    run = f"--workdir={folder / 'run'}"
    out = f"--out={folder / 'learnt'}"
    swapped = ("--config.data.train_split=test", "--config.probe.split=train")
    assert call(run, out, *swapped) == 0
    report = json.loads((folder / "learnt" / "probe.json").read_text())
    assert report["learned_images"] == report["images"]["test"] > 0
    assert "has learnt from" in capsys.readouterr().err
