"""The benchmark of real cells: its table, its baselines, and what its peer in PyTorch adds."""

import dataclasses
import os
import sys
from pathlib import Path

import hep2
import hep2_baselines
import hep2_data
import hep2_recipes
import hep2_specimens
import learning_peer
import numpy as np
import pytest
import torch
from recipe_settings import settings_digest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from hpa_jax.recipes import parse

HEP2 = pytest.mark.skipif("HPA_HEP2_DIR" not in os.environ, reason="HPA_HEP2_DIR is not set")


def peer_config():
    run = hep2_recipes.peer(hep2_recipes.QUICK, 3)
    return parse([f"--config={run.recipe}", "--workdir=none", *run.flags])[2]


def test_the_table_has_our_rows_above_others():
    found = {"accuracy": 0.9, "mean_class_accuracy": 0.8, "macro_f1": 0.85}
    found["intervals"] = {name: [value - 0.1, value + 0.05] for name, value in found.items()}
    other = found | {"accuracy": 0.92}
    row = hep2._row("ours", [found, other])
    assert row["value"] == pytest.approx(0.91)
    assert row["seeds"] == [0.9, 0.92]
    *_, ours, theirs = hep2.markdown([row], hep2_data.OTHERS[:1]).splitlines()
    assert ours == (
        "| ours | 0.910 ± 0.014 [0.800, 0.950] | 0.800 ± 0.000 [0.700, 0.850] | "
        "0.850 ± 0.000 [0.750, 0.900] | 0.900 0.920 |"
    )
    cells = [cell.strip() for cell in theirs.split("|")]
    assert cells[1:5] == ["AlexNet, last layer tuned (george-chou, README)", "0.92", "", ""]


def test_mistakes_are_counted_by_specimen_and_by_pattern():
    patterns = np.array([0, 0, 0, 1, 1, 1, 1])
    given = np.array([0, 0, 0, 2, 2, 1, 0])
    groups = np.array([5, 5, 5, 9, 9, 9, 9])
    targets = np.eye(3, dtype=np.uint8)[patterns]
    scores = np.eye(3, dtype=np.float32)[given]
    specimens = hep2_specimens.specimens_of(scores, targets, groups)
    assert specimens == [(1, 2, 4, 3), (0, 0, 3, 0)]
    assert hep2_specimens.summary(specimens) == (
        "2 specimens: 1 with 95% of their cells right and more, 1 mostly taken for another "
        "pattern; 1 hold half of the 3 mistakes"
    )
    assert hep2_specimens.summary(specimens[1:]) == "1 specimens, and no mistake"
    *_, worst, _ = hep2_specimens.specimens_markdown(specimens, "ABC").splitlines()
    assert worst == "| B | 4 | 1 | C |"
    rows = hep2_specimens.confusion_markdown(scores, targets, groups, "ABC").splitlines()
    assert rows[2:] == [
        "| A | 3 | 0 | 0 | 1.000 | 1 |",
        "| B | 1 | 1 | 2 | 0.250 | 1 |",
        "| C | 0 | 0 | 0 |  | 0 |",
    ]


@pytest.mark.parametrize(
    ("flag", "line"),
    [
        ("--only=published,all", "'all' is none of published, folds, peer, baseline, convnext"),
        ("--seeds=1,1", "'1,1': give whole numbers, each once"),
        ("--seeds=one", "'one': give whole numbers"),
    ],
)
def test_a_wrong_flag_is_refused_by_name(flag, line, capsys):
    with pytest.raises(SystemExit):
        hep2.main([flag])
    assert line in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "only", "seeds"),
    [
        ([], hep2.PARTS, (0, 1, 2)),
        (["--seeds=7"], ("published",), (7,)),
        (["--seeds=7,8", "--only=folds,peer"], ("folds", "peer"), (7, 8)),
        (["--only=baseline"], ("baseline",), (0, 1, 2)),
    ],
)
def test_another_seed_is_for_the_published_row_alone(flags, only, seeds, monkeypatch):
    asked = []
    monkeypatch.setattr(hep2, "compare", asked.append)
    assert hep2.main(flags) == 0
    assert (asked[0].only, asked[0].seeds) == (only, seeds)


def test_a_peer_that_could_not_start_is_refused_before_anything_else(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "monai", None)
    assert hep2.main([f"--hep2_dir={tmp_path}", f"--folder={tmp_path / 'out'}"]) == 2
    assert "the peer needs monai: python -m pip install" in capsys.readouterr().err


