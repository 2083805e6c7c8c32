"""How well is a channel that was not imaged filled in from the others, and what is it worth?

    python benchmarks/channels.py --sample_dir=DIR [--only=real,drawn,worth] [--no_net]
                                  [--folder=runs/channels] [--size=256] [--json=FILE] [--quick]

real: the fields in DIR/kaggle_512 (Kaggle's own layout, train.csv and train/), in five folds: what
is fitted or trained on four is scored on the fifth, so that every field is scored once. They are
few, and the intervals are wide for it. Near-duplicates share a fold. Of a net its last step is
scored, since no other images are left to choose one.

drawn: synthetic fields, fitted or trained on `train` and scored on `test`.

worth: macro F1 of classifiers that see the generated yellow in the place of black, on synthetic
images of real frequencies (channels_worth.py). Data, sizes and classifiers are those of
learning.py: what that has trained in the same FOLDER is not trained again.

Beside a net stand two baselines (hpa_jax/metrics/channel_baselines.py): the best raw channel, and
ridge regression on the other channels, blurred by 0 to 16 px, and their roots. --no_net prints
these alone, in minutes. The nets are those of configs/channels.py, which an accelerator trains. For
two cores, a smaller net that learns from crops, a net a core:

    --net=densenet_small --crop=128 --steps=3000 --batch=4 --dtype=float32

The same command resumes where it was stopped.
"""

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import channels_worth
import checkout  # noqa: F401
import learning_recipes
import learning_runs
import numpy as np
from channels_data import REAL, build_drawn, build_real
from channels_net import Scale, score_net
from command_line import make_parser
from learning_program import run_resumable
from learning_runs import run_all
from learning_statistics import mean
from results import make_row, write_rows
from tqdm import tqdm

from hpa_jax.data.catalog import load_dataset
from hpa_jax.data.dataset import ImageDataset
from hpa_jax.environment.paths import path_flag
from hpa_jax.environment.program import exit_on_signals, run_program
from hpa_jax.evaluation.channel_figures import RAW, RIDGE, ChannelFigures, markdown
from hpa_jax.labels import CHANNELS
from hpa_jax.metrics import channel_baselines
from hpa_jax.transforms.channel_subsets import Pair

PARTS = ("real", "drawn", "worth")

QUICK = Scale(net="densenet_tiny", size=64, steps=2, batch=8, crop=32)
"""Seconds, for tests: does it run?"""

MISSING = "yellow"
"""In the part `worth`."""

