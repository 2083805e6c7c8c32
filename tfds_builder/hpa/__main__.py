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

from hpa_jax.data.codec import CODECS
from hpa_jax.errors import EXIT_BAD_INPUT, EXIT_OK, InputError
from hpa_jax.labels import CHANNELS
from tfds_builder.hpa import beam, planning, prepare
from tfds_builder.hpa.configs import CONFIGS, Config
from tfds_builder.hpa.planning import Build, Plan
from tfds_builder.hpa.split import stratify
from tfds_builder.hpa.split.reference import Neighbour
from tfds_builder.hpa.synthetic import source as drawn

_NAME = re.compile(r"[a-z0-9][a-z0-9_]*")  # a folder's name, and TFDS's rule for configurations


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        raise InputError(f"{message}; see python -m tfds_builder.hpa --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m tfds_builder.hpa",
        description="Builds the dataset hpa: TFRecords of four-channel fields and their labels, with indexes.",
        epilog="Exit status: 0 built, or there already with these settings; 2 bad input, told in one line. "
        "tfds_builder/hpa/README.md says where each source is to be had.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--config", required=True, metavar="NAME", help=f"what to build: {', '.join(CONFIGS)}")
    add(
        "--data_dir",
        required=True,
        type=Path,
        metavar="DIR",
        help=f"the dataset goes to DIR/hpa/NAME/{prepare.VERSION}",
    )
    what = "; ".join(
        f"{name}: {config.manual}" for name, config in CONFIGS.items() if config.manual
    )
    add("--manual_dir", type=Path, metavar="DIR", help=f"what it is built from. {what}")
    add(
        "--name",
        metavar="NAME",
        help="the dataset's name (default: the configuration's, with _<PX> if scaled)",
    )
    add(
        "--codec",
        choices=CODECS,
        default=CODECS[0],
        help="of the stored images, both lossless (default %(default)s)",
    )
    add(
        "--policy",
        choices=planning.POLICIES,
        default=planning.POLICIES[0],
        help="strict: stop at the first fault (default); skip: leave faulty rows out and list them in rejects.csv",
    )
    add(
        "--test",
        type=float,
        metavar="SHARE",
        help="of the held-out test part (default 0.1, synthetic 0.2)",
    )
    add(
        "--folds",
        type=int,
        metavar="K",
        help="of all other fields; fold 0 is `validation` (default 5, synthetic 8)",
    )
    add("--seed", type=int, default=0, help="of the split, and of the synthetic fields (default 0)")
    add(
        "--like",
        metavar="NAME",
        help="near-duplicates of fields of this dataset in DATA_DIR get those fields' folds",
    )
    add(
        "--workers",
        type=int,
        metavar="N",
        help="processes (default: one a CPU); the bytes are the same",
    )
    add(
        "--beam",
        metavar="OPTIONS",
        help="run on Apache Beam, with its options in one string; the bytes are the same",
    )

    scaled = parser.add_argument_group("kaggle_full, hpav18, folder")
    scaled.add_argument(
        "--edge",
        type=int,
        metavar="PX",
        help="scale the longer side to PX pixels (default: native)",
    )

    own = parser.add_argument_group("folder alone")
    own.add_argument("--csv", metavar="FILE", help="in manual_dir (default labels.csv)")
    own.add_argument(
        "--pattern",
        metavar="PATH",
        help="of the files in manual_dir, with {id} and {channel}: images/{id}_{channel}.tif",
    )
    own.add_argument(
        "--channels",
        type=_channels,
        metavar="LIST",
        help="your names of the four: red=tubulin,green=gfp,blue=dapi,yellow=calnexin; one left out: black",
    )
    own.add_argument(
        "--white",
        type=int,
        metavar="V",
        help="the value that becomes 255 (default: 255, 16 bits: 65535)",
    )
    own.add_argument(
        "--pixel_size", type=float, metavar="UM", help="of your images, in micrometres"
    )
    own.add_argument(
        "--rescale",
        action="store_true",
        default=None,
        help="to the Atlas's 0.08 micrometres a pixel",
    )
    own.add_argument("--id_column", metavar="NAME", help="of the csv (default Id)")
    own.add_argument("--label_column", metavar="NAME", help="of the csv (default Target)")
    own.add_argument(
        "--family_column",
        metavar="NAME",
        help="of the csv: fields of one family never straddle a split",
    )

    only = parser.add_argument_group("synthetic alone")
    only.add_argument(
        "--fields", type=int, metavar="N", help=f"number of fields (default {drawn.DEFAULT_FIELDS})"
    )
    only.add_argument(
        "--size", type=int, metavar="PX", help=f"width and height (default {drawn.DEFAULT_SIZE})"
    )
    only.add_argument(
        "--frequencies",
        choices=drawn.FREQUENCIES,
        help="of the labels: those of the real train.csv, or tempered so that each label has some fields (default)",
    )
    return parser


