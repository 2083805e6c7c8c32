"""Several nets as one: each alone, the average of their scores, fused, and with neighbours' votes.

    python benchmarks/fusion.py [--data=synthetic,hep2] [--nets=densenet_small,resnet_small,metric]
                                [--hep2_dir=DIR] [--folder=runs/learning] [--seeds=3] [--json=FILE]
                                [--quick]

Each net is a run of its own; `metric` is one that has learnt embeddings (configs/metric.py), which
has no scores and so no row. They are fused by configs/fusion.py. Macro F1 is of the test split,
which takes no part in training, with cross-fitted thresholds; of HEp-2 cells, which have one
pattern each, without. The weight of votes is fitted on the validation split.

Data, sizes and recipes are those of learning.py and hep2.py; what learning.py and retrieval.py have
trained in the same FOLDER is not trained again, and the same command resumes. Intervals (95 %, t)
are over seeds: of the mean, and of its difference from the average of the scores, seed by seed.
"""

import argparse
import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path

import fusion_runs
import hep2_recipes
import numpy as np
from fusion_runs import BANK, METRIC, Data
from hep2_data import PUBLISHED
from hep2_data import build as build_hep2
from learning_program import make_learning_parser, run_resumable, scale_of
from learning_recipes import PLAIN, Run
from learning_runs import build, run_all
from learning_statistics import std, t_interval
from results import make_row, write_rows

from hpa_jax.environment.paths import path_flag
from hpa_jax.environment.program import exit_on_signals, run_program
from hpa_jax.evaluation import score_table
from hpa_jax.evaluation.score_table import ScoreTable
from hpa_jax.metrics import crossfit, single_label
from hpa_jax.models import BACKBONES

NETS = ("densenet_small", "resnet_small", METRIC)
QUICK_NETS = ("densenet_tiny", "convnext_test", METRIC)
DATA = ("synthetic", "hep2")
AVERAGE = "the average of their scores"
FUSED = "fused"
VOTED = "fused, with votes"
COLUMNS = ("", "macro F1", "each seed", "less the average of scores", "weight of votes")


def macro_f1(scores: np.ndarray, table: ScoreTable) -> float:
    """Of scores of a table's images: cross-fitted, or of the most probable label."""
    if table.single_label:
        matrix = single_label.confusion_matrix(single_label.decide(scores), table.targets)
        return single_label.metrics_from_matrix(matrix)["macro_f1"]
    found = crossfit(scores, table.targets, groups=table.groups, fill_empty=True)
    return found["crossfit"]["macro_f1"]


def values_of_a_seed(
    classifiers: dict[str, Run], fused: Run, voted: Run, runs: Path
) -> dict[str, float]:
    """Macro F1 by title: of each net alone (`classifiers`, by name), their average, the fused."""
    found = {}
    every = []
    for net, run in classifiers.items():
        table = _scores(run, runs)
        found[net] = macro_f1(table.scores, table)
        every.append(table.scores)
    found[AVERAGE] = macro_f1(np.mean(every, axis=0), table)
    for title, run in ((FUSED, fused), (VOTED, voted)):
        table = _scores(run, runs)
        found[title] = macro_f1(table.scores, table)
    return found


def _scores(run: Run, runs: Path) -> ScoreTable:
    return score_table.load(runs / run.name / PLAIN / "scores" / f"{run.eval_split}.npz")


def vote_weight(run: Run, runs: Path) -> float | None:
    """The weight of votes in the checkpoint that was scored; None where none was fitted."""
    step = _scores(run, runs).checkpoint
    manifest = runs / run.name / "checkpoints" / str(step) / "manifest.json"
    votes = json.loads(manifest.read_text())["metrics"].get("votes")
    return votes["weight"] if votes else None


def make_rows(
    name: str, by_seed: Sequence[dict[str, float]], weights: Sequence[float | None]
) -> list[dict]:
    """A row for each title.

    Args:
      name: of the data.
      by_seed: of `values_of_a_seed`.
      weights: of the votes, of each seed.
    """
    rows = []
    average = np.array([values[AVERAGE] for values in by_seed])
    for title in by_seed[0]:
        values = np.array([of_seed[title] for of_seed in by_seed])
        differences = values - average
        row = make_row(
            f"fusion_{name}: {title}",
            float(values.mean()),
            "macro F1",
            peer=AVERAGE,
            peer_value=float(average.mean()),
            device="cpu",
            title=title,
            std=std(values.tolist()),
            interval=t_interval(values.tolist()),
            seeds=values.tolist(),
            difference=float(differences.mean()),
            difference_interval=t_interval(differences.tolist()),
        )
        if title == VOTED:
            row["vote_weights"] = list(weights)
        rows.append(row)
    return rows