PAIRS = (
    Pair("red", ("blue", "yellow")),
    Pair("blue", ("red", "yellow")),
    Pair("yellow", ("red", "blue")),
    Pair("yellow", ("red", "green", "blue")),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = make_parser(__doc__)
    parser.add_argument(
        "--sample_dir",
        type=path_flag("--sample_dir"),
        default=Path(os.environ.get("HPA_SAMPLE_DIR", ".")),
        help="folder of kaggle_512/ (default HPA_SAMPLE_DIR)",
    )
    parser.add_argument(
        "--folder",
        type=path_flag("--folder"),
        default=Path("runs/channels"),
        help="data and runs; kept (default %(default)s)",
    )
    parser.add_argument(
        "--only", type=_parts, default=PARTS, help=f"some of {','.join(PARTS)} (default: all)"
    )
    parser.add_argument("--size", type=int, default=256, help="px a side (default %(default)s)")
    parser.add_argument(
        "--crop", type=int, default=0, help="px a side that a step sees (default: the whole image)"
    )
    parser.add_argument("--images", type=int, default=400, help="drawn (default %(default)s)")
    parser.add_argument("--no_net", action="store_true", help="the baselines alone")
    parser.add_argument("--net", default="densenet121", help="the encoder (default %(default)s)")
    parser.add_argument(
        "--dtype", default="bfloat16", help="of the arithmetic; on two cores float32 is faster"
    )
    parser.add_argument("--steps", type=int, default=3000, help="of each net (default %(default)s)")
    parser.add_argument("--batch", type=int, default=16, help="images a step (default %(default)s)")
    parser.add_argument(
        "--seeds", type=int, default=3, help="of each classifier of worth (default %(default)s)"
    )
    parser.add_argument(
        "--jobs", type=int, default=2, help="trainings at a time (default %(default)s)"
    )
    parser.add_argument("--quick", action="store_true", help="a few steps of tiny nets")
    args = parser.parse_args(argv)
    args.sample_dir = args.sample_dir.resolve()
    if args.no_net and args.only == PARTS:
        args.only = ("real", "drawn")
    exit_on_signals()
    return run_resumable(lambda: compare(args))


def _parts(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(PARTS)}")
    return names


def compare(args: argparse.Namespace) -> None:
    """Prints a table a part, and writes the rows."""
    rows = []
    folder = args.folder.resolve()
    data_dir = folder / "data"
    scale = QUICK
    images = 40
    if not args.quick:
        scale = Scale(args.net, args.size, args.steps, args.batch, args.crop, args.dtype)
        images = args.images
    if "real" in args.only:
        build_real(args.sample_dir, data_dir)
        rows += _real(folder, data_dir, scale, _jobs(args))
    if "drawn" in args.only:
        name = build_drawn(data_dir, images=images, size=scale.size)
        rows += _drawn(folder, data_dir, name, scale, _jobs(args))
    if "worth" in args.only:
        rows += _worth(args, folder)
    write_rows(args.json, rows)


def _jobs(args: argparse.Namespace) -> int:
    """Trainings at a time; 0: none."""
    return 0 if args.no_net else args.jobs


def _real(folder: Path, data_dir: Path, scale: Scale, jobs: int) -> list[dict]:
    dataset = load_dataset(data_dir, REAL, split="all", image_size=scale.size)
    fold_of_each = dataset.folds()
    folds = np.unique(fold_of_each).tolist()
    figures = ChannelFigures()
    order = []
    if jobs:
        runs = [
            scale.run(f"real_{scale.net}_{scale.size}_{fold}", REAL, fold=fold) for fold in folds
        ]
        run_all(runs, data_dir, folder, jobs)
        for fold, run in zip(folds, runs, strict=True):
            numbers = np.flatnonzero(fold_of_each == fold).tolist()
            score_net(figures, dataset, numbers, PAIRS, folder / "runs" / run.name, "latest")
    order = score_baselines(figures, dataset, fold_of_each, folds)
    return _table("real", figures, dataset, order)


def _drawn(folder: Path, data_dir: Path, name: str, scale: Scale, jobs: int) -> list[dict]:
    dataset = load_dataset(data_dir, name, split="all", image_size=scale.size)
    # The split `test` has no fold, -1.
    fold_of_each = dataset.folds()
    figures = ChannelFigures()
    if jobs:
        run = scale.run(f"{name}_{scale.net}", name)
        run_all([run], data_dir, folder, jobs)
        numbers = np.flatnonzero(fold_of_each == -1).tolist()
        score_net(figures, dataset, numbers, PAIRS, folder / "runs" / run.name, "best")
    order = score_baselines(figures, dataset, fold_of_each, [-1])
    return _table("drawn", figures, dataset, order)


def _table(
    part: str, figures: ChannelFigures, dataset: ImageDataset, order: Sequence[int]
) -> list[dict]:
    """Prints the table of a part; returns its rows."""
    found = figures.rows(groups=dataset.groups()[order])
    print(f"\n{part}: {len(order)} images of {dataset.image_shape[0]} px\n\n{markdown(found)}")
    return [_row(part, row) for row in found]


def _worth(args: argparse.Namespace, folder: Path) -> list[dict]:
    scale = learning_recipes.QUICK if args.quick else learning_recipes.Scale()
    data_dir = learning_runs.build(scale, folder)
    found = channels_worth.measure(
        scale,
        folder,
        data_dir,
        target=MISSING,
        seeds=args.seeds,
        jobs=args.jobs,
    )
    print(f"\nworth\n\n{channels_worth.markdown(found, MISSING)}")
    rows = []
    for row in found:
        name = f"channels_worth_{row['classifier']}_{row['in_its_place']}".replace(" ", "_")
        rows.append(make_row(name, mean(row["seeds"]), "macro F1", device="any", **row))
    return rows


def score_baselines(
    figures: ChannelFigures, dataset: ImageDataset, fold_of_each: np.ndarray, folds: Sequence[int]
) -> list[int]:
    """Scores both baselines on each fold, fitted on all others.

    Returns:
      Which images were scored, in the order in which they were.
    """
    sums = []
    for number in tqdm(range(len(dataset)), desc="fitting", unit="image", disable=None):
        sums.append(channel_baselines.sums_of(dataset.image(number)))
    order = []
    for fold in folds:
        others = np.flatnonzero(fold_of_each != fold)
        total = channel_baselines.total(sums[number] for number in others)
        fits = _fits(total)
        chosen = np.flatnonzero(fold_of_each == fold).tolist()
        for number in tqdm(chosen, desc=f"fold {fold}", unit="image", disable=None):
            image = dataset.image(number)
            for pair, method, fit in fits:
                truth = image[..., CHANNELS.index(pair.target)]
                figures.add(pair, method, fit(image), truth)
        order += chosen
    return order


def _fits(
    total: channel_baselines.ChannelSums,
) -> list[tuple[Pair, str, Callable[[np.ndarray], np.ndarray]]]:
    fits = []
    for pair in PAIRS:
        ridge = channel_baselines.fit_ridge(total, pair.target, pair.sources)
        raw = channel_baselines.best_raw_channel(total, pair.target, pair.sources)
        fits += [(pair, RIDGE, ridge), (pair, RAW, raw)]
    return fits


def _row(part: str, found: dict) -> dict:
    pair = Pair(found["target"], tuple(found["sources"]))
    return make_row(
        f"channels_{part}_{pair.key}_{found['method'].replace(' ', '_')}",
        found["pearson"],
        "Pearson",
        device="any",
        **found,
    )


if __name__ == "__main__":
    run_program(main)
