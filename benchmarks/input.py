"""How many fields a second and core each loader reads, from how many bytes and with how much memory.

    python benchmarks/input.py [--manual_dir=DIR] [--json=FILE]

DIR has Kaggle's layout (default: $HPA_SAMPLE_DIR/kaggle_512). The real builder makes datasets of its fields in either
codec; five loaders read them over and over, at 1 and at 2 workers: ours on each codec, Grain and tf.data on
four-channel PNGs, and PyTorch's DataLoader on the four source PNGs with OpenCV, as the challenge's solutions do. Then
the same at four times the side, on mosaics of 4 x 4 fields. Data come from the page cache: computing is measured.

Every loader is a process of its own and stays up. Rounds go through all of them in turn, and what is said is the median
over the rounds, ratios formed within a round: another program on the machine slows neighbours alike. `img/s/core` is
images a second divided by workers; `img/CPU-s` divides by the CPU time of all threads and processes instead, which
other programs hardly change.
"""

import argparse
import contextlib
import json
import os
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from input_codecs import read_field, report_codecs
from input_rounds import compare, report

from hpa_jax.errors import EXIT_BAD_INPUT, InputError
from hpa_jax.labels import CHANNELS

CODECS = ("zstd", "png")
TILES = 4  # fields along each side of a mosaic


def _reds(manual_dir: Path) -> list[Path]:
    reds = sorted((manual_dir / "train").glob("*_red.png"))
    if not reds:
        raise InputError(
            f"{manual_dir}: no train/<Id>_red.png: give --manual_dir a folder in Kaggle's layout"
        )
    return reds


def write_mosaics(reds: list[Path], folder: Path, fields: int) -> None:
    """Kaggle's layout with fields made of 4 x 4 others of one size, a different 16 each as long as there are more."""
    images = [read_field(red) for red in reds[: fields * TILES**2]]
    if len({image.shape for image in images}) > 1:
        raise InputError(f"{reds[0].parent}: fields of several sizes: leave out --mosaics")
    (folder / "train").mkdir(parents=True)
    rows = []
    for number in range(fields):
        chosen = [
            images[(number * (TILES**2 + 1) + place) % len(images)] for place in range(TILES**2)
        ]
        grid = [chosen[row * TILES : (row + 1) * TILES] for row in range(TILES)]
        mosaic = np.concatenate([np.concatenate(row, axis=1) for row in grid])
        for place, channel in enumerate(CHANNELS):
            cv2.imwrite(str(folder / "train" / f"mosaic{number}_{channel}.png"), mosaic[..., place])
        rows.append(f"mosaic{number},{number % 28}\n")
    (folder / "train.csv").write_text("Id,Target\n" + "".join(rows))


def build(manual_dir: Path, folder: Path) -> None:
    """`folder` as the loaders want it: the source and the datasets of both codecs."""
    from tfds_builder.hpa.__main__ import main as build_dataset

    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "kaggle").exists():
        (folder / "kaggle").symlink_to(manual_dir.resolve(), target_is_directory=True)
    for name in CODECS:
        flags = [
            "--config=kaggle_512",
            f"--codec={name}",
            f"--manual_dir={manual_dir}",
            f"--data_dir={folder / name}",
        ]
        with contextlib.redirect_stdout(sys.stderr):
            failed = build_dataset([*flags, "--workers=1"])
        if failed:
            raise InputError(f"{manual_dir}: no dataset can be built of it, as said above")


def _parser() -> argparse.ArgumentParser:
    sample = os.environ.get("HPA_SAMPLE_DIR")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add(
        "--manual_dir",
        type=Path,
        default=Path(sample, "kaggle_512") if sample else None,
        help="Kaggle's layout",
    )
    add(
        "--work_dir",
        type=Path,
        help="keep the datasets here, and take them from here next time (default: a temporary one)",
    )
    add(
        "--workers",
        type=int,
        nargs="+",
        default=[1, 2],
        metavar="N",
        help="threads or processes of each loader",
    )
    add("--rounds", type=int, default=5)
    add("--seconds", type=float, default=2.0, help="of each loader in each round")
    add(
        "--batch",
        type=int,
        default=16,
        help="images a batch; mosaics: a quarter, and half as many rounds",
    )
    add("--mosaics", type=int, default=4, help="fields of four times the side; 0: none")
    add(
        "--quick", action="store_true", help="one short round, one worker, no mosaics: does it run?"
    )
    add("--json", type=Path, help="file for the rows")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    if args.quick:
        args.workers, args.rounds, args.seconds, args.batch, args.mosaics = [1], 1, 0.1, 2, 0
    rows = []
    try:
        if args.manual_dir is None:
            raise InputError("no fields: give --manual_dir, or set HPA_SAMPLE_DIR")
        reds = _reds(args.manual_dir)
        with tempfile.TemporaryDirectory() as temporary:
            work = args.work_dir or Path(temporary)
            sources = [(args.manual_dir, work / "fields", args.batch, args.rounds)]
            if args.mosaics:
                if not (work / "mosaics_kaggle").exists():
                    write_mosaics(reds, work / "mosaics_kaggle", args.mosaics)
                fewer = (max(1, args.batch // 4), max(1, args.rounds // 2))
                sources.append((work / "mosaics_kaggle", work / "mosaics", *fewer))
            for source, folder, batch, rounds in sources:
                build(source, folder)
                found = compare(folder, args.workers, batch, rounds, args.seconds)
                rows += report(found, batch)
                rows += report_codecs(_reds(source)[:16], found[0].facts["shape"][1], args.rounds)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
