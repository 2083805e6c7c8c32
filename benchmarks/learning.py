"""Does it learn? The seed study's recipe against `best`, and `best` against the same in PyTorch, some seeds each.

    python benchmarks/learning.py [--folder=runs/learning] [--seeds=3] [--json=FILE] [--quick]

The same command goes on where it was stopped; what is done is kept in FOLDER. learning_recipes.py has the recipes and
the data, learning_peer.py the peer. All figures are of the test part, which plays no part in training.

Our mean is held against the peer's 95 % t-interval over its seeds, and the difference of the means against Welch's.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import learning_recipes as recipes
import numpy as np
from learning_runs import build, run_all
from scipy import stats

from hpa_jax.data.catalog import load_dataset
from hpa_jax.errors import (
    EXIT_BAD_INPUT,
    EXIT_RUN_STOPPED,
    EXIT_START_AGAIN,
    InputError,
    RunStopped,
)
from hpa_jax.labels import LABELS

LEVEL = 0.95
# Title of a row of the table, recipe, views, and the figure that the recipe's decisions give.
ROWS = (
    ("seed study's recipe, threshold 0.5", "seed", "none", "macro_f1"),
    ("seed study's recipe, cross-fitted thresholds", "seed", "none", "macro_f1_crossfit"),
    ("best, threshold 0.5", "best", "none", "macro_f1"),
    ("best, cross-fitted thresholds", "best", "none", "macro_f1_crossfit"),
    (
        "best, the eight symmetries, cross-fitted thresholds",
        "best",
        "symmetries",
        "macro_f1_crossfit",
    ),
)
PEER = "MONAI's DenseNet in PyTorch, the same recipe and batches"
MORE = ("micro_f1", "macro_average_precision")  # columns beside macro F1, by the same views


def interval(values: Sequence[float]) -> list[float] | None:
    """The 95 % t-interval of the mean of some seeds' figures; None with one seed, which gives none."""
    if len(values) < 2:
        return None
    half = (
        stats.t.ppf((1 + LEVEL) / 2, len(values) - 1)
        * np.std(values, ddof=1)
        / np.sqrt(len(values))
    )
    return [float(np.mean(values) - half), float(np.mean(values) + half)]


def difference(ours: Sequence[float], peer: Sequence[float]) -> list[float] | None:
    """Welch's 95 % interval of the mean of ours less the peer's; None with one seed of either."""
    if min(len(ours), len(peer)) < 2:
        return None
    found = stats.ttest_ind(ours, peer, equal_var=False).confidence_interval(LEVEL)
    return [float(found.low), float(found.high)]


def deviation(values: Sequence[float]) -> float | None:
    """Of one seed's figure; None with one seed."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def mean(values: Sequence[float]) -> float | None:
    """None of no values: a figure that the evaluator does not give."""
    return float(np.mean(values)) if values else None


def chance(targets: np.ndarray) -> float:
    """The largest macro F1 without looking, `mean 2 p / (1 + p)`: every label for every field; targets 0/1 [N, L]."""
    shares = targets.mean(0)
    return float(np.mean(2 * shares / (1 + shares)))


def figures_of(results: dict[str, dict], recipe: str, views: str, figure: str) -> list[float]:
    """One value a seed, in the order of the seeds."""
    mine = {name: r for name, r in results.items() if name.rpartition("_")[0] == recipe}
    return [
        mine[name]["figures"][views][figure]
        for name in sorted(mine)
        if figure in mine[name]["figures"][views]
    ]


def rows_of(results: dict[str, dict], guessing: float) -> list[dict]:
    """Rows for --json: each of ROWS beside the peer where there is one, else beside chance."""
    rows = []
    for title, recipe, views, figure in ROWS:
        ours = figures_of(results, recipe, views, figure)
        theirs = figures_of(results, "peer", views, figure) if recipe == "best" else []
        row = {
            "name": f"learning_{recipe}_{views}_{figure}",
            "title": title,
            "value": mean(ours),
            "unit": "macro F1",
        }
        row |= {"sd": deviation(ours), "interval": interval(ours), "seeds": ours, "device": "cpu"}
        row |= {name: mean(figures_of(results, recipe, views, name)) for name in MORE}
        if theirs:
            low, high = inside = interval(theirs) or [None, None]
            row |= {
                "peer": PEER,
                "peer_value": mean(theirs),
                "peer_sd": deviation(theirs),
                "peer_seeds": theirs,
            }
            row |= {"peer_interval": inside, "difference_interval": difference(ours, theirs)}
            row["within_peer_interval"] = None if low is None else low <= mean(ours) <= high
            row |= {f"peer_{name}": mean(figures_of(results, "peer", views, name)) for name in MORE}
        else:
            row |= {"peer": "every label for every field", "peer_value": guessing}
        row["ratio_to_peer"] = row["value"] / row["peer_value"] if row["peer_value"] else None
        rows.append(row)
    return rows


def markdown(rows: list[dict]) -> str:
    """The rows as a table, the peer's below ours."""
    columns = ("recipe", "macro F1", "each seed", "micro F1 at 0.5", "macro average precision")
    lines = [f"| {' | '.join(columns)} |", "| --- " * len(columns) + "|"]
    for row in rows:
        for whose, title in (("", row["title"]), ("peer_", "the same in PyTorch")):
            if f"{whose}seeds" in row:
                value, about = row[f"{whose}value"], row[f"{whose}sd"]
                cells = [title, f"{value:.3f}" if about is None else f"{value:.3f} ± {about:.3f}"]
                cells.append(" ".join(f"{seed:.3f}" for seed in row[f"{whose}seeds"]))
                more = [row[f"{whose}{name}"] for name in MORE]
                lines.append(
                    f"| {' | '.join(cells + ['' if v is None else f'{v:.3f}' for v in more])} |"
                )
    return "\n".join(lines)


