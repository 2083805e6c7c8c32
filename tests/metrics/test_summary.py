"""Other people's score arrays: what is refused in one line, what is written, and that it equals scikit-learn."""

import json
import os
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import AxisType
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from hpa_jax.errors import InputError
from hpa_jax.files import write_json
from hpa_jax.labels import LABELS
from hpa_jax.metrics import summary as S
from hpa_jax.metrics import thresholds


def good_pair(fields=40, labels=28, seed=0):
    rng = np.random.default_rng(seed)
    return rng.random((fields, labels)).astype(np.float32), (
        rng.random((fields, labels)) < 0.2
    ).astype(np.uint8)


def save_pair(folder, scores, targets):
    np.save(folder / "s.npy", scores, allow_pickle=True)
    np.save(folder / "t.npy", targets, allow_pickle=True)
    return folder / "s.npy", folder / "t.npy"


def with_value(array, value):
    array = array.copy()
    array[3, 1] = value
    return array


BAD_SCORES = {
    "nan": (lambda s: with_value(s, np.nan), "s.npy: row 3, label 1 is nan"),
    "infinite": (lambda s: with_value(s, np.inf), "s.npy: row 3, label 1 is inf"),
    "logits": (lambda s: s * 8 - 4, "apply a sigmoid first"),
    "just above one": (lambda s: with_value(s, 1.0001), "run from"),
    "one axis": (
        lambda s: s[:, 0],
        r"s.npy: the scores have shape \(40,\), wanted \[fields, labels\]",
    ),
    "three axes": (lambda s: s[None], r"wanted \[fields, labels\]"),
    "a number": (lambda s: np.float32(0.5), r"wanted \[fields, labels\]"),
    "no fields": (lambda s: s[:0], "no fields"),
    "no labels": (lambda s: s[:, :0], "no labels"),
    "decisions": (lambda s: (s > 0.5).astype(np.int64), "swapped"),
    "complex": (lambda s: s.astype(np.complex64), "complex64"),
    "text": (lambda s: s.astype(str), "wanted floats"),
    "objects": (lambda s: s.astype(object), "s.npy: cannot read the scores: Object arrays"),
    "fewer fields": (
        lambda s: s[:-1],
        r"s.npy has shape \(39, 28\) and .*t.npy has shape \(40, 28\)",
    ),
    "transposed": (lambda s: s.T, "transpose one of them"),
}

BAD_TARGETS = {
    "two": (lambda t: with_value(t, 2), "t.npy: row 3, label 1 is 2"),
    "minus one": (lambda t: with_value(t.astype(int), -1), "label 1 is -1"),
    "fraction": (
        lambda t: with_value(t.astype(float), 0.25),
        "label 1 is 0.25: every target must be 0 or 1",
    ),
    "nan": (lambda t: with_value(t.astype(float), np.nan), "label 1 is nan"),
    "text": (lambda t: t.astype(str), "wanted 0 and 1"),
}


def refused(scores_path, targets_path, match):
    with pytest.raises(InputError, match=match) as caught:
        S.load_scores(scores_path, targets_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", BAD_SCORES)
def test_bad_scores_are_refused_in_one_line(tmp_path, name):
    change, match = BAD_SCORES[name]
    scores, targets = good_pair()
    refused(*save_pair(tmp_path, change(scores), targets), match)


@pytest.mark.parametrize("name", BAD_TARGETS)
def test_bad_targets_are_refused_in_one_line(tmp_path, name):
    change, match = BAD_TARGETS[name]
    scores, targets = good_pair()
    refused(*save_pair(tmp_path, scores, change(targets)), match)


def test_float_scores_given_as_targets_are_refused(tmp_path):
    scores, _ = good_pair()
    refused(*save_pair(tmp_path, scores, scores), "t.npy: row 0, label 0 .* must be 0 or 1")


def test_bad_files_are_refused_in_one_line(tmp_path):
    scores_path, targets_path = save_pair(tmp_path, *good_pair())
    refused(
        tmp_path / "absent.npy", targets_path, "absent.npy: cannot read the scores: No such file"
    )
    refused(tmp_path, targets_path, "cannot read the scores: Is a directory")
    for content in (b"", b"id,score\n", b"PK\x03\x04 an npz", b"\x80\x04K\x01."):
        (tmp_path / "other").write_bytes(content)
        refused(
            scores_path,
            tmp_path / "other",
            r"other: not a .npy file \(targets\); write it with numpy.save",
        )
    whole = scores_path.read_bytes()
    for keep in (8, 60, len(whole) - 1):
        scores_path.write_bytes(whole[:keep])
        refused(scores_path, targets_path, "s.npy: cannot read the scores: ")


def test_a_pickle_in_a_score_file_is_never_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "exploded",))

    scores_path, targets_path = save_pair(tmp_path, np.array([[Bomb()]], object), good_pair()[1])
    refused(scores_path, targets_path, "Object arrays cannot be loaded")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("score_type", [np.float16, np.float64, ">f4"])
