"""A run is read without being written to: results elsewhere, read-only folders, while it trains."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.made_runs import STEP, first_state, made_run

from hpa_jax import main as command
from hpa_jax.errors import InputError
from hpa_jax.evaluation import score_table
from hpa_jax.evaluation.predictor import Predictor, load_run
from hpa_jax.evaluation.split_scores import SplitScores
from hpa_jax.files import locked
from hpa_jax.training.checkpoint import Checkpoints
from hpa_jax.workdir import read_config, read_record

REPOSITORY = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.usefixtures("compiled_once")


@pytest.fixture
def workdir(tmp_path, small_data):
    made_run(tmp_path / "run", small_data)
    return tmp_path / "run"


def contents(folder):
    """Every file below a folder, with its bytes."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def evaluate(workdir, *flags, mode="evaluate"):
    return command.main([f"--mode={mode}", f"--workdir={workdir}", *map(str, flags)])


def test_results_go_to_out_and_the_run_stays_as_it_is(workdir, tmp_path, capsys):
    before = contents(workdir)
    out = tmp_path / "new" / "out"
    with locked(workdir):
        # The training goes on meanwhile.
        assert evaluate(workdir, f"--out={out}", "--config.evaluate.replicates=0") == 0
        assert evaluate(workdir, f"--out={out}", mode="predict") == 0
    # The second one took the scores of the first.
    assert "the same" in capsys.readouterr().out
    assert contents(workdir) == before
    names = {path.relative_to(out).as_posix() for path in contents(out)}
    assert names == {"evaluation.json", "predictions.csv", "scores/validation.npz"}
    assert json.loads((out / "evaluation.json").read_text())["checkpoint"] == STEP


def test_out_is_home_too_and_not_for_training(workdir, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert evaluate("~/run", "--out=~/mine", "--config.evaluate.replicates=0") == 0
    assert (tmp_path / "mine" / "evaluation.json").is_file()
    assert evaluate(workdir, "--out=x", mode="train") == 2
    assert "--out is for the other modes" in capsys.readouterr().err
    assert evaluate(workdir, "--out=s3://bucket/x") == 2
    assert "--out=s3://bucket/x: neither a local path nor gs://" in capsys.readouterr().err


@pytest.mark.slow
def test_scores_of_other_runs_stay_with_them_or_below_out(workdir, tmp_path, small_data):
    other = tmp_path / "other"
    made_run(other, small_data, data__fold=1)
    together = f"--config.evaluate.runs={workdir},{other}"
    assert evaluate(tmp_path / "both", together, "--config.evaluate.replicates=0") == 0
    for folder in (workdir, other, tmp_path / "both"):
        assert (folder / "scores" / "validation.npz").is_file()


def test_a_checkpoint_that_is_removed_meanwhile_is_chosen_again(workdir, capsys):
    config = read_config(workdir)
    predictor = load_run(workdir)
    assert predictor.step == STEP
    checkpoints = Checkpoints(
        workdir / "checkpoints", metric="macro_f1", keep=1, run_id=read_record(workdir).id
    )
    better = {"macro_f1": 0.9, "thresholds": [0.3] * 28, "thresholds_split": "validation"}
    checkpoints.save(STEP + 1, first_state(config), 8, better)
    checkpoints.close()
    assert not (workdir / "checkpoints" / str(STEP)).exists()
    # The folder is another one than when it was chosen; now it is read.
    table = SplitScores(predictor).table("validation")
    assert predictor.step == table.checkpoint == STEP + 1
    np.testing.assert_array_equal(predictor.thresholds, [0.3] * 28)
    assert f"checkpoint {STEP} was removed meanwhile" in capsys.readouterr().out
    kept = score_table.load(workdir / "scores" / "validation.npz")
    assert kept.key == table.key and kept.checkpoint == STEP + 1
    assert SplitScores(Predictor(config, workdir)).table("validation").key == table.key


def test_a_step_that_was_named_and_is_gone_is_one_line(workdir):
    config = read_config(workdir)
    settings = dataclasses.replace(config.evaluate, checkpoint=str(STEP))
    predictor = Predictor(dataclasses.replace(config, evaluate=settings), workdir)
    shutil.rmtree(workdir / "checkpoints" / str(STEP))
    with pytest.raises(InputError, match=f"checkpoint='{STEP}' is not in .*; there are: none"):
        _ = predictor.variables


def read_only(workdir, *arguments):
    """Runs the program where `workdir` is mounted read-only, which needs no root."""
    script = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'
    program = [sys.executable, "-m", "hpa_jax.main", f"--workdir={workdir}", *arguments]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "JAX_PLATFORMS": "cpu"}
    return subprocess.run(
        ["unshare", "--map-root-user", "--mount", "bash", "-c", script, workdir, *program],
        capture_output=True,
        text=True,
        env=environment,
        timeout=600,
    )


@pytest.mark.parametrize("mode", ["evaluate", pytest.param("report", marks=pytest.mark.slow)])
def test_a_folder_that_may_only_be_read_asks_for_out(workdir, mode):
    found = read_only(workdir, f"--mode={mode}")
    assert found.returncode == 2, found.stderr
    assert found.stderr == (
        f"error: cannot write to {workdir}: Read-only file system; "
        "give --out=DIR, a folder for what this mode writes\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "mode, file",
    [
        ("evaluate", "evaluation.json"),
        ("predict", "predictions.csv"),
        ("report", "report.html"),
        ("export", "export/model.json"),
    ],
)
def test_a_folder_that_may_only_be_read_is_read(workdir, tmp_path, mode, file):
    out = tmp_path / "out"
    found = read_only(workdir, f"--mode={mode}", f"--out={out}")
    assert found.returncode == 0, found.stderr
    assert (out / file).is_file()


@pytest.mark.slow
def test_runs_that_may_only_be_read_are_compared_and_put_together(workdir, tmp_path, small_data):
    made_run(tmp_path / "other" / "run", small_data, data__fold=1)
    together = f"--config.evaluate.runs={workdir}"
    ensemble = tmp_path / "ensemble"
    script = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'
    program = [sys.executable, "-m", "hpa_jax.main", "--mode=evaluate", f"--workdir={ensemble}"]
    found = subprocess.run(
        ["unshare", "-rm", "bash", "-c", script, workdir, *program, together],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "JAX_PLATFORMS": "cpu"},
    )
    assert found.returncode == 0, found.stderr
    assert (ensemble / "runs" / "run" / "scores" / "validation.npz").is_file()
    assert not (workdir / "scores").exists()
