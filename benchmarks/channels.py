"""How well is a channel that was not imaged filled in from the others?

    python benchmarks/channels.py --sample_dir=DIR [--only=real,drawn] [--no_net]
                                  [--folder=runs/channels] [--size=256] [--json=FILE] [--quick]

real: the fields in DIR/kaggle_512 (Kaggle's own layout, train.csv and train/), in five folds: what
is fitted or trained on four is scored on the fifth, so that every field is scored once. They are
few, and the intervals are wide for it. Near-duplicates share a fold.

drawn: synthetic fields, fitted or trained on `train` and scored on `test`.

Beside a net stand two baselines (hpa_jax/metrics/channel_baselines.py): the best raw channel, and
ridge regression on the other channels, blurred by 0 to 16 px, and their roots. --no_net prints
these alone, in a minute.
"""

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import checkout  # noqa: F401
import numpy as np
from channels_data import REAL, build_drawn, build_real
from command_line import make_parser
from learning_program import run_resumable
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

PARTS = ("real", "drawn")

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
    parser.add_argument("--images", type=int, default=400, help="drawn (default %(default)s)")
    parser.add_argument("--no_net", action="store_true", help="the baselines alone")
    args = parser.parse_args(argv)
    args.sample_dir = args.sample_dir.resolve()
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
    data_dir = args.folder.resolve() / "data"
    if "real" in args.only:
        build_real(args.sample_dir, data_dir)
        dataset = load_dataset(data_dir, REAL, split="all", image_size=args.size)
        rows += _part("real", dataset, fold_of_each=dataset.folds())
    if "drawn" in args.only:
        name = build_drawn(data_dir, images=args.images, size=args.size)
        dataset = load_dataset(data_dir, name, split="all")
        # The split `test` has no fold, -1; the others are what is fitted on.
        rows += _part("drawn", dataset, fold_of_each=dataset.folds(), scored=(-1,))
    write_rows(args.json, rows)


def _part(
    name: str,
    dataset: ImageDataset,
    *,
    fold_of_each: np.ndarray,
    scored: Sequence[int] | None = None,
) -> list[dict]:
    """Prints the table of one part, and returns its rows.

    Args:
      name: of the part.
      dataset: all its images.
      fold_of_each: int [N].
      scored: the folds that are scored; None: all.
    """
    figures = ChannelFigures()
    folds = np.unique(fold_of_each) if scored is None else scored
    order = score_baselines(figures, dataset, fold_of_each, folds)
    found = figures.rows(groups=dataset.groups()[order])
    print(f"\n{name}: {len(order)} images of {dataset.image_shape[0]} px\n\n{markdown(found)}")
    return [_row(name, row) for row in found]


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
