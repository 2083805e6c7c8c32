"""A run scores images of another microscope: what differs is said, and shapes are kept."""

import json

import pytest
from support.made_runs import made_run
from support.own_images import build_own, ids

from hpa_jax import main as command
from hpa_jax.data.pipeline import open_split
from hpa_jax.evaluation.predictor import Predictor
from hpa_jax.serving.description import describe
from hpa_jax.workdir import read_config

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("compiled_once")]

ROWS = [f"{name},{number % 28}" for number, name in enumerate(ids(12))]
UNEVEN = "--allow_uneven_splits"


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """`four` channels at 0.08 um; `three` at 0.65 um; `wide`, 24 x 48 px."""
    path = tmp_path_factory.mktemp("images")
    build_own(path, "four", "--pixel_size=0.08", UNEVEN, rows=ROWS)
    three = ("red", "green", "blue")
    build_own(path, "three", "--pixel_size=0.65", UNEVEN, rows=ROWS, channels=three, seed=1)
    build_own(path, "wide", UNEVEN, rows=ROWS, shape=(24, 48), seed=2)
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory, data_dir):
    workdir = tmp_path_factory.mktemp("runs") / "four"
    made_run(workdir, data_dir, data__name="four")
    return workdir


@pytest.mark.parametrize("mode", ["predict", "evaluate"])
def test_other_channels_and_pixels_are_told(run, tmp_path, capfd, mode):
    flags = ["--config.data.name=three", "--config.data.eval_split=all", f"--out={tmp_path}"]
    assert command.main([f"--mode={mode}", f"--workdir={run}", *flags]) == 0
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("warning:")]
    channels, pixels = [line for line in lines if "was trained" in line]
    assert "(four), and in three yellow was not imaged" in channels
    assert "pixel size of 0.08 micrometres (four), which is 0.65 in three" in pixels
    if mode == "evaluate":
        report = json.loads((tmp_path / "evaluation.json").read_text())
        told = [f"warning: {line}" for line in report["acquisition_warnings"]]
        assert told == [channels, pixels]


def test_a_run_of_a_version_without_a_record_of_it_tells_as_well(run, data_dir, tmp_path):
    """Then the datasets themselves are asked."""
    content = json.loads((run / "config.json").read_text())
    del content["run"]
    (tmp_path / "config.json").write_text(json.dumps(content))
    data = read_config(tmp_path).data
    from hpa_jax.evaluation.acquisition import acquisition_warnings

    data.name = "three"
    data.sources = ("four",)
    assert len(acquisition_warnings(tmp_path, data, ["three"])) == 2
    assert acquisition_warnings(tmp_path, data, ["four"]) == []


def test_a_dataset_of_another_shape_is_padded_and_that_is_said(run, tmp_path, capfd):
    flags = ["--config.data.name=wide", "--config.data.eval_split=all", f"--out={tmp_path}"]
    assert command.main(["--mode=predict", f"--workdir={run}", *flags]) == 0
    told = capfd.readouterr().out
    assert told.count("12 of 12 images of wide are not square, the first 24 x 48 px") == 1
    assert "padded with black to 32 x 32 px (config.data.aspect=pad)" in told
    config = read_config(run)
    config.data.name = "wide"
    image = open_split(config.data, "all").image(0)
    rows = image.any(axis=(1, 2)).nonzero()[0]
    # A row of the resized image mixes the first of the padding and the last of the image.
    assert (rows[0], rows[-1]) in ((8, 23), (7, 24))


def test_an_aspect_is_the_runs(run, tmp_path, capsys):
    flags = ["--config.data.aspect=stretch", f"--out={tmp_path}"]
    assert command.main(["--mode=predict", f"--workdir={run}", *flags]) == 2
    error = capsys.readouterr().err
    assert "was trained with config.data.aspect='pad', not 'stretch'" in error


def test_an_export_says_how_images_were_prepared(run):
    predictor = Predictor(read_config(run), run)
    described = describe(predictor.config, predictor, predictor.config)["preparation"]
    assert described["datasets"] == ["four"] and described["aspect"] == "pad"
    assert described["pixel_size"] == 0.08 and described["size"] == [32, 32]
    assert described["white"] == {"8": 255, "16": 65535} and described["edge"] == 0
    assert described["channels"] == ["red", "green", "blue", "yellow"]
    assert set(described["intensities"]["green"]) == {"mean", "std", "quantiles"}
    assert "/" not in json.dumps(described)