def test_a_result_is_kept_for_its_settings_not_for_the_recipes_name(tmp_path):
    recipe = tmp_path / "recipe.py"
    text = "from hpa_jax.config import Config, Optim\n\ndef get_config():\n    return Config({})\n"
    digests = []
    for arguments in ("", "optim=Optim(lr=0.01)", "optim=Optim(lr=0.02)"):
        recipe.write_text(text.format(arguments))
        digests.append(settings_digest(str(recipe), ("--config.train.steps=3",)))
    # 0.01 is the default.
    assert digests[0] == digests[1] != digests[2]


def test_without_the_cells_the_flag_is_named(tmp_path, capsys):
    flags = [f"--hep2_dir={tmp_path}", f"--folder={tmp_path / 'out'}", "--only=baseline"]
    assert hep2.main(flags) == 2
    assert "hep2.zip is not there; give --hep2_dir=DIR" in capsys.readouterr().err


def test_each_fold_is_scored_by_the_net_that_has_not_learnt_from_it():
    runs = hep2_recipes.folds(hep2_recipes.Scale(), 4)
    assert [run.eval_split for run in runs] == ["validation"] * 5
    assert [f"--config.data.fold={fold}" in run.flags for fold, run in enumerate(runs)] == [
        True
    ] * 5
    assert len({run.name for run in runs}) == 5
    assert {run.checkpoint for run in runs} == {"latest"}


def test_the_convnext_is_the_recipe_with_another_net():
    run = hep2_recipes.convnext(hep2_recipes.Scale(), 3)
    config = parse([f"--config={run.recipe}", "--workdir=none", *run.flags])[2]
    assert (config.model.name, config.model.head) == ("convnext_tiny", "norm_linear")
    assert config.train.steps == run.steps == hep2_recipes.CONVNEXT_STEPS
    assert config.train.seed == 3
    assert "convnext" not in hep2.PARTS
    assert run.name != hep2_recipes.published(hep2_recipes.Scale(), 3).name


def test_the_peer_takes_the_recipe_and_its_loss_is_the_softmaxs():
    config = peer_config()
    learning_peer.check(config)
    complete = hep2_recipes.peer(hep2_recipes.Scale(), 0)
    learning_peer.check(parse([f"--config={complete.recipe}", "--workdir=x", *complete.flags])[2])
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(5, 6)).astype(np.float32)
    targets = np.eye(6, dtype=np.float32)[rng.integers(0, 6, 5)]
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = -np.log((shares * targets).sum(axis=1)).mean()
    loss = learning_peer.loss_of(torch.from_numpy(logits), torch.from_numpy(targets), config)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    scores = learning_peer.scores_of(torch.from_numpy(logits), config)
    np.testing.assert_allclose(scores, shares, rtol=1e-5)


def test_the_peer_sees_green_alone():
    config = peer_config()
    statistics = {"mean": (0.1, 0.2, 0.3, 0.4), "std": (0.5, 0.25, 0.5, 0.5)}
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, **statistics))
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 5, 4), np.uint8)
    expected = (images[..., 1] / 255 - 0.2) / 0.25
    found = learning_peer.prepare(images, config)
    assert found.shape == (2, 1, 5, 5)
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-5)


def test_a_pattern_that_no_training_cell_has_scores_0():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (30, 20, 20), np.uint8)
    images[::2] //= 4
    patterns = np.where(np.arange(30) % 2, 3, 1)
    cells = hep2_data.Cells(images, np.eye(6, dtype=np.uint8)[patterns], np.arange(30))
    scores = hep2_baselines.fit_and_score(hep2_baselines.histogram_and_pixels, cells, cells)
    assert (scores[:, [0, 2, 4, 5]] == 0).all()
    np.testing.assert_array_equal(scores.argmax(axis=1), patterns)


@HEP2
@pytest.mark.slow
def test_the_baselines_on_the_published_split(tmp_path):
    """As measured when the cells were put together, with code of its own."""
    hep2_data.build(Path(os.environ["HPA_HEP2_DIR"]), tmp_path, hep2_data.PUBLISHED)
    train = hep2_data.read_cells(tmp_path, hep2_data.PUBLISHED, "train")
    test = hep2_data.read_cells(tmp_path, hep2_data.PUBLISHED, "test")
    assert (len(train.images), len(test.images)) == (8701, 2720)
    truth = test.targets.argmax(axis=1)
    found = {}
    for name, features_of in hep2_baselines.BASELINES.items():
        predicted = hep2_baselines.fit_and_score(features_of, train, test).argmax(axis=1)
        found[name] = (
            accuracy_score(truth, predicted),
            balanced_accuracy_score(truth, predicted),
            f1_score(truth, predicted, average="macro"),
        )
    expected = [(0.600, 0.552, 0.541), (0.732, 0.720, 0.726)]
    for ours, measured in zip(found.values(), expected, strict=True):
        assert ours == pytest.approx(measured, abs=0.015)
