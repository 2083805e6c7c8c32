"""What each ingredient contributes: `best` without it, and the baseline `hpa_densenet` with it.

    python benchmarks/ablation.py [--folder=runs/learning] [--seeds=1] [--json=FILE] [--quick]

Beside the three seeds of either recipe that learning.py has trained in the same FOLDER, or that are
trained here first; with --only, of the recipes that are changed. A change is judged by its
difference from the recipe's mean, in points of macro F1 on the test split, and in standard
deviations of one run between seeds: a run that lies within two of them shows nothing.

Some ingredients do not touch training (TTA, thresholds): they are read from the runs that are there
anyway.
"""

import argparse
import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import learning_recipes as recipes
import numpy as np
from ablation_changes import (
    GENERATED,
    UNCHANGED_RUN,
    Change,
    changes_to_best,
    changes_to_hpa_densenet,
)
from generated_channels import folders_of_pictures, make_pictures
from learning_program import describe_data, make_learning_parser, run_resumable, scale_of
from learning_recipes import PLAIN, SYMMETRIES, Run, Scale
from learning_runs import build, run_all
from learning_statistics import metric_values, std
from results import make_row, write_rows

from hpa_jax.environment.program import run_program
from hpa_jax.errors import InputError

BASE_SEEDS = 3


class Recipe(NamedTuple):
    """A recipe that is changed.

    Attributes:
      name: of its runs, and before the names of its changes.
      make_run: of learning_recipes.
      tta: by which it is judged.
      metric: by which it is judged.
      title: of its table.
      sign: 1: the change that costs most comes first; -1: the one that gains most.
    """

    name: str
    make_run: Callable[..., Run]
    tta: str
    metric: str
    title: str
    sign: int


class ReadOff(NamedTuple):
    """An ingredient that needs no training: another TTA or metric of the same runs."""

    recipe: str
    title: str
    tta: str
    metric: str


RECIPES = (
    Recipe("best", recipes.best, SYMMETRIES, "macro_f1_crossfit", "`best`, but", 1),
    Recipe(
        "hpa_densenet",
        recipes.hpa_densenet,
        PLAIN,
        "macro_f1",
        "the recipe `hpa_densenet` with",
        -1,
    ),
)
READ_OFF = (
    ReadOff("best", "no TTA in place of eight symmetries", PLAIN, "macro_f1_crossfit"),
    ReadOff("best", "threshold 0.5 in place of one for each label", SYMMETRIES, "macro_f1"),
    ReadOff("hpa_densenet", "a threshold for each label", PLAIN, "macro_f1_crossfit"),
)


def changes_of() -> dict[str, Change]:
    """All changes by RECIPE_INGREDIENT, the names of their runs."""
    return changes_to_best() | changes_to_hpa_densenet()


def recipes_of(changes: Iterable[str]) -> list[Recipe]:
    """The recipes that are changed, by the names of the changes."""
    changes = list(changes)
    found = []
    for recipe in RECIPES:
        if any(name.startswith(f"{recipe.name}_") for name in changes):
            found.append(recipe)
    return found


def make_rows(results: dict[str, dict], titles: dict[str, str]) -> list[dict]:
    """The recipes that are changed, each followed by its changes.

    Args:
      results: of `run_all`.
      titles: of the changes that were trained, by name.
    """
    rows = []
    for recipe in recipes_of(titles):
        unchanged = metric_values(results, recipe.name, recipe.tta, recipe.metric)
        base = float(np.mean(unchanged))
        spread = std(unchanged)
        rows.append(
            _make_row(recipe, recipe.name, f"{recipe.name}, complete", unchanged, base, spread)
        )
        for name, title in titles.items():
            if name.startswith(f"{recipe.name}_"):
                values = metric_values(results, name, recipe.tta, recipe.metric)
                rows.append(_make_row(recipe, name, title, values, base, spread))
        for other in READ_OFF:
            if other.recipe == recipe.name:
                name = f"{recipe.name}_{other.tta}_{other.metric}"
                values = metric_values(results, recipe.name, other.tta, other.metric)
                rows.append(_make_row(recipe, name, other.title, values, base, spread))
    return rows


