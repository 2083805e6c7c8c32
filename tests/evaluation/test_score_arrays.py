"""Anyone's .npy files: every float type is taken, other content is refused in one line."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score
from support.score_cases import plain_case

from hpa_jax.errors import InputError
from hpa_jax.evaluation.score_arrays import load_scores
from hpa_jax.metrics.summary import evaluate


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
        r"s.npy: the scores have shape \(40,\), expected \[images, labels\]",
    ),
    "three axes": (lambda s: s[None], r"expected \[images, labels\]"),
    "a number": (lambda s: np.float32(0.5), r"expected \[images, labels\]"),
    "no images": (lambda s: s[:0], "no images"),
    "no labels": (lambda s: s[:, :0], "no labels"),
    "decisions": (lambda s: (s > 0.5).astype(np.int64), "swapped"),
    "complex": (lambda s: s.astype(np.complex64), "complex64"),
    "text": (lambda s: s.astype(str), "expected floats"),
    "objects": (lambda s: s.astype(object), "s.npy: cannot read the scores: Object arrays"),
    "fewer images": (
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
    "text": (lambda t: t.astype(str), "expected 0 and 1"),
}


def refused(scores_path, targets_path, match):
    with pytest.raises(InputError, match=match) as caught:
        load_scores(scores_path, targets_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", BAD_SCORES)
def test_bad_scores_are_refused_in_one_line(tmp_path, name):
    change, match = BAD_SCORES[name]
    scores, targets = plain_case()
    refused(*save_pair(tmp_path, change(scores), targets), match)


@pytest.mark.parametrize("name", BAD_TARGETS)
def test_bad_targets_are_refused_in_one_line(tmp_path, name):
    change, match = BAD_TARGETS[name]
    scores, targets = plain_case()
    refused(*save_pair(tmp_path, scores, change(targets)), match)


def test_float_scores_given_as_targets_are_refused(tmp_path):
    scores, _ = plain_case()
    refused(*save_pair(tmp_path, scores, scores), "t.npy: row 0, label 0 .* must be 0 or 1")


def test_bad_files_are_refused_in_one_line(tmp_path):
    scores_path, targets_path = save_pair(tmp_path, *plain_case())
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

    scores_path, targets_path = save_pair(tmp_path, np.array([[Bomb()]], object), plain_case()[1])
    refused(scores_path, targets_path, "Object arrays cannot be loaded")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("score_type", [np.float16, np.float64, ">f4"])
@pytest.mark.parametrize("target_type", [bool, np.int64, np.float32])
def test_any_float_scores_and_any_zeros_and_ones_are_taken(tmp_path, score_type, target_type):
    scores, targets = plain_case()
    typed = np.asfortranarray(scores.astype(score_type))
    found = load_scores(*save_pair(tmp_path, typed, targets.astype(target_type)))
    assert found[0].dtype == np.dtype(score_type) and found[1].dtype == np.uint8
    np.testing.assert_array_equal(found[0], typed)
    np.testing.assert_array_equal(found[1], targets)
    expected = f1_score(targets, typed > 0.5, average="macro", zero_division=0)
    assert evaluate(*found)["macro_f1"] == pytest.approx(expected, abs=1e-12)
