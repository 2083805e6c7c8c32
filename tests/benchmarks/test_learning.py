"""The learning benchmarks: the PyTorch peer does what hpa_jax does, the statistics are right, the programs run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from hpa_jax.config import Config
from hpa_jax.errors import InputError, RunStopped
from hpa_jax.main import parse
from hpa_jax.models import create_model, init_variables
from hpa_jax.optim.ema import init_ema, update_ema
from hpa_jax.optim.optimizer import make_optimizer, make_schedule

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "benchmarks"))  # the programs import each other by name

import ablation  # noqa: E402
import learning  # noqa: E402
import learning_peer as peer  # noqa: E402
import learning_recipes as recipes  # noqa: E402
import learning_runs  # noqa: E402


@pytest.fixture
def recipe(small_data, tmp_path):
    """The configuration that the peer gets for a quick run."""
    flags = (
        *recipes.peer(recipes.QUICK, 3).flags,
        f"--config.data.data_dir={small_data}",
        "--config.data.name=synthetic_32",
    )
    return parse(["--config=configs/best_512.py", f"--workdir={tmp_path}", *flags])[2]


def test_the_peer_takes_the_whole_recipe_and_no_other(recipe):
    peer.check(recipe)
    for section, name, value in (
        ("model", "head", "hpa_densenet"),
        ("optim", "name", "adam"),
        ("train", "loss", "asymmetric"),
        ("augment", "rotate_degrees", 30.0),
        ("data", "channel_mix", "hpa_densenet_iii"),
    ):
        run = recipes.peer(recipes.QUICK, 3)
        other = parse(
            [
                f"--config={run.recipe}",
                "--workdir=none",
                *run.flags,
                f"--config.{section}.{name}={value}",
            ]
        )[2]
        with pytest.raises(InputError, match=f"config.{section}.{name}="):
            peer.check(other)


def test_same_net_from_the_same_distribution(recipe):
    recipe.model.name = "densenet_small"
    net = peer.build_net(recipe, np.full(28, 0.1))
    model = create_model(
        "densenet_small", head="linear", num_labels=28, dropout=0.0, dtype="float32"
    )
    ours = init_variables(model, (32, 32, 4), 0)["params"]
    assert sum(p.numel() for p in net.parameters()) == sum(
        leaf.size for leaf in jax.tree.leaves(ours)
    )
    theirs = sorted((p.numel(), p.detach().std().item()) for p in net.parameters() if p.ndim > 1)
    kernels = [leaf for leaf in jax.tree.leaves(ours) if leaf.ndim > 1]
    for (size, deviation), kernel in zip(
        theirs, sorted(kernels, key=lambda k: (k.size, k.std())), strict=True
    ):
        assert size == kernel.size
        if size > 1000:
            np.testing.assert_allclose(deviation, kernel.std(), rtol=0.12)
    np.testing.assert_allclose(net.class_layers.out[1].bias.detach(), np.log(0.1 / 0.9), rtol=1e-5)
    with torch.no_grad():
        assert net.eval()(torch.zeros(1, 4, 64, 64)).shape == (1, 28)


def test_same_updates(recipe):
    """Rate, decay of kernels alone, clipping and AdamW itself: ten updates of the same weights."""
    recipe.train.steps, recipe.optim.schedule_options = 10, '{"warmup_steps": 3}'
    rng = np.random.default_rng(0)
    layer = torch.nn.Linear(5, 4)
    optimizer, schedule = peer.build_optimizer(layer, recipe)
    params = {
        "kernel": layer.weight.detach().numpy().T.copy(),
        "bias": layer.bias.detach().numpy().copy(),
    }
    o = recipe.optim
    rate = make_schedule(o.schedule, o.lr, 10, o.schedule_options)
    ours = make_optimizer(
        o.name, rate, b1=o.b1, b2=o.b2, eps=o.eps, weight_decay=o.weight_decay, clip=o.clip
    )
    state = ours.init(params)
    for step in range(10):
        kernel, bias = (
            rng.normal(size=(5, 4)).astype(np.float32),
            rng.normal(size=4).astype(np.float32),
        )
        layer.weight.grad, layer.bias.grad = (
            torch.from_numpy(kernel.T.copy()),
            torch.from_numpy(bias.copy()),
        )
        torch.nn.utils.clip_grad_norm_(layer.parameters(), o.clip)
        np.testing.assert_allclose(
            schedule.get_last_lr()[0], float(rate(step)), rtol=1e-5, atol=1e-9
        )
        optimizer.step()
        schedule.step()
        updates, state = ours.update({"kernel": kernel, "bias": bias}, state, params)
        params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(
        layer.weight.detach().numpy().T, params["kernel"], rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(layer.bias.detach().numpy(), params["bias"], rtol=1e-4, atol=1e-6)


def test_same_average():
    layer = torch.nn.Linear(2, 1, bias=False)
    theirs = peer.EmaState(layer, 0.9)
    ours = init_ema({"params": {"w": layer.weight.detach().numpy().copy()}, "batch_stats": {}})
    for step in range(5):
        with torch.no_grad():
            layer.weight.copy_(torch.tensor([[step, step**2]]))
        theirs.update(layer)
        ours = update_ema(ours, {"w": jnp.array([[step, step**2]], jnp.float32)}, {}, decay=0.9)
    np.testing.assert_allclose(theirs.net.weight.detach(), ours.params["w"], rtol=1e-5)


def test_symmetries_of_the_square():
    image = torch.arange(9.0).reshape(1, 1, 3, 3)
    found = {
        tuple(peer.symmetries(image, torch.tensor([which])).flatten().tolist())
        for which in range(8)
    }
    square = image[0, 0].numpy()
    turned = [np.rot90(side, turns) for side in (square, square[::-1]) for turns in range(4)]
    assert found == {tuple(side.flatten().tolist()) for side in turned}


def test_the_peer_writes_scores_of_the_test_part(recipe, tmp_path, small_data):
    flags = (f"--config.data.data_dir={small_data}", "--config.data.name=synthetic_32")
    run = recipes.peer(recipes.QUICK, 0)
    assert (
        peer.main([f"--config={run.recipe}", f"--workdir={tmp_path}/run", *run.flags, *flags]) == 0
    )
    one, mean = (
        np.load(tmp_path / "run" / views / "scores.npy") for views in ("none", "symmetries")
    )
    targets = np.load(tmp_path / "run" / "none" / "targets.npy")
    assert one.shape == mean.shape == targets.shape == (18, 28) and targets.any()
    assert 0 < one.min() and one.max() < 1 and not np.allclose(one, mean)
    assert (
        json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])["step"]
        == run.steps
    )
    assert (
        peer.main(
            [
                f"--config={run.recipe}",
                f"--workdir={tmp_path}/no",
                *flags,
                "--config.train.loss=bce",
            ]
        )
        == 2
    )


def test_rare_labels_are_held_out():
    """What is said of the data: every label is in validation or test, and the study's nine are rare."""
    scale = recipes.Scale()
    assert min(scale.expected(scale.test + (1 - scale.test) / scale.folds).values()) > 4
    below = scale.rare_below()
    train = scale.expected((1 - scale.test) * (1 - 1 / scale.folds))
    assert sum(count < below for count in train.values()) == 9


