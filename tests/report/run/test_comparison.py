"""Two runs on the images that they share."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import f1_score
from support.made_reports import first_nine, made_run, made_run_page, made_table

from hpa_jax.labels import LABELS
from hpa_jax.report.run.comparison import compare, shared_rows


def test_images_are_matched_by_id_in_any_order_and_a_run_does_not_differ_from_itself():
    table = made_table(200)
    shuffled = table.take(np.random.default_rng(3).permutation(200))
    same = compare(made_run(table), made_run(shuffled, "other"))
    assert same.images == 200 and same.relabelled == 0
    assert all(row["difference"] == 0 and row["p_value"] == 1 for row in same.metrics.values())

    worse = compare(made_run(table), made_run(made_table(200, seed=1, skill=1.0), "worse"))
    row = worse.metrics["macro_f1_crossfit"]
    assert row["difference"] == pytest.approx(row["b"] - row["a"]) and row["difference"] > 0.1
    assert row["interval"][0] > 0 and row["p_value"] <= 2 / 41


def test_an_id_that_comes_twice_is_matched_with_its_dataset():
    names = {"source_names": ("x", "y")}
    a = made_table(4, ids=["1", "2", "1", "3"], source=np.array([0, 0, 1, 1]), **names)
    b = made_table(3, ids=["1", "1", "2"], source=np.array([1, 0, 1]), **names)
    rows_a, rows_b = shared_rows(a, b)
    assert rows_a.tolist() == [0, 2] and rows_b.tolist() == [1, 0]


def test_only_shared_labels_and_images_with_the_same_labels_are_compared():
    table = made_table(200)
    nine = first_nine(made_table(200, seed=1))
    nine.targets[:5, 0] = 1 - nine.targets[:5, 0]
    mine = made_run(table)
    other = made_run(nine, "nine")
    found = compare(mine, other)
    assert found.labels == LABELS[:9]
    assert (found.images, found.relabelled) == (195, 5)
    theirs = f1_score(nine.targets[5:], nine.scores[5:] > 0.5, average="macro", zero_division=0)
    ours = f1_score(
        table.targets[5:, :9], table.scores[5:, :9] > 0.5, average="macro", zero_division=0
    )
    np.testing.assert_allclose([found.metrics["macro_f1"][k] for k in "ab"], [theirs, ours])

    # A run with the same scores on other images shares none of them.
    elsewhere = replace(other, table=replace(nine, ids=[f"g{i}" for i in range(200)]))
    nothing = compare(mine, elsewhere)
    assert nothing.images == 0
    html = made_run_page([mine, other], [found, nothing])
    assert "195 images, 9 labels. Left out: 5 images that the two datasets label otherwise" in html
    assert "They share no image" in html