def _make_row(
    recipe: Recipe,
    name: str,
    title: str,
    values: list[float],
    base: float,
    spread: float | None,
) -> dict:
    value = float(np.mean(values))
    difference = value - base
    return make_row(
        f"ablation_{name}",
        value,
        "macro F1",
        peer=f"{recipe.name}, complete",
        peer_value=base,
        device="cpu",
        title=title,
        seeds=values,
        difference=difference,
        deviations=difference / spread if spread else None,
    )


def markdown(rows: list[dict]) -> str:
    """The rows as two tables, largest loss or gain first."""
    lines = []
    for recipe in RECIPES:
        prefix = f"ablation_{recipe.name}"
        of_recipe = [row for row in rows if row["name"].startswith(prefix)]
        if not of_recipe:
            continue
        unchanged, *changed = of_recipe
        lines += ["", f"| {recipe.title} | macro F1 | points | deviations |"]
        lines.append("| --- | --- | --- | --- |")
        lines.append(f"| (complete) | {unchanged['value']:.3f} |  |  |")
        changed.sort(key=lambda row, sign=recipe.sign: sign * row["difference"])
        for row in changed:
            points = f"{100 * row['difference']:+.1f}"
            deviations = ""
            if row["deviations"] is not None:
                deviations = f"{row['deviations']:+.1f}"
            lines.append(f"| {row['title']} | {row['value']:.3f} | {points} | {deviations} |")
    return "\n".join(lines).lstrip()


def _current_name(change: str) -> str:
    """Of a change; the baseline was called `seed` once."""
    if change.startswith("seed_"):
        return f"hpa_densenet_{change.removeprefix('seed_')}"
    return change


def main(argv: Sequence[str] | None = None) -> int:
    parser = make_learning_parser(__doc__, seeds=1)
    parser.add_argument(
        "--only",
        nargs="+",
        type=_current_name,
        metavar="NAME",
        help="of these changes alone: best_mix hpa_densenet_head ...",
    )
    args = parser.parse_args(argv)
    return run_resumable(lambda: compare(args))


def compare(args: argparse.Namespace) -> None:
    """Trains and scores all, prints the tables and writes the rows."""
    scale = scale_of(args)
    changes = changes_of()
    if args.only:
        changes = _chosen(changes, args.only)
    folder = args.folder.resolve()
    data_dir = build(scale, folder)
    line, _ = describe_data(data_dir, scale.dataset)
    print(line, flush=True)

    unchanged = []
    for seed in range(1 if args.quick else BASE_SEEDS):
        for recipe in recipes_of(changes):
            unchanged.append(recipe.make_run(scale, seed))
    changed = []
    for seed in range(args.seeds):
        for name, change in changes.items():
            changed.append(make_changed_run(scale, seed, name, change, folder))
    # One after the other: a change may start from the run that it changes.
    results = run_all(unchanged, data_dir, folder, args.jobs)
    if any(GENERATED in flag for change in changes.values() for flag in change.flags):
        make_pictures(scale, folder, data_dir)
    results |= run_all(changed, data_dir, folder, args.jobs)

    rows = make_rows(results, {name: change.title for name, change in changes.items()})
    print(f"\n{markdown(rows)}")
    write_rows(args.json, rows)


def _chosen(changes: dict[str, Change], names: Sequence[str]) -> dict[str, Change]:
    unknown = [name for name in names if name not in changes]
    if unknown:
        raise InputError(f"--only: {unknown[0]!r} is none of {', '.join(changes)}")
    return {name: change for name, change in changes.items() if name in names}


def make_changed_run(scale: Scale, seed: int, name: str, change: Change, folder: Path) -> Run:
    """The run of a recipe with one change; it is scored only as the recipe is judged."""
    recipe = next(recipe for recipe in RECIPES if name.startswith(f"{recipe.name}_"))
    own_run = folder / "runs" / f"{recipe.name}_{seed}"
    generated = ",".join(str(path) for path in folders_of_pictures(folder))
    flags = []
    for flag in change.flags:
        flags.append(flag.replace(UNCHANGED_RUN, str(own_run)).replace(GENERATED, generated))
        if GENERATED in flag:
            flags += recipes.config_flags("data", {"rare_below": scale.rare_below()})
    scale = dataclasses.replace(scale, steps=max(1, round(change.part * scale.steps)))
    return recipe.make_run(scale, seed, *flags, name=name, tta=[recipe.tta])


if __name__ == "__main__":
    run_program(main)
