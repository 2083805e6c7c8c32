"""`learning.py` and `ablation.py`: recipes, statistics and tables, and the programs themselves."""

import json

import ablation
import learning
import learning_recipes as recipes
import learning_runs
import learning_statistics as statistics
import numpy as np
import pytest
from sklearn.metrics import f1_score

from hpa_jax.config import Config
from hpa_jax.errors import RunStopped
from hpa_jax.recipes import parse


def test_rare_labels_are_held_out():
    """What is said of the data: every label is held out, and the baseline's nine are rare."""
    scale = recipes.Scale()
    assert min(scale.expected_counts(scale.held_out_fraction).values()) > 4
    below = scale.rare_below()
    counts = scale.expected_counts(scale.train_fraction).values()
    assert sum(count < below for count in counts) == 9


def make_results(best, theirs, baseline):
    """Results as run_all returns them, with the same value for every metric and TTA."""
    names = ("macro_f1", "macro_f1_crossfit", "micro_f1", "macro_average_precision")
    results = {}
    for recipe, values in (("best", best), ("peer", theirs), ("hpa_densenet", baseline)):
        for seed, value in enumerate(values):
            metrics = dict.fromkeys(names, value)
            results[f"{recipe}_{seed}"] = {
                "metrics": {"none": metrics, "symmetries": metrics},
                "seconds": 1.0,
            }
    return results


def test_t_interval():
    # t of 2 degrees of freedom at 97.5 % is 4.302653; the std is 0.02.
    half = 4.302653 * 0.02 / 3**0.5
    interval = statistics.t_interval([0.50, 0.52, 0.54])
    np.testing.assert_allclose(interval, [0.52 - half, 0.52 + half], rtol=1e-6)
    assert statistics.t_interval([0.5]) is None


def test_welch_interval():
    # Of equal std: Welch has 4 degrees of freedom, t is 2.776445.
    half = 2.776445 * 0.02 * (2 / 3) ** 0.5
    interval = statistics.welch_interval([0.50, 0.52, 0.54], [0.40, 0.42, 0.44])
    np.testing.assert_allclose(interval, [0.1 - half, 0.1 + half])
    assert statistics.welch_interval([0.5], [0.4, 0.5]) is None


@pytest.mark.parametrize(
    ("theirs", "within"), [((0.50, 0.53, 0.55), True), ((0.30, 0.31, 0.32), False)]
)
def test_verdict_and_table(theirs, within):
    results = make_results((0.50, 0.52, 0.54), theirs, (0.30, 0.35, 0.40))
    rows = learning.make_rows(results, guessing=0.1)
    by_name = {row["name"]: row for row in rows}
    best = by_name["learning_best_none_macro_f1"]
    assert best["within_peer_interval"] is within
    assert best["seeds"] == [0.50, 0.52, 0.54]
    baseline = by_name["learning_hpa_densenet_none_macro_f1"]
    assert baseline["ratio_to_peer"] == pytest.approx(3.5)
    assert "within_peer_interval" not in baseline
    assert ("IS NOT within" in learning.verdicts(rows)) is not within
    table = learning.markdown(rows)
    assert "| best, threshold 0.5 | 0.520 ± 0.020 | 0.500 0.520 0.540 | 0.520 | 0.520 |" in table
    assert table.count("the same in PyTorch") == 3
    json.dumps(rows, allow_nan=False)


def test_one_seed_gives_no_interval():
    rows = learning.make_rows(make_results((0.5,), (0.4,), (0.3,)), guessing=0.1)
    json.dumps(rows, allow_nan=False)
    assert learning.verdicts(rows) == ""
    assert "| 0.500 | 0.500 |" in learning.markdown(rows)


def test_chance_is_every_label_for_every_image():
    rng = np.random.default_rng(0)
    targets = (rng.random((500, 4)) < [0.5, 0.1, 0.05, 0.01]).astype(np.uint8)
    expected = f1_score(targets, np.ones_like(targets), average="macro")
    assert statistics.chance(targets) == pytest.approx(expected)


