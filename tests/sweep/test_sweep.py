"""Sweeps from their command: real trials of the tiny net, killed, resumed, pruned, shared."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from hpa_jax import main as command
from hpa_jax.config import Config, Sweep
from hpa_jax.sweep.space import Range
from hpa_jax.tracking.metrics_file import format_record

pytest.importorskip("optuna", reason="the extra `sweep` is not installed")

from hpa_jax.sweep.study import SweepStudy
from hpa_jax.sweep.trial import TrialProcess, TrialWatch, last_words, setting_flags

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def flags(small_run):
    """Of a sweep over runs of six steps, each evaluated three times."""
    few = ("--config.train.steps=6", "--config.train.eval_every=2", "--config.train.log_every=2")
    # Of a new net macro F1 is 0 at first.
    metric = "--config.checkpoint.metric=macro_average_precision"
    return ["--mode=sweep", *small_run, *few, metric]


def refusal(capsys, *arguments):
    assert command.main(list(map(str, arguments))) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and len(error.splitlines()) == 1, error
    return error


def summary_of(folder):
    return json.loads((folder / "sweep.json").read_text())


def records_of(folder, number):
    text = (folder / "trials" / f"{number:04d}" / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def wait_for(condition, process):
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


def test_what_is_refused(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    workdir = f"--workdir={tmp_path / 'sweep'}"
    recipe = "--config=configs/quickstart.py"
    assert "needs --config=FILE" in refusal(capsys, "--mode=sweep", workdir)
    lowres = "--config=configs/lowres.py"
    assert "declares no search_space" in refusal(capsys, "--mode=sweep", lowres, workdir)
    out = f"--out={tmp_path}"
    assert "--out is for the other modes" in refusal(capsys, "--mode=sweep", recipe, workdir, out)
    zero = "--config.sweep.trials=0"
    assert "sweep.trials=0" in refusal(capsys, "--mode=sweep", recipe, workdir, zero)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    run = f"--workdir={tmp_path / 'run'}"
    assert "holds a run" in refusal(capsys, "--mode=sweep", recipe, run)
    assert not (tmp_path / "sweep").exists()


def test_last_words_are_those_of_the_last_start(tmp_path):
    log = tmp_path / "train.log"
    log.write_text("stopped: an old cause\n")
    start = log.stat().st_size
    with open(log, "a") as file:
        file.write("step 1\nerror: no such dataset\n\n")
    assert last_words(log, start) == "no such dataset"
    assert last_words(log, log.stat().st_size) == ""
    assert setting_flags({"augment.scale": [0.5, 1.0], "optim.name": "adam"}) == [
        "--config.augment.scale=(0.5, 1.0)",
        "--config.optim.name=adam",
    ]


def test_a_run_is_judged_once_it_has_gone_on_and_not_at_its_end(tmp_path):
    config = Config(sweep=Sweep(trials=3, prune_after=1))
    study = SweepStudy(tmp_path, {"optim.lr": Range(0.1, 1.0)}, config.sweep, {}, None)
    path = tmp_path / "metrics.jsonl"

    def watched(trial, *records):
        with open(path, "a") as file:
            for step, split, value in records:
                file.write(format_record({"step": step, "split": split, "macro_f1": value}))
        watch = TrialWatch(trial, path, config)
        watch.look()
        return watch

    with study.next_trial() as trial:
        assert not watched(trial, (2, "validation", 0.7), (4, "validation", 0.8)).pruned
        study.finish(trial)
    path.unlink()
    with study.next_trial() as trial:
        assert not watched(trial, (2, "train", 0.0), (2, "validation", 0.1)).pruned
        # Neither what comes after that counts, nor whether it is read by another worker.
        assert watched(trial, (3, "train", 0.0), (4, "validation", 0.9)).pruned
        assert study.record(1).evaluations == {2: 0.1}
        study.prune(trial)
    path.unlink()
    with study.next_trial() as trial:
        assert not watched(trial, (4, "train", 0.0), (4, "validation", 0.1)).pruned
        study.finish(trial)
    assert [record.state for record in study.records()] == ["complete", "pruned", "complete"]


def test_a_trial_that_is_asked_to_stop_before_it_can_listen_is_started_again(tmp_path):
    with TrialProcess(["--help"], tmp_path / "train.log") as process:
        process.stop()
    assert process.status() == 75


@pytest.mark.slow
def test_a_killed_sweep_resumes_its_trial_and_ends_as_one_that_was_not(
    start, run_quickly, flags, tmp_path, monkeypatch
):
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    three = [*flags, "--config.sweep.trials=3"]
    whole = run_quickly(*three, f"--workdir={tmp_path / 'whole'}")
    assert whole.returncode == 0, whole.stderr
    expected = summary_of(tmp_path / "whole")
    assert [trial["state"] for trial in expected["trials"]] == ["complete"] * 3
    assert expected["trials"][0]["values"] == expected["recipe_values"]

    folder = tmp_path / "killed"
    worker = start(*three, f"--workdir={folder}")
    second = folder / "trials" / "0001" / "metrics.jsonl"
    # It was evaluated once.
    wait_for(lambda: second.exists() and '"validation"' in second.read_text(), worker)
    worker.kill()
    worker.communicate()
    # Its trial ends with it, by itself; the next worker waits for that.
    before = records_of(folder, 0)
    resumed = run_quickly(*three, f"--workdir={folder}")
    assert resumed.returncode == 0, resumed.stderr
    found = summary_of(folder)
    for trial, other in zip(found["trials"], expected["trials"], strict=True):
        for key in ("number", "state", "value", "values", "evaluations"):
            assert trial[key] == other[key]
    assert found["chosen"] == expected["chosen"]
    assert records_of(folder, 0) == before, "a trial that was complete was run again"
    steps = [record["step"] for record in records_of(folder, 1) if record["split"] != "train"]
    assert steps == [2, 4, 6]

    # Nothing is left to do, and any trial is an ordinary run.
    again = run_quickly(*three, f"--workdir={folder}")
    assert again.returncode == 0 and "trial " not in again.stdout.split("finished")[0]
    verified = run_quickly("--mode=verify", f"--workdir={folder / 'trials' / '0002'}")
    assert verified.returncode == 0, verified.stdout
    report = run_quickly("--mode=report", f"--workdir={folder}", f"--out={tmp_path / 'page'}")
    assert report.returncode == 0, report.stderr
    page = (tmp_path / "page" / "report.html").read_bytes()
    assert page == (folder / "report.html").read_bytes()


@pytest.mark.slow
def test_two_workers_share_a_sweep_and_one_that_is_asked_to_stop_leaves_its_trial(
    start, run_quickly, flags, tmp_path, monkeypatch
):
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    folder = tmp_path / "shared"
    four = [*flags, "--config.sweep.trials=4", f"--workdir={folder}"]
    stopped = start(*four)
    other = start(*four)
    wait_for(lambda: len(list(folder.glob("trials/*/metrics.jsonl"))) >= 2, stopped)
    stopped.send_signal(signal.SIGTERM)
    out, error = stopped.communicate(timeout=600)
    assert stopped.returncode == 75, error
    assert "the same command resumes this sweep" in out
    out, error = other.communicate(timeout=600)
    assert other.returncode == 0, error
    finished = run_quickly(*four)
    assert finished.returncode == 0, finished.stderr
    trials = summary_of(folder)["trials"]
    assert [trial["state"] for trial in trials] == ["complete"] * 4
    for trial in trials:
        steps = [
            record["step"]
            for record in records_of(folder, trial["number"])
            if record["split"] != "train"
        ]
        assert steps == [2, 4, 6]
    assert list(folder.glob("trials/*.lock")) == []


@pytest.mark.slow
def test_a_loss_that_is_not_finite_is_of_the_values_and_bad_data_of_all(
    run_quickly, flags, tmp_path
):
    recipe = tmp_path / "recipe.py"
    recipe.write_text(
        "from configs.quickstart import get_config as quickstart\n"
        "from hpa_jax.sweep import Choice\n"
        "def get_config():\n    return quickstart()\n"
        "def search_space():\n    return {'optim.lr': Choice((1e-3, 1e36))}\n"
    )
    flags = [flag for flag in flags if not flag.startswith("--config=")]
    sgd = ["--config.optim.name=sgd", "--config.optim.lr=1e36", "--config.sweep.trials=3"]
    call = [*flags, f"--config={recipe}", *sgd, f"--workdir={tmp_path / 'sweep'}"]
    done = run_quickly(*call)
    assert done.returncode == 0, done.stderr
    trials = summary_of(tmp_path / "sweep")["trials"]
    assert trials[0]["state"] == "failed" and "not finite" in trials[0]["reason"]
    assert "trial 0: failed" in done.stdout

    missing = run_quickly(
        *call, "--config.data.data_dir=/nowhere", f"--workdir={tmp_path / 'other'}"
    )
    assert missing.returncode == 2 and missing.stderr.startswith("error: trial 0: "), missing.stderr
    assert os.listdir(tmp_path / "other" / "trials") == ["0000"]
