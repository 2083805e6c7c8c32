"""How many images a second and core each loader reads, from how many bytes, with how much memory.

    python benchmarks/input.py [--manual_dir=DIR] [--json=FILE]

DIR has Kaggle's layout (default: $HPA_SAMPLE_DIR/kaggle_512). The builder makes datasets of its
images in either codec; five loaders read them over and over, at 1 and at 2 workers: ours on each
codec, Grain and tf.data on four-channel PNGs, and PyTorch's DataLoader on the four source PNGs with
OpenCV, as the challenge's solutions do. Then the same at four times the side, on mosaics of 4 x 4
images. Data come from the page cache: computing is measured.

Every loader is a process of its own and stays up. Rounds go through all of them in turn, and the
table has medians over the rounds, with ratios formed within a round: another program on the machine
slows neighbors alike. `img/s/core` is images a second divided by workers; `img/CPU-s` divides by
the CPU time of all threads and processes instead, which other programs hardly change.
"""

import contextlib
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from command_line import make_parser, run
from input_codecs import report_codecs
from input_rounds import compare, report
from kaggle_layout import read_image, red_files, write_image
from results import write_rows

from hpa_jax.environment.paths import path_flag
from hpa_jax.environment.program import run_program
from hpa_jax.errors import InputError
from hpa_jax.labels import LABELS

CODECS = ("zstd", "png")
TILES = 4  # images along each side of a mosaic
CODEC_IMAGES = 16  # that each codec is timed on


class Source(NamedTuple):
    """Images to read, and how often.

    Attributes:
      manual_dir: in Kaggle's layout.
      folder: for the datasets that are built of them.
      batch: images a batch.
      rounds: to measure.
    """

    manual_dir: Path
    folder: Path
    batch: int
    rounds: int


def write_mosaics(reds: list[Path], folder: Path, number: int) -> None:
    """Writes so many mosaics of 4 x 4 images in Kaggle's layout.

    Each is of 16 consecutive images and starts one further on than the last one ended, so that no
    two are the same even if there are only 16 images.
    """
    tiles = TILES**2
    images = [read_image(red) for red in reds[: number * tiles]]
    if len({image.shape for image in images}) > 1:
        raise InputError(f"{reds[0].parent}: images of several sizes: leave out --mosaics")
    (folder / "train").mkdir(parents=True)
    lines = ["Id,Target\n"]
    for mosaic in range(number):
        first = mosaic * (tiles + 1)
        chosen = [images[(first + tile) % len(images)] for tile in range(tiles)]
        rows = []
        for start in range(0, tiles, TILES):
            rows.append(np.concatenate(chosen[start : start + TILES], axis=1))
        write_image(folder, f"mosaic{mosaic}", np.concatenate(rows))
        lines.append(f"mosaic{mosaic},{mosaic % len(LABELS)}\n")
    (folder / "train.csv").write_text("".join(lines))


def build_datasets(manual_dir: Path, folder: Path) -> None:
    """Fills `folder` with what the loaders read: a link to the images, a dataset of each codec."""
    from tfds_builder.hpa.__main__ import main as build

    folder.mkdir(parents=True, exist_ok=True)
    link = folder / "kaggle"
    if not link.exists():
        link.symlink_to(manual_dir.resolve(), target_is_directory=True)
    for codec in CODECS:
        flags = [
            "--config=kaggle_512",
            f"--codec={codec}",
            f"--manual_dir={manual_dir}",
            f"--data_dir={folder / codec}",
            "--workers=1",
        ]
        with contextlib.redirect_stdout(sys.stderr):
            failed = build(flags)
        if failed:
            raise InputError(f"{manual_dir}: no dataset can be built of it, see above")


def main(argv: Sequence[str] | None = None) -> int:
    sample = os.environ.get("HPA_SAMPLE_DIR")
    parser = make_parser(__doc__)
    parser.add_argument(
        "--manual_dir",
        type=path_flag("--manual_dir"),
        default=Path(sample, "kaggle_512") if sample else None,
        help="images in Kaggle's layout",
    )
    parser.add_argument(
        "--work_dir",
        type=path_flag("--work_dir"),
        help="keep the datasets here, and use them next time (default: a temporary folder)",
    )
    parser.add_argument(
        "--workers",
        type=int,
        nargs="+",
        default=[1, 2],
        metavar="N",
        help="threads or processes of each loader",
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each loader in each round")
    parser.add_argument(
        "--batch",
        type=int,
        default=16,
        help="images a batch; mosaics: a quarter, and half as many rounds",
    )
    parser.add_argument(
        "--mosaics", type=int, default=4, help="images of four times the side; 0: none"
    )
    parser.add_argument(
        "--quick", action="store_true", help="one short round, one worker, no mosaics: does it run?"
    )
    args = parser.parse_args(argv)
    if args.quick:
        args.workers = [1]
        args.rounds = 1
        args.seconds = 0.1
        args.batch = 2
        args.mosaics = 0
    return run(lambda: measure(args))


def measure(args) -> None:
    """Measures loaders and codecs on every source, prints the tables and writes the rows."""
    if args.manual_dir is None:
        raise InputError("no images: give --manual_dir, or set HPA_SAMPLE_DIR")
    reds = red_files(args.manual_dir)
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        work_dir = args.work_dir or Path(temporary)
        sources = [Source(args.manual_dir, work_dir / "images", args.batch, args.rounds)]
        if args.mosaics:
            mosaics = work_dir / "mosaics_kaggle"
            if not mosaics.exists():
                write_mosaics(reds, mosaics, args.mosaics)
            batch = max(1, args.batch // 4)
            rounds = max(1, args.rounds // 2)
            sources.append(Source(mosaics, work_dir / "mosaics", batch, rounds))
        for source in sources:
            build_datasets(source.manual_dir, source.folder)
            contenders = compare(
                source.folder, args.workers, source.batch, source.rounds, args.seconds
            )
            rows += report(contenders, source.batch)
            side = contenders[0].first_batch["shape"][1]
            some = red_files(source.manual_dir)[:CODEC_IMAGES]
            rows += report_codecs(some, side, args.rounds)
    write_rows(args.json, rows)


if __name__ == "__main__":
    run_program(main)
