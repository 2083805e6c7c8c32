"""What a command line asks for: a mode, a run's folder, and a configuration.

The configuration is a recipe's or the run's, with fields that flags override. A mode that reads a
trained run takes from it what decides how its checkpoints are read.
"""

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hpa_jax.buckets.url import is_bucket_url
from hpa_jax.config import Config, check, differences, expand_paths, listed
from hpa_jax.environment.flags import Parser
from hpa_jax.environment.paths import local_path
from hpa_jax.errors import InputError
from hpa_jax.recipes.load import load_recipe, override
from hpa_jax.transforms.channel_mix import parse_channel_mix
from hpa_jax.workdir import read_config

MODES = (
    "train",
    "evaluate",
    "predict",
    "segment",
    "export",
    "synthesize",
    "probe",
    "report",
    "plan",
    "sweep",
    "verify",
)

# What decides how a stored checkpoint is read: another value would be another net, or other inputs.
FIXED_BY_TRAINING = (
    "model.",
    "cell_masks.width",
    "cell_masks.nucleus_diameters",
    "optim.",
    "train.task",
    "train.ema",
    "train.stop_after",
    "channels.targets",
    "channels.sources",
    "channels.width",
    "data.channel_mix",
    "data.labels",
    "data.vocabulary",
    "data.mean",
    "data.std",
    "data.input_",
    "data.image_size",
    "data.aspect",
    "data.fold",  # the validation images of another fold are images that the net learned from
)

# What a recipe may leave to the data: the run's own values then hold.
RESOLVED = ("mean", "std", "image_size", "aspect", "vocabulary")


def make_parser() -> argparse.ArgumentParser:
    """The flags of this program itself; those of fields are left to `override`."""
    parser = Parser(prog="python -m hpa_jax.main", add_help=False, allow_abbrev=False)
    # With one dash too, as absl has it.
    parser.add_argument("--help", "-help", "-h", action="store_true")
    parser.add_argument("--config", "-config", default="")
    parser.add_argument("--workdir", "-workdir", default="")
    parser.add_argument("--out", "-out", default="")
    parser.add_argument("--mode", "-mode", default="train")
    return parser


class Call(NamedTuple):
    """What a command line asks for.

    Attributes:
      mode: one of MODES.
      workdir: the run's folder.
      config: checked.
      out: the folder of what the mode writes; training writes into `workdir`.
      recipe: of --config; empty without it.
    """

    mode: str
    workdir: Path
    config: Config
    out: Path
    recipe: str


def parse(arguments: Sequence[str]) -> tuple[str, Path, Config]:
    """Command line to mode, workdir and checked configuration.

    Raises:
      InputError: names the flag or field that is wrong.
    """
    call = parse_call(arguments)
    return call.mode, call.workdir, call.config


def parse_call(arguments: Sequence[str]) -> Call:
    """What a command line asks for, with its configuration resolved as far as no data are needed.

    Raises:
      InputError: as of `parse`.
    """
    flags, field_flags = make_parser().parse_known_args(arguments)
    mode = flags.mode
    if mode not in MODES:
        raise InputError(f"--mode={mode} is unknown; choose one of {', '.join(MODES)}")
    if not flags.workdir:
        raise InputError("--workdir=DIR is missing: the folder of the run, new or started")
    if flags.out and mode in ("train", "sweep"):
        raise InputError(
            "--out is for the other modes: training writes into --workdir; leave it out"
        )
    if mode == "sweep" and not flags.config:
        raise InputError(
            "--mode=sweep needs --config=FILE, the recipe whose search_space() it searches"
        )
    workdir = local_path(flags.workdir, "--workdir")
    out = local_path(flags.out, "--out") if flags.out else workdir
    config = override(_configured(flags.config, mode, workdir, field_flags), field_flags)
    config = expand_paths(config)
    check(config)
    parse_channel_mix(config.data.channel_mix)
    if mode in ("evaluate", "predict") and config.evaluate.runs:
        if flags.config:
            raise InputError(
                f"--config={flags.config}: the runs of config.evaluate.runs have their own; "
                "leave it out"
            )
    elif _reads_the_run(config, mode, workdir):
        config = _as_trained(config, read_config(workdir), workdir)
    if mode != "train":
        config = _with_local_copies(config)
    return Call(mode, workdir, config, out, flags.config)


