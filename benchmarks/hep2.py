"""Real cells, a published split: six patterns of HEp-2 cells, beside what others have reached.

    python benchmarks/hep2.py --hep2_dir=DIR [--only=published,folds,peer,baseline,convnext]
                              [--seeds=0,1,2] [--folder=runs/hep2] [--json=FILE] [--quick]

DIR holds hep2.zip (hep2_data.py). The same command resumes where it was stopped, a run at a time.
With --seeds and without --only the published row alone is trained again. `peer` needs PyTorch and
MONAI.

The published split has cells of one specimen on both sides, which look alike: the row of `folds`
keeps each inferred specimen on one side, and is what cells of a new specimen would meet. Its
scores are of five nets, each of the fold that it has not learnt from, evaluated together. Below
stands where the mistakes lie, by pattern and by specimen, with the eight symmetries.

An interval (95 %) draws whole specimens again, for the first of the seeds. Folds are trained with
the first seed alone, and so are the peer and the ConvNeXt-T, which is trained only where `--only`
names it.
"""

import argparse
import importlib.util
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import checkout  # noqa: F401
import hep2_recipes as recipes
import numpy as np
from command_line import make_parser
from hep2_baselines import BASELINES, fit_and_score
from hep2_data import (
    ELSEWHERE,
    FOLDS,
    NUM_FOLDS,
    OTHERS,
    PUBLISHED,
    Cells,
    Published,
    build,
    read_cells,
)
from hep2_specimens import mistakes_text, specimens_of, summary
from learning_program import run_resumable
from learning_recipes import PLAIN, SYMMETRIES, Run
from learning_runs import run_all
from learning_statistics import std
from results import make_row, write_rows

from hpa_jax.data.catalog import read_vocabulary
from hpa_jax.environment.paths import path_flag
from hpa_jax.environment.program import exit_on_signals, run_program
from hpa_jax.errors import InputError
from hpa_jax.evaluation import score_table

PARTS = ("published", "folds", "peer", "baseline")
FURTHER_PARTS = ("convnext",)
METRICS = ("accuracy", "mean_class_accuracy", "macro_f1")
NAMES = {PLAIN: "", SYMMETRIES: ", the eight symmetries"}
SEEDS = (0, 1, 2)
COLUMNS = ("", "accuracy", "mean class accuracy", "macro F1", "accuracy of each seed")


def evaluated(scores: np.ndarray, targets: np.ndarray, groups: np.ndarray) -> dict:
    """Metrics of cells with one pattern each, with intervals over specimens."""
    from hpa_jax.metrics import single_label_summary

    return single_label_summary.evaluate(scores, targets, groups)


def net_rows(title: str, runs: Sequence[Sequence[Run]], folder: Path) -> list[dict]:
    """A row for each kind of test-time augmentation.

    Args:
      title: of the rows.
      runs: of each seed, whose scores are evaluated together.
      folder: of all runs.
    """
    rows = []
    for tta, name in NAMES.items():
        found = []
        for of_seed in runs:
            found.append(evaluated(*_scores_of_all(of_seed, folder, tta)))
        row = _row(f"{title}{name}", found)
        row["minutes"] = [sum(_minutes(run, folder) for run in of_seed) for of_seed in runs]
        rows.append(row)
    return rows


def _minutes(run: Run, folder: Path) -> float:
    """What a run took, training and scoring."""
    result = json.loads((folder / "runs" / run.name / "result.json").read_text())
    return result["seconds"] / 60


def _scores_of_all(runs: Sequence[Run], folder: Path, tta: str) -> list[np.ndarray]:
    """Scores, targets and groups of the cells of all runs together."""
    tables = [_scores(run, folder, tta) for run in runs]
    return [np.concatenate(columns) for columns in zip(*tables, strict=True)]


