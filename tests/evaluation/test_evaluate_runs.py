"""Runs evaluated from their folders: scores that are kept, TTA, several datasets, predictions."""

import csv
import json
import shutil

import jax
import numpy as np
import pytest
from support.made_runs import STEP, first_state, made_run

from hpa_jax import main as command
from hpa_jax.config import Config
from hpa_jax.data.pipeline import open_split
from hpa_jax.errors import InputError
from hpa_jax.evaluation import score_table, tta
from hpa_jax.evaluation.evaluate import score_run
from hpa_jax.evaluation.predictor import Predictor
from hpa_jax.labels import LABELS
from hpa_jax.metrics import crossfit
from hpa_jax.recipes import override
from hpa_jax.training.state import eval_variables
from hpa_jax.workdir import read_config

pytestmark = pytest.mark.usefixtures("compiled_once")
SYMMETRIES = (
    "--config.evaluate.tta=symmetries",
    "--config.evaluate.crops=5",
    "--config.evaluate.combine=max",
)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory, small_data):
    """Two datasets, of 32 and of 40 px."""
    from tfds_builder.hpa.__main__ import main

    data_dir = tmp_path_factory.mktemp("two")
    shutil.copytree(small_data, data_dir, dirs_exist_ok=True)
    flags = [
        "--config=synthetic",
        "--size=40",
        "--fields=40",
        "--seed=1",
        "--workers=1",
        f"--data_dir={data_dir}",
    ]
    assert main(flags) == 0
    return data_dir


@pytest.fixture
def workdir(tmp_path, data_dir):
    made_run(tmp_path / "run", data_dir)
    return tmp_path / "run"


def settings(workdir, *flags) -> Config:
    return override(read_config(workdir), list(flags))


def predicted(workdir):
    with open(workdir / "predictions.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_scores_are_kept_and_used_again_until_something_changes(workdir, data_dir, capsys):
    first = score_run(settings(workdir), workdir)
    path = workdir / "scores" / "validation.npz"
    dataset = open_split(read_config(workdir).data, "validation")
    assert first.ids == dataset.ids() and (first.targets == dataset.targets()).all()
    assert (first.groups == dataset.groups()).all() and (first.folds == 0).all()
    assert (
        first.checkpoint == STEP
        and first.tta == tta.PLAIN
        and first.thresholds_split == "validation"
    )
    assert "the same" not in capsys.readouterr().out

    doctored = first.scores * 0.5  # shows whether the file is read or the net is run
    score_table.save(path, type(first)(**vars(first) | {"scores": doctored}))
    again = score_run(settings(workdir), workdir)
    np.testing.assert_array_equal(again.scores, doctored)
    assert "are the same" in capsys.readouterr().out

    augmented = score_run(settings(workdir, "--config.evaluate.tta=symmetries"), workdir)
    assert augmented.key != first.key and np.abs(augmented.scores - doctored).max() > 0.1
    np.testing.assert_array_equal(score_run(settings(workdir), workdir).scores, first.scores)

    score_table.save(path, type(first)(**vars(first) | {"scores": doctored}))
    made_run(workdir, data_dir)  # the same step once more, written later
    rewritten = score_run(settings(workdir), workdir)
    np.testing.assert_array_equal(rewritten.scores, first.scores)
    assert rewritten.key != first.key

    path.write_bytes(path.read_bytes()[:-100])
    np.testing.assert_array_equal(score_run(settings(workdir), workdir).scores, first.scores)
    assert "not used" in capsys.readouterr().out
    assert score_table.load(path).key == rewritten.key


def test_another_build_of_the_data_is_scored_anew(workdir, tmp_path, data_dir):
    first = score_run(settings(workdir), workdir)
    shutil.copytree(data_dir / "hpa" / "synthetic_40", tmp_path / "hpa" / "synthetic_32")
    other = score_run(settings(workdir, f"--config.data.data_dir={tmp_path}"), workdir)
    assert other.key != first.key and other.scores.shape != first.scores.shape


def test_averaged_weights_are_the_ones_that_are_scored(tmp_path, data_dir):
    """A state whose averaged weights are another net's than its own."""

    def with_another_average(state):
        return state.replace(average=jax.tree.map(lambda a: a * 2, state.average))

    config = made_run(tmp_path, data_dir, train__ema=0.9, changed=with_another_average)
    own = first_state(config)
    variables = Predictor(config, tmp_path).variables
    for ours, expected in zip(
        jax.tree.leaves(variables), jax.tree.leaves(eval_variables(own)), strict=True
    ):
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(expected) * 2)


