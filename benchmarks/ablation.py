"""What each ingredient contributes: `best` without each of them, and the seed study's recipe with each of them.

    python benchmarks/ablation.py [--folder=runs/learning] [--seeds=1] [--json=FILE] [--quick]

Beside the three seeds of either recipe that learning.py has trained in the same FOLDER, or trains here first. What is
said of each change is its difference from the recipe's mean, in points of macro F1 on the test part, and in standard
deviations of one run between seeds: one run that lies within two of them shows nothing.

Some ingredients do not touch training (views, thresholds): they are read off the runs that are there anyway.
"""

import json
import sys
from collections.abc import Sequence

import learning_recipes as recipes
import numpy as np
from learning import described, figures_of, parser, run, scale_of
from learning_recipes import Scale
from learning_runs import build, run_all

BASE_SEEDS = 3


def _o(**fields) -> tuple[str, ...]:
    """`optim_lr=1` to `--config.optim.lr=1`."""
    return tuple(
        "--config." + name.replace("_", ".", 1) + f"={value}" for name, value in fields.items()
    )


def without(scale: Scale) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Run's name to what is said of it and the flags that put the seed study's choice, or none, in place of best's."""
    return {
        "best_mix": (
            "three channels (hpa_densenet_iii) in place of four",
            _o(data_channel_mix="hpa_densenet_iii"),
        ),
        "best_sampling": (
            "each field once an epoch, rare labels not repeated",
            _o(data_sampling="uniform"),
        ),
        "best_flips": ("no symmetries while training", _o(augment_flips=False)),
        "best_head": (
            "the study's flatten head, dropout 0.5",
            _o(model_head="hpa_densenet", model_dropout=0.5),
        ),
        "best_pooled": (
            "the pooled head of configs/best_512.py, dropout 0.5",
            _o(model_head="pooled", model_dropout=0.5),
        ),
        "best_rate": (
            "Adam at a constant 0.01 in place of AdamW, warm-up and cosine",
            _o(
                optim_name="adam",
                optim_lr=0.01,
                optim_schedule="constant",
                optim_schedule_options="{}",
            )
            + _o(optim_weight_decay=0.0),
        ),
        "best_clip": ("gradients not clipped", _o(optim_clip=0.0)),
        "best_ema": ("weights not averaged", _o(train_ema=0.0)),
        "best_prior": (
            "scores start at 0.5, not at the labels' shares",
            _o(train_prior_bias=False),
        ),
        "best_focal_lovasz": (
            "focal and Lovasz, a half each, in place of BCE",
            _o(train_loss="focal:0.5,lovasz:0.5"),
        ),
        "best_asymmetric": ("asymmetric loss in place of BCE", _o(train_loss="asymmetric")),
        "best_weighted": ("weighted BCE in place of BCE", _o(train_loss="weighted")),
    }


def added(scale: Scale) -> dict[str, tuple[str, tuple[str, ...]]]:
    """The same for the seed study's recipe: best's choice in place of the study's."""
    warmup = f'{{"warmup_steps":{max(1, scale.steps // 20)}}}'
    return {
        "seed_mix": (
            "four channels in place of three",
            _o(data_channel_mix="rgby", data_input_mean="()", data_input_std="()"),
        ),
        "seed_sampling": (
            "repeat factors in place of four copies",
            _o(data_sampling="repeat_factor"),
        ),
        "seed_flips": (
            "every field in its symmetries, in place of turns and crops of rare ones",
            _o(
                augment_only_rare=False,
                augment_rotate_degrees=0.0,
                augment_scale="(1.0,1.0)",
                augment_shift=0.0,
            ),
        ),
        "seed_head": ("the linear head", _o(model_head="linear", model_dropout=0.0)),
        "seed_rate": (
            "AdamW, warm-up and cosine, gradients clipped",
            _o(optim_name="adamw", optim_lr=4e-3, optim_weight_decay=1e-2, optim_clip=1.0)
            + _o(optim_schedule="warmup_cosine_decay", optim_schedule_options=warmup),
        ),
        "seed_ema": ("weights averaged", _o(train_ema=0.99)),
    }


