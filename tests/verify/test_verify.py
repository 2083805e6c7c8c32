"""--mode=verify: a line for each thing of a run or an export, and what is damaged is named."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.made_checkpoints import METRIC, Flips, all_files, made_state, opened

from hpa_jax.config import Config
from hpa_jax.errors import InputError
from hpa_jax.labels import LABELS
from hpa_jax.main import main
from hpa_jax.tracking.metrics_file import format_record
from hpa_jax.verify.run import verify
from hpa_jax.workdir import claim, read_record

OLD_RUN = Path(__file__).resolve().parents[1] / "golden" / "version_0_1" / "run"
THRESHOLDS = np.linspace(0.3, 0.7, len(LABELS)).tolist()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """What a run of two steps leaves, of a state that no net is behind."""
    workdir = tmp_path_factory.mktemp("made") / "run"
    workdir.mkdir()
    run_id = claim(workdir, Config()).id
    checkpoints = opened(workdir / "checkpoints", run_id=run_id, keep=2)
    for step, value in ((1, 0.4), (2, 0.3)):
        metrics = {METRIC: value, "thresholds": THRESHOLDS, "thresholds_split": "validation"}
        checkpoints.save(step, made_state(step), 8 * step, metrics)
    checkpoints.close()
    names = [LABELS[label] for label in Config().label_ids()]
    fitted = {"checkpoint": 1, "thresholds": dict(zip(names, THRESHOLDS, strict=True))}
    (workdir / "thresholds.json").write_text(json.dumps(fitted))
    (workdir / "evaluation.json").write_text('{"macro_f1": 0.3}')
    record = {"step": 1, "split": "train", "loss": 0.5}
    (workdir / "metrics.jsonl").write_text(format_record(record))
    shutil.copytree(OLD_RUN / "export", workdir / "export")
    return workdir


@pytest.fixture
def run(made, tmp_path):
    return shutil.copytree(made, tmp_path / "run")


def lines(capsys):
    """What was printed, by the name of the thing."""
    found = {}
    for line in capsys.readouterr().out.splitlines():
        name, _, what = line.partition(": ")
        found[name] = what
    return found


def test_a_run_that_is_as_it_was_written(run, capsys):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert main(["--mode=verify", f"--workdir={run}"]) == 0
    found = lines(capsys)
    assert found["ok       checkpoints/1"] == "7 arrays, 0.0 MB, evaluated"
    assert found["ok       checkpoints"] == "step 1 is the best, step 2 the latest"
    assert found["ok       config.json"].startswith("format 2, run ")
    assert found["ok       thresholds.json"] == "of checkpoint 1"
    assert found["ok       metrics.jsonl"] == "1 lines"
    assert found["ok       export"] == "4 files of an export"
    assert len(found) == 8
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def cut(path):
    path.write_bytes(path.read_bytes()[:-9])


def other_thresholds(run):
    content = json.loads((run / "thresholds.json").read_text())
    content["thresholds"][LABELS[0]] = 0.9
    (run / "thresholds.json").write_text(json.dumps(content))


INJURIES = {
    "config.json": lambda run: cut(run / "config.json"),
    "metrics.jsonl": lambda run: (run / "metrics.jsonl").write_text("{}\n{}\n"),
    "checkpoints/1": lambda run: shutil.rmtree(run / "checkpoints/1/state/d"),
    "checkpoints/2": lambda run: cut(run / "checkpoints/2/manifest.json"),
    "checkpoints": lambda run: shutil.rmtree(run / "checkpoints/1"),
    "thresholds.json": other_thresholds,
    "evaluation.json": lambda run: cut(run / "evaluation.json"),
    "scores/test.npz": lambda run: (run / "scores").mkdir() or cut_copy(run),
    "export": lambda run: cut(run / "export" / "model.json"),
}


def cut_copy(run):
    shutil.copy(run / "metrics.jsonl", run / "scores" / "test.npz")


@pytest.mark.parametrize("name", INJURIES)
def test_what_is_damaged_is_named_and_the_rest_is_checked(run, name, capsys):
    INJURIES[name](run)
    with pytest.raises(InputError, match=f" 1 of . things are damaged: {name};"):
        verify(run)
    found = lines(capsys)
    damaged = [thing for thing in found if thing.startswith("damaged")]
    assert damaged == [f"damaged  {name}"] and len(found) >= 7


def test_the_file_of_metrics_that_a_copy_lacks_is_named(run, capsys):
    shutil.rmtree(run / "checkpoints/1/metrics")
    assert main(["--mode=verify", f"--workdir={run}"]) == 2
    out, err = capsys.readouterr()
    assert "damaged  checkpoints/1: its file of metrics is missing" in out
    assert err.startswith("error: ") and len(err.splitlines()) == 1


def test_a_folder_in_the_place_of_a_file_or_the_other_way_round(run, capsys):
    shutil.rmtree(run / "checkpoints")
    (run / "checkpoints").write_text("")
    for name in ("metrics.jsonl", "thresholds.json"):
        (run / name).unlink()
        (run / name).mkdir()
    with pytest.raises(InputError, match="3 of . things are damaged: metrics.jsonl, checkpoints,"):
        verify(run)
    capsys.readouterr()


def test_an_export_is_checked_too_and_what_is_neither_is_refused(tmp_path, capsys):
    export = shutil.copytree(OLD_RUN / "export", tmp_path / "export")
    assert main(["--mode=verify", f"--workdir={export}"]) == 0
    assert "4 files of an export" in capsys.readouterr().out
    cut(export / "model.safetensors")
    assert main(["--mode=verify", f"--workdir={export}"]) == 2
    assert "model.safetensors is not what was exported" in capsys.readouterr().out
    with pytest.raises(InputError, match="holds no run .* and no export"):
        verify(tmp_path)


def test_a_run_of_an_older_version_is_sealed(tmp_path, capsys):
    run = shutil.copytree(OLD_RUN, tmp_path / "run")
    verify(run)
    assert "nothing to compare it with" in lines(capsys)["ok       checkpoints/8"]
    assert not (run / "checkpoints/8/manifest.json").exists()
    assert main(["--mode=verify", f"--workdir={run}", "--config.verify.seal=True"]) == 0
    found = lines(capsys)
    assert found["ok       checkpoints/8"] == "108 arrays, 0.3 MB, evaluated"
    record = read_record(run)
    assert record.format == 2 and record.id in found["ok       config.json"]
    manifest = json.loads((run / "checkpoints/8/manifest.json").read_text())
    assert (manifest["run"], manifest["position"]) == (record.id, 64)
    stored = json.loads((run / "checkpoints/8/metrics/metrics").read_text())
    assert manifest["metrics"] == stored
    verify(run, seal=True)
    assert f"{run} is sealed already" in capsys.readouterr().out
    # From now on a missing manifest is damage.
    (run / "checkpoints/8/manifest.json").unlink()
    with pytest.raises(InputError, match="things are damaged: checkpoints/8"):
        verify(run)


def test_a_damaged_run_is_not_sealed_and_one_half_sealed_can_be(tmp_path):
    run = shutil.copytree(OLD_RUN, tmp_path / "run")
    path = run / "checkpoints/8/metrics/metrics"
    content = path.read_bytes()
    cut(path)
    with pytest.raises(InputError, match="8 is damaged .*, so nothing was sealed"):
        verify(run, seal=True)
    assert not (run / "checkpoints/8/manifest.json").exists()
    path.write_bytes(content)
    config = (run / "config.json").read_bytes()
    verify(run, seal=True)
    # Killed before config.json was written.
    (run / "config.json").write_bytes(config)
    verify(run, seal=True)
    assert read_record(run).format == 2


@pytest.mark.slow
def test_no_flipped_bit_of_a_run_gives_a_traceback_or_is_missed_where_a_digest_covers_it(run):
    flips = Flips(5)
    covered = {"config.json", "manifest.json", "metrics.jsonl", "model.json"}
    for number in range(300):
        files = all_files(run)
        path, before = flips([files[number % len(files)]])
        try:
            verify(run)
            assert path.name not in covered, path
        except InputError as error:
            assert "\n" not in str(error)
        path.write_bytes(before)
    verify(run)
