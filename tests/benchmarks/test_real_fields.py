"""Every recipe on real fields: none is forgotten, and what should stop the program does."""

import json
import os

import numpy as np
import pytest
import real_fields
import real_fields_recipes as recipes
from real_fields_run import check_scores, check_training

from hpa_jax.errors import InputError, RunStopped

SAMPLE = os.environ.get("HPA_SAMPLE_DIR")
needs_sample = pytest.mark.skipif(not SAMPLE, reason="HPA_SAMPLE_DIR, the real sample, is not set")


def one_run(recipe="lowres"):
    return recipes.runs_of([recipe], steps=2, batch=2, quick=False)[0]


def test_every_recipe_is_run_or_left_out_for_a_reason(monkeypatch):
    names = recipes.recipe_names()
    runs = recipes.runs_of(names, steps=2, batch=2, quick=False)
    assert {run.recipe for run in runs} | set(recipes.OTHERS) == set(names)
    assert {"lowres", "best_512", "native"} <= {run.recipe for run in runs}
    sides = {run.name: run.side for run in runs}
    assert sides["best_512"] == 512 and sides["highres"] == 1024 and sides["quickstart"] == 64
    assert sides["native_2048"] == 2048 and sides["native_3072"] == 3072
    monkeypatch.delitem(recipes.READ_INSTEAD, "kaggle_full_1024")
    with pytest.raises(InputError, match="configs/best_1024.py reads kaggle_full_1024"):
        recipes.runs_of(names, steps=2, batch=2, quick=False)


def test_a_recipe_keeps_its_net_and_its_own_way():
    changed = {flag.partition("=")[0] for flag in one_run("inception_resnet_v2").flags}
    sections = {name.split(".")[1] for name in changed}
    assert sections == {"data", "train", "checkpoint"}
    assert "--config.train.loss" not in changed
    assert "--config.data.sampling" not in changed


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--only=lowres,best"], "'best' is none of all_cnn, "),
        (["--steps=1"], "'1': give a whole number from 2 on"),
        (["--batch=x"], "'x': give a whole number from 1 on"),
    ],
)
def test_a_wrong_flag_is_refused_by_name(flags, line, capsys):
    with pytest.raises(SystemExit):
        real_fields.main(flags)
    assert line in capsys.readouterr().err


def test_without_the_sample_the_flag_is_named(tmp_path, capsys):
    flags = [f"--sample_dir={tmp_path}", f"--folder={tmp_path / 'out'}", "--only=lowres"]
    assert real_fields.main(flags) == 2
    assert "kaggle_512 is not there; give --sample_dir=DIR" in capsys.readouterr().err


def trained(folder, losses=(0.7, 0.6), weights=("a", "b")):
    """What a training leaves that is looked at: its log, and its last two states."""
    lines = []
    for step, loss in enumerate(losses, start=1):
        lines.append({"step": step, "split": "train", "loss": loss, "grad_norm": 2.0})
    lines.append({"step": len(losses), "split": "validation", "macro_f1": 0.0})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for step, digest in enumerate(weights, start=1):
        entry = {"pieces": [{"sha256": digest}]}
        other = {"pieces": [{"sha256": str(step)}]}
        manifest = {"arrays": {"params/head/logits/bias": entry, "opt_state/mu": other}}
        step_folder = folder / "checkpoints" / str(step)
        step_folder.mkdir(parents=True)
        (step_folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_a_training_that_moved_passes(tmp_path):
    found = check_training(trained(tmp_path), one_run())
    assert found == {"losses": [0.7, 0.6], "grad_norms": [2.0, 2.0], "parameters": 1, "moved": 1}


@pytest.mark.parametrize(
    ("left", "reason"),
    [
        ({"losses": (0.7, float("nan"))}, "loss is nan at step 2"),
        ({"losses": (0.7,), "weights": ("a",)}, "lacks steps of 2"),
        ({"weights": ("a", "a")}, "only 0 of 1 arrays moved"),
    ],
)
def test_a_training_that_did_not_is_stopped(tmp_path, left, reason):
    with pytest.raises(RunStopped, match=reason):
        check_training(trained(tmp_path, **left), one_run())


def test_scores_that_differ_are_refused():
    scores = np.full((2, 28), 0.5, np.float32)
    assert check_scores(scores, scores + 0.001, one_run()) == pytest.approx(0.001, rel=1e-3)
    for other, reason in (
        (scores + 0.1, "differ by 0.100 on average"),
        (scores + np.nan, "not all from 0 to 1"),
        (scores[:1], "scores are"),
    ):
        with pytest.raises(RunStopped, match=reason):
            check_scores(scores, other, one_run())


@needs_sample
@pytest.mark.slow
def test_it_runs_keeps_results_and_tells_no_f1(run_benchmark, tmp_path):
    """Two recipes at a small size: from files, through tiles too, to what the export says."""
    flags = (f"--folder={tmp_path}", "--quick", "--only=quickstart,native,hep2")
    done = run_benchmark("real_fields.py", *flags)
    assert done.returncode == 0, done.stderr
    assert "left out: hep2 (single cells" in done.stderr
    names = ["quickstart", "native_2048", "native_3072"]
    assert list(done.rows) == [f"real_fields: {name}" for name in names]
    assert [line.split("`")[1] for line in done.stdout.splitlines()[2:]] == names
    keys = [key for row in done.rows.values() for key in row]
    assert "f1" not in (done.stdout + " ".join(keys)).lower()
    for name in names:
        assert sorted(path.name for path in (tmp_path / "runs" / name).iterdir()) == [
            "log.txt",
            "progress.json",
            "result.json",
        ]

    kept = {name: (tmp_path / "runs" / name / "result.json").stat().st_mtime_ns for name in names}
    again = run_benchmark("real_fields.py", *flags)
    assert again.stdout == done.stdout
    for name, written in kept.items():
        assert (tmp_path / "runs" / name / "result.json").stat().st_mtime_ns == written
