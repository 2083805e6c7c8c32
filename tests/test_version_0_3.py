"""What version 0.3 wrote is read: a run with its checkpoint, an export.

support/golden_run.py wrote it; the dataset that it learned from is read in tests/data.
"""

import csv
import json
import shutil
from pathlib import Path

import pytest
from support.close_values import assert_close, assert_same_log, assert_same_predictions

from hpa_jax.main import main
from hpa_jax.serving import load

GOLDEN = Path(__file__).resolve().parent / "golden" / "version_0_3"
EXPECTED = GOLDEN / "expected"
FLAGS = (f"--config.data.data_dir={GOLDEN / 'data'}", "--config.data.eval_split=all")

pytestmark = pytest.mark.usefixtures("compiled_once")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A copy of the run, as its modes write into it."""
    return shutil.copytree(GOLDEN / "run", tmp_path_factory.mktemp("golden") / "run")


def test_its_run_and_its_export_are_as_they_were_written():
    for folder in (GOLDEN / "run", GOLDEN / "run" / "export"):
        assert main(["--mode=verify", f"--workdir={folder}"]) == 0


def test_its_run_is_evaluated(run):
    assert main(["--mode=evaluate", f"--workdir={run}", *FLAGS]) == 0
    found = json.loads((run / "evaluation.json").read_text())
    # What later versions tell as well.
    assert found.pop("acquisition_warnings") == []
    assert 0.01 <= found.pop("temperature") <= 100
    assert 0 <= found.pop("calibration_error_tempered") <= 1
    assert_close(found, json.loads((EXPECTED / "evaluation.json").read_text()))


def test_its_run_predicts(run, tmp_path):
    """As it did, under the Ids that the source gave; version 0.3 wrote those that are stored."""
    assert main(["--mode=predict", f"--workdir={run}", *FLAGS]) == 0
    with open(GOLDEN / "data/hpa/kept/3.0.0/images.csv", newline="", encoding="utf-8") as file:
        original = {row["id"]: row["original_id"] for row in csv.DictReader(file)}
    with open(EXPECTED / "predictions.csv", newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    expected = tmp_path / "expected.csv"
    with open(expected, "w", newline="", encoding="utf-8") as file:
        renamed = [[original[image_id], *row] for image_id, *row in rows]
        csv.writer(file).writerows([header, *renamed])
    assert_same_predictions(run / "predictions.csv", expected)


def test_its_export_still_runs(run):
    assert load(GOLDEN / "run" / "export").check_golden() < 1e-5


def test_its_run_resumes(run, tmp_path, monkeypatch):
    # A run that resumes keeps the path of its data, which is relative.
    shutil.copytree(GOLDEN / "data", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    assert main([f"--workdir={run}", "--config.train.steps=12"]) == 0
    assert_same_log(run / "metrics.jsonl", EXPECTED / "metrics_resumed.jsonl")
