"""Every metric of a score array in one report: equal to scikit-learn, or refused in one line."""

import json
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score
from support.score_cases import plain_case

from hpa_jax.errors import InputError
from hpa_jax.evaluation.console import format_table
from hpa_jax.evaluation.score_arrays import load_scores
from hpa_jax.files import write_json
from hpa_jax.labels import LABELS
from hpa_jax.metrics.crossfitting import crossfit_decisions
from hpa_jax.metrics.summary import evaluate


@pytest.mark.skipif("HPA_SAMPLE_DIR" not in os.environ, reason="HPA_SAMPLE_DIR is not set")
def test_a_real_models_predictions():
    folder = Path(os.environ["HPA_SAMPLE_DIR"]) / "predictions"
    scores, targets = load_scores(
        folder / "val_scores_inception_224.npy", folder / "val_targets.npy"
    )
    report = evaluate(scores, targets)
    assert (report["images"], report["labels"], report["folds"]) == (
        6215,
        28,
        5,
    ) and "note" not in report
    for average in ("macro", "micro"):
        expected = f1_score(targets, scores > 0.5, average=average, zero_division=0)
        assert report[f"{average}_f1"] == pytest.approx(expected, abs=1e-12)
    fitted = np.array(report["thresholds_in_sample"])
    expected = f1_score(
        targets, scores > fitted.astype(np.float32), average="macro", zero_division=0
    )
    assert report["macro_f1_in_sample"] == pytest.approx(expected, abs=1e-12)
    assert report["macro_f1"] < report["macro_f1_crossfit"] < report["macro_f1_in_sample"]
    assert report["borrowed"] == [27]  # two images of rods & rings
    for name, (low, high) in report["intervals"].items():
        assert low < report[name] < high, name
    assert [row["name"] for row in report["per_label"]] == list(LABELS)
    f1 = f1_score(targets, scores > 0.5, average=None, zero_division=0)
    np.testing.assert_allclose([row["f1"] for row in report["per_label"]], f1, atol=1e-12)


EDGES = {
    "a single image": (plain_case(1, 3), "one image"),
    "fewer images than folds": (plain_case(3, 4), "over 3 folds, not 5"),
    "a single label": (plain_case(40, 1), None),
    "all negative": ((plain_case()[0], np.zeros((40, 28), np.uint8)), None),
    "all positive": ((plain_case()[0], np.ones((40, 28), np.uint8)), None),
}


@pytest.mark.parametrize("name", EDGES)
def test_edges_are_evaluated_and_written_as_strict_json(tmp_path, name):
    (scores, targets), note = EDGES[name]
    report = evaluate(scores, targets)
    expected = f1_score(targets.ravel(), scores.ravel() > 0.5, zero_division=0)
    assert report["micro_f1"] == pytest.approx(expected, abs=1e-12)
    assert (note in report["note"]) if note else ("note" not in report)
    if len(scores) == 1:
        assert report["macro_f1_crossfit"] == report["macro_f1"]
    write_json(tmp_path / "evaluation.json", report)
    text = (tmp_path / "evaluation.json").read_text()
    assert json.loads(text, parse_constant=lambda word: pytest.fail(word)) == report


def test_metrics_equal_scikit_learn():
    scores, targets = plain_case(200, 6, 3)
    targets[:, 0], targets[:, 1], targets[:40] = (
        0,
        1,
        0,
    )  # never, nearly always; images without a label
    report = evaluate(scores, targets, replicates=0)
    assert report["samples_f1"] == pytest.approx(
        f1_score(targets, scores > 0.5, average="samples", zero_division=0)
    )
    for name, of in (("average_precision", average_precision_score), ("auc", roc_auc_score)):
        expected = [of(targets[:, i], scores[:, i]) for i in range(1, 6)]
        rows = [row[name] for row in report["per_label"]]
        assert rows[0] is None and report[f"macro_{name}"] == pytest.approx(
            np.mean(expected), abs=1e-12
        )
        np.testing.assert_allclose(rows[1:], expected, atol=1e-12)
        assert report[f"micro_{name}"] == pytest.approx(
            of(targets.ravel(), scores.ravel()), abs=1e-12
        )
    assert report["intervals"] == {} and "f1_interval" not in report["per_label"][1]
    decided = crossfit_decisions(scores, targets, few_positives=5)
    for average in ("macro", "micro", "samples"):
        expected = f1_score(targets, decided, average=average, zero_division=0)
        assert report[f"{average}_f1_crossfit"] == pytest.approx(expected, abs=1e-12)


def test_absent_labels_are_null_and_intervals_hold_the_metrics(tmp_path):
    scores, targets = plain_case(120, 4, 4)
    targets[:, 2] = 0
    report = evaluate(scores, targets, replicates=200, level=0.9)
    write_json(tmp_path / "evaluation.json", report)
    row = report["per_label"][2]
    assert [row[f"average_precision{end}"] for end in ("", "_interval")] == [None, None] and row[
        "f1_interval"
    ] == [
        0,
        0,
    ]
    for name in (
        "macro_f1",
        "micro_f1_crossfit",
        "samples_f1",
        "accuracy",
        "macro_auc",
        "micro_average_precision",
    ):
        low, high = report["intervals"][name]
        assert low < report[name] < high, name
    wide = evaluate(scores, targets, replicates=200, level=0.99)["intervals"]
    assert all(
        wide[name][0] <= low and high <= wide[name][1]
        for name, (low, high) in report["intervals"].items()
    )
    nothing = evaluate(scores, 0 * targets, replicates=20)
    assert nothing["macro_auc"] is None and nothing["intervals"]["macro_auc"] is None
    assert "AUC, macro undefined;" in format_table(nothing)