def _scores(run: Run, folder: Path, tta: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, targets and groups of a run's cells."""
    kept = folder / "runs" / run.name / tta
    if run.program == "hpa_jax.main":
        table = score_table.load(kept / "scores" / f"{run.eval_split}.npz")
        return table.scores, table.targets, table.groups
    cells = [np.load(kept / f"{name}.npy") for name in ("scores", "targets", "groups")]
    return cells[0], cells[1], cells[2]


def baseline_rows(title: str, pairs: Sequence[tuple[Cells, Cells]]) -> list[dict]:
    """A row for each baseline: of pairs of cells to fit on and to score, evaluated together."""
    rows = []
    targets = np.concatenate([test.targets for _, test in pairs])
    groups = np.concatenate([test.groups for _, test in pairs])
    for name, features_of in BASELINES.items():
        scores = [fit_and_score(features_of, train, test) for train, test in pairs]
        found = evaluated(np.concatenate(scores), targets, groups)
        rows.append(_row(f"{title}{name}", [found]))
    return rows


def _row(title: str, found: Sequence[dict]) -> dict:
    """One row of the metrics of each seed."""
    details = {"title": title, "interval": found[0]["intervals"]["accuracy"]}
    for name in METRICS:
        of_seeds = [metrics[name] for metrics in found]
        details[name] = float(np.mean(of_seeds))
        details[f"{name}_std"] = std(of_seeds)
        details[f"{name}_interval"] = found[0]["intervals"][name]
    details["seeds"] = [metrics["accuracy"] for metrics in found]
    return make_row(f"hep2: {title}", details["accuracy"], "accuracy", device="cpu", **details)


def markdown(rows: Iterable[dict], others: Iterable[Published]) -> str:
    """The rows as a table, others' results below."""
    lines = [f"| {' | '.join(COLUMNS)} |", "| --- " * len(COLUMNS) + "|"]
    for row in rows:
        cells = [row["title"]]
        for name in METRICS:
            spread = row[f"{name}_std"]
            shown = f"{row[name]:.3f}"
            if spread is not None:
                shown += f" ± {spread:.3f}"
            low, high = row[f"{name}_interval"]
            cells.append(f"{shown} [{low:.3f}, {high:.3f}]")
        cells.append(" ".join(f"{seed:.3f}" for seed in row["seeds"]))
        lines.append(f"| {' | '.join(cells)} |")
    for other in others:
        cells = [other.title]
        for name in METRICS:
            value = getattr(other, name)
            cells.append("" if value is None else f"{value:g}")
        lines.append(f"| {' | '.join(cells)} | |")
    return "\n".join(lines)


def _parts(text: str) -> tuple[str, ...]:
    parts = tuple(text.split(","))
    known = PARTS + FURTHER_PARTS
    unknown = [part for part in parts if part not in known]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(known)}")
    return parts


def _seeds(text: str) -> tuple[int, ...]:
    try:
        seeds = tuple(map(int, text.split(",")))
    except ValueError:
        seeds = ()
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise argparse.ArgumentTypeError(f"{text!r}: give whole numbers, each once: 0,1,2")
    return seeds


def main(argv: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__)
    parser.add_argument(
        "--hep2_dir",
        type=path_flag("--hep2_dir"),
        default=Path(os.environ.get("HPA_HEP2_DIR", ".")),
        help="folder of hep2.zip (default HPA_HEP2_DIR)",
    )
    parser.add_argument(
        "--folder",
        type=path_flag("--folder"),
        default=Path("runs/hep2"),
        help="data and runs; kept (default %(default)s)",
    )
    parser.add_argument(
        "--only",
        type=_parts,
        help=f"some of {','.join(PARTS)} (default: all; with --seeds: published)",
    )
    parser.add_argument("--seeds", type=_seeds, help="(default 0,1,2)")
    parser.add_argument(
        "--jobs", type=int, default=1, help="runs at a time, on cores of their own (default 1)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="a few steps of a tiny net: does it run?"
    )
    args = parser.parse_args(argv)
    if args.only is None:
        args.only = ("published",) if args.seeds else PARTS
    args.seeds = args.seeds or SEEDS
    # Programs run elsewhere, and are told where this one was started.
    args.hep2_dir = args.hep2_dir.resolve()
    exit_on_signals()
    return run_resumable(lambda: compare(args))