def made_up(best, theirs, seed):
    """Results as run_all gives them, with the same macro F1 for every figure and views."""
    results = {}
    for recipe, values in (("best", best), ("peer", theirs), ("seed", seed)):
        for number, value in enumerate(values):
            figures = dict.fromkeys(
                ("macro_f1", "macro_f1_crossfit", "micro_f1", "macro_average_precision"), value
            )
            results[f"{recipe}_{number}"] = {
                "figures": {"none": figures, "symmetries": figures},
                "seconds": 1.0,
            }
    return results


def test_intervals():
    low, high = learning.interval([0.50, 0.52, 0.54])
    # t of 2 degrees of freedom at 97.5 % is 4.302653; deviation 0.02.
    np.testing.assert_allclose(
        [low, high], [0.52 - 4.302653 * 0.02 / 3**0.5, 0.52 + 4.302653 * 0.02 / 3**0.5], rtol=1e-6
    )
    assert learning.interval([0.5]) is None and learning.difference([0.5], [0.4, 0.5]) is None
    low, high = learning.difference([0.50, 0.52, 0.54], [0.40, 0.42, 0.44])
    # Equal deviations: Welch has 4 degrees of freedom, t is 2.776445.
    np.testing.assert_allclose(
        [low, high],
        [0.1 - 2.776445 * 0.02 * (2 / 3) ** 0.5, 0.1 + 2.776445 * 0.02 * (2 / 3) ** 0.5],
    )