def test_tta_changes_the_scores_and_the_thresholds_that_go_with_them(workdir, capsys):
    on_test = ("--config.data.eval_split=test", *SYMMETRIES)
    before = score_run(settings(workdir, *on_test), workdir)
    assert "with the same settings" in capsys.readouterr().out
    stored = np.linspace(0.4, 0.6, 28)
    np.testing.assert_array_equal(before.thresholds, stored)
    fitted_on = score_run(settings(workdir, *SYMMETRIES), workdir)
    expected = crossfit(
        fitted_on.scores, fitted_on.targets, few_positives=Config().evaluate.few_positives
    )["thresholds"]
    after = score_run(settings(workdir, *on_test), workdir)
    np.testing.assert_array_equal(after.thresholds, expected)
    np.testing.assert_array_equal(after.scores, before.scores)
    assert after.tta == "max of 5 windows of 0.875, 8 symmetries"
    plain = score_run(settings(workdir, "--config.data.eval_split=test"), workdir)
    np.testing.assert_array_equal(plain.thresholds, stored)
    assert np.abs(plain.scores - after.scores).max() > 0.01


def test_several_datasets_have_a_row_each_and_metrics_of_their_own(tmp_path, data_dir, capsys):
    workdir = tmp_path / "run"
    config = made_run(
        workdir, data_dir, data__sources=("synthetic_32", "synthetic_40"), data__image_size=32
    )
    flags = ("--mode=evaluate", "--config.evaluate.replicates=20", f"--workdir={workdir}")
    both = score_run(
        settings(workdir, "--config.evaluate.sources=synthetic_32,synthetic_40"), workdir
    )
    alone = score_run(settings(workdir, "--config.data.name=synthetic_40"), workdir)
    second = both.source == 1
    assert (
        both.source_names == ("synthetic_32", "synthetic_40") and second.any() and (~second).any()
    )
    np.testing.assert_array_equal(
        both.scores[second], alone.scores
    )  # normalized by its own mean and std
    assert len(np.unique(both.groups)) == len(
        both.groups
    )  # no group of one is a group of the other
    assert config.data.image_size == 32
    assert command.main([*flags, "--config.evaluate.sources=synthetic_32, synthetic_40"]) == 0
    report = json.loads((workdir / "evaluation.json").read_text())
    rows = report["per_source"]
    assert [row["name"] for row in rows] == ["synthetic_32", "synthetic_40"]
    assert [row["images"] for row in rows] == [int((~second).sum()), int(second.sum())]
    assert report["images"] == len(both.ids) and report["dataset"] == "synthetic_32, synthetic_40"
    assert command.main([*flags, "--config.evaluate.sources=synthetic_40,synthetic_40"]) == 2
    assert "names a dataset twice" in capsys.readouterr().err
    assert command.main([*flags, "--config.evaluate.sources=synthetic_64"]) == 2


def test_thresholds_are_the_ones_stored_where_they_were_fitted_elsewhere(workdir):
    flags = ("--mode=evaluate", f"--workdir={workdir}", "--config.evaluate.replicates=0")
    assert command.main([*flags, "--config.data.eval_split=test"]) == 0
    report = json.loads((workdir / "evaluation.json").read_text())
    table = score_table.load(workdir / "scores" / "test.npz")
    from sklearn.metrics import f1_score

    decided = table.scores > np.linspace(0.4, 0.6, 28).astype(np.float32)
    assert report["macro_f1_stored_thresholds"] == pytest.approx(
        f1_score(table.targets, decided, average="macro", zero_division=0)
    )
    assert report["stored_thresholds_fitted_on"] == "validation" and report["tta"] == tta.PLAIN
    assert command.main(list(flags)) == 0
    assert "stored_thresholds_fitted_on" not in json.loads(
        (workdir / "evaluation.json").read_text()
    )


def test_predictions_fill_empty_rows_where_asked(workdir, data_dir):
    flags = ["--mode=predict", f"--workdir={workdir}", "--config.data.eval_split=test"]
    assert command.main(flags) == 0
    table, rows = score_table.load(workdir / "scores" / "test.npz"), predicted(workdir)
    empty = [i for i, row in enumerate(rows) if not row["labels"]]
    assert [row["id"] for row in rows] == table.ids and "dataset" not in rows[0]
    assert command.main([*flags, "--config.evaluate.fill_empty=True"]) == 0
    for i, (row, before) in enumerate(zip(predicted(workdir), rows, strict=True)):
        nearest = str(np.argmax(table.scores[i] / table.thresholds))
        assert row["labels"] == (nearest if i in empty else before["labels"])
    assert command.main([*flags, "--config.evaluate.sources=synthetic_32,synthetic_40"]) == 0
    assert {row["dataset"] for row in predicted(workdir)} == {"synthetic_32", "synthetic_40"}
    assert list(predicted(workdir)[0])[:3] == ["id", "dataset", LABELS[0]]


def test_wrong_settings_of_tta_are_refused_by_name(workdir):
    for flag in (
        "--config.evaluate.tta=flips",
        "--config.evaluate.crops=4",
        "--config.evaluate.combine=median",
    ):
        with pytest.raises(InputError, match=flag.partition("=")[0].removeprefix("--")):
            score_run(settings(workdir, flag), workdir)


def test_a_run_is_not_evaluated_on_a_fold_that_it_was_trained_on(workdir, capsys):
    assert command.main(["--mode=evaluate", f"--workdir={workdir}", "--config.data.fold=1"]) == 2
    assert "was trained with config.data.fold=0, not 1" in capsys.readouterr().err