_NOT_OF_A_RUN = ("evaluate", "export", "predict", "probe", "segment")

_FILES_TO_WRITE = ("predict.out",)


def _with_local_copies(config: Config) -> Config:
    """The configuration with local copies in place of what settings name in buckets."""
    sections = {}
    for section_name in _NOT_OF_A_RUN:
        section = getattr(config, section_name)
        found = {}
        for item in dataclasses.fields(section):
            name = f"config.{section_name}.{item.name}"
            if not item.metadata["path"]:
                continue
            value = getattr(section, item.name)
            places = [_local_copy(place, name) for place in listed(value)]
            if "gs:/" in value:
                found[item.name] = ",".join(places)
        sections[section_name] = dataclasses.replace(section, **found)
    return dataclasses.replace(config, **sections)


def _local_copy(place: str, name: str) -> str:
    if not is_bucket_url(place):
        return place
    if name.removeprefix("config.") in _FILES_TO_WRITE:
        folder, _, file_name = place.rpartition("/")
        return str(local_path(folder, name) / file_name)
    return str(local_path(place, name))


def results_in_buckets(config: Config) -> list[Path]:
    """Where a mode writes besides its `out`, as settings name it."""
    places = [config.export.folder, config.predict.out, config.predict.overlays]
    return [Path(place) for place in places if place]


def _configured(recipe: str, mode: str, workdir: Path, field_flags: Sequence[str]) -> Config:
    """The configuration before flags override fields: a recipe's, the run's, or the defaults."""
    if mode == "verify":
        # It says itself what is wrong with the run's.
        return Config()
    if recipe:
        return load_recipe(recipe)
    if holds_run(workdir):
        config = read_config(workdir)
        # These were of that start.
        devices = dataclasses.replace(config.devices, processes=0, process=-1, coordinator="")
        return dataclasses.replace(config, devices=devices)
    has_runs = any("evaluate.runs" in flag for flag in field_flags)
    if mode in ("evaluate", "probe", "report", "segment") or has_runs:
        # Scores or embeddings of a file, a dataset, or runs that have recipes of their own.
        return Config()
    raise InputError(
        f"--config=FILE is missing, and {workdir} holds no run; try --config=configs/lowres.py"
    )


def holds_run(workdir: Path) -> bool:
    """Whether a run was started in a folder."""
    return (workdir / "config.json").is_file()


def holds_sweep(workdir: Path) -> bool:
    """Whether a folder has what a sweep has found."""
    return (workdir / "sweep.json").is_file()


def _reads_the_run(config: Config, mode: str, workdir: Path) -> bool:
    """Whether the mode is about the trained run in `workdir`."""
    if mode in ("train", "plan", "sweep", "verify"):
        return False
    if mode in ("report", "segment") and not holds_run(workdir):
        return False  # of a dataset
    if mode == "probe":
        return not (config.probe.export or config.probe.embeddings)
    return not (config.evaluate.scores or config.evaluate.targets)


def _as_trained(config: Config, trained: Config, workdir: Path) -> Config:
    """`config` with what it leaves to the run that it reads.

    Raises:
      InputError: names a field that must be as it was trained, and is not.
    """
    left_to_the_run = {}
    for name in RESOLVED:
        if not getattr(config.data, name):
            left_to_the_run[name] = getattr(trained.data, name)
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, **left_to_the_run))
    for name, (before, now) in differences(trained, config).items():
        # These are the same net, computed in another way.
        if name.startswith(FIXED_BY_TRAINING) and name not in ("model.block", "model.kernels"):
            raise InputError(
                f"{workdir} was trained with config.{name}={before!r}, not {now!r}; "
                "leave that as it was"
            )
    # Mean and std are those of the sources that it was trained on.
    sources = trained.data.sources or (trained.data.name,)
    return dataclasses.replace(config, data=dataclasses.replace(config.data, sources=sources))