def markdown(rows: Sequence[dict]) -> str:
    """The rows as a table."""
    lines = [f"| {' | '.join(COLUMNS)} |", "| --- " * len(COLUMNS) + "|"]
    for row in rows:
        seeds = " ".join(f"{value:.3f}" for value in row["seeds"])
        less = ""
        if row["title"] != AVERAGE:
            less = f"{row['difference']:+.3f}{_interval(row['difference_interval'], '+')}"
        weights = ""
        if "vote_weights" in row:
            known = [weight for weight in row["vote_weights"] if weight is not None]
            weights = " ".join(f"{weight:.2f}" for weight in known)
        value = f"{row['value']:.3f}{_interval(row['interval'])}"
        lines.append(f"| {' | '.join([row['title'], value, seeds, less, weights])} |")
    return "\n".join(lines)


def _interval(interval: Sequence[float] | None, sign: str = "") -> str:
    if interval is None:
        return ""
    low, high = interval
    return f" [{low:{sign}.3f}, {high:{sign}.3f}]"


def _names(text: str, known: Sequence[str]) -> tuple[str, ...]:
    names = tuple(text.split(","))
    for name in names:
        if name not in known:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
    return names


def _nets(text: str) -> tuple[str, ...]:
    names = _names(text, (*BACKBONES, METRIC))
    if names == (METRIC,):
        raise argparse.ArgumentTypeError("give a net that has scores as well")
    if len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"{text!r}: give each net once")
    return names


def main(argv: Sequence[str] | None = None) -> int:
    parser = make_learning_parser(__doc__, seeds=3)
    parser.add_argument(
        "--data",
        type=lambda text: _names(text, DATA),
        default=DATA,
        help="one of them or both (default synthetic,hep2)",
    )
    parser.add_argument(
        "--nets", type=_nets, help=f"the parts (default {','.join(NETS)}; --quick: tiny ones)"
    )
    parser.add_argument(
        "--hep2_dir",
        type=path_flag("--hep2_dir"),
        default=Path(os.environ.get("HPA_HEP2_DIR", ".")),
        help="folder of hep2.zip (default HPA_HEP2_DIR)",
    )
    args = parser.parse_args(argv)
    args.nets = args.nets or (QUICK_NETS if args.quick else NETS)
    # Programs run elsewhere, and are told where this one was started.
    args.hep2_dir = args.hep2_dir.resolve()
    exit_on_signals()
    return run_resumable(lambda: compare(args))


def compare(args: argparse.Namespace) -> None:
    """Trains and scores all, prints a table for each dataset and writes the rows."""
    scale = scale_of(args)
    cells = hep2_recipes.QUICK if args.quick else hep2_recipes.Scale()
    if args.steps:
        cells = dataclasses.replace(cells, steps=args.steps)
    folder = args.folder.resolve()
    if args.quick:
        print("--quick: nets that have learned nothing; these tables say only that it runs")
    rows = []
    for name in args.data:
        if name == "synthetic":
            data_dir = build(scale, folder)
            data = fusion_runs.synthetic(scale)
        else:
            data_dir = folder / "data"
            build_hep2(args.hep2_dir, data_dir, PUBLISHED)
            data = fusion_runs.hep2(cells, scale)
        of_data = compare_on(data, args, data_dir, folder)
        print(f"\n{name}\n\n{markdown(of_data)}", flush=True)
        rows += of_data
    write_rows(args.json, rows)


def compare_on(data: Data, args: argparse.Namespace, data_dir: Path, folder: Path) -> list[dict]:
    """The rows of one dataset."""
    runs = folder / "runs"
    by_seed = []
    weights = []
    # Seed by seed, so that there is a first comparison early.
    for seed in range(args.seeds):
        parts = [data.make_part(net, seed) for net in args.nets]
        run_all(parts, data_dir, folder, args.jobs)
        fused = data.fused(seed, parts, runs, bank=0)
        voted = data.fused(seed, parts, runs, bank=BANK)
        run_all([fused, voted], data_dir, folder, args.jobs)
        classifiers = {}
        for net, part in zip(args.nets, parts, strict=True):
            if net != METRIC:
                classifiers[net] = part
        by_seed.append(values_of_a_seed(classifiers, fused, voted, runs))
        weights.append(vote_weight(voted, runs))
    return make_rows(data.name, by_seed, weights)


if __name__ == "__main__":
    run_program(main)
