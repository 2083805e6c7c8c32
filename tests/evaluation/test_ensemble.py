"""Runs as an ensemble: folds put together, models weighted on held-out images, weights kept."""

import json
import shutil

import numpy as np
import pytest
from support.made_runs import made_run

from hpa_jax import main as command
from hpa_jax.data.pipeline import open_split
from hpa_jax.evaluation import score_table
from hpa_jax.labels import LABELS
from hpa_jax.metrics import stacking, thresholds
from hpa_jax.workdir import read_config

RUNS = {
    "a0": {"data__fold": 0},
    "a1": {"data__fold": 1},
    "b0": {"data__fold": 0, "model__head": "pooled"},
    "b1": {"data__fold": 1, "model__head": "pooled"},
    "b1_again": {"data__fold": 1, "model__head": "pooled", "train__seed": 5},
}
NAMES = [LABELS[i] for i in range(28)]


pytestmark = pytest.mark.usefixtures("compiled_once")


@pytest.fixture(scope="module")
def runs(tmp_path_factory, small_data):
    folder = tmp_path_factory.mktemp("runs")
    for name, fields in RUNS.items():
        made_run(folder / name, small_data, **fields)
    return folder


def flags(runs, workdir, *more, mode="evaluate", names=tuple(RUNS)):
    folders = ",".join(str(runs / name) for name in names)
    return [f"--mode={mode}", f"--workdir={workdir}", f"--config.evaluate.runs={folders}", *more]


@pytest.fixture(scope="module")
def fitted(runs, tmp_path_factory):
    """The ensemble's folder, evaluated out of fold."""
    workdir = tmp_path_factory.mktemp("ensemble")
    assert command.main(flags(runs, workdir, "--config.evaluate.replicates=20")) == 0
    return workdir


def scores_of(runs, split):
    return {name: score_table.load(runs / name / "scores" / f"{split}.npz") for name in RUNS}


def test_each_image_is_scored_by_runs_that_held_it_out(runs, fitted):
    own = scores_of(runs, "validation")
    config = read_config(runs / "a1")
    held_out = open_split(config.data, "validation")
    assert config.data.fold == 1 and own["a1"].ids == held_out.ids() and set(own["a1"].folds) == {1}
    assert not set(own["a0"].ids) & set(own["a1"].ids)

    a = np.concatenate([own["a0"].scores, own["a1"].scores])
    b = np.concatenate([own["b0"].scores, (own["b1"].scores + own["b1_again"].scores) / 2])
    targets = np.concatenate([own["a0"].targets, own["a1"].targets])
    weights = stacking.fit_weights(np.stack([a, b]), targets)
    kept = json.loads((fitted / "ensemble.json").read_text())
    assert [[run["folder"] for run in model["runs"]] for model in kept["models"]] == [
        [str(runs / name) for name in names] for names in (("a0", "a1"), ("b0", "b1", "b1_again"))
    ]
    assert [model["weight"] for model in kept["models"]] == pytest.approx(
        weights.tolist(), abs=1e-6
    )
    assert kept["fitted_on"] == "validation" and kept["fields"] == len(a)

    table = score_table.load(fitted / "scores" / "validation.npz")
    assert table.ids == own["a0"].ids + own["a1"].ids
    averaged, by_fold = stacking.crossfit_mean(np.stack([a, b]), targets, groups=table.groups)
    np.testing.assert_allclose(table.scores, averaged, atol=1e-6)
    np.testing.assert_allclose(kept["weights_by_fold"], by_fold, atol=1e-6)
    report = json.loads((fitted / "evaluation.json").read_text())
    assert (
        report["images"] == len(a)
        and report["models"] == kept["models"]
        and "checkpoint" not in report
    )
    assert "stored_thresholds_fitted_on" not in report  # they were fitted on these very images