# Ingredients that need no training: recipe, what is said, and the views and figure that take its place.
READ_OFF = (
    ("best", "one view in place of eight", "none", "macro_f1_crossfit"),
    ("best", "threshold 0.5 in place of one for each label", "symmetries", "macro_f1"),
    ("seed", "a threshold for each label", "none", "macro_f1_crossfit"),
)
WHOLE = {"best": ("symmetries", "macro_f1_crossfit"), "seed": ("none", "macro_f1")}
"""The views and the figure by which each recipe is judged."""


def rows_of(results: dict[str, dict], changes: dict[str, str]) -> list[dict]:
    """Rows for --json: both recipes, then every change with its difference from its recipe's mean."""
    rows = []
    for recipe, (views, figure) in WHOLE.items():
        base = figures_of(results, recipe, views, figure)
        deviation = float(np.std(base, ddof=1)) if len(base) > 1 else None
        rows.append(_row(recipe, f"{recipe}, whole", base, np.mean(base), deviation))
        mine = {name: what for name, what in changes.items() if name.startswith(f"{recipe}_")}
        found = [
            (name, what, figures_of(results, name, views, figure)) for name, what in mine.items()
        ]
        for other, what, other_views, other_figure in READ_OFF:
            if other == recipe:
                name = f"{recipe}_{other_views}_{other_figure}"
                found.append((name, what, figures_of(results, recipe, other_views, other_figure)))
        rows += [_row(name, what, values, np.mean(base), deviation) for name, what, values in found]
    return rows


def _row(name: str, what: str, values: list[float], base: float, deviation: float | None) -> dict:
    value = float(np.mean(values))
    row = {
        "name": f"ablation_{name}",
        "title": what,
        "value": value,
        "unit": "macro F1",
        "seeds": values,
    }
    row |= {
        "peer": f"{name.partition('_')[0]}, whole",
        "peer_value": float(base),
        "ratio_to_peer": value / float(base),
    }
    row |= {"difference": value - float(base), "device": "cpu"}
    row["deviations"] = (value - float(base)) / deviation if deviation else None
    return row


def markdown(rows: list[dict]) -> str:
    """The rows as two tables, largest loss or gain first."""
    lines = []
    for recipe, title in (("best", "`best`, but"), ("seed", "the seed study's recipe with")):
        mine = [row for row in rows if row["name"].startswith(f"ablation_{recipe}")]
        lines += ["", f"| {title} | macro F1 | points | deviations |", "| --- | --- | --- | --- |"]
        sign = 1 if recipe == "best" else -1
        for row in [mine[0], *sorted(mine[1:], key=lambda row: sign * row["difference"])]:
            whole = row is mine[0]
            away = "" if whole or row["deviations"] is None else f"{row['deviations']:+.1f}"
            points = "" if whole else f"{100 * row['difference']:+.1f}"
            lines.append(
                f"| {'(whole)' if whole else row['title']} | {row['value']:.3f} | {points} | {away} |"
            )
    return "\n".join(lines).lstrip()


def main(argv: Sequence[str] | None = None) -> int:
    flags = parser(__doc__.splitlines()[0], "runs/learning")
    flags.add_argument("--seeds", type=int, default=1, help="of each change (default 1)")
    flags.add_argument(
        "--only", nargs="+", metavar="NAME", help="of these changes alone: best_mix seed_head ..."
    )
    args = flags.parse_args(argv)

    def work() -> None:
        scale, folder = scale_of(args), args.folder.resolve()
        data_dir = build(scale, folder)
        print(described(data_dir, scale.dataset)[0], flush=True)
        changes = without(scale) | added(scale)
        changes = {
            name: change for name, change in changes.items() if not args.only or name in args.only
        }
        base_seeds = range(1 if args.quick else BASE_SEEDS)
        runs = [
            make(scale, number) for number in base_seeds for make in (recipes.best, recipes.seed)
        ]
        for number in range(args.seeds):
            for name, (_, changed) in changes.items():
                make, views = (
                    (recipes.best, ["symmetries"])
                    if name.startswith("best")
                    else (recipes.seed, ["none"])
                )
                runs.append(make(scale, number, *changed, name=name, views=views))
        results = run_all(runs, data_dir, folder, args.jobs)
        rows = rows_of(results, {name: what for name, (what, _) in changes.items()})
        print(f"\n{markdown(rows)}")
        if args.json:
            args.json.write_text(json.dumps(rows, indent=1) + "\n")

    return run(work)


if __name__ == "__main__":
    sys.exit(main())