def test_ablation_table():
    results = make_results((0.50, 0.52, 0.54), (0.5, 0.5), (0.30, 0.35, 0.40))
    changed = {"best_mix": 0.42, "best_ema": 0.53, "hpa_densenet_head": 0.45}
    for name, value in changed.items():
        metrics = {"none": {"macro_f1": value}, "symmetries": {"macro_f1_crossfit": value}}
        results[f"{name}_0"] = {"metrics": metrics}
    titles = {"best_mix": "three channels", "best_ema": "no average", "hpa_densenet_head": "linear"}
    rows = ablation.make_rows(results, titles)
    by_name = {row["name"]: row for row in rows}
    assert by_name["ablation_best_mix"]["difference"] == pytest.approx(-0.10)
    assert by_name["ablation_best_mix"]["deviations"] == pytest.approx(-5)
    head = by_name["ablation_hpa_densenet_head"]
    assert head["difference"] == pytest.approx(0.10)
    assert head["peer"] == "hpa_densenet, complete"
    table = ablation.markdown(rows).splitlines()
    assert table[2].startswith("| (complete) | 0.520 |")
    assert table[3] == "| three channels | 0.420 | -10.0 | -5.0 |"
    json.dumps(rows, allow_nan=False)
    of_best = ablation.make_rows(results, {"best_ema": "no average"})
    assert "the recipe `hpa_densenet`" not in ablation.markdown(of_best)


def test_every_change_is_a_change(tmp_path):
    """The flags of each ablation parse, and change the recipe."""
    scale = recipes.QUICK
    by_recipe = {recipe.name: recipe.make_run(scale, 0) for recipe in ablation.RECIPES}

    def configured(run):
        return parse([f"--config={run.recipe}", f"--workdir={tmp_path}", *run.flags])[2]

    unchanged = {name: configured(run) for name, run in by_recipe.items()}
    for name, change in ablation.changes_of(scale).items():
        run = ablation.make_changed_run(scale, 0, name, change, tmp_path)
        assert run.name == f"{name}_0"
        assert len(run.tta) == 1
        assert change.title
        recipe = next(recipe for recipe in by_recipe if name.startswith(f"{recipe}_"))
        config = configured(run)
        assert config != unchanged[recipe]
        assert config != Config()


def test_a_change_is_found_by_its_old_name(monkeypatch, capsys):
    assert ablation.main(["--only", "best_mix", "best_mixx"]) == 2
    assert "--only: 'best_mixx' is none of best_mix, best_sampling, " in capsys.readouterr().err
    asked = []
    monkeypatch.setattr(ablation, "compare", asked.append)
    assert ablation.main(["--only", "seed_head", "best_mix"]) == 0
    assert asked[0].only == ["hpa_densenet_head", "best_mix"]


@pytest.mark.slow
def test_from_nothing_to_the_tables(tmp_path, run_benchmark):
    """Data, our runs, the peer's and the ablation, in one folder; a second start trains nothing."""
    flags = ("--quick", f"--folder={tmp_path}", "--seeds=1")
    done = run_benchmark("learning.py", *flags)
    assert done.returncode == 0, done.stderr
    assert done.rows["learning_best_symmetries_macro_f1_crossfit"]["peer"] == learning.PEER
    assert 0 <= done.rows["learning_hpa_densenet_none_macro_f1"]["value"] < 0.5
    before = {path: path.stat().st_mtime for path in tmp_path.glob("runs/*/result.json")}
    assert {path.parent.name for path in before} == {"best_0", "peer_0", "hpa_densenet_0"}

    changes = ("best_ema", "best_crt", "hpa_densenet_head")
    done = run_benchmark("ablation.py", *flags, "--only", *changes)
    assert done.returncode == 0, done.stderr
    assert "weights not averaged" in done.stdout
    assert "its head trained anew" in done.stdout
    assert "the linear head" in done.stdout
    assert all(path.stat().st_mtime == time for path, time in before.items())


def test_a_run_that_fails_is_one_line(tmp_path):
    run = recipes.best(recipes.QUICK, 0)
    expected = "best_0 ended with status 2: error: .*learning_240_32: no such dataset"
    with pytest.raises(RunStopped, match=expected):
        learning_runs.run_all([run], tmp_path, tmp_path, jobs=1)
