"""What `learning.py` and `ablation.py` share: their flags, the line on their data, their end."""

import argparse
import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path

import checkout  # noqa: F401
import learning_recipes as recipes
import numpy as np
from command_line import make_parser, run

from hpa_jax.data.catalog import load_dataset
from hpa_jax.environment.paths import path_flag
from hpa_jax.errors import EXIT_START_AGAIN
from hpa_jax.labels import LABELS

SPLITS = ("train", "validation", "test")


def make_learning_parser(description: str, *, seeds: int) -> argparse.ArgumentParser:
    """The flags of both, with so many seeds by default."""
    parser = make_parser(description)
    parser.add_argument(
        "--folder",
        type=path_flag("--folder"),
        default=Path("runs/learning"),
        help="data and runs; kept (default %(default)s)",
    )
    parser.add_argument(
        "--seeds", type=int, default=seeds, help="of each run (default %(default)s)"
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=2,
        help="runs at a time, each on cores of its own (default %(default)s)",
    )
    parser.add_argument("--steps", type=int, help=f"of each run (default {recipes.Scale.steps})")
    parser.add_argument(
        "--quick", action="store_true", help="a few steps of a tiny net on tiny data: does it run?"
    )
    return parser


def scale_of(args: argparse.Namespace) -> recipes.Scale:
    """How much is trained on how much, by `--quick` and `--steps`."""
    scale = recipes.QUICK if args.quick else recipes.Scale()
    if args.steps:
        scale = dataclasses.replace(scale, steps=args.steps)
    return scale


def describe_data(data_dir: Path, name: str) -> tuple[str, np.ndarray]:
    """A line on the splits, with the labels that have few or no images held out.

    Returns:
      The line, and the targets of the test split, uint8 `[N, L]`.
    """
    targets = {}
    for split in SPLITS:
        targets[split] = load_dataset(data_dir, name, split=split).targets()
    sizes = ", ".join(f"{len(targets[split])} {split}" for split in SPLITS)
    in_test = targets["test"].sum(axis=0, dtype=int)
    held_out = targets["validation"].sum(axis=0, dtype=int) + in_test
    few = []
    for label in np.argsort(held_out)[:5]:
        few.append(f"{LABELS[label]} {held_out[label]} ({in_test[label]} in test)")
    line = f"{name}: {sizes}; fewest images held out: {', '.join(few)}"
    missing = ", ".join(LABELS[label] for label in np.flatnonzero(in_test == 0))
    if missing:
        line += f"; in test there is no image of {missing}, whose F1 counts as 0"
    return line, targets["test"]


def run_resumable(work: Callable[[], None]) -> int:
    """As `run`, and on Ctrl-C the exit status that asks for the same command again."""
    try:
        return run(work)
    except KeyboardInterrupt:
        print("stopped; the same command resumes", file=sys.stderr)
        return EXIT_START_AGAIN
