"""Tables of scores: nothing is lost, damage is refused, images are matched by name."""

import dataclasses
import os

import numpy as np
import pytest

from hpa_jax.errors import InputError
from hpa_jax.evaluation import score_table
from hpa_jax.evaluation.score_table import ScoreTable, average_tables, match_images

LABELS = 4


def made_up(ids, *, seed=0, source=None, names=("kaggle",), **changed):
    rng = np.random.default_rng(seed)
    rows = len(ids)
    table = ScoreTable(
        ids=list(ids),
        scores=rng.random((rows, LABELS), np.float32),
        targets=np.array([[hash_bit(i, label) for label in range(LABELS)] for i in ids], np.uint8),
        groups=np.arange(rows),
        folds=np.zeros(rows, np.int64),
        source=np.zeros(rows, np.int32) if source is None else np.array(source, np.int32),
        source_names=names,
        label_ids=(0, 5, 7, 27),
        split="validation",
        checkpoint=30,
        tta="whole image",
        thresholds=rng.random(LABELS),
        thresholds_split="validation",
        key="k",
    )
    return dataclasses.replace(table, **changed)


def hash_bit(image_id, label):
    """Labels that follow from the Id, so that an image has the same in every table."""
    return sum(map(ord, image_id)) >> label & 1


def same(a, b):
    return all(
        np.array_equal(getattr(a, f.name), getattr(b, f.name))
        for f in dataclasses.fields(ScoreTable)
    )


def test_a_table_comes_back_as_it_was(tmp_path):
    table = made_up(["a", "β-Feld", "c" * 40], source=[0, 1, 1], names=("kaggle", "hpav18"))
    path = tmp_path / "scores" / "validation.npz"
    score_table.save(path, table)
    loaded = score_table.load(path)
    assert same(loaded, table)
    for f in dataclasses.fields(ScoreTable):
        before, after = getattr(table, f.name), getattr(loaded, f.name)
        assert type(before) is type(after) and getattr(before, "dtype", 0) == getattr(
            after, "dtype", 0
        ), f.name
    assert os.listdir(path.parent) == ["validation.npz"]
    assert loaded.names() == [("kaggle", "a"), ("hpav18", "β-Feld"), ("hpav18", "c" * 40)]
    with np.load(path) as archive:  # anyone reads it
        np.testing.assert_array_equal(archive["scores"], table.scores)


def test_a_table_of_version_0_1_is_read(tmp_path):
    table = made_up(["a", "b"])
    score_table.save(tmp_path / "new.npz", table)
    with np.load(tmp_path / "new.npz") as archive:
        arrays = dict(archive)
    assert arrays.pop("tta") == "whole image"
    np.savez(tmp_path / "old.npz", views=np.array("whole field, 8 symmetries"), **arrays)
    expected = dataclasses.replace(table, tta="whole image, 8 symmetries")
    assert same(score_table.load(tmp_path / "old.npz"), expected)


def test_images_are_taken_in_any_order():
    table = made_up(["a", "b", "c"], source=[0, 1, 1], names=("kaggle", "hpav18"))
    taken = table.take(np.array([2, 0]))
    assert taken.names() == [("hpav18", "c"), ("kaggle", "a")]
    for name in ("scores", "targets", "groups", "folds"):
        np.testing.assert_array_equal(getattr(taken, name), getattr(table, name)[[2, 0]])
    assert taken.label_ids == table.label_ids and taken.key == table.key


def test_damage_is_refused_or_changes_nothing(tmp_path):
    table, path = made_up([f"image {i}" for i in range(6)]), tmp_path / "t.npz"
    score_table.save(path, table)
    data, refused = path.read_bytes(), 0
    rng = np.random.default_rng(0)
    positions = sorted(
        {*range(60), *range(len(data) - 60, len(data)), *rng.integers(0, len(data), 250).tolist()}
    )
    for position in positions:
        changed = bytearray(data)
        changed[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        try:
            assert same(score_table.load(path), table), position  # a time stamp, say
        except InputError as error:
            assert "t.npz" in str(error) and "evaluate the run again" in str(error)
            refused += 1
    assert refused > len(positions) / 2
    for length in (0, 10, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(InputError, match="t.npz"):
            score_table.load(path)


def test_other_archives_are_refused(tmp_path):
    path, table = tmp_path / "t.npz", made_up(["a", "b"])
    with pytest.raises(InputError, match="cannot be read"):
        score_table.load(path)
    wrong = {
        "scores": np.full((2, LABELS), np.nan, np.float32),
        "targets": np.full((2, LABELS), 2, np.uint8),
        "source": np.array([0, 1], np.int32),
        "thresholds": np.zeros(LABELS - 1),
        "groups": np.zeros(2),
        "ids": np.array([1, 2]),
    }
    for name, value in wrong.items():
        arrays = {
            f.name: np.asarray(getattr(table, f.name)) for f in dataclasses.fields(ScoreTable)
        } | {name: value}
        np.savez(path, **arrays)
        with pytest.raises(InputError, match="not a complete table"):
            score_table.load(path)
    np.savez(path, **{f.name: np.array([object()]) for f in dataclasses.fields(ScoreTable)})
    with pytest.raises(InputError, match="not a complete table"):  # a pickle is not even opened
        score_table.load(path)


def test_folds_are_put_together_and_seeds_averaged():
    fold0, fold1 = made_up(["a", "b", "c"], seed=1), made_up(["d", "e"], seed=2)
    again = made_up(["c", "a", "b"], seed=3)
    table = average_tables([fold0, fold1, again])
    assert table.ids == ["a", "b", "c", "d", "e"]
    np.testing.assert_array_equal(table.scores[3:], fold1.scores)
    np.testing.assert_allclose(table.scores[2], (fold0.scores[2] + again.scores[0]) / 2, rtol=1e-6)
    np.testing.assert_array_equal(table.targets[:3], fold0.targets)
    np.testing.assert_array_equal(table.groups[3:], fold1.groups)


def test_the_same_id_in_two_datasets_is_two_images():
    both = ("kaggle", "hpav18")
    one = made_up(["a", "a"], seed=1, source=[0, 1], names=both)
    other = made_up(["a", "a"], seed=2, source=[0, 1], names=both[::-1])
    table = average_tables([one, other])
    assert table.names() == [("kaggle", "a"), ("hpav18", "a")]
    np.testing.assert_allclose(table.scores[0], (one.scores[0] + other.scores[1]) / 2, rtol=1e-6)


def test_common_images_are_matched_by_name():
    one, other = made_up(["a", "b", "c"], seed=1), made_up(["c", "x", "a"], seed=2)
    left, right = match_images([one, other])
    assert left.ids == right.ids == ["a", "c"]
    np.testing.assert_array_equal(left.scores, one.scores[[0, 2]])
    np.testing.assert_array_equal(right.scores, other.scores[[2, 0]])
    with pytest.raises(InputError, match="no image in common"):
        match_images([one, made_up(["x"])])


def test_labels_that_differ_are_refused():
    one = made_up(["a", "b"])
    other = dataclasses.replace(one, targets=1 - one.targets)
    for put_together in (average_tables, match_images):
        with pytest.raises(InputError, match="image 'a' has other labels"):
            put_together([one, other])