@pytest.mark.parametrize("target_type", [bool, np.int64, np.float32])
def test_any_float_scores_and_any_zeros_and_ones_are_taken(tmp_path, score_type, target_type):
    scores, targets = good_pair()
    typed = np.asfortranarray(scores.astype(score_type))
    found = S.load_scores(*save_pair(tmp_path, typed, targets.astype(target_type)))
    assert found[0].dtype == np.dtype(score_type) and found[1].dtype == np.uint8
    np.testing.assert_array_equal(found[0], typed)
    np.testing.assert_array_equal(found[1], targets)
    expected = f1_score(targets, typed > 0.5, average="macro", zero_division=0)
    assert S.evaluate_scores(*found)["macro_f1"] == pytest.approx(expected, abs=1e-12)


@pytest.mark.skipif("HPA_SAMPLE_DIR" not in os.environ, reason="HPA_SAMPLE_DIR is not set")
def test_a_real_models_predictions():
    folder = Path(os.environ["HPA_SAMPLE_DIR"]) / "predictions"
    scores, targets = S.load_scores(
        folder / "val_scores_inception_224.npy", folder / "val_targets.npy"
    )
    report = S.evaluate_scores(scores, targets)
    assert (report["fields"], report["labels"], report["folds"]) == (
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
    assert report["borrowed"] == [27]  # two fields of rods & rings
    for name, (low, high) in report["intervals"].items():
        assert low < report[name] < high, name
    assert [row["name"] for row in report["per_label"]] == list(LABELS)
    f1 = f1_score(targets, scores > 0.5, average=None, zero_division=0)
    np.testing.assert_allclose([row["f1"] for row in report["per_label"]], f1, atol=1e-12)


EDGES = {
    "a single field": (good_pair(1, 3), "one field"),
    "fewer fields than folds": (good_pair(3, 4), "over 3 folds, not 5"),
    "a single label": (good_pair(40, 1), None),
    "all negative": ((good_pair()[0], np.zeros((40, 28), np.uint8)), None),
    "all positive": ((good_pair()[0], np.ones((40, 28), np.uint8)), None),
}


@pytest.mark.parametrize("name", EDGES)
def test_edges_are_evaluated_and_written_as_strict_json(tmp_path, name):
    (scores, targets), note = EDGES[name]
    report = S.evaluate_scores(scores, targets)
    expected = f1_score(targets.ravel(), scores.ravel() > 0.5, zero_division=0)
    assert report["micro_f1"] == pytest.approx(expected, abs=1e-12)
    assert (note in report["note"]) if note else ("note" not in report)
    if len(scores) == 1:
        assert report["macro_f1_crossfit"] == report["macro_f1"]
    write_json(tmp_path / "evaluation.json", report)
    text = (tmp_path / "evaluation.json").read_text()
    assert json.loads(text, parse_constant=lambda word: pytest.fail(word)) == report


def test_new_figures_equal_scikit_learn():
    scores, targets = good_pair(200, 6, 3)
    targets[:, 0], targets[:, 1], targets[:40] = (
        0,
        1,
        0,
    )  # never, nearly always; fields without a label
    report = S.evaluate_scores(scores, targets, replicates=0)
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
    decided = thresholds.crossfit_decisions(scores, targets, few_positives=5)
    for average in ("macro", "micro", "samples"):
        expected = f1_score(targets, decided, average=average, zero_division=0)
        assert report[f"{average}_f1_crossfit"] == pytest.approx(expected, abs=1e-12)


def test_labels_that_nobody_bears_are_null_and_intervals_hold_the_figures(tmp_path):
    scores, targets = good_pair(120, 4, 4)
    targets[:, 2] = 0
    report = S.evaluate_scores(scores, targets, replicates=200, level=0.9)
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
    wide = S.evaluate_scores(scores, targets, replicates=200, level=0.99)["intervals"]
    assert all(
        wide[name][0] <= low and high <= wide[name][1]
        for name, (low, high) in report["intervals"].items()
    )
    nothing = S.evaluate_scores(scores, 0 * targets, replicates=20)
    assert nothing["macro_auc"] is None and nothing["intervals"]["macro_auc"] is None
    assert "AUC, macro undefined;" in S.format_table(nothing)


def test_each_source_has_its_own_figures():
    scores, targets = good_pair(150, 5, 5)
    source = np.arange(150) % 2
    report = S.evaluate_scores(
        scores, targets, source=source, source_names=("atlas", "own", "none"), replicates=50
    )
    atlas, own, none = report["per_source"]
    assert (atlas["name"], atlas["fields"], none) == ("atlas", 75, {"name": "none", "fields": 0})
    alone = S.evaluate_scores(scores[source == 1], targets[source == 1], replicates=50)
    assert own.keys() == {"name", "fields", "intervals"} | alone["intervals"].keys()
    for name in alone["intervals"]:
        if not name.endswith(
            "_crossfit"
        ):  # those have the thresholds that all sources' fields have led to
            assert own[name] == pytest.approx(alone[name]), name
            assert own["intervals"][name] == pytest.approx(alone["intervals"][name]), name
    decided = thresholds.crossfit_decisions(scores, targets, few_positives=5)[source == 1]
    expected = f1_score(targets[source == 1], decided, average="macro", zero_division=0)
    assert own["macro_f1_crossfit"] == pytest.approx(expected, abs=1e-12)
    table = S.format_table(report)
    assert "source own: 75 fields; macro F1 " in table and "source none: no fields" in table


def test_groups_are_dealt_and_drawn_together():
    scores, targets = (np.repeat(a, 5, axis=0) for a in good_pair(40, 5, 6))
    groups = np.repeat(np.arange(40), 5)
    together, apart = (
        S.evaluate_scores(scores, targets, groups=g, replicates=100) for g in (groups, None)
    )
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
    assert "draws of the 40 groups of fields" in S.format_table(together)
    assert (
        "only 3 groups"
        in S.evaluate_scores(scores, targets, groups=groups // 16, replicates=0)["note"]
    )


def test_eight_devices_give_the_same_report():
    scores, targets = good_pair(100, 4, 7)
    mesh = jax.make_mesh((8, 1), ("data", "space"), axis_types=(AxisType.Auto,) * 2)
    alone, shared = (
        S.evaluate_scores(scores, targets, replicates=20, mesh=m) for m in (None, mesh)
    )
    assert alone == shared


WRONG = {
    "nan": (dict(scores=np.array([[0.1], [np.nan]])), "scores: row 1, label 0 is nan"),
    "another length": (dict(scores=np.array([[0.1]])), "scores and targets must match"),
    "groups": (dict(groups=np.zeros(3, int)), r"groups of shape \(3,\) for 2 fields"),
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
        S.evaluate_scores(**arguments)
    assert "\n" not in str(caught.value)


def test_other_numbers_of_labels_get_plain_names():
    report = S.evaluate_scores(*good_pair(10, 2))
    assert [row["name"] for row in report["per_label"]] == ["label_0", "label_1"]


def test_same_seed_same_report_other_seed_same_plain_figures():
    scores, targets = good_pair(60, 5)
    first, again, other = (S.evaluate_scores(scores, targets, seed=seed) for seed in (0, 0, 1))
    assert first == again and other["macro_f1_crossfit"] != first["macro_f1_crossfit"]
    assert (other["macro_f1"], other["macro_f1_in_sample"]) == (
        first["macro_f1"],
        first["macro_f1_in_sample"],
    )
    with pytest.raises(InputError, match="at least 2"):
        S.evaluate_scores(scores, targets, folds=1)


def test_the_table_has_a_row_a_label_and_the_totals():
    report = S.evaluate_scores(*good_pair())
    lines = S.format_table(report).splitlines()
    assert all(name in line for name, line in zip(LABELS, lines[1:29], strict=True))
    assert (
        f"{report['macro_f1']:.4f}" in lines[30]
        and f"{report['micro_f1_crossfit']:.4f}" in lines[31]
    )
    assert f"{report['samples_f1']:.4f}" in lines[32] and f"{report['accuracy']:.4f}" in lines[34]
    low, high = (f"{end:.3f}"[1:] for end in report["intervals"]["macro_f1"])
    assert f"{report['macro_f1']:.4f} [{low}, {high}]" in lines[30]
    assert len(lines[0].rstrip()) == max(len(line) for line in lines[1:29])
    assert "note" not in lines[-1]
    assert S.format_table(S.evaluate_scores(*good_pair(3, 2))).splitlines()[-1].startswith("note: ")