def verdicts(rows: list[dict]) -> str:
    """A line on each figure that the peer has: is our mean within the peer's interval?"""
    lines = []
    for row in rows:
        if row.get("within_peer_interval") is not None:
            low, high = row["peer_interval"]
            least, most = row["difference_interval"]
            holds = "is" if row["within_peer_interval"] else "IS NOT"
            beyond = row["value"] - row["peer_value"]
            lines.append(
                f"{row['title']}: our mean {row['value']:.3f} {holds} within PyTorch's 95 % interval {low:.3f} to "
                f"{high:.3f}; ours less theirs {beyond:+.3f}, 95 % interval {least:+.3f} to {most:+.3f}"
            )
    return "\n".join(lines)


def described(data_dir: Path, dataset: str) -> tuple[str, np.ndarray]:
    """A line on the parts, with the labels that the held-out ones lack or hardly have; targets of the test part."""
    parts = {
        part: load_dataset(data_dir, dataset, split=part).targets()
        for part in ("train", "validation", "test")
    }
    sizes = ", ".join(f"{len(targets)} {part}" for part, targets in parts.items())
    held_out = parts["validation"].sum(0, dtype=int) + parts["test"].sum(0, dtype=int)
    few = ", ".join(
        f"{LABELS[i]} {held_out[i]} ({parts['test'][:, i].sum()} in test)"
        for i in np.argsort(held_out)[:5]
    )
    without = ", ".join(LABELS[i] for i in np.flatnonzero(parts["test"].sum(0) == 0))
    missing = f"; in test there is no field of {without}, whose F1 counts as 0" if without else ""
    return f"{dataset}: {sizes}; fewest fields held out: {few}{missing}", parts["test"]


def parser(description: str, folder: str) -> argparse.ArgumentParser:
    """The flags that learning.py and ablation.py share."""
    found = argparse.ArgumentParser(description=description)
    found.add_argument(
        "--folder",
        type=Path,
        default=Path(folder),
        help="data and runs; kept (default %(default)s)",
    )
    found.add_argument(
        "--jobs", type=int, default=2, help="runs at a time, each on cores of its own (default 2)"
    )
    found.add_argument("--steps", type=int, help=f"of each run (default {recipes.Scale.steps})")
    found.add_argument(
        "--quick", action="store_true", help="a few steps of a tiny net on tiny data: does it run?"
    )
    found.add_argument("--json", type=Path, help="file for the rows")
    return found


def scale_of(args: argparse.Namespace) -> recipes.Scale:
    scale = recipes.QUICK if args.quick else recipes.Scale()
    return dataclasses.replace(scale, steps=args.steps) if args.steps else scale


def run(work) -> int:
    """`work()`, with what the user is to know in one line and the exit status of the house."""
    try:
        work()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except RunStopped as error:
        print(f"stopped: {error}", file=sys.stderr)
        return EXIT_RUN_STOPPED
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        return EXIT_START_AGAIN
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    flags = parser(__doc__.splitlines()[0], "runs/learning")
    flags.add_argument("--seeds", type=int, default=3, help="of each recipe (default 3)")
    args = flags.parse_args(argv)

    def work() -> None:
        scale, folder = scale_of(args), args.folder.resolve()
        data_dir = build(scale, folder)
        about, targets = described(data_dir, scale.dataset)
        print(about, flush=True)
        # Seed by seed, so that a first comparison is there early.
        runs = [
            make(scale, number)
            for number in range(args.seeds)
            for make in (recipes.best, recipes.peer, recipes.seed)
        ]
        rows = rows_of(run_all(runs, data_dir, folder, args.jobs), chance(targets))
        print(f"\n{markdown(rows)}\n\nwithout looking: {chance(targets):.3f}\n{verdicts(rows)}")
        if args.json:
            args.json.write_text(json.dumps(rows, indent=1) + "\n")

    return run(work)


if __name__ == "__main__":
    sys.exit(main())
