"""Does it learn? The baseline's recipe against `best`, and `best` against the same in PyTorch.

    python benchmarks/learning.py [--folder=runs/learning] [--seeds=3] [--json=FILE] [--quick]

The same command resumes where it was stopped; what is done is kept in FOLDER. learning_recipes.py
has the recipes and the data, learning_peer.py the peer. All metrics are of the test split, which
takes no part in training.

Our mean is held against the peer's 95 % t-interval over its seeds, and the difference of the means
against Welch's.
"""

import argparse
from collections.abc import Sequence

import learning_recipes as recipes
from learning_program import describe_data, make_learning_parser, run_resumable, scale_of
from learning_recipes import PLAIN, SYMMETRIES
from learning_runs import build, run_all
from learning_statistics import chance, mean, metric_values, std, t_interval, welch_interval
from results import make_row, write_rows

from hpa_jax.environment.program import run_program

# Title of a row of the table, recipe, test-time augmentation, and the metric of its decisions.
ROWS = (
    ("hpa_densenet, threshold 0.5", "hpa_densenet", PLAIN, "macro_f1"),
    ("hpa_densenet, cross-fitted thresholds", "hpa_densenet", PLAIN, "macro_f1_crossfit"),
    ("best, threshold 0.5", "best", PLAIN, "macro_f1"),
    ("best, cross-fitted thresholds", "best", PLAIN, "macro_f1_crossfit"),
    (
        "best, the eight symmetries, cross-fitted thresholds",
        "best",
        SYMMETRIES,
        "macro_f1_crossfit",
    ),
)
PEER = "MONAI's DenseNet in PyTorch, the same recipe and batches"
COLUMNS = ("recipe", "macro F1", "each seed", "micro F1 at 0.5", "macro average precision")
MORE = ("micro_f1", "macro_average_precision")  # columns beside macro F1, of the same TTA


def make_rows(results: dict[str, dict], guessing: float) -> list[dict]:
    """Each of ROWS beside the peer if it has the recipe, or else beside chance.

    Args:
      results: of `run_all`.
      guessing: macro F1 of every label for every image.
    """
    rows = []
    for title, recipe, tta, metric in ROWS:
        ours = metric_values(results, recipe, tta, metric)
        details = {
            "title": title,
            "std": std(ours),
            "interval": t_interval(ours),
            "seeds": ours,
        }
        for name in MORE:
            details[name] = mean(metric_values(results, recipe, tta, name))
        theirs = []
        if recipe == "best":
            theirs = metric_values(results, "peer", tta, metric)
        peer = "every label for every image"
        peer_value = guessing
        if theirs:
            peer = PEER
            peer_value = mean(theirs)
            details |= _peer_details(ours, theirs)
            for name in MORE:
                details[f"peer_{name}"] = mean(metric_values(results, "peer", tta, name))
        row = make_row(
            f"learning_{recipe}_{tta}_{metric}",
            mean(ours),
            "macro F1",
            peer=peer,
            peer_value=peer_value,
            device="cpu",
            **details,
        )
        rows.append(row)
    return rows


def _peer_details(ours: Sequence[float], theirs: Sequence[float]) -> dict:
    interval = t_interval(theirs)
    within = None
    if interval is not None:
        low, high = interval
        within = low <= mean(ours) <= high
    return {
        "peer_std": std(theirs),
        "peer_seeds": theirs,
        "peer_interval": interval,
        "difference_interval": welch_interval(ours, theirs),
        "within_peer_interval": within,
    }


def markdown(rows: list[dict]) -> str:
    """The rows as a table, the peer's below ours."""
    lines = [f"| {' | '.join(COLUMNS)} |", "| --- " * len(COLUMNS) + "|"]
    for row in rows:
        lines.append(_table_line(row["title"], row, ""))
        if "peer_seeds" in row:
            lines.append(_table_line("the same in PyTorch", row, "peer_"))
    return "\n".join(lines)


def _table_line(title: str, row: dict, prefix: str) -> str:
    value = f"{row[f'{prefix}value']:.3f}"
    spread = row[f"{prefix}std"]
    if spread is not None:
        value += f" ± {spread:.3f}"
    seeds = " ".join(f"{seed:.3f}" for seed in row[f"{prefix}seeds"])
    cells = [title, value, seeds]
    for name in MORE:
        metric = row[f"{prefix}{name}"]
        cells.append("" if metric is None else f"{metric:.3f}")
    return f"| {' | '.join(cells)} |"


def verdicts(rows: list[dict]) -> str:
    """A line on each row that has a peer: is our mean within the peer's interval?"""
    lines = []
    for row in rows:
        if row.get("within_peer_interval") is None:
            continue
        low, high = row["peer_interval"]
        least, most = row["difference_interval"]
        holds = "is" if row["within_peer_interval"] else "IS NOT"
        difference = row["value"] - row["peer_value"]
        lines.append(
            f"{row['title']}: our mean {row['value']:.3f} {holds} within PyTorch's 95 % interval "
            f"{low:.3f} to {high:.3f}; ours less theirs {difference:+.3f}, "
            f"95 % interval {least:+.3f} to {most:+.3f}"
        )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    args = make_learning_parser(__doc__, seeds=3).parse_args(argv)
    return run_resumable(lambda: compare(args))


def compare(args: argparse.Namespace) -> None:
    """Trains and scores all, prints the table and writes the rows."""
    scale = scale_of(args)
    folder = args.folder.resolve()
    data_dir = build(scale, folder)
    line, targets = describe_data(data_dir, scale.dataset)
    print(line, flush=True)
    runs = []
    # Seed by seed, so that there is a first comparison early.
    for seed in range(args.seeds):
        for make_run in (recipes.best, recipes.peer, recipes.hpa_densenet):
            runs.append(make_run(scale, seed))
    guessing = chance(targets)
    rows = make_rows(run_all(runs, data_dir, folder, args.jobs), guessing)
    print(f"\n{markdown(rows)}\n\nwithout looking: {guessing:.3f}\n{verdicts(rows)}")
    write_rows(args.json, rows)


if __name__ == "__main__":
    run_program(main)