def test_each_source_has_its_own_metrics():
    scores, targets = plain_case(150, 5, 5)
    source = np.arange(150) % 2
    report = evaluate(
        scores, targets, source=source, source_names=("atlas", "own", "none"), replicates=50
    )
    atlas, own, none = report["per_source"]
    assert (atlas["name"], atlas["images"], none) == ("atlas", 75, {"name": "none", "images": 0})
    alone = evaluate(scores[source == 1], targets[source == 1], replicates=50)
    assert own.keys() == {"name", "images", "intervals"} | alone["intervals"].keys()
    for name in alone["intervals"]:
        if not name.endswith("_crossfit"):  # those have thresholds fitted on all sources
            assert own[name] == pytest.approx(alone[name]), name
            assert own["intervals"][name] == pytest.approx(alone["intervals"][name]), name
    decided = crossfit_decisions(scores, targets, few_positives=5)[source == 1]
    expected = f1_score(targets[source == 1], decided, average="macro", zero_division=0)
    assert own["macro_f1_crossfit"] == pytest.approx(expected, abs=1e-12)
    table = format_table(report)
    assert "source own: 75 images; macro F1 " in table and "source none: no images" in table


def test_groups_are_assigned_and_drawn_together():
    scores, targets = (np.repeat(a, 5, axis=0) for a in plain_case(40, 5, 6))
    groups = np.repeat(np.arange(40), 5)
    together, apart = (evaluate(scores, targets, groups=g, replicates=100) for g in (groups, None))
    assert (together["groups"], apart["groups"]) == (40, 200) and together["macro_f1"] == apart[
        "macro_f1"
    ]
    width = {
        name: np.subtract(*report["intervals"]["macro_f1"][::-1])
        for name, report in (("together", together), ("apart", apart))
    }
    assert width["together"] > 1.5 * width["apart"]
    assert (
        together["macro_f1_crossfit"] < apart["macro_f1_crossfit"]
    )  # repeats on both sides flatter
    assert "draws of the 40 groups of images" in format_table(together)
    assert "only 3 groups" in evaluate(scores, targets, groups=groups // 16, replicates=0)["note"]


def test_eight_devices_give_the_same_report():
    scores, targets = plain_case(100, 4, 7)
    mesh = jax.make_mesh((8, 1), ("data", "space"), axis_types=(AxisType.Auto,) * 2)
    alone, sharded = (evaluate(scores, targets, replicates=20, mesh=m) for m in (None, mesh))
    assert alone == sharded


WRONG = {
    "nan": (dict(scores=np.array([[0.1], [np.nan]])), "scores: row 1, label 0 is nan"),
    "another length": (dict(scores=np.array([[0.1]])), "scores and targets must match"),
    "groups": (dict(groups=np.zeros(3, int)), r"groups of shape \(3,\) for 2 images"),
    "nameless source": (
        dict(source=np.array([0, 1]), source_names=("a",)),
        "run from 0 to 1, but 1 have names",
    ),
    "level": (dict(level=95), "level 95"),
    "replicates": (dict(replicates=-1), "-1 replicates"),
    "few": (dict(few_positives=-1), "few_positives = -1"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_calls_are_refused_in_one_line(name):
    change, match = WRONG[name]
    arguments = {"scores": np.array([[0.1], [0.7]]), "targets": np.array([[0], [1]])} | change
    with pytest.raises(InputError, match=match) as caught:
        evaluate(**arguments)
    assert "\n" not in str(caught.value)


def test_lists_and_jax_arrays_are_taken():
    scores, targets = plain_case(20, 3)
    groups = np.arange(20) // 2
    expected = evaluate(scores, targets, groups, replicates=10)
    lists = evaluate(scores.tolist(), targets.tolist(), groups.tolist(), replicates=10)
    assert lists["macro_f1"] == expected["macro_f1"] and lists["groups"] == 10
    assert evaluate(jnp.asarray(scores), jnp.asarray(targets), groups, replicates=10) == expected


def test_other_numbers_of_labels_get_plain_names():
    report = evaluate(*plain_case(10, 2))
    assert [row["name"] for row in report["per_label"]] == ["label_0", "label_1"]


def test_same_seed_same_report_other_seed_same_plain_metrics():
    scores, targets = plain_case(60, 5)
    first, again, other = (evaluate(scores, targets, seed=seed) for seed in (0, 0, 1))
    assert first == again and other["macro_f1_crossfit"] != first["macro_f1_crossfit"]
    assert (other["macro_f1"], other["macro_f1_in_sample"]) == (
        first["macro_f1"],
        first["macro_f1_in_sample"],
    )
    with pytest.raises(InputError, match="at least 2"):
        evaluate(scores, targets, folds=1)
