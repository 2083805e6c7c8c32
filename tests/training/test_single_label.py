"""Runs of images with one label each: refused where they have others, and right to the export."""

import json
import re

import numpy as np
import pytest

from hpa_jax import main as command
from hpa_jax import serving
from hpa_jax.evaluation.predictor import load_run
from hpa_jax.evaluation.score_table import load
from hpa_jax.metrics import single_label
from hpa_jax.metrics.single_label_summary import evaluate
from hpa_jax.metrics.temperature import apply_temperature, fit_temperature
from hpa_jax.serving import decision

LOSS = "--config.train.loss=softmax_cross_entropy"
# No image of the small dataset has two of them.
LABELS = "--config.data.labels=(14,19,22,25)"


def refused(capsys, *flags):
    assert command.main(list(flags)) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_what_does_not_go_together_is_refused_before_a_step(small_run, tmp_path, capsys):
    flags = (*small_run, f"--workdir={tmp_path / 'run'}", LOSS)
    found = refused(capsys, *flags)
    assert re.search(r"images of train: .* \d+ of 54 have none or several", found)
    found = refused(capsys, *flags, LABELS, "--config.checkpoint.metric=micro_f1")
    assert "choose one of accuracy, mean_class_accuracy, macro_f1" in found
    found = refused(capsys, *flags[:-1], f"{LOSS},bce")
    assert "cannot be summed with losses for several" in found
    assert not (tmp_path / "run" / "config.json").exists()


@pytest.fixture(scope="module")
def trained(small_run, run, tmp_path_factory):
    """A run of a few steps, evaluated, exported and reported."""
    folder = tmp_path_factory.mktemp("single_label") / "run"
    steps = ("--config.train.steps=4", "--config.train.eval_every=2")
    metric = "--config.checkpoint.metric=mean_class_accuracy"
    mix = "--config.data.channel_mix=rgb"
    done = run(*small_run, LOSS, LABELS, *steps, metric, mix, f"--workdir={folder}")
    assert done.returncode == 0, done.stderr
    assert "of which the net sees red, green, blue (config.data.channel_mix=rgb)" in done.stdout
    assert re.search(
        r"step 4, validation: accuracy 0\.\d{4}, mean class accuracy 0\.\d{4}", done.stdout
    )
    of_all = ("--config.data.eval_split=all",)
    calls = (("evaluate", ()), ("evaluate", of_all), ("report", of_all), ("export", ()))
    for mode, flags in calls:
        done = run(f"--mode={mode}", f"--workdir={folder}", *flags)
        assert done.returncode == 0, (mode, done.stderr)
    return folder


@pytest.mark.slow
def test_training_logs_what_evaluating_finds(trained, run):
    done = run("--mode=evaluate", f"--workdir={trained}", f"--out={trained}/val")
    assert done.returncode == 0, done.stderr
    assert "threshold" not in done.stdout.replace("no threshold", "")
    report = json.loads((trained / "val" / "evaluation.json").read_text())
    lines = map(json.loads, (trained / "metrics.jsonl").read_text().splitlines())
    logged = {line["step"]: line for line in lines if line["split"] == "validation"}
    for name in single_label.METRICS:
        assert logged[report["checkpoint"]][name] == pytest.approx(report[name], abs=1e-12)
    assert not (trained / "thresholds.json").exists()


@pytest.mark.slow
def test_its_scores_sum_to_one_and_the_report_shows_the_matrix(trained):
    table = load(trained / "scores" / "all.npz")
    assert table.single_label
    np.testing.assert_allclose(table.scores.sum(1), 1, atol=1e-5)
    report = json.loads((trained / "evaluation.json").read_text())
    expected = evaluate(table.scores, table.targets, table.groups, label_names=table.label_names)
    assert report["confusion"] == expected["confusion"]
    assert report["intervals"] == expected["intervals"]
    rows = json.loads((trained / "report" / "report.json").read_text())["confusion"]
    assert sum(row["images"] for row in rows) == len(table.ids)
    page = (trained / "report.html").read_text()
    assert 'id="confusion"' in page and "cross-fitted" not in page and "at 0.5" not in page


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "onnx"])
def test_an_export_gives_the_runs_probabilities_and_one_label(trained, backend):
    served = serving.load(trained / "export", backend=backend)
    said = {name: served.description[name] for name in ("activation", "decision", "thresholds")}
    assert said == {"activation": "softmax", "decision": "argmax", "thresholds": None}
    images = served.golden()["images"]
    found = served.probabilities(images)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)
    predictor = load_run(trained)
    np.testing.assert_allclose(found, predictor(images), atol=1e-4)
    decided = decision.decide(served.description, found)
    np.testing.assert_array_equal(decided, predictor.decide(found))
    card = (trained / "export" / "README.md").read_text()
    assert "exactly one of these labels" in card and "mean class accuracy" in card
    assert "threshold" not in card.replace("no threshold", "").replace("thresholds", "")


@pytest.mark.slow
def test_an_export_at_a_temperature_gives_the_softmax_at_it(trained, run, tmp_path):
    flags = ("--config.export.temperature=True", "--config.export.onnx=none", f"--out={tmp_path}")
    done = run("--mode=export", f"--workdir={trained}", *flags)
    assert done.returncode == 0, done.stderr
    table = load(trained / "scores" / "validation.npz")
    temperature = fit_temperature(table.scores, table.targets, single_label=True)
    assert abs(temperature - 1) > 0.05
    tempered = serving.load(tmp_path / "export", backend="jax")
    assert tempered.description["temperature"] == pytest.approx(temperature)
    assert tempered.description["temperature_fitted_on"] == "validation"
    plain = serving.load(trained / "export", backend="jax")
    images = plain.golden()["images"]
    expected = apply_temperature(plain.probabilities(images), temperature, single_label=True)
    np.testing.assert_allclose(tempered.probabilities(images), expected, atol=1e-5)
    card = (tmp_path / "export" / "README.md").read_text()
    assert f"at the temperature {temperature:.4g}, fitted on the split validation" in card
    # Of probabilities at the temperature 1: they may order the images of a label otherwise.
    assert "mean class accuracy" in card and "macro AUC" not in card


@pytest.mark.slow
def test_what_is_not_made_for_such_runs_is_refused_by_name(trained, tmp_path, capsys):
    evaluating = ("--mode=evaluate", f"--workdir={trained}", f"--out={tmp_path}")
    largest = ("--config.evaluate.crops=5", "--config.evaluate.combine=max")
    assert "combine=max: the run has learnt one label" in refused(capsys, *evaluating, *largest)
    mapped = "--config.evaluate.label_map=published"
    assert "data of its own labels" in refused(capsys, *evaluating, mapped)
    runs = (f"--config.evaluate.runs={trained}", f"--workdir={tmp_path / 'both'}")
    assert "evaluate it by itself" in refused(capsys, "--mode=evaluate", *runs)
    compared = f"--config.report.compare={trained}"
    found = refused(capsys, "--mode=report", f"--workdir={trained}", f"--out={tmp_path}", compared)
    assert "give each a page of its own" in found
