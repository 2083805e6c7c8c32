"""Runs and datasets of other labels than the 28 of 2018, and images without any labels."""

import csv
import json

import pytest
from sklearn import metrics
from support.made_runs import made_run
from support.own_images import NAMES, build_own, ids

from hpa_jax import main as command
from hpa_jax.data.catalog import load_dataset
from hpa_jax.errors import InputError
from hpa_jax.evaluation.predictor import Predictor
from hpa_jax.serving.description import describe
from hpa_jax.workdir import read_config

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("compiled_once")]


# Too few images for their labels to be in all splits alike.
UNEVEN = "--allow_uneven_splits"


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Datasets of 32 px: `own` of four labels, and `unknown` without any."""
    path = tmp_path_factory.mktemp("others")
    labels = path / "cells.txt"
    labels.write_text("\n".join(NAMES))
    own = [f"{name},{number % 4}" for number, name in enumerate(ids(24))]
    # Negative: known to have none of the labels.
    own[5] = f"{ids(24)[5]},"
    build_own(path, "own", f"--labels={labels}", "--no_label=negative", UNEVEN, rows=own)
    build_own(path, "unknown", "--unlabelled", rows=ids(5, "new"), header="Id", seed=2)
    return path


@pytest.fixture(scope="module")
def with_2021(data_dir):
    """The same folder, with `scc` of 2021."""
    rows = [f"{name},{number % 19}" for number, name in enumerate(ids(24, "cell"))]
    build_own(data_dir, "scc", "--labels=hpa2021", UNEVEN, rows=rows, seed=1)
    return data_dir


@pytest.fixture(scope="module")
def run(tmp_path_factory, data_dir):
    workdir = tmp_path_factory.mktemp("runs") / "own"
    made_run(workdir, data_dir, data__name="own")
    return workdir


@pytest.fixture(scope="module")
def run_of_2021(tmp_path_factory, with_2021):
    workdir = tmp_path_factory.mktemp("runs") / "scc"
    made_run(workdir, with_2021, data__name="scc")
    return workdir


def call(mode, run, out, *flags):
    return command.main([f"--mode={mode}", f"--workdir={run}", f"--out={out}", *flags])


def refusal(capsys):
    error = capsys.readouterr().err
    (line,) = [line for line in error.splitlines() if line.startswith("error:")]
    return line


def test_a_run_lists_its_vocabulary(run, data_dir):
    stored = json.loads((run / "config.json").read_text())["data"]["vocabulary"]
    assert tuple(stored) == NAMES
    predictor = Predictor(read_config(run), run)
    assert predictor.labels == NAMES and predictor.label_ids == (0, 1, 2, 3)
    described = describe(predictor.config, predictor, predictor.config)
    assert described["labels"][1] == {"id": 1, "name": "rim, inner"}
    assert described["vocabulary"] == "own"


def test_evaluating_and_predicting_name_its_labels(run, tmp_path):
    assert call("evaluate", run, tmp_path, "--config.data.eval_split=all") == 0
    report = json.loads((tmp_path / "evaluation.json").read_text())
    assert [row["name"] for row in report["per_label"]] == list(NAMES)
    # One of the 24 is negative; all are evaluated.
    assert report["images"] == 24 and sum(row["support"] for row in report["per_label"]) == 23
    assert call("predict", run, tmp_path, "--config.data.eval_split=all") == 0
    with open(tmp_path / "predictions.csv", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["id", *NAMES, "labels"] and len(rows) == 24


def test_images_without_labels_are_predicted_and_never_evaluated(run, tmp_path, capsys):
    flags = ("--config.data.name=unknown", "--config.data.eval_split=all")
    assert call("predict", run, tmp_path, *flags) == 0
    assert len((tmp_path / "predictions.csv").read_text().splitlines()) == 6
    # Nothing is kept that an evaluation could take for labels.
    assert not (tmp_path / "scores").exists()
    capsys.readouterr()
    assert call("evaluate", run, tmp_path, *flags) == 2
    line = refusal(capsys)
    assert "its labels are unknown, as those of 5 of 5 images" in line
    assert "--mode=predict" in line


def test_a_training_refuses_images_without_labels(data_dir, tmp_path):
    with pytest.raises(InputError, match="its labels are unknown, as those of 5 of 5 images"):
        made_run(tmp_path / "run", data_dir, data__name="unknown", data__train_split="all")


def test_ids_of_another_vocabulary_are_never_read(run_of_2021, tmp_path, small_data, capsys):
    flags = (
        f"--config.data.data_dir={small_data}",
        "--config.data.name=synthetic_32",
        "--config.data.eval_split=test",
    )
    assert call("evaluate", run_of_2021, tmp_path, *flags) == 2
    line = refusal(capsys)
    assert "its labels are the 28 of hpa2018, and 2 of the 19 of hpa2021" in line
    assert "'Vesicles and punctate cytosolic patterns'" in line
    # Predicting needs no labels.
    assert call("predict", run_of_2021, tmp_path, *flags) == 0
    assert "Vesicles and punctate" in (tmp_path / "predictions.csv").read_text().splitlines()[0]
    assert not (tmp_path / "scores").exists()


def test_a_net_of_2021_on_images_of_2018(run_of_2021, tmp_path, small_data, capsys):
    """The common labels alone, as anyone would compute them from the net's scores."""
    flags = (
        f"--config.data.data_dir={small_data}",
        "--config.data.name=synthetic_32",
        "--config.data.eval_split=test",
        "--config.evaluate.label_map=published",
    )
    assert call("evaluate", run_of_2021, tmp_path, *flags) == 0
    out = capsys.readouterr().out
    assert "18 labels are common to the net (hpa2021) and the data (hpa2018)" in out
    assert "left out of the net's labels: Negative" in out
    assert "data's labels: Microtubule ends, Cytokinetic bridge, Microtubule org" in out
    report = json.loads((tmp_path / "evaluation.json").read_text())
    assert not (tmp_path / "scores").exists()
    names = [row["name"] for row in report["per_label"]]
    assert len(names) == 18 and report["label_map"]["net_left_out"] == ["Negative"]

    predictor = Predictor(read_config(run_of_2021), run_of_2021)
    dataset = load_dataset(small_data, "synthetic_32", split="test")
    # By position in hpa2018 and in hpa2021: what both call by one name, and two that merge.
    rows = {"Mitochondria": ([23], 14), "Actin filaments": ([12, 13], 9)}
    rows["Vesicles and punctate cytosolic patterns"] = ([8, 9, 10, 20, 26], 17)
    images = [dataset[i]["image"] for i in range(len(dataset))]
    scores = predictor(images)
    for name, (fine, coarse) in rows.items():
        row = report["per_label"][names.index(name)]
        positive = dataset.targets()[:, fine].any(axis=1)
        assert row["support"] == positive.sum()
        expected = metrics.f1_score(positive, scores[:, coarse] > 0.5, zero_division=0)
        assert row["f1"] == pytest.approx(expected)
    for mode in ("predict", "report"):
        assert call(mode, run_of_2021, tmp_path / mode, *flags) == 2
        assert "is for --mode=evaluate of one run; leave it out" in refusal(capsys)


