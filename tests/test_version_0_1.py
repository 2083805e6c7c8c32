"""What version 0.1 wrote is still read: a dataset, a run with its checkpoint, an export.

tests/golden/version_0_1 was written by that version (densenet_tiny, 60 synthetic images of 32 px),
with what it printed and computed from then on in `expected/`. The commands were:

    python -m tfds_builder.hpa --config=synthetic --size=32 --fields=60 --workers=1 --data_dir=data
    python -m hpa_jax.main --config=configs/quickstart.py --workdir=run --config.data.data_dir=data
      --config.data.name=synthetic_32 --config.data.batch_size=8 --config.data.mix=seed_ii
      --config.data.sampling=seed --config.data.rare_below=6 --config.model.name=densenet_tiny
      --config.augment.only_rare=True --config.checkpoint.keep=1 --config.train.log_ids=True
      --config.train.log_every=2 --config.train.eval_every=4 --config.train.steps=8
    python -m hpa_jax.main --mode=export --workdir=run
    python -m hpa_jax.main --mode=evaluate --workdir=run --config.data.eval_split=all
    python -m hpa_jax.main --mode=predict --workdir=run --config.data.eval_split=all
    (the training command again with --config.train.steps=12)
"""

import json
import shutil
from pathlib import Path

import pytest
from support.close_values import assert_close, assert_same_log, assert_same_predictions

from hpa_jax.deprecations import EVALUATION_KEYS
from hpa_jax.main import main
from hpa_jax.serving import load
from hpa_jax.workdir import config_file

GOLDEN = Path(__file__).resolve().parent / "golden" / "version_0_1"
EXPECTED = GOLDEN / "expected"
DATA = f"--config.data.data_dir={GOLDEN / 'data'}"


@pytest.fixture
def warned_once(capfd):
    """The run is of a format that cannot prove itself: one line says so, and what to do."""
    config_file._warned.clear()
    yield
    (warning,) = [line for line in capfd.readouterr().err.splitlines() if "warning" in line]
    assert warning.startswith("warning: the run in ")
    assert "--mode=verify --config.verify.seal=True" in warning


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A copy of the run, as its modes write into it."""
    return shutil.copytree(GOLDEN / "run", tmp_path_factory.mktemp("old") / "run")


def test_its_run_is_evaluated(run, compiled_once, warned_once):
    flags = (DATA, "--config.data.eval_split=all")
    assert main(["--mode=evaluate", f"--workdir={run}", *flags]) == 0
    found = json.loads((run / "evaluation.json").read_text())
    # What later versions tell as well.
    assert found.pop("acquisition_warnings") == []
    assert 0.01 <= found.pop("temperature") <= 100
    assert 0 <= found.pop("calibration_error_tempered") <= 1
    expected = json.loads((EXPECTED / "evaluation.json").read_text())
    for old, new in EVALUATION_KEYS.items():
        expected[new] = expected.pop(old)
    # Words about test-time augmentation, not a number.
    del expected["tta"], found["tta"]
    assert_close(found, expected)


def test_its_run_predicts(run, compiled_once, warned_once):
    flags = (DATA, "--config.data.eval_split=all")
    assert main(["--mode=predict", f"--workdir={run}", *flags]) == 0
    assert_same_predictions(run / "predictions.csv", EXPECTED / "predictions.csv")


def test_its_run_is_exported_again_and_its_export_still_runs(run, compiled_once, warned_once):
    assert load(GOLDEN / "run" / "export").check_golden() < 1e-5
    assert main(["--mode=export", f"--workdir={run}", DATA]) == 0
    assert load(run / "export").check_golden() < 1e-5


def test_its_run_resumes(run, compiled_once, warned_once, tmp_path, monkeypatch):
    # A run that resumes keeps the path of its data, which was relative.
    shutil.copytree(GOLDEN / "data", tmp_path / "fx" / "data")
    monkeypatch.chdir(tmp_path)
    assert main([f"--workdir={run}", "--config.train.steps=12"]) == 0
    assert_same_log(run / "metrics.jsonl", EXPECTED / "metrics_resumed.jsonl")
