"""Results replace earlier results, and nothing that another program wrote under such a name."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.foreign_folders import snapshot

from hpa_jax import main as command
from hpa_jax.errors import InputError
from hpa_jax.folders.results import RESULTS, refuse_foreign_results
from hpa_jax.report.html import page

ROOT = Path(__file__).resolve().parents[2]
OLD = ROOT / "tests" / "golden" / "version_0_1"

FOREIGN = {
    "evaluation.json": '{"accuracy": 0.9}',
    "ensemble.json": '{"models": []}',
    "plan.json": '{"format_version": "1.2", "terraform_version": "1.9"}',
    "predictions.csv": "image,score\na,0.5\n",
    "report.html": "<!DOCTYPE html><html><head><title>mine</title></head></html>",
    "report/summary.csv": "a,b\n",
    "report/report.json": "[]",
    "scores/test.npz": "PK",
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_another_program_wrote_is_left_alone(name, tmp_path):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(FOREIGN[name])
    before = snapshot(tmp_path)
    result = name.partition("/")[0]
    with pytest.raises(InputError, match="is not written over: this program did not write it"):
        refuse_foreign_results(tmp_path, [result], "choose another --workdir")
    # In a run's folder the name is the run's: what is damaged there is written anew.
    shutil.copy(OLD / "run" / "config.json", tmp_path)
    refuse_foreign_results(tmp_path, [result], "choose another --workdir")
    (tmp_path / "config.json").unlink()
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("name", sorted(set(RESULTS) - {"scores"}))
def test_links_and_other_types_are_left_alone(name, tmp_path):
    shutil.copy(OLD / "run" / "config.json", tmp_path)
    (tmp_path / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="it is a link"):
        refuse_foreign_results(tmp_path, [name], "")
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match="it is of another type"):
        refuse_foreign_results(tmp_path, [name], "")


def test_earlier_results_are_known_those_of_version_0_1_too(tmp_path):
    for name in ("evaluation.json", "predictions.csv"):
        shutil.copy(OLD / "expected" / name, tmp_path)
    refuse_foreign_results(tmp_path, sorted(RESULTS), "")
    (tmp_path / "report").mkdir()
    refuse_foreign_results(tmp_path, sorted(RESULTS), "")


def test_a_page_is_known_by_its_head(tmp_path):
    (tmp_path / "report.html").write_text(page("a title", "a subtitle", []))
    refuse_foreign_results(tmp_path, ["report.html"], "")


def test_every_mode_looks_before_it_works(tmp_path, capsys):
    """The command itself, for modes that need no run."""
    rng = np.random.default_rng(0)
    np.save(tmp_path / "s.npy", rng.random((40, 3)).astype(np.float32))
    np.save(tmp_path / "t.npy", rng.integers(0, 2, (40, 3)))
    work = tmp_path / "work"
    flags = [
        "--mode=evaluate",
        f"--workdir={work}",
        f"--config.evaluate.scores={tmp_path / 's.npy'}",
        f"--config.evaluate.targets={tmp_path / 't.npy'}",
        "--config.evaluate.replicates=0",
    ]
    assert command.main(flags) == 0
    refuse_foreign_results(work, ["evaluation.json"], "")
    (work / "evaluation.json").write_text('{"mine": 1}')
    (work / "plan.json").write_text('{"mine": 1}')
    (work / "report.html").write_text("mine")
    before = snapshot(work)
    recipe = f"--config={ROOT / 'configs' / 'lowres.py'}"
    for arguments in (
        flags,
        ["--mode=plan", f"--workdir={work}", recipe],
        ["--mode=report", f"--workdir={work}", f"--config.data.data_dir={OLD / 'data'}"],
    ):
        capsys.readouterr()
        assert command.main(arguments) == 2
        message = capsys.readouterr().err
        assert "is not written over" in message and message.count("\n") == 1
    assert snapshot(work) == before


@pytest.mark.parametrize("name", ["checkpoints/100/data", "metrics.jsonl", "thresholds.json"])
def test_no_run_starts_among_the_files_of_another_program(name, tmp_path):
    from hpa_jax.config import Config
    from hpa_jax.workdir import claim

    (tmp_path / "checkpoints").mkdir()
    claim(tmp_path, Config())
    (tmp_path / "config.json").unlink()
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps("mine"))
    before = snapshot(tmp_path)
    with pytest.raises(InputError, match="and no config.json"):
        claim(tmp_path, Config())
    assert snapshot(tmp_path) == before
