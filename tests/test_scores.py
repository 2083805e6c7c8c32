"""Other people's score arrays: what is refused in one line, what is written, and that it equals scikit-learn."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score

from hpa_jax import scores as S
from hpa_jax.errors import InputError
from hpa_jax.labels import LABELS
from hpa_jax.workdir import write_json


def good_pair(fields=40, labels=28, seed=0):
    rng = np.random.default_rng(seed)
    return rng.random((fields, labels)).astype(np.float32), (rng.random((fields, labels)) < 0.2).astype(np.uint8)


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
    "one axis": (lambda s: s[:, 0], r"s.npy: the scores have shape \(40,\), wanted \[fields, labels\]"),
    "three axes": (lambda s: s[None], r"wanted \[fields, labels\]"),
    "a number": (lambda s: np.float32(0.5), r"wanted \[fields, labels\]"),
    "no fields": (lambda s: s[:0], "no fields"),
    "no labels": (lambda s: s[:, :0], "no labels"),
    "decisions": (lambda s: (s > 0.5).astype(np.int64), "swapped"),
    "complex": (lambda s: s.astype(np.complex64), "complex64"),
    "text": (lambda s: s.astype(str), "wanted floats"),
    "objects": (lambda s: s.astype(object), "s.npy: cannot read the scores: Object arrays"),
    "fewer fields": (lambda s: s[:-1], r"s.npy has shape \(39, 28\) and .*t.npy has shape \(40, 28\)"),
    "transposed": (lambda s: s.T, "transpose one of them"),
}

BAD_TARGETS = {
    "two": (lambda t: with_value(t, 2), "t.npy: row 3, label 1 is 2"),
    "minus one": (lambda t: with_value(t.astype(int), -1), "label 1 is -1"),
    "fraction": (lambda t: with_value(t.astype(float), 0.25), "label 1 is 0.25: every target must be 0 or 1"),
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
    refused(tmp_path / "absent.npy", targets_path, "absent.npy: cannot read the scores: No such file")
    refused(tmp_path, targets_path, "cannot read the scores: Is a directory")
    for content in (b"", b"id,score\n", b"PK\x03\x04 an npz", b"\x80\x04K\x01."):
        (tmp_path / "other").write_bytes(content)
        refused(scores_path, tmp_path / "other", r"other: not a .npy file \(targets\); write it with numpy.save")
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
    scores, targets = S.load_scores(folder / "val_scores_inception_224.npy", folder / "val_targets.npy")
    report = S.evaluate_scores(scores, targets)
    assert (report["fields"], report["labels"], report["folds"]) == (6215, 28, 5) and "note" not in report
    for average in ("macro", "micro"):
        expected = f1_score(targets, scores > 0.5, average=average, zero_division=0)
        assert report[f"{average}_f1"] == pytest.approx(expected, abs=1e-12)
    fitted = np.array(report["thresholds_in_sample"])
    expected = f1_score(targets, scores > fitted.astype(np.float32), average="macro", zero_division=0)
    assert report["macro_f1_in_sample"] == pytest.approx(expected, abs=1e-12)
    assert report["macro_f1"] < report["macro_f1_crossfit"] < report["macro_f1_in_sample"]
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


def test_other_numbers_of_labels_get_plain_names():
    report = S.evaluate_scores(*good_pair(10, 2))
    assert [row["name"] for row in report["per_label"]] == ["label_0", "label_1"]


def test_same_seed_same_report_other_seed_same_plain_figures():
    scores, targets = good_pair(60, 5)
    first, again, other = (S.evaluate_scores(scores, targets, seed=seed) for seed in (0, 0, 1))
    assert first == again and other["macro_f1_crossfit"] != first["macro_f1_crossfit"]
    assert (other["macro_f1"], other["macro_f1_in_sample"]) == (first["macro_f1"], first["macro_f1_in_sample"])
    with pytest.raises(InputError, match="at least 2"):
        S.evaluate_scores(scores, targets, folds=1)


def test_the_table_has_a_row_a_label_and_the_totals():
    report = S.evaluate_scores(*good_pair())
    lines = S.format_table(report).splitlines()
    assert all(name in line for name, line in zip(LABELS, lines[1:29], strict=True))
    assert f"{report['macro_f1']:.4f}" in lines[30] and f"{report['micro_f1_crossfit']:.4f}" in lines[31]
    assert "note" not in lines[-1]
    assert S.format_table(S.evaluate_scores(*good_pair(3, 2))).splitlines()[-1].startswith("note: ")
