"""Command line of the dataset builder.

    python -m tfds_builder.hpa --config=NAME --data_dir=DIR [--manual_dir=DIR]

The same builder as `tfds build tfds_builder/hpa`, without the packages that the `tfds` command
needs, with errors of one line and exit status 2, several worker processes, and indexes for random
access beside the shards.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from hpa_jax.buckets import mounts
from hpa_jax.environment.cores import available_cores
from hpa_jax.environment.program import exit_on_signals, run_program
from hpa_jax.errors import (
    EXIT_BAD_INPUT,
    EXIT_OK,
    EXIT_RUN_STOPPED,
    InputError,
    RunStopped,
    one_line,
)
from tfds_builder.hpa import arguments, beam, prepare
from tfds_builder.hpa.build import UNLABELLED, Build, Plan
from tfds_builder.hpa.configs import CONFIGS, Config
from tfds_builder.hpa.lists.antibodies import AntibodySplit
from tfds_builder.hpa.lists.antibodies import load as load_split
from tfds_builder.hpa.lists.catalog import SPLITS as PUBLIC_SPLITS
from tfds_builder.hpa.split import sides, stratify
from tfds_builder.hpa.split.perceptual import MAX_BITS, Rule
from tfds_builder.hpa.split.reference import ReferenceDataset
from tfds_builder.hpa.synthetic.source import DEFAULT_SIZE

# For a dataset that has masks.
_RECIPE_OF_MASKS = "configs/cells_unet.py"

# A name of a folder that TFDS accepts for a configuration.
_NAME = re.compile(r"[a-z0-9][a-z0-9_]*")


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit status."""
    try:
        flags = arguments.parser().parse_args(arguments.rename_old_flags(argv))
        build, name, config = _requested_build(flags)
        workers = available_cores() if flags.workers is None else flags.workers
        if workers < 1:
            raise InputError(f"--workers={workers} is too few; give 1 or more")
        options = None if flags.beam is None else beam.options(flags.beam)
        with mounts.held(flags.data_dir):
            plan = prepare.build(build, name, config.description, flags.data_dir, workers, options)
    except InputError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except RunStopped as error:
        print(f"stopped: {one_line(error)}", file=sys.stderr)
        return EXIT_RUN_STOPPED
    final = prepare.version_dir(flags.data_dir, name)
    _print_result(plan, final)
    recipe = _RECIPE_OF_MASKS if flags.masks else config.recipe
    _print_next_steps(final, flags.data_dir, recipe)
    return EXIT_OK


def _requested_build(flags: argparse.Namespace) -> tuple[Build, str, Config]:
    """What the flags ask for, with the dataset's name and its configuration."""
    _resolve_size_suffix(flags)
    config = CONFIGS[flags.config]
    _check_flags(flags, config)
    source_flags = _given(flags, config.flags)
    if flags.split and config.splits:
        # The lists decide: the source's own split has no say.
        source_flags["split"] = "own" if flags.split in PUBLIC_SPLITS else flags.split
    name = _dataset_name(flags, source_flags)
    settings = _given(flags, ("codec", "policy", "seed", "test", "folds", "allow_uneven_splits"))
    settings["near_duplicates"] = _duplicate_rule(flags)
    build = config.build(flags.manual_dir, source_flags, **settings)
    if flags.split in PUBLIC_SPLITS:
        settings["split"] = _public_split(flags)
        build = config.build(flags.manual_dir, source_flags, **settings)
    elif flags.lists:
        raise InputError("--lists means nothing without --split; leave it out")
    stratify.check(build.test, build.folds)
    if flags.match_splits_of:
        settings["match_splits_of"] = _reference(flags, name, build.folds)
        build = config.build(flags.manual_dir, source_flags, **settings)
    return build, name, config


def _public_split(flags: argparse.Namespace) -> AntibodySplit:
    """The split of --split, read from its lists."""
    for other in ("split_column", "match_splits_of"):
        if getattr(flags, other):
            raise InputError(
                f"--split={flags.split} and --{other} both decide the splits; leave one of them out"
            )
    return load_split(flags.split, flags.lists or flags.data_dir / "lists")


def _resolve_size_suffix(flags: argparse.Namespace) -> None:
    """Turns `hpav18_512` into the configuration `hpav18` with --edge=512, in place."""
    base, _, number = flags.config.rpartition("_")
    if flags.config in CONFIGS:
        return
    if base not in CONFIGS or not re.fullmatch(r"\d{1,5}", number):
        raise InputError(f"unknown --config={flags.config}; there are {', '.join(CONFIGS)}")
    size_flag = "size" if "size" in CONFIGS[base].flags else "edge"
    if size_flag not in CONFIGS[base].flags:
        raise InputError(f"--config={flags.config}: {base} has one size; leave _{number} out")
    given = getattr(flags, size_flag)
    if given not in (None, int(number)):
        raise InputError(
            f"--config={flags.config} and --{size_flag}={given} contradict each other; "
            f"leave --{size_flag} out"
        )
    setattr(flags, size_flag, int(number))
    flags.config = base


