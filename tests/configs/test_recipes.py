"""Every recipe of configs/ is started: two steps, an evaluation, a checkpoint, on small images."""

import json
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
# Of images with masks: tests/training/test_cell_masks.py and test_cells_task.py start them. From
# finished runs: tests/training/test_fusion.py.
STARTED_ELSEWHERE = ("cells", "cells_unet", "fusion")
RECIPES = sorted(
    path.stem
    for path in (REPOSITORY / "configs").glob("*.py")
    if path.stem not in ("__init__", *STARTED_ELSEWHERE)
)
# The net is the recipe's own where it compiles in seconds, else the tiny one. Nets have tests of
# their own, and `launch/local.sh test --all` starts each recipe with its own.
OWN = ("all_cnn",)
# Compiling each costs ten seconds: these have all kinds of options between them. That each recipe
# can be read is tested in test_main.py, and all are started with `--all`.
ALWAYS = ("all_cnn", "best_512", "highres_first_nine")

NEEDED = {
    # Of images with one label each, which the small dataset's are not.
    "hep2": ("--config.train.loss=bce", "--config.checkpoint.metric=macro_f1"),
    # No two of the eight images to validate on have a label in common.
    "metric": ("--config.data.eval_split=all",),
}


def started(run, workdir, small_data, recipe, *more):
    done = run(
        f"--config=configs/{recipe}.py",
        f"--workdir={workdir}",
        f"--config.data.data_dir={small_data}",
        "--config.data.name=synthetic_32",
        "--config.data.batch_size=8",
        "--config.train.steps=2",
        *NEEDED.get(recipe, ()),
        *more,
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    evaluated = "all" if recipe == "metric" else "validation"
    assert [(line["step"], line["split"]) for line in lines] == [(2, "train"), (2, evaluated)]
    return lines


def with_the_small_net():
    """The recipes; most of them slow."""
    marked = []
    for recipe in RECIPES:
        marks = () if recipe in ALWAYS else pytest.mark.slow
        marked.append(pytest.param(recipe, marks=marks))
    return marked


@pytest.mark.parametrize("recipe", with_the_small_net())
def test_every_recipe_starts(run_quickly, small_data, tmp_path, recipe):
    net = () if recipe in OWN else ("--config.model.name=densenet_tiny",)
    lines = started(run_quickly, tmp_path, small_data, recipe, *net, "--config.data.image_size=32")
    assert all(
        value == value for line in lines for value in line.values() if isinstance(value, float)
    )


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [recipe for recipe in RECIPES if recipe not in OWN])
def test_every_recipe_starts_with_its_own_net(run, small_data, tmp_path, recipe):
    started(run, tmp_path, small_data, recipe, "--config.data.image_size=96")
