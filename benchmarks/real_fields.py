"""Every recipe on real fields, for some steps: does it run, how long and in how much memory?

    python benchmarks/real_fields.py --sample_dir=DIR [--only=RECIPE,...] [--steps=2] [--batch=2]
                                     [--folder=runs/real_fields] [--json=FILE] [--quick]

DIR holds the sample: kaggle_512/ in Kaggle's own layout (train.csv and train/), and full_size/ with
labels.csv and images/<Id>_<channel>.png of 2048 and 3072 px. Each recipe of configs/ is trained
with its own net, head and image size, evaluated, asked to predict fields from their files,
exported, and the export asked for the same fields. What does not come out finite, does not move its
weights or differs from its export stops the program. The fields as they were taken go through
configs/native.py, tile by tile, of which there is no ONNX.

The same command resumes where it was stopped, a recipe at a time. Needs Linux or macOS.

So few fields say nothing of how good a recipe is: no F1 is read or printed.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import checkout  # noqa: F401
from checkout import REPOSITORY
from command_line import make_parser
from kaggle_layout import channel_files
from learning_program import run_resumable
from real_fields_recipes import (
    BUILDS,
    FULL_SIZE,
    OTHERS,
    FieldsRun,
    recipe_names,
    runs_of,
)
from real_fields_run import result_of
from results import cpu_name, make_row, with_cores, write_rows

from hpa_jax.environment.paths import path_flag
from hpa_jax.environment.program import exit_on_signals, run_program
from hpa_jax.errors import InputError

COLUMNS = (
    "recipe",
    "px",
    "batch",
    "steps",
    "loss, first to last",
    "arrays of weights that moved",
    "training, s (CPU s)",
    "all, s (CPU s)",
    "peak, GiB",
    "export",
    "its scores differ by, on average",
)

_PREDICTED = 2
_GIB = 2**30


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = make_parser(__doc__)
    parser.add_argument(
        "--sample_dir",
        type=path_flag("--sample_dir"),
        default=Path(os.environ.get("HPA_SAMPLE_DIR", ".")),
        help="folder of kaggle_512/ and full_size/ (default HPA_SAMPLE_DIR)",
    )
    parser.add_argument(
        "--folder",
        type=path_flag("--folder"),
        default=Path("runs/real_fields"),
        help="data and results; kept (default %(default)s)",
    )
    parser.add_argument(
        "--only", type=_recipes, default=recipe_names(), help="some of configs/ (default: all)"
    )
    parser.add_argument("--steps", type=_at_least(2), default=2, help="(default %(default)s)")
    parser.add_argument(
        "--batch",
        type=_at_least(1),
        default=2,
        help="fields a step (default %(default)s; one where a field is in full size)",
    )
    parser.add_argument("--quick", action="store_true", help="small nets and sizes: does it run?")
    args = parser.parse_args(argv)
    # Programs run elsewhere, and are told where this one was started.
    args.sample_dir = args.sample_dir.resolve()
    exit_on_signals()
    return run_resumable(lambda: compare(args))


def _recipes(text: str) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in recipe_names()]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(recipe_names())}")
    return names


def _at_least(lowest: int):
    def convert(text: str) -> int:
        if not text.isdecimal() or int(text) < lowest:
            raise argparse.ArgumentTypeError(f"{text!r}: give a whole number from {lowest} on")
        return int(text)

    return convert


def compare(args: argparse.Namespace) -> None:
    """Builds what is needed, does the runs one after the other, prints the table."""
    folder = args.folder.resolve()
    runs = runs_of(args.only, args.steps, args.batch, args.quick)
    for recipe in args.only:
        if recipe in OTHERS:
            print(f"left out: {recipe} ({OTHERS[recipe]})", file=sys.stderr)
    for name in {run.data for run in runs}:
        build(args.sample_dir, folder / "data", name)
    results = []
    for number, run in enumerate(runs, start=1):
        print(f"{number} of {len(runs)}: {run.name}", file=sys.stderr)
        images = _fields_to_predict(args.sample_dir, folder / "images", run)
        results.append(result_of(run, folder / "data", images, folder / "runs" / run.name))
    print(markdown(results))
    write_rows(args.json, [_row(result) for result in results])


def build(sample_dir: Path, data_dir: Path, name: str) -> None:
    """Builds one of the two datasets unless it is there.

    Raises:
      InputError: the sample is not there, or the builder refuses it.
    """
    below, flags = BUILDS[name]
    if not (sample_dir / below).is_dir():
        raise InputError(f"{sample_dir / below} is not there; give --sample_dir=DIR, its parent")
    # The rarest labels have one or two fields, fewer than there are splits.
    flags = [*flags, "--allow_uneven_splits", f"--name={name}"]
    where = [f"--manual_dir={sample_dir / below}", f"--data_dir={data_dir}"]
    done = subprocess.run(
        [sys.executable, "-m", "tfds_builder.hpa", *flags, *where],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        raise InputError(f"{data_dir}: {name} cannot be built, see above")
    print(done.stdout.splitlines()[0], file=sys.stderr)


def _fields_to_predict(sample_dir: Path, folder: Path, run: FieldsRun) -> Path:
    """A folder with the files of the last two fields; of one in full size, which has 3072 px."""
    below, _ = BUILDS[run.data]
    target = folder / below
    count = _PREDICTED
    if run.data == FULL_SIZE:
        count = 1
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for red in sorted((sample_dir / below).rglob("*_red.png"))[-count:]:
        for path in channel_files(red):
            shutil.copy(path, target)
    return target


def _row(result: dict) -> dict:
    used = result["used"]
    return make_row(
        f"real_fields: {result['run']['name']}",
        used["train"]["seconds"],
        "s",
        device=with_cores(cpu_name()),
        **result,
    )


def markdown(results: Iterable[dict]) -> str:
    """The results as a table."""
    lines = [f"| {' | '.join(COLUMNS)} |", "| --- " * len(COLUMNS) + "|"]
    for result in results:
        run = result["run"]
        used = result["used"]
        losses = result["losses"]
        seconds = sum(of_process["seconds"] for of_process in used.values())
        cpu = sum(of_process["cpu"] for of_process in used.values())
        peak = max(of_process["peak"] for of_process in used.values())
        cells = (
            f"`{run['name']}`",
            str(run["side"]),
            str(run["batch"]),
            str(run["steps"]),
            f"{losses[0]:.3f} to {losses[-1]:.3f}",
            f"{result['moved']} of {result['parameters']}",
            f"{used['train']['seconds']:.0f} ({used['train']['cpu']:.0f})",
            f"{seconds:.0f} ({cpu:.0f})",
            f"{peak / _GIB:.1f}",
            "ONNX" if result["onnx"] else "JAX alone",
            f"{result['difference']:.1g}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    run_program(main)