def test_runs_of_two_vocabularies_are_no_ensemble(run, run_of_2021, tmp_path, capsys):
    runs = f"--config.evaluate.runs={run},{run_of_2021}"
    assert command.main(["--mode=evaluate", f"--workdir={tmp_path / 'both'}", runs]) == 2
    line = refusal(capsys)
    assert "19 labels of hpa2021 (Nucleoplasm, Nuclear membrane, Nucleoli, ...)" in line
    assert "4 labels of own (nucleus, rim, inner, golgi, ...)" in line


def test_a_report_of_datasets_has_their_labels(with_2021, tmp_path, capsys):
    flags = [f"--config.data.data_dir={with_2021}", f"--out={tmp_path}"]
    arguments = ["--mode=report", f"--workdir={tmp_path / 'none'}", *flags]
    assert command.main([*arguments, "--config.data.name=own"]) == 0
    page = (tmp_path / "report.html").read_text()
    assert "rim, inner" in page and "Nucleoplasm" not in page
    assert command.main([*arguments, "--config.data.name=unknown"]) == 0
    assert "5 images of which nobody knows the labels" in (tmp_path / "report.html").read_text()
    capsys.readouterr()
    both = "--config.data.sources=('own','scc')"
    assert command.main([*arguments, both]) == 2
    assert "give each a report of its own" in refusal(capsys)
