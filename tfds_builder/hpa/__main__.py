"""Command line of the dataset builder: `python -m tfds_builder.hpa --config=NAME --data_dir=DIR [--manual_dir=DIR]`.

The same builder as `tfds build tfds_builder/hpa`, without the packages that the `tfds` command wants, with errors of
one line and exit status 2, several worker processes, and indexes for random access beside the shards.
"""

import argparse
import os
import re
import signal
import sys
from pathlib import Path

from hpa_jax.errors import EXIT_BAD_INPUT, EXIT_OK, InputError
from tfds_builder.hpa import drawn, prepare
from tfds_builder.hpa.configs import CONFIGS, recipe
from tfds_builder.hpa.drawn import Synthetic
from tfds_builder.hpa.kaggle import Kaggle
from tfds_builder.hpa.sources import Source

_SYNTHETIC_ONLY = ("fields", "size", "frequencies")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        raise InputError(f"{message}; see python -m tfds_builder.hpa --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m tfds_builder.hpa",
        description="Builds the dataset hpa: TFRecords of four-channel fields and their labels, with indexes.",
        epilog="Exit status: 0 built, or there already with these settings; 2 bad input, told in one line.",
        allow_abbrev=False,
    )
    parser.add_argument("--config", required=True, metavar="NAME", help=f"what to build: {', '.join(CONFIGS)}")
    parser.add_argument(
        "--data_dir", required=True, type=Path, metavar="DIR", help="the dataset goes to DIR/hpa/NAME/1.0.0"
    )
    parser.add_argument(
        "--manual_dir", type=Path, metavar="DIR", help="kaggle_512: the folder with train.csv and train/"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the split, and of the synthetic fields (default 0)")
    parser.add_argument(
        "--workers", type=int, metavar="N", help="processes (default: one a CPU); the bytes are the same"
    )
    only = parser.add_argument_group("synthetic alone")
    only.add_argument("--fields", type=int, metavar="N", help=f"number of fields (default {drawn.DEFAULT_FIELDS})")
    only.add_argument(
        "--size",
        type=int,
        metavar="PX",
        help=f"width and height (default {drawn.DEFAULT_SIZE}); another is synthetic_<PX>",
    )
    only.add_argument(
        "--frequencies",
        choices=drawn.FREQUENCIES,
        help="of the labels: those of the real train.csv, or tempered so that each label has some fields (default)",
    )
    return parser


def _source(args: argparse.Namespace) -> tuple[str, Source]:
    """The source that the flags ask for, with its configuration's name."""
    if args.seed < 0 or args.seed >= 2**32:
        raise InputError(f"--seed={args.seed} is out of range; take one from 0 to {2**32 - 1}")
    sized = re.fullmatch(r"synthetic_(\d{1,5})", args.config)
    if args.config == "synthetic" or sized:
        size = args.size if args.size is not None else drawn.DEFAULT_SIZE
        if sized:
            size = int(sized[1])
            if args.size not in (None, size):
                raise InputError(
                    f"--config={args.config} and --size={args.size} say different things; leave --size out"
                )
        fields = args.fields if args.fields is not None else drawn.DEFAULT_FIELDS
        if fields < 1 or not 32 <= size <= 4096:
            raise InputError(
                f"--fields={fields} --size={size} is out of range; ask for at least 1 field, of 32 to 4096 pixels"
            )
        name = "synthetic" if size == drawn.DEFAULT_SIZE else f"synthetic_{size}"
        return name, Synthetic(fields, size, args.seed, args.frequencies or drawn.FREQUENCIES[0])
    if args.config not in CONFIGS:
        raise InputError(f"unknown --config={args.config}; there are {', '.join(CONFIGS)}")
    for flag in _SYNTHETIC_ONLY:
        if getattr(args, flag) is not None:
            raise InputError(f"--{flag} is for --config=synthetic alone; leave it out")
    if args.manual_dir is None:
        raise InputError(f"--config={args.config} needs --manual_dir; give the folder with train.csv and train/")
    return args.config, Kaggle(args.manual_dir, args.seed)


def _cpus() -> int:
    """The CPUs that this process may use; macOS knows only how many there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main(argv: list[str]) -> int:
    """Runs the command line; returns the exit status."""
    try:
        args = _parser().parse_args(argv)
        config, source = _source(args)
        workers = args.workers if args.workers is not None else _cpus()
        if workers < 1:
            raise InputError(f"--workers={workers} is too few; give 1 or more")
        built = prepare.build(source, config, args.data_dir, workers)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    final = prepare.folder(args.data_dir, config)
    counts = prepare.counts(final)
    parts = ", ".join(f"{part} {number}" for part, number in counts.items())
    print(
        f"{final} {'is built' if built else 'is there already, with these settings'}: "
        f"{sum(counts.values())} fields ({parts}).\n"
        f"Train on it: python -m hpa_jax.main --config={recipe(config)} --config.data.data_dir={args.data_dir} "
        f"--config.data.name={config} --workdir=runs/{config}"
    )
    return EXIT_OK


def _stop(number: int, frame: object) -> None:
    """SIGTERM ends the build as Ctrl-C does, so that it takes its files away."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
