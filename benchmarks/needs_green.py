"""Does a trained net look at the protein? Its macro F1 with the green channel of another image.

    python benchmarks/needs_green.py --workdir=RUN [--without_green=RUN2] [--split=test]

RUN is a finished run. RUN2, if given, is one that was trained on red, blue and yellow alone: the
same command with --config.data.channel_mix=red,blue,yellow and another workdir. The peer is
guessing: the net's own decisions, permuted among the images (the mean of 20 permutations), which
keeps how often each label is predicted.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import checkout  # noqa: F401
import numpy as np
from command_line import make_parser, run
from results import make_row, write_rows

from hpa_jax.data import pipeline
from hpa_jax.data.dataset import ImageDataset
from hpa_jax.environment.paths import path_flag
from hpa_jax.environment.program import run_program
from hpa_jax.evaluation.predictor import load_run
from hpa_jax.labels import CHANNELS
from hpa_jax.metrics.classification import macro_f1
from hpa_jax.workdir import read_config

GREEN = CHANNELS.index("green")
PERMUTATIONS = 20

Images = Iterator[np.ndarray]


def own_green(dataset: ImageDataset) -> Images:
    """The images as they are."""
    for i in range(len(dataset)):
        yield dataset.image(i)


def anothers_green(dataset: ImageDataset) -> Images:
    """The images, each with the green channel of the next one."""
    for i in range(len(dataset)):
        following = (i + 1) % len(dataset)
        image = dataset.image(i).copy()
        image[..., GREEN] = dataset.image(following)[..., GREEN]
        yield image


def guess(predicted: np.ndarray, targets: np.ndarray) -> float:
    """Macro F1 of the decisions bool `[N, L]` permuted among the images."""
    rng = np.random.default_rng(0)
    values = []
    for _ in range(PERMUTATIONS):
        values.append(macro_f1(rng.permutation(predicted), targets))
    return float(np.mean(values))


def score(
    workdir: Path, split: str, images_of: Callable[[ImageDataset], Images]
) -> tuple[float, float]:
    """Macro F1 at 0.5 of a run on images of a split, and that of guessing."""
    dataset = pipeline.open_split(read_config(workdir).data, split)
    predictor = load_run(workdir)
    predicted = predictor(images_of(dataset)) > 0.5
    targets = dataset.targets() > 0
    return macro_f1(predicted, targets), guess(predicted, targets)


def main(argv: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__)
    parser.add_argument(
        "--workdir", type=path_flag("--workdir"), required=True, help="a finished run"
    )
    parser.add_argument(
        "--without_green",
        type=path_flag("--without_green"),
        help="a run on the other channels alone",
    )
    parser.add_argument("--split", default="test")
    args = parser.parse_args(argv)
    return run(lambda: compare(args))


def compare(args) -> None:
    """Scores the runs, prints a line each and writes the rows."""
    cases = [
        ("own_green", args.workdir, own_green),
        ("anothers_green", args.workdir, anothers_green),
    ]
    if args.without_green:
        cases.append(("red_blue_yellow_alone", args.without_green, own_green))
    print(f"macro F1 at 0.5 on {args.split}")
    rows = []
    for name, workdir, images_of in cases:
        value, guessing = score(workdir, args.split, images_of)
        row = make_row(
            f"macro_f1_{name}",
            value,
            "F1",
            peer="guessing",
            peer_value=guessing,
            device="any",
        )
        rows.append(row)
        ratio = row["ratio_to_peer"]
        times = f"   {ratio:.2f} times guessing" if ratio else ""
        print(f"  {name:<22} {value:.4f}   guessing {guessing:.4f}{times}")
    write_rows(args.json, rows)


if __name__ == "__main__":
    run_program(main)