def test_the_kept_weights_and_thresholds_are_used_on_another_split(runs, fitted):
    on_test = ("--config.data.eval_split=test", "--config.evaluate.replicates=0")
    before = (fitted / "ensemble.json").read_bytes()
    reversed_names = tuple(RUNS)[::-1]  # the order in which the runs are named is of no matter
    assert command.main(flags(runs, fitted, *on_test, names=reversed_names)) == 0
    assert (fitted / "ensemble.json").read_bytes() == before
    own, kept = scores_of(runs, "test"), json.loads(before)
    a = (own["a0"].scores + own["a1"].scores) / 2
    b = (own["b0"].scores + own["b1"].scores + own["b1_again"].scores) / 3
    weight_a, weight_b = (model["weight"] for model in kept["models"])
    table = score_table.load(fitted / "scores" / "test.npz")
    np.testing.assert_allclose(table.scores, weight_a * a + weight_b * b, atol=1e-6)
    np.testing.assert_array_equal(table.thresholds, [kept["thresholds"][name] for name in NAMES])
    report = json.loads((fitted / "evaluation.json").read_text())
    assert report["stored_thresholds_fitted_on"] == "validation" and report["split"] == "test"

    assert command.main(flags(runs, fitted, "--config.data.eval_split=test", mode="predict")) == 0
    lines = (fitted / "predictions.csv").read_text().splitlines()
    decided = thresholds.decide(table.scores, table.thresholds)
    assert [line.split(",")[0] for line in lines[1:]] == table.ids
    assert [line.rsplit(",")[-1].split() for line in lines[1:]] == [
        [str(i) for i in np.flatnonzero(row)] for row in decided
    ]


def refused(capsys, *arguments):
    capsys.readouterr()
    assert command.main(list(arguments)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    return error


def test_what_does_not_go_together_is_refused(capsys, runs, fitted, tmp_path, small_data):
    on_test = "--config.data.eval_split=test"
    assert "ensemble.json: no such file" in refused(capsys, *flags(runs, tmp_path / "new", on_test))
    assert "is of other runs" in refused(capsys, *flags(runs, fitted, on_test, names=("a0", "a1")))
    assert "is of another test-time augmentation" in refused(
        capsys, *flags(runs, fitted, on_test, "--config.evaluate.tta=symmetries")
    )
    assert "holds no run" in refused(
        capsys, *flags(runs, tmp_path / "new", names=("a0", "nowhere"))
    )
    assert not (runs / "nowhere").exists()
    assert "twice" in refused(capsys, *flags(runs, tmp_path / "new", names=("a0", "a0")))
    assert "folder of a run" in refused(capsys, *flags(runs, runs / "a0"))
    assert "leave it out" in refused(capsys, *flags(runs, fitted, "--config=configs/lowres.py"))
    assert "not exported" in refused(capsys, *flags(runs, runs / "a0", mode="export"))

    made_run(runs / "nine", small_data, data__labels=(0, 1, 2, 3))
    assert "must have the same" in refused(
        capsys, *flags(runs, tmp_path / "new", names=("a0", "nine"))
    )
    made_run(runs / "all", small_data, data__train_split="all")
    assert "was trained on; leave" in refused(
        capsys, *flags(runs, tmp_path / "new", names=("a0", "all"))
    )
    assert "no image in common" in refused(
        capsys, *flags(runs, tmp_path / "new", names=("a0", "b1"))
    )

    copied = tmp_path / "copied"
    shutil.copytree(fitted, copied)
    (copied / "ensemble.json").write_text("{}")
    assert "cannot be read" in refused(capsys, *flags(runs, copied, on_test))


def test_one_model_of_two_folds_weighs_one(capsys, runs, tmp_path):
    workdir = tmp_path / "folds"
    assert (
        command.main(flags(runs, workdir, "--config.evaluate.replicates=0", names=("a0", "a1")))
        == 0
    )
    kept = json.loads((workdir / "ensemble.json").read_text())
    assert [model["weight"] for model in kept["models"]] == [1.0]
    out = capsys.readouterr().out
    assert "weight 1.000" in out and "every model" not in out
    assert (
        command.main(
            flags(runs, workdir, "--config.evaluate.replicates=0", names=("a0", "a1", "b1"))
        )
        == 0
    )
    assert "images that every model has scored" in capsys.readouterr().out
