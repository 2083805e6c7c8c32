"""A sweep's page: of a made sweep.json, with names that try to be markup."""

import json

import numpy as np
import pytest

from hpa_jax.errors import InputError
from hpa_jax.report.sweep.charts import axis_of, drawn, kind_of, position
from hpa_jax.report.sweep.load import read_sweep
from hpa_jax.report.sweep.page import write_sweep_report

SPACE = {
    "optim.lr": {"low": 1e-4, "high": 1e-1, "log": True},
    "model.dropout": {"low": 0.0, "high": 0.5, "log": False},
    "optim.name": {"values": ["adam", "<b>sgd"]},
}
OWN = {"optim.lr": 1e-2, "model.dropout": 0.5, "optim.name": "adam"}
BEST = {"optim.lr": 1e-3, "model.dropout": 0.25, "optim.name": "<b>sgd"}


def made_trial(number, state, value, values, reason=""):
    evaluations = [] if value is None else [[10, value / 2], [20, value]]
    return {
        "number": number,
        "state": state,
        "value": value,
        "values": values,
        "evaluations": evaluations,
        "seconds": 60.0,
        "folder": f"trials/{number:04d}",
        "reason": reason,
    }


def made_summary():
    return {
        "format": 1,
        "recipe": "configs/quickstart.py",
        "metric": "macro_f1",
        "split": "validation",
        "search_space": SPACE,
        "recipe_values": OWN,
        "planned": 6,
        "trials": [
            made_trial(0, "complete", 0.5, OWN),
            made_trial(1, "pruned", 0.2, OWN | {"optim.lr": 0.1}),
            made_trial(2, "complete", 0.7, BEST),
            made_trial(3, "failed", None, OWN, "not finite in step 3"),
            made_trial(4, "running", None, {}),
        ],
        "importances": {"optim.lr": 0.75, "model.dropout": 0.25, "optim.name": 0.0},
        "chosen": {
            "trial": 2,
            "value": 0.7,
            "values": BEST,
            "command": ["python -m hpa_jax.main", "--config.optim.lr=0.001"],
        },
    }


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sweep.json").write_text(json.dumps(made_summary()))
    return tmp_path


def test_the_page_shows_trials_importances_and_what_was_chosen(folder):
    html = write_sweep_report(folder, folder).read_text()
    assert "0.700" in html and "trial 2, on validation" in html
    assert "2 complete · 1 pruned · 1 failed · 1 running" in html
    assert "config.optim.lr = 0.001\nconfig.model.dropout = 0.25\n" in html
    assert "python -m hpa_jax.main \\\n--config.optim.lr=0.001\n" in html
    assert "not finite in step 3" in html and "<b>sgd" not in html
    tables = json.loads((folder / "report" / "report.json").read_text())
    assert [row["setting"] for row in tables["importances"]] == list(SPACE)
    assert [row["trial"] for row in tables["trials"]][:2] == [2, 0]
    assert {"trial": 1, "step": 20, "macro_f1": 0.2} in tables["evaluations"]
    # The same sweep gives the same bytes.
    assert write_sweep_report(folder, folder).read_text() == html


def test_trials_are_drawn_by_their_kind_the_best_last(folder):
    sweep = read_sweep(folder)
    assert [trial.number for trial in drawn(sweep)] == [1, 0, 2]
    assert [kind_of(sweep, trial) for trial in drawn(sweep)] == [3, 1, 0]


def test_axes_follow_the_range():
    log = axis_of(SPACE["optim.lr"])
    assert (log.low, log.high) == pytest.approx((-4, -1))
    assert position(1e-2, SPACE["optim.lr"]) == pytest.approx(-2)
    assert list(log.labels) == ["0.0001", "0.001", "0.01", "0.1"]
    choice = axis_of(SPACE["optim.name"])
    assert position("<b>sgd", SPACE["optim.name"]) == 1 and choice.low < 0 < 1 < choice.high
    linear = axis_of(SPACE["model.dropout"])
    np.testing.assert_allclose(linear.ticks, [0, 0.25, 0.5])


@pytest.mark.parametrize(
    "key, value",
    [
        ("format", 2),
        ("trials", [{}]),
        ("trials", [made_trial(1, "complete", 0.5, OWN)]),
        ("trials", [made_trial(0, "complete", 0.5, OWN | {"optim.lr": 0.5})]),
        ("trials", [made_trial(0, "complete", 0.5, OWN | {"optim.name": "rmsprop"})]),
        ("search_space", {"optim.lr": {"low": 0.0, "high": 1.0, "log": True}}),
        ("chosen", {"trial": 17, "command": []}),
        ("importances", {"optim.lr": "much"}),
    ],
)
def test_a_file_that_is_no_sweeps_is_refused_in_a_line(folder, key, value):
    summary = made_summary() | {key: value}
    (folder / "sweep.json").write_text(json.dumps(summary))
    with pytest.raises(InputError, match="start the sweep again") as refused:
        read_sweep(folder)
    assert "\n" not in str(refused.value)