def check_peer() -> None:
    """Raises InputError where the peer would not start, which is known before hours of training."""
    missing = [name for name in ("torch", "monai") if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"the peer needs {' and '.join(missing)}: python -m pip install torch==2.13.0, then "
            "--no-deps monai==1.6.1; or leave it out: --only=published,folds,baseline"
        )


def compare(args: argparse.Namespace) -> None:
    """Builds, trains and scores what is asked for, prints the tables and writes the rows."""
    scale = recipes.QUICK if args.quick else recipes.Scale()
    if args.quick:
        print("--quick: nets that have learned nothing; this table says only that it runs")
    if "peer" in args.only:
        check_peer()
    folder = args.folder.resolve()
    data_dir = folder / "data"
    on_published = _on_published(args, scale, folder, data_dir)
    on_folds = _on_folds(args, scale, folder, data_dir)
    if on_published:
        print(f"\nthe published split, 2,720 test cells\n\n{markdown(on_published, OTHERS)}")
    if "published" in args.only:
        first = [recipes.published(scale, args.seeds[0])]
        print(f"\n{summary(specimens_of(*_scores_of_all(first, folder, SYMMETRIES)))}")
    if on_folds:
        title = "five folds, each specimen on one side"
        print(f"\n{title}\n\n{markdown(on_folds, ())}")
    if "folds" in args.only:
        found = _scores_of_all(recipes.folds(scale, args.seeds[0]), folder, SYMMETRIES)
        patterns = read_vocabulary(data_dir, FOLDS).labels
        print(f"\n{mistakes_text(*found, patterns)}")
    print(f"\non other splits\n\n{markdown((), ELSEWHERE)}")
    write_rows(args.json, on_published + on_folds)


def _on_published(args, scale: recipes.Scale, folder: Path, data_dir: Path) -> list[dict]:
    if not {"published", "peer", "baseline", "convnext"} & set(args.only):
        return []
    build(args.hep2_dir, data_dir, PUBLISHED)
    ours = []
    peers = []
    convnexts = []
    if "published" in args.only:
        ours = [[recipes.published(scale, seed)] for seed in args.seeds]
    if "peer" in args.only:
        peers = [[recipes.peer(scale, args.seeds[0])]]
    if "convnext" in args.only:
        convnexts = [[recipes.convnext(scale, args.seeds[0])]]
    runs = [run for of_seed in ours + peers + convnexts for run in of_seed]
    rows = []
    if "baseline" in args.only:
        train = read_cells(data_dir, PUBLISHED, "train")
        test = read_cells(data_dir, PUBLISHED, "test")
        rows += baseline_rows("", [(train, test)])
    if runs:
        run_all(runs, data_dir, folder, args.jobs)
    if ours:
        rows += net_rows("hpa_jax, configs/hep2.py", ours, folder)
    if peers:
        rows += net_rows("the same in PyTorch", peers, folder)
    if convnexts:
        rows += net_rows("ConvNeXt-T in its place", convnexts, folder)
    return rows


def _on_folds(args, scale: recipes.Scale, folder: Path, data_dir: Path) -> list[dict]:
    if not {"folds", "baseline"} & set(args.only):
        return []
    build(args.hep2_dir, data_dir, FOLDS)
    rows = []
    if "baseline" in args.only:
        pairs = []
        for fold in range(NUM_FOLDS):
            train = read_cells(data_dir, FOLDS, "train", fold)
            pairs.append((train, read_cells(data_dir, FOLDS, "validation", fold)))
        rows += baseline_rows("", pairs)
    if "folds" in args.only:
        runs = recipes.folds(scale, args.seeds[0])
        run_all(runs, data_dir, folder, args.jobs)
        rows += net_rows("hpa_jax, configs/hep2.py", [runs], folder)
    return rows


if __name__ == "__main__":
    run_program(main)