def _channels(text: str) -> dict[str, str | None]:
    """`red=a,green=b` to the four channels' names; None: not imaged."""
    names = dict.fromkeys(CHANNELS)
    for item in text.split(","):
        ours, equals, theirs = item.partition("=")
        if ours not in names or not equals or not theirs or names[ours]:
            raise argparse.ArgumentTypeError(
                f"{item!r}: not one of {', '.join(f'{c}=NAME' for c in CHANNELS)}, once each"
            )
        names[ours] = theirs
    return names


def _wanted(args: argparse.Namespace) -> tuple[Build, str, Config]:
    """What the flags ask for, with the dataset's name."""
    base, _, number = args.config.rpartition("_")
    if args.config not in CONFIGS and base in CONFIGS and re.fullmatch(r"\d{1,5}", number):
        side = "size" if "size" in CONFIGS[base].flags else "edge"
        if side not in CONFIGS[base].flags:
            raise InputError(f"--config={args.config}: {base} has one size; leave _{number} out")
        if getattr(args, side) not in (None, int(number)):
            raise InputError(
                f"--config={args.config} and --{side}={getattr(args, side)} say different things; leave --{side} out"
            )
        setattr(args, side, int(number))
        args.config = base
    if args.config not in CONFIGS:
        raise InputError(f"unknown --config={args.config}; there are {', '.join(CONFIGS)}")
    config = CONFIGS[args.config]
    for flag in sorted(
        {flag for other in CONFIGS.values() for flag in other.flags} - {*config.flags, "seed"}
    ):
        if getattr(args, flag) is not None:
            takers = ", ".join(
                f"--config={name}" for name, other in CONFIGS.items() if flag in other.flags
            )
            raise InputError(f"--{flag} is for {takers} alone; leave it out")
    if not 0 <= args.seed < 2**32:
        raise InputError(f"--seed={args.seed} is out of range; take one from 0 to {2**32 - 1}")
    if config.manual and args.manual_dir is None:
        raise InputError(
            f"--config={args.config} needs --manual_dir, which holds {config.manual}; give it"
        )
    settings = {name: getattr(args, name) for name in ("codec", "policy", "seed", "test", "folds")}
    settings = {name: value for name, value in settings.items() if value is not None}
    given = {flag: getattr(args, flag) for flag in config.flags if getattr(args, flag) is not None}
    side = given.get("edge") or given.get("size")
    scaled = side and side != drawn.DEFAULT_SIZE if "size" in given else side
    name = args.name or (f"{args.config}_{side}" if scaled else args.config)
    if not _NAME.fullmatch(name):
        raise InputError(
            f"--name={name} is no name for a folder; use lower-case letters, digits and _"
        )
    build = config.build(args.manual_dir, given, **settings)
    stratify.check(build.test, build.folds)
    if args.like:
        neighbour = Neighbour(prepare.folder(args.data_dir, args.like))
        if args.like == name:
            raise InputError(
                f"--like={args.like} is the dataset itself; name another, or leave it out"
            )
        neighbour.check(build.folds)
        build = config.build(args.manual_dir, given, like=neighbour, **settings)
    return build, name, config


def _cpus() -> int:
    """The CPUs that this process may use; macOS knows only how many there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main(argv: list[str]) -> int:
    """Runs the command line; returns the exit status."""
    try:
        args = _parser().parse_args(argv)
        wanted, name, config = _wanted(args)
        workers = args.workers if args.workers is not None else _cpus()
        if workers < 1:
            raise InputError(f"--workers={workers} is too few; give 1 or more")
        options = None if args.beam is None else beam.options(args.beam)
        plan = prepare.build(wanted, name, config.description, args.data_dir, workers, options)
    except InputError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return EXIT_BAD_INPUT
    final = prepare.folder(args.data_dir, name)
    counts = prepare.counts(final)
    parts = ", ".join(f"{part} {number}" for part, number in counts.items())
    print(
        f"{final} {'is built' if plan else 'is there already, with these settings'}: "
        f"{sum(counts.values())} fields ({parts})."
    )
    if plan:
        _tell(plan, final)
    print(
        f"Look at it:  python -m hpa_jax.main --mode=report --config.data.data_dir={args.data_dir} "
        f"--config.data.name={name} --workdir=reports/{name}\n"
        f"Train on it: python -m hpa_jax.main --config={config.recipe} --config.data.data_dir={args.data_dir} "
        f"--config.data.name={name} --workdir=runs/{name}"
    )
    return EXIT_OK


def _tell(plan: Plan, final: Path) -> None:
    """What happened on the way, a line each."""
    if plan.rejects:
        rows = len(plan.rejects) + sum(map(len, plan.parts.values()))
        print(
            f"{len(plan.rejects)} of {rows} rows were left out: {final / 'rejects.csv'} says why."
        )
    if plan.duplicates:
        print(
            f"{len(plan.duplicates)} pairs of near-duplicates stand on one side of the split: duplicates.csv."
        )
    for note in plan.notes:
        print(note)


def _stop(number: int, frame: object) -> None:
    """SIGTERM ends the build as Ctrl-C does, so that it takes its files away."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
