"""What is read of a run, and which published result it reproduces."""

from pathlib import Path

import pytest
from sklearn.metrics import average_precision_score
from support.made_reports import made_run, made_table

from hpa_jax.errors import InputError
from hpa_jax.report.run.load import defined_interval, distinct_names, read_records


def test_records_of_a_run_are_read_and_an_interrupted_one_is_left_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert read_records(path) == []
    path.write_text('{"step": 1, "split": "train", "loss": 0.5}\n{"step": 2, "spl')
    assert read_records(path) == [{"step": 1, "split": "train", "loss": 0.5}]
    path.write_text('{"step": 1, "split": "train"}\n[]\n{"step": 2, "split": "train"}\n')
    with pytest.raises(InputError, match="line 2 is no record of a run"):
        read_records(path)


@pytest.mark.parametrize("key", ["hbm_share", "hbm_fraction"])
def test_a_key_of_an_earlier_version_is_read_as_todays(tmp_path, key):
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{{"step": 1, "split": "train", "{key}": 0.5}}\n')
    assert read_records(path) == [{"step": 1, "split": "train", "hbm_fraction": 0.5}]


def test_names_are_as_short_as_they_can_be():
    folders = [Path("/a/b/run"), Path("/a/c/run"), Path("/x")]
    assert distinct_names(folders) == ["b/run", "c/run", "x"]
    assert distinct_names([Path("/a/run"), Path("/a/run")]) == ["run (1)", "run (2)"]


def test_an_interval_needs_both_ends():
    assert defined_interval([0.25, 0.5]) == (0.25, 0.5)
    assert defined_interval(None) is None and defined_interval([0.25, None]) is None
    assert defined_interval([float("nan"), 0.5]) is None


def test_average_precision_of_a_label_is_sklearns():
    run = made_run(made_table())
    columns = zip(run.table.scores.T, run.table.targets.T, run.metrics["per_label"], strict=True)
    for scores, targets, label in columns:
        if targets.any():
            expected = average_precision_score(targets, scores)
            assert label["average_precision"] == pytest.approx(expected)
