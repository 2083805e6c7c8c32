"""Splits that a column names, and what lies on both sides of them."""

import csv
from pathlib import Path

import numpy as np
import pytest
from support.image_files import FOLDER, encoded, smooth

from hpa_jax.data.catalog import load_dataset
from hpa_jax.errors import InputError
from tfds_builder.hpa.__main__ import main
from tfds_builder.hpa.sources import Example
from tfds_builder.hpa.split import by_column, stratify

WORDS = ("Train", "training", "VAL", "test", "train", "valid", "holdout", "train")


def made(splits, keys=()):
    examples = []
    for index, split in enumerate(splits):
        key = keys[index] if keys else ""
        examples.append(Example(f"i{index}", (index % 3,), index, key, split=split))
    return examples


def test_the_column_decides():
    splits = np.array(["train"] * 40 + ["validation"] * 5 + ["test"] * 7)
    groups = np.arange(52)
    groups[1] = 0
    folds = by_column.assign_folds(made(splits), groups, 3, folds=4, seed=1)
    assert (folds[splits == "test"] == stratify.TEST).all()
    assert (folds[splits == "validation"] == 0).all()
    train = folds[splits == "train"]
    assert set(train) == {1, 2, 3} and np.bincount(train)[1:].min() > 10
    # Whole groups, also here.
    assert folds[0] == folds[1]


def test_without_validation_a_fold_of_train_is_it():
    splits = ["train"] * 20 + ["test"] * 4
    folds = by_column.assign_folds(made(splits), np.arange(24), 3, folds=4, seed=1)
    assert set(folds[:20]) == {0, 1, 2, 3} and set(folds[20:]) == {stratify.TEST}


def test_two_folds():
    splits = ["train", "train", "validation"]
    folds = by_column.assign_folds(made(splits), np.arange(3), 3, folds=2, seed=0)
    assert folds.tolist() == [1, 1, 0]


def test_nothing_to_learn_from():
    with pytest.raises(InputError, match="puts no image in train; "):
        by_column.assign_folds(made(["test", "validation"]), np.arange(2), 3, folds=5, seed=0)


def test_no_group_lies_in_two_splits():
    groups = np.array([0, 0, 0, 1, 1, 2])
    folds = np.array([1, 2, 0, -1, -1, 0])
    found = by_column.separate_groups(groups, folds)
    assert found.tolist() == [0, 0, 1, 2, 2, 3]


def test_what_crosses_is_counted():
    examples = made(["train", "test", "train", "validation"], ["p", "p", "q", ""])
    pairs = [("i0", "i1", 3), ("i0", "i2", 1), ("i3", "i2", 0)]
    twins, keys = by_column.describe_crossings(examples, pairs)
    assert twins.startswith("2 near-duplicate pairs of 3 lie in two splits of --split_column, such")
    assert "i0 (train) and i1 (test)" in twins
    assert keys.startswith("1 groups of 2 lie in several splits of --split_column, such as p: ")
    assert by_column.describe_crossings(examples, pairs[1:2])[1:] == []


def write(folder: Path, words):
    """Images of which the last two are one, and a column of splits."""
    (folder / "images").mkdir(parents=True)
    rows = ["Id,Target,set"]
    for number, word in enumerate(words):
        seed = min(number, len(words) - 2)
        rows.append(f"x {number},{number % 3},{word}")
        for channel, colour in enumerate(("red", "green", "blue", "yellow")):
            data = encoded(smooth((64, 64), seed=10 * seed + channel), "png")
            (folder / FOLDER[1].format(id=f"x {number}", channel=colour)).write_bytes(data)
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")


def test_a_build_by_a_column(tmp_path, capsys):
    write(tmp_path / "mine", WORDS)
    flags = ["--config=folder", f"--manual_dir={tmp_path / 'mine'}", "--split_column=set"]
    flags += [f"--data_dir={tmp_path}", "--workers=1", "--folds=3"]
    assert main(flags) == 0
    out = capsys.readouterr().out
    assert "(train 4, validation 2, test 2)" in out
    assert "1 near-duplicate pairs of 1 lie in two splits of --split_column, such as x 6 (" in out
    with open(tmp_path / "hpa/folder/3.0.0/images.csv", newline="") as file:
        rows = {row["original_id"]: row for row in csv.DictReader(file)}
    assert {name: row["split"] for name, row in rows.items()} == {
        "x 0": "train",
        "x 1": "train",
        "x 2": "validation",
        "x 3": "test",
        "x 4": "train",
        "x 5": "validation",
        "x 6": "test",
        "x 7": "train",
    }
    assert rows["x 6"]["group"] != rows["x 7"]["group"]
    test = load_dataset(tmp_path, "folder", split="test")
    assert sorted(test.original_ids()) == ["x 3", "x 6"]
    assert main(flags) == 0
    assert "is there already, with these settings" in capsys.readouterr().out
    assert main([*flags[:2], *flags[3:]]) == 2
    assert "split_column set, not None" in capsys.readouterr().err
    assert main([*flags, "--match_splits_of=folder", "--name=other"]) == 2
    assert "--split_column and --match_splits_of both decide" in capsys.readouterr().err


def test_another_word_is_a_fault(tmp_path, capsys):
    write(tmp_path / "mine", ["train", "fold 3", ""])
    flags = ["--config=folder", f"--manual_dir={tmp_path / 'mine'}", "--split_column=set"]
    assert main([*flags, f"--data_dir={tmp_path}", "--workers=1"]) == 2
    line = capsys.readouterr().err
    assert "line 3 has the split 'fold 3'; put train, validation or test there (2 rows" in line