@pytest.mark.parametrize(
    ("theirs", "within"), [((0.50, 0.53, 0.55), True), ((0.30, 0.31, 0.32), False)]
)
def test_verdict_and_table(theirs, within):
    rows = learning.rows_of(made_up((0.50, 0.52, 0.54), theirs, (0.30, 0.35, 0.40)), guessing=0.1)
    best, seed = (
        next(row for row in rows if row["name"] == f"learning_{r}_none_macro_f1")
        for r in ("best", "seed")
    )
    assert best["within_peer_interval"] is within and best["seeds"] == [0.50, 0.52, 0.54]
    assert seed["ratio_to_peer"] == pytest.approx(3.5) and "within_peer_interval" not in seed
    said = learning.verdicts(rows)
    assert ("IS NOT within" in said) is not within
    table = learning.markdown(rows)
    assert "| best, threshold 0.5 | 0.520 ± 0.020 | 0.500 0.520 0.540 | 0.520 | 0.520 |" in table
    assert table.count("the same in PyTorch") == 3
    json.dumps(rows, allow_nan=False)


def test_one_seed_gives_no_interval():
    rows = learning.rows_of(made_up((0.5,), (0.4,), (0.3,)), guessing=0.1)
    json.dumps(rows, allow_nan=False)
    assert learning.verdicts(rows) == "" and "| 0.500 | 0.500 |" in learning.markdown(rows)


def test_chance_is_every_label_for_every_field():
    targets = (np.random.default_rng(0).random((500, 4)) < [0.5, 0.1, 0.05, 0.01]).astype(np.uint8)
    from sklearn.metrics import f1_score

    assert learning.chance(targets) == pytest.approx(
        f1_score(targets, np.ones_like(targets), average="macro")
    )


def test_ablation_table():
    results = made_up((0.50, 0.52, 0.54), (0.5, 0.5), (0.30, 0.35, 0.40))
    for name, value in (("best_mix", 0.42), ("best_ema", 0.53), ("seed_head", 0.45)):
        results[f"{name}_0"] = {
            "figures": {"none": {"macro_f1": value}, "symmetries": {"macro_f1_crossfit": value}}
        }
    rows = ablation.rows_of(
        results, {"best_mix": "three channels", "best_ema": "no average", "seed_head": "linear"}
    )
    found = {row["name"]: row for row in rows}
    assert found["ablation_best_mix"]["difference"] == pytest.approx(-0.10)
    assert found["ablation_best_mix"]["deviations"] == pytest.approx(-5)
    assert found["ablation_seed_head"]["difference"] == pytest.approx(0.10)
    table = ablation.markdown(rows).splitlines()
    assert (
        table[2].startswith("| (whole) | 0.520 |")
        and table[3] == "| three channels | 0.420 | -10.0 | -5.0 |"
    )
    json.dumps(rows, allow_nan=False)


def test_every_change_is_a_change(tmp_path):
    """Each ablation's flags parse, and change the recipe; what it says is said of one recipe."""
    scale = recipes.QUICK
    for name, (what, flags) in (ablation.without(scale) | ablation.added(scale)).items():
        make = recipes.best if name.startswith("best") else recipes.seed
        whole, changed = make(scale, 0), make(scale, 0, *flags, name=name)
        configs = [
            parse([f"--config={r.recipe}", f"--workdir={tmp_path}", *r.flags])[2]
            for r in (whole, changed)
        ]
        assert configs[0] != configs[1] and what and changed.name == f"{name}_0"
        assert configs[0] != Config()


def _run(program, *flags):
    command = [sys.executable, str(REPOSITORY / "benchmarks" / program), *map(str, flags)]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.run(
        command, cwd=REPOSITORY, env=environment, text=True, capture_output=True, timeout=600
    )


@pytest.mark.slow
def test_from_nothing_to_the_tables(tmp_path):
    """Data, our runs, the peer's and the ablation, in one folder; a second start finds everything done."""
    flags = ("--quick", f"--folder={tmp_path}", f"--json={tmp_path}/rows.json", "--seeds=1")
    done = _run("learning.py", *flags)
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads((tmp_path / "rows.json").read_text())}
    assert rows["learning_best_symmetries_macro_f1_crossfit"]["peer"] == learning.PEER
    assert 0 <= rows["learning_seed_none_macro_f1"]["value"] < 0.5
    before = {path: path.stat().st_mtime for path in tmp_path.glob("runs/*/result.json")}
    assert {path.parent.name for path in before} == {"best_0", "peer_0", "seed_0"}

    done = _run("ablation.py", *flags, "--only", "best_ema", "seed_head")
    assert done.returncode == 0, done.stderr
    assert "weights not averaged" in done.stdout and "the linear head" in done.stdout
    assert all(path.stat().st_mtime == time for path, time in before.items())


def test_a_run_that_fails_is_one_line(tmp_path):
    run = recipes.best(recipes.QUICK, 0)
    with pytest.raises(
        RunStopped, match="best_0 ended with status 2: error: .*learning_240_32: no such dataset"
    ):
        learning_runs.run_all([run], tmp_path, tmp_path, jobs=1)