def _check_flags(flags: argparse.Namespace, config: Config) -> None:
    """Refuses flags of other configurations and values out of range."""
    of_any = {flag for other in CONFIGS.values() for flag in other.flags}
    # --seed is of the split as well, and so of every configuration.
    foreign = of_any - {*config.flags, "seed"}
    for flag in sorted(foreign):
        if getattr(flags, flag) is None:
            continue
        takers = [f"--config={name}" for name, other in CONFIGS.items() if flag in other.flags]
        raise InputError(f"--{flag} is for {', '.join(takers)} alone; leave it out")
    if flags.split not in (None, *PUBLIC_SPLITS, *config.splits):
        raise InputError(f"--split={flags.split} is for --config=s_biad2443 alone; leave it out")
    if not 0 <= flags.seed < 2**32:
        raise InputError(f"--seed={flags.seed} is out of range; take one from 0 to {2**32 - 1}")
    if config.manual and flags.manual_dir is None:
        raise InputError(
            f"--config={flags.config} needs --manual_dir, which holds {config.manual}; give it"
        )


def _duplicate_rule(flags: argparse.Namespace) -> Rule | None:
    """What near-duplicates are; None if they are not to be sought."""
    given = {}
    for name in Rule._fields:
        value = getattr(flags, f"duplicate_{name}")
        if value is not None:
            given[name] = value
    if flags.near_duplicates == "off":
        for name in given:
            raise InputError(
                f"--duplicate_{name} means nothing with --near_duplicates=off; leave one out"
            )
        if flags.match_splits_of:
            raise InputError(
                f"--match_splits_of={flags.match_splits_of} finds the same images by near-"
                "duplicates; leave --near_duplicates=off out"
            )
        return None
    rule = Rule(**given)
    if not 0 <= rule.bits <= MAX_BITS:
        raise InputError(f"--duplicate_bits={rule.bits} is out of range; take 0 to {MAX_BITS}")
    if not 0 <= rule.correlation < 1:
        raise InputError(
            f"--duplicate_correlation={rule.correlation:g} is out of range; take 0 to below 1"
        )
    return rule


def _given(flags: argparse.Namespace, names: tuple[str, ...]) -> dict:
    """The values of those of the flags that were given."""
    values = {}
    for name in names:
        value = getattr(flags, name)
        if value is not None:
            values[name] = value
    return values


def _dataset_name(flags: argparse.Namespace, source_flags: dict) -> str:
    side = source_flags.get("edge") or source_flags.get("size")
    # The default size of synthetic images is not part of the name.
    is_default = "size" in source_flags and side == DEFAULT_SIZE
    name = flags.name
    if not name:
        name = f"{flags.config}_{side}" if side and not is_default else flags.config
    if not _NAME.fullmatch(name):
        raise InputError(
            f"--name={name} cannot be the name of a folder; use lower-case letters, digits and _"
        )
    return name


def _reference(flags: argparse.Namespace, name: str, folds: int) -> ReferenceDataset:
    """The dataset of --match_splits_of, checked."""
    reference = ReferenceDataset(prepare.newest_dir(flags.data_dir, flags.match_splits_of))
    if flags.match_splits_of == name:
        raise InputError(
            f"--match_splits_of={name} is the dataset itself; name another, or leave it out"
        )
    reference.check(folds)
    return reference


def _print_result(plan: Plan | None, final: Path) -> None:
    """What was built and what happened on the way, a line each."""
    sizes = prepare.split_sizes(final)
    total = sum(sizes.values())
    state = "is built" if plan else "is there already, with these settings"
    splits = ", ".join(f"{split} {number}" for split, number in sizes.items())
    print(f"{final} {state}: {total} images ({splits}).")
    print(sides.describe(final / "images.csv"), end="")
    if not plan:
        return
    older = prepare.older_dir(final)
    if older:
        print(f"{older} is left as it is; from now on {final.name} is read in its place.")
    if plan.rejects:
        number = len(plan.rejects)
        rejects = final / "rejects.csv"
        print(f"{number} of {number + total} rows were left out: see {rejects} for the reasons.")
    if plan.duplicates:
        pairs = len(plan.duplicates)
        print(f"{pairs} near-duplicate pairs are kept in one split each: see duplicates.csv.")
    for note in plan.notes:
        print(note)


def _print_next_steps(final: Path, data_dir: Path, recipe: str) -> None:
    name = final.parent.name
    data = f"--config.data.data_dir={data_dir} --config.data.name={name}"
    program = "python -m hpa_jax.main"
    if set(prepare.split_sizes(final)) == {UNLABELLED}:
        run = "--config.data.eval_split=all --workdir=RUN"
        print(f"Score it by a trained run: {program} --mode=predict {data} {run}")
        return
    print(
        f"Look at it:  {program} --mode=report {data} --workdir=reports/{name}\n"
        f"Train on it: {program} --config={recipe} {data} --workdir=runs/{name}"
    )


if __name__ == "__main__":
    # As Ctrl-C does, so that the build removes its files.
    exit_on_signals()
    run_program(main)
